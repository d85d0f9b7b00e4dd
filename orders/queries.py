"""Reads of orders, fills and own trades, as the tenants' role: row-level security decides what an institution sees.

Reach: `institution_id` null is staff of the platform (all tenants); `account_ids` null is every account in that reach. Lists are
newest first by id and end where `before` begins; what is public (book, trades, ticker) is in `orders.market_data`.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from exchange_platform.db import array, tenant_scope
from exchange_platform.ids import uuid_floor
from institutions.queries import accounts_of
from markets.queries import symbols
from markets.units import Market, market_by_id, market_by_name
from orders.lifecycle import OPEN_STATUSES
from orders.presentation import FILL_COLUMNS, ORDER_COLUMNS, ORDER_FROM, fills_by_order, fixed, order_view, timestamp
from orders.refusals import UnknownSymbol
from wallet import queries as wallet

OPEN: Final = "open"  # the status filter for whatever has not ended
TRADE_COLUMNS: Final = f"{FILL_COLUMNS}, t.maker_account_id, t.taker_account_id"
_LAST: Final = UUID(int=2**128 - 1)
_MILLISECOND: Final = 1 << 80  # in the number of a UUIDv7


class Page(NamedTuple):
    """Rows of the API, newest first; `next_before` is the `before` of the page after it, null on the last one."""

    results: list[dict[str, Any]]
    next_before: UUID | None


def order_by_id(*, institution_id: int | None, account_ids: Sequence[int] | None, order_id: UUID) -> dict[str, Any] | None:
    """One order with its fills; null when there is none in reach. Owns a read transaction: order, then fills."""
    mine, parameters = _mine(account_ids)
    return _one(institution_id, f"o.id = %s {mine}", [order_id, *parameters])


def order_by_client_id(*, institution_id: int | None, account_ids: Sequence[int] | None, client_order_id: str) -> dict[str, Any] | None:
    """One order with its fills; the newest when several accounts in reach used the same client_order_id. Owns a read transaction."""
    accounts = _accounts(institution_id, account_ids)
    found = "o.id IN (SELECT k.order_id FROM orders_orderkey k WHERE k.account_id = ANY(%s::bigint[]) AND k.client_order_id = %s)"
    return _one(institution_id, found, [array(accounts), client_order_id])


def orders(
    *,
    institution_id: int | None,
    account_ids: Sequence[int] | None,
    symbol: str | None = None,
    statuses: Collection[str] = (),
    side: str | None = None,
    start_time: datetime | None = None,
    end_time: datetime | None = None,
    limit: int = 100,
    before: UUID | None = None,
) -> Page:
    """Orders without their fills. `statuses`: any of these, OPEN for all that have not ended; none: all.

    `start_time` and `end_time` are both inclusive, by the millisecond of the order's id (its arrival).
    Owns a read transaction, one statement in it: per account a backward scan of (account, id); for open orders alone, the
    table of open orders. Raises: UnknownSymbol.
    """
    wanted = _spelled_out(statuses)
    low, high = _bounds(start_time, end_time, before)
    conditions: list[str] = ["id >= %s", "id < %s"]
    parameters: list[Any] = [low, high]
    if symbol is not None:
        conditions, parameters = [*conditions, "symbol_id = %s"], [*parameters, market_named(symbol).id]
    only_open = bool(wanted) and wanted <= OPEN_STATUSES
    if only_open:
        source, arguments = _open_orders(institution_id, account_ids, conditions, parameters, wanted, side, limit + 1)
    else:
        if wanted:
            conditions, parameters = [*conditions, "status = ANY(%s::text[])"], [*parameters, array(sorted(wanted))]
        if side is not None:
            conditions, parameters = [*conditions, "side = %s"], [*parameters, side]
        source, arguments = _any_orders(institution_id, account_ids, conditions, parameters, limit + 1)
    with tenant_scope(institution_id) as cursor:
        if not only_open:
            pin_index_scans(cursor)
        cursor.execute(f"SELECT {ORDER_COLUMNS} FROM {source} ORDER BY o.id DESC LIMIT %s", [*arguments, limit + 1])
        rows = cursor.fetchall()
    more = len(rows) > limit
    return Page([order_view(row) for row in rows[:limit]], rows[limit - 1][0] if more else None)


def my_trades(
    *,
    institution_id: int | None,
    account_ids: Sequence[int] | None,
    symbol: str | None = None,
    start_time: datetime | None = None,
    end_time: datetime | None = None,
    limit: int = 100,
    before: UUID | None = None,
) -> Page:
    """Public fields of each trade with `account, order_id, fee, fee_asset, is_maker` of one's own side; a trade between two
    accounts in reach is there twice, and never split over two pages.

    Times as in `orders`. Owns a read transaction, one statement in it: per account two backward index scans (as maker, as
    taker) of at most a page each. Raises: UnknownSymbol.
    """
    low, high = _bounds(start_time, end_time, before)
    conditions = "t.id >= %s AND t.id < %s"
    parameters: list[Any] = [low, high]
    if symbol is not None:
        conditions, parameters = f"{conditions} AND t.symbol_id = %s", [*parameters, market_named(symbol).id]
    sides = " UNION ALL ".join(
        f"(SELECT {TRADE_COLUMNS}, '{own}' FROM orders_trade t WHERE t.{own}_account_id = mine.account_id AND {conditions}"
        " ORDER BY t.id DESC LIMIT %s)"
        for own in ("maker", "taker")
    )
    accounts = _accounts(institution_id, account_ids)
    with tenant_scope(institution_id) as cursor:
        pin_index_scans(cursor)
        cursor.execute(
            f"""SELECT t.*, mine.name FROM (SELECT id AS account_id, name FROM institutions_account WHERE id = ANY(%s::bigint[])) mine
                CROSS JOIN LATERAL ({sides}) t ORDER BY 1 DESC, 13 LIMIT %s""",
            [array(accounts), *parameters, limit + 2, *parameters, limit + 2, limit + 2],
        )
        rows = cursor.fetchall()
    kept = _whole_ids([row[0] for row in rows], limit)
    results = [own_trade_view(row[:12], is_maker=row[12] == "maker", account=row[13]) for row in rows[:kept]]
    return Page(results, rows[kept - 1][0] if kept < len(rows) else None)


def ledger(*, institution_id: int | None, account_ids: Sequence[int] | None, limit: int = 100, before: UUID | None = None) -> Page:
    """Transfers seen from the accounts: `id, account, kind, asset, amount` (signed, at the asset's scale)`, counterpart` (null: whose
    the other account is, is not told)`, reference, timestamp`.

    The transfers of one trade, and both sides of one between two own accounts, have one id and stay on one page, so a page of
    fewer than eight may have more rows than `limit`. Owns read transactions: trades by account, movements by account, then
    the trades' transfers by primary key.
    """
    accounts = _accounts(institution_id, account_ids)
    found = wallet.movements(institution_id=institution_id, account_ids=accounts, before=before, limit=limit + 1)
    trade_ids = _trade_ids(institution_id, accounts, before, limit + 1)
    newest = sorted({row.id for row in found}.union(trade_ids), reverse=True)[: limit + 1]
    wanted = set(newest)
    legs = wallet.transfers_by_ids(institution_id=institution_id, ids=[i for i in trade_ids if i in wanted])
    transfers = sorted([row for row in found if row.id in wanted] + legs, key=lambda row: (-row.id.int, row.leg))
    assets, names = wallet.assets({row.asset_id for row in transfers}), _names(institution_id, accounts)
    rows: list[tuple[UUID, dict[str, Any]]] = []
    for row in transfers:
        for account, sign in ((row.debit_account_id, "-"), (row.credit_account_id, "")):
            if account in names:
                asset = assets[row.asset_id]
                view = {
                    "id": str(row.id),
                    "account": names[account],
                    "kind": row.kind,
                    "asset": asset.code,
                    "amount": sign + wallet.amount_text(row.amount, asset.scale),
                    "counterpart": None,
                    "reference": row.reference,
                    "timestamp": timestamp(row.created_at),
                }
                rows.append((row.id, view))
    kept = _whole_ids([identity for identity, _ in rows], limit)
    return Page([view for _, view in rows[:kept]], rows[kept - 1][0] if kept < len(rows) else None)


def fees(*, institution_id: int | None, account_ids: Sequence[int] | None) -> list[dict[str, Any]]:
    """Rows {symbol, maker_fee, taker_fee}: own rates as fractions. Today everybody pays the symbol's."""
    return [{name: row[name] for name in ("symbol", "maker_fee", "taker_fee")} for row in symbols()]


