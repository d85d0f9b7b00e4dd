"""Starting is recovering: books are rebuilt from PostgreSQL, which is the truth.

Open orders are loaded in queue order; the state hash of what was built must be the checkpoint's, and the command log since its last
anchor must be whole and end where the checkpoint is. Anything else is refused: a worker that starts on a book it cannot explain
would make it worse.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from decimal import Decimal
from typing import Any, Final

from psycopg import Connection

from exchange_platform.db import EXACT, array
from exchange_platform.ids import ms_of
from markets.units import MARKET_SELECT, Market, neighbours, remember, to_units
from matching.core.conditions import Conditions, Rules
from matching.core.messages import MARKET, MAX_TICKS
from matching.engine import ENGINE, SymbolEngine
from orders import command_log, commands
from orders.settlement import EMPTY_CHAIN, OrderRecord, SymbolProgress, Terms
from risk.positions import Position

ROWS_AT_ONCE: Final = 2_000

ADD_SQL: Final = """
    INSERT INTO orders_checkpoint (symbol_id, shard_id, epoch, sequence, trade_number, book_sequence, status, chain, state_hash, stamp_ms,
        settled_at)
    SELECT s.id, %(shard)s, 0, 0, 0, 0, 'TRADING', %(chain)s, 0, 0, now() FROM markets_symbol s
    WHERE s.id %% %(shards)s = %(shard)s AND NOT EXISTS (SELECT 1 FROM orders_checkpoint c WHERE c.symbol_id = s.id)
    ON CONFLICT (symbol_id) DO NOTHING"""

# What `load_symbol` takes.
CHECKPOINT_COLUMNS: Final = """symbol_id, sequence, trade_number, book_sequence, status, chain, state_hash, stamp_ms, place_number,
    conditions, last_price, last_traded_at"""

# A symbol that its owner has let go of waits for the shard it moves to.
CHECKPOINTS_SQL: Final = f"""
    SELECT {CHECKPOINT_COLUMNS}
    FROM orders_checkpoint c WHERE shard_id = %s
      AND NOT EXISTS (SELECT 1 FROM orders_symbolmove m WHERE m.symbol_id = c.symbol_id AND m.ended_at IS NULL AND m.state = 'DRAINED')
    ORDER BY symbol_id"""

CHECKPOINT_SQL: Final = f"""
    SELECT {CHECKPOINT_COLUMNS} FROM orders_checkpoint WHERE symbol_id = %s AND shard_id = %s"""

# Whole ticks and lots are exact quotients, so the casts do not round.
OPEN_SQL: Final = """
    SELECT replace(o.id::text, '-', ''), o.account_id, o.side = 'BUY', (coalesce(o.price, o.protection_price) / %(tick)s)::bigint,
           (o.quantity / %(lot)s)::bigint,
           (o.filled_quantity / %(lot)s)::bigint, (o.prevented_quantity / %(lot)s)::bigint, o.filled_quote, o.fee, o.held,
           (o.maker_fee_rate * 100000000)::int, (o.taker_fee_rate * 100000000)::int, o.status, o.sequence, o.priority_sequence,
           o.order_type, o.side, o.time_in_force, o.self_trade_prevention, o.reduce_only, o.expire_at, (o.stop_price / %(tick)s)::bigint,
           o.trigger_source
    FROM orders_openorder p JOIN orders_order o ON o.id = p.order_id
    WHERE p.symbol_id = %(symbol)s AND o.status IN ('OPEN', 'PARTIALLY_FILLED', 'PENDING_TRIGGER') ORDER BY o.priority_sequence"""

POSITIONS_SQL: Final = """
    SELECT account_id, (quantity / %s)::bigint, cost, realised FROM risk_position WHERE symbol_id = %s"""

RULES_SQL: Final = """
    SELECT id, status, (dynamic_band * 10000)::int, (static_band * 10000)::int, halt_s * 1000, auction_s * 1000, reference_price, tick_size
    FROM markets_symbol WHERE id = ANY(%s::int[])"""

LEVELS_SQL: Final = "SELECT side, price, quantity FROM orders_booklevel WHERE symbol_id = %s"


class RecoveryRefused(Exception):
    """What is stored contradicts itself; the message names the symbol and the rows."""


def add_symbols(connection: Connection[Any], *, shard: int, shards: int) -> None:
    """Symbols that have no checkpoint yet begin with an empty one, in TRADING, dealt out by id modulo the number of shards. From then on
    the checkpoint says whose they are (decision 0020); `adoptions` tells their worker what they are listed with."""
    connection.execute(ADD_SQL, {"shard": shard, "shards": shards, "chain": EMPTY_CHAIN})


def load_shard(connection: Connection[Any], *, shard: int, renew: Callable[[], None] = lambda: None) -> dict[int, SymbolEngine]:
    """Every symbol of the shard, rebuilt; `renew` is called after each, and while a long log is verified.

    Raises: RecoveryRefused, psycopg.Error.
    """
    engines: dict[int, SymbolEngine] = {}
    for row in connection.execute(CHECKPOINTS_SQL, [shard]).fetchall():
        engines[row[0]] = load_symbol(connection, row, renew)
        renew()
    return engines


def adoptions(connection: Connection[Any], engines: Mapping[int, SymbolEngine]) -> dict[int, list[commands.Command]]:
    """The commands that make the symbols' present rules the engines', and before a symbol's first command the status it is listed with.
    What is so already has none."""
    found: dict[int, list[commands.Command]] = {}
    for symbol_id, status, dynamic_band, static_band, halt_ms, auction_ms, price, tick in connection.execute(RULES_SQL, [array(engines)]):
        low, high = (0, 0) if price is None else neighbours(price, tick)
        reference = (low, high, f"{price.normalize(EXACT):f}") if 0 < low <= high <= MAX_TICKS else None
        engine, needed = engines[symbol_id], list[commands.Command]()
        rules = Rules(dynamic_band, static_band, halt_ms, auction_ms, reference)
        if rules != engine.progress.conditions.rules:
            needed.append([commands.RULES, asdict(rules)])
        if engine.progress.sequence == 0 and status != engine.progress.status:
            needed.append([commands.SET_STATUS, status, ENGINE, ""])
        if needed:
            found[symbol_id] = needed
    return found


def load_symbol(connection: Connection[Any], checkpoint: tuple[Any, ...], renew: Callable[[], None] = lambda: None) -> SymbolEngine:
    """One symbol from its checkpoint row (CHECKPOINTS_SQL). Raises: RecoveryRefused, psycopg.Error."""
    (symbol_id, sequence, trade_number, book_sequence, status, chain, state_hash, stamp_ms, place_number, stored, last_price,
     last_traded_at) = checkpoint  # fmt: skip
    row = connection.execute(f"{MARKET_SELECT} WHERE s.id = %s", [symbol_id]).fetchone()
    assert row is not None
    market = remember(row)
    progress = SymbolProgress(
        market=market,
        sequence=sequence,
        trade_number=trade_number,
        book_sequence=book_sequence,
        status=status,
        chain=bytes(chain),
        state_hash=int(state_hash),
        stamp_ms=stamp_ms,
        place_number=place_number,
        conditions=Conditions.of(stored),
    )
    if last_price is not None:
        progress.last_ticks, progress.last_traded_ms = market.ticks(last_price), ms_of(last_traded_at)
        progress.conditions.traded_last(progress.last_ticks, progress.last_traded_ms)
    for account_id, lots, cost, realised in connection.execute(POSITIONS_SQL, [market.lot, symbol_id]):
        scale = market.quote_scale
        progress.positions[account_id] = Position(lots, to_units(cost, scale), to_units(realised, scale))
    _check_log(connection, progress, renew)
    engine = SymbolEngine(progress)
    found = 0
    shared: dict[Any, Any] = {}
    with connection.cursor(name="open_orders") as cursor:  # in parts: the whole result would stay in the process's memory for good
        cursor.itersize = ROWS_AT_ONCE
        for order in cursor.execute(OPEN_SQL, {"tick": market.tick, "lot": market.lot, "symbol": symbol_id}):
            record, time_in_force, prevention = _record(order, market, shared)
            engine.restore(record, time_in_force, prevention)
            found += record.digest
    if found % 2**64 != progress.state_hash:
        raise RecoveryRefused(
            f"{market.name}: the open orders give state hash {found % 2**64}, the checkpoint at sequence {sequence} says "
            f"{progress.state_hash}. Run `manage.py reconcile`; orders_order or orders_openorder were changed outside settlement."
        )
    _check_levels(connection, engine)
    return engine


def _check_levels(connection: Connection[Any], engine: SymbolEngine) -> None:
    """The book as readers see it is a second account of the same: it must be the one that was built."""
    market = engine.progress.market
    built = {(name, market.price_text(ticks)): market.quantity_text(lots)
             for side, name in enumerate(commands.SIDE_NAMES) for ticks, lots in engine.book.levels(side)}  # fmt: skip
    for side, price, quantity in connection.execute(LEVELS_SQL, [market.id]):
        found = built.pop((side, market.price_text(market.ticks(price))), "0")
        if Decimal(found) != quantity:
            raise RecoveryRefused(f"{market.name}: {side} at {price:f}: the orders leave {found}, orders_booklevel says {quantity:f}.")
    for (name, price), lots in built.items():
        raise RecoveryRefused(f"{market.name}: {name} at {price}: the orders leave {lots}, orders_booklevel says nothing.")


def _check_log(connection: Connection[Any], progress: SymbolProgress, renew: Callable[[], None]) -> None:
    """The command log since its last anchor, entry by entry, to the checkpoint."""
    verified = command_log.verify(connection, symbol_id=progress.market.id, renew=renew)
    if verified.breaks:
        raise RecoveryRefused(
            f"{progress.market.name}: {verified.breaks[0].sentence}. Run `manage.py verify_command_log`, which names all "
            f"{len(verified.breaks)}; rows of orders_commandlog are missing or changed."
        )


def _record(order: tuple[Any, ...], market: Market, shared: dict[Any, Any]) -> tuple[OrderRecord, int, int]:
    """A row of OPEN_SQL as settlement keeps it, with the book's time in force and prevention. `shared`: values that many orders have, each
    kept once."""
    (order_id, account_id, is_buy, ticks, total, filled, prevented, filled_quote, fee, held, maker_rate, taker_rate, status, sequence,
     priority, order_type, side, time_in_force, prevention, reduce_only, expire_at, stop, source) = order  # fmt: skip
    hold_scale, fee_scale = (market.quote_scale, market.base_scale) if is_buy else (market.base_scale, market.quote_scale)
    account_id, maker_rate, taker_rate, status = (shared.setdefault(v, v) for v in (account_id, maker_rate, taker_rate, status))
    record = OrderRecord(order_id, account_id, is_buy, ticks, total, to_units(held, hold_scale), maker_rate, taker_rate)
    record.filled, record.prevented, record.left = filled, prevented, total - filled - prevented
    record.open_lots = record.left
    if filled:
        record.filled_quote = to_units(filled_quote, market.quote_scale)
        record.fee = to_units(fee, fee_scale)
    record.status, record.sequence, record.priority = status, sequence, sequence if priority == sequence else priority
    book_time, mode = commands.book_time_in_force(order_type, time_in_force), commands.PREVENTIONS[prevention]
    record.at_market = book_time == MARKET
    record.is_waiting = status == "PENDING_TRIGGER"
    if stop or expire_at or reduce_only:
        record.terms = Terms(
            book_time, mode, ms_of(expire_at) if expire_at else 0, reduce_only, stop or 0,
            bool(stop) and commands.is_rising(order_type, side), commands.TRIGGER_SOURCES[source] if source else 0,
            order_type not in commands.MARKET_TYPES,
        )  # fmt: skip
    return record, book_time, mode
