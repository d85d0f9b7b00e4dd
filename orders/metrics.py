"""What a batch of intake or settlement comes to in figures: added up in plain Python, then one write per set of labels.

Call after the commit. Measured with `python -m bench metrics`: 0.5 µs per order in a batch of 50, 0.35 in one of 500, for either.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from psycopg import Connection

from exchange_platform import metrics
from exchange_platform.telemetry.text import Readings
from markets.units import Market
from orders.lifecycle import OPEN_STATUSES

if TYPE_CHECKING:  # they call this module
    from orders.batch_writes import Draft
    from orders.settlement import OrderRecord, SymbolBatch

PRE_TRADE: Final = "pre_trade"
_RISK_CODES: Final = frozenset({"INSUFFICIENT_FUNDS", "ACCOUNT_FROZEN", "INSTITUTION_FROZEN"})


def is_risk_code(code: str) -> bool:
    """Whether a refusal is the account's affair (funds, limits, freezes) and not the symbol's rules'."""
    return code.startswith("RISK_") or code in _RISK_CODES


def count_intake(drafts: "Iterable[Draft]") -> None:
    """New orders of a committed intake batch, taken or recorded as REJECTED."""
    placed: dict[tuple[str, str, str], int] = {}
    refused: dict[tuple[str, str], int] = {}
    for draft in drafts:
        request = draft.request
        if draft.refusal is None:
            key = (request.symbol, request.order_type, request.side)
            placed[key] = placed.get(key, 0) + 1
        else:
            reason = (request.symbol, draft.refusal.code)
            refused[reason] = refused.get(reason, 0) + 1
    passed = 0
    for key, count in placed.items():
        metrics.orders_placed.labels(*key).inc(count)
        passed += count
    if passed:
        metrics.risk_checks.labels(PRE_TRADE, "passed").inc(passed)
    for (symbol, code), count in refused.items():
        metrics.orders_rejected.labels(symbol, code).inc(count)
        if is_risk_code(code):
            metrics.risk_checks.labels(PRE_TRADE, "refused").inc(count)
            metrics.risk_violations.labels(code).inc(count)
        else:
            metrics.validation_failures.labels(code).inc(count)


def count_settlement(batches: "Iterable[SymbolBatch]", *, commands: int, matching_s: float, settling_s: float) -> None:
    """A committed settlement: how orders ended, trades, and how long it took.

    Args: matching_s: seconds in the books. settling_s: seconds for writing and committing.
    """
    for batch in batches:
        symbol = batch.progress.market.name
        ends: dict[tuple[str, str | None, bool], int] = {}
        for record in batch.touched.values():
            status = record.status
            if status in OPEN_STATUSES:
                continue
            key = (status, None, record.is_buy) if status == "FILLED" else (status, record.reason, True)
            ends[key] = ends.get(key, 0) + 1
        for (status, reason, is_buy), count in ends.items():
            if status == "FILLED":
                metrics.orders_filled.labels(symbol, "BUY" if is_buy else "SELL").inc(count)
            elif status == "REJECTED":
                metrics.orders_rejected.labels(symbol, reason).inc(count)
            else:
                metrics.orders_canceled.labels(symbol, reason).inc(count)
        for record, price in batch.triggers:
            if record.filled:
                metrics.stop_slippage_ratio.labels(symbol).observe(_slippage(record, price, batch.progress.market))
        if batch.trades:
            metrics.trades_executed.labels(symbol).inc(len(batch.trades))
            met = {trade[6] for trade in batch.trades}
            met.update([trade[7] for trade in batch.trades])
            metrics.orders_matched.labels(symbol).inc(len(met))
    metrics.matching_batch_size.observe(commands)
    metrics.matching_duration_seconds.observe(matching_s)
    metrics.trade_creation_duration_seconds.observe(settling_s)


def _slippage(record: "OrderRecord", trigger_price: str, market: Market) -> float:
    """How much worse than its trigger a stop was executed by the settlement that triggered it, as a fraction; better is 0. For figures,
    not for money."""
    average: float = record.filled_quote / 10**market.quote_scale / (record.filled * float(market.lot))
    worse = average / float(trigger_price) - 1
    return max(0.0, worse if record.is_buy else -worse)


# Commands per shard; a shard nobody waits for shows 0. Read without locks.
_SHARDS_SQL: Final = """
    SELECT s.id, s.epoch, coalesce(sum(i.commands), 0)::bigint
    FROM orders_shard s
    LEFT JOIN orders_checkpoint c ON c.shard_id = s.id
    LEFT JOIN (SELECT symbol_id, sum(commands) AS commands FROM orders_inbox GROUP BY symbol_id) i ON i.symbol_id = c.symbol_id
    GROUP BY s.id, s.epoch"""


_DEPTH_SQL: Final = """
    SELECT m.name, l.side, count(*) FROM orders_booklevel l JOIN markets_symbol m ON m.id = l.symbol_id GROUP BY m.name, l.side"""


def read(connection: Connection[Any]) -> Readings:
    """What only the database knows: who owns the shards, how much waits for them, how deep the books are. Raises: psycopg.Error."""
    shards = connection.execute(_SHARDS_SQL).fetchall()
    depths = connection.execute(_DEPTH_SQL).fetchall()
    return {
        metrics.matching_lease_epoch.name: [((str(shard),), float(epoch)) for shard, epoch, _ in shards],
        metrics.matching_inbox_pending.name: [((str(shard),), float(waiting)) for shard, _, waiting in shards],
        metrics.order_book_depth.name: [((symbol, side), float(levels)) for symbol, side, levels in depths],
    }