def pin_index_scans(cursor: Any) -> None:
    """For the rest of this transaction, read in the order of an index: until a young table has been analysed, the planner would
    rather sort all of it (200,000 trades: 460 ms instead of 1)."""
    cursor.execute("SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)")


def public_trade_view(row: Sequence[Any]) -> dict[str, Any]:
    """A trade without its parties. `row` begins with FILL_COLUMNS; `side` is the taker's."""
    trade_id, symbol_id, price, quantity, taker_side = row[:5]
    market = market_by_id(symbol_id)
    return {
        "trade_id": str(trade_id),
        "symbol": market.name,
        "price": fixed(price, market.tick_decimals),
        "quantity": fixed(quantity, market.lot_decimals),
        "side": taker_side,
        "is_buyer_maker": taker_side == "SELL",
        "timestamp": timestamp(row[9]),
    }


def own_trade_view(row: Sequence[Any], *, is_maker: bool, account: str) -> dict[str, Any]:
    """A trade as one of its parties sees it. `row` begins with FILL_COLUMNS."""
    market = market_by_id(row[1])
    receives_base = (row[4] == "BUY") != is_maker
    return {
        **public_trade_view(row),
        "account": account,
        "order_id": str(row[5] if is_maker else row[6]),
        "fee": fixed(row[7] if is_maker else row[8], market.base_scale if receives_base else market.quote_scale),
        "fee_asset": market.base if receives_base else market.quote,
        "is_maker": is_maker,
    }


def _one(institution_id: int | None, condition: str, parameters: list[Any]) -> dict[str, Any] | None:
    with tenant_scope(institution_id) as cursor:
        cursor.execute(f"SELECT {ORDER_COLUMNS} FROM {ORDER_FROM} WHERE {condition} ORDER BY o.id DESC LIMIT 1", parameters)
        row = cursor.fetchone()
        if row is None:
            return None
        order_id = row[0]
        cursor.execute(
            f"""SELECT {FILL_COLUMNS} FROM orders_trade t WHERE t.maker_order_id = %s
                UNION ALL SELECT {FILL_COLUMNS} FROM orders_trade t WHERE t.taker_order_id = %s ORDER BY 1""",
            [order_id, order_id],
        )
        fills = fills_by_order(cursor.fetchall(), {order_id})
    return order_view(row, fills.get(order_id, []))


def _open_orders(
    institution_id: int | None,
    account_ids: Sequence[int] | None,
    conditions: list[str],
    parameters: list[Any],
    statuses: frozenset[str],
    side: str | None,
    limit: int,
) -> tuple[str, list[Any]]:
    """FROM and WHERE over the table of open orders, which is limited first when nothing else has to be looked at."""
    within = [condition.replace("id ", "order_id ", 1) if condition.startswith("id ") else condition for condition in conditions]
    if account_ids is not None or institution_id is not None:
        within, parameters = ["account_id = ANY(%s::bigint[])", *within], [array(_accounts(institution_id, account_ids)), *parameters]
    beside, more = "", []
    if statuses != OPEN_STATUSES:
        beside, more = " AND o.status = ANY(%s::text[])", [array(sorted(statuses))]
    if side is not None:
        beside, more = f"{beside} AND o.side = %s", [*more, side]
    first = "" if beside else "ORDER BY order_id DESC LIMIT %s"
    source = f"""(SELECT o.* FROM (SELECT order_id FROM orders_openorder WHERE {" AND ".join(within)} {first}) p
            JOIN orders_order o ON o.id = p.order_id WHERE true {beside} ORDER BY o.id DESC LIMIT %s) o
        JOIN institutions_account a ON a.id = o.account_id"""
    return source, [*parameters, *([] if beside else [limit]), *more, limit]


def _any_orders(
    institution_id: int | None, account_ids: Sequence[int] | None, conditions: list[str], parameters: list[Any], limit: int
) -> tuple[str, list[Any]]:
    """FROM over all orders: a page of each account, or of the whole table for staff."""
    page = "SELECT * FROM orders_order WHERE {where} ORDER BY id DESC LIMIT %s"
    where = " AND ".join(conditions)
    if institution_id is None and account_ids is None:
        return f"({page.format(where=where)}) o JOIN institutions_account a ON a.id = o.account_id", [*parameters, limit]
    mine = page.format(where=f"account_id = a.id AND {where}")
    source = f"(SELECT id, name FROM institutions_account WHERE id = ANY(%s::bigint[])) a CROSS JOIN LATERAL ({mine}) o"
    return source, [array(_accounts(institution_id, account_ids)), *parameters, limit]


def _trade_ids(institution_id: int | None, accounts: Sequence[int], before: UUID | None, limit: int) -> list[UUID]:
    sides = " UNION ALL ".join(
        f"(SELECT id FROM orders_trade WHERE {own}_account_id = mine.account_id AND id < %s ORDER BY id DESC LIMIT %s)"
        for own in ("maker", "taker")
    )
    with tenant_scope(institution_id) as cursor:
        pin_index_scans(cursor)
        cursor.execute(
            f"""SELECT DISTINCT t.id FROM unnest(%s::bigint[]) AS mine (account_id) CROSS JOIN LATERAL ({sides}) t
                ORDER BY t.id DESC LIMIT %s""",
            [array(accounts), before or _LAST, limit, before or _LAST, limit, limit],
        )
        return [row[0] for row in cursor.fetchall()]


def _names(institution_id: int | None, accounts: Iterable[int]) -> dict[int, str]:
    wanted = set(accounts)
    return {account.id: account.name for account in accounts_of(institution_id) if account.id in wanted}


def _accounts(institution_id: int | None, account_ids: Sequence[int] | None) -> Sequence[int]:
    return account_ids if account_ids is not None else [account.id for account in accounts_of(institution_id)]


def _mine(account_ids: Sequence[int] | None) -> tuple[str, list[Any]]:
    return ("", []) if account_ids is None else ("AND o.account_id = ANY(%s::bigint[])", [array(account_ids)])


def market_named(symbol: str) -> Market:
    """Raises: UnknownSymbol."""
    market = market_by_name(symbol)
    if market is None:
        raise UnknownSymbol(f"There is no symbol {symbol}.", field="symbol")
    return market


def _spelled_out(statuses: Collection[str]) -> frozenset[str]:
    named = frozenset(status for status in statuses if status != OPEN)
    return named | OPEN_STATUSES if OPEN in statuses else named


def _bounds(start_time: datetime | None, end_time: datetime | None, before: UUID | None) -> tuple[UUID, UUID]:
    """The ids from (inclusive) and to (exclusive) that these mean, so that partitions outside are not looked at."""
    low = uuid_floor(start_time) if start_time else UUID(int=0)
    high = before or _LAST
    if end_time:
        high = min(high, UUID(int=uuid_floor(end_time).int + _MILLISECOND))
    return low, high


def _whole_ids(ids: Sequence[UUID], limit: int) -> int:
    """How many of the first rows make a page of at most `limit` that splits no id (of one id, all rows: at least that)."""
    if len(ids) <= limit:
        return len(ids)
    kept = limit
    while kept and ids[kept - 1] == ids[limit]:
        kept -= 1
    if kept:
        return kept
    return next((n for n, identity in enumerate(ids) if identity != ids[0]), len(ids))
