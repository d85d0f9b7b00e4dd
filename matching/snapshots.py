"""An engine as bytes, so that a replay can begin where the oldest commands have left the database.

JSON, compressed: money is whole numbers of any size, which binary packers do not take. Orders stand in the order of their places.
"""

import json
import zlib
from dataclasses import astuple
from typing import Any, Final

from psycopg import Connection

from markets.units import Market, market_by_id
from matching.core.conditions import Conditions
from matching.engine import SymbolEngine
from matching.replay import replay
from orders.settlement import OrderRecord, SymbolProgress, Terms
from risk.positions import Position

NEWEST_SQL: Final = """
    SELECT payload FROM orders_anchor WHERE symbol_id = %s AND sequence <= %s AND payload IS NOT NULL ORDER BY sequence DESC LIMIT 1"""

PROGRESS: Final = ("sequence", "trade_number", "book_sequence", "status", "state_hash", "stamp_ms", "last_ticks", "last_traded_ms",
                   "place_number")  # fmt: skip
RECORD: Final = ("order_id", "account_id", "is_buy", "ticks", "total", "held", "maker_rate", "taker_rate", "left", "filled", "filled_quote",
                 "prevented", "fee", "status", "sequence", "priority", "at_market", "is_waiting")  # fmt: skip


def dump(engine: SymbolEngine) -> bytes:
    """What `load` makes the same engine of."""
    progress = engine.progress
    orders = sorted(engine.records.values(), key=lambda record: record.priority)
    state = {
        "progress": [getattr(progress, name) for name in PROGRESS],
        "chain": progress.chain.hex(),
        "conditions": progress.conditions.stored(),
        "positions": [[account_id, p.lots, p.cost, p.realised] for account_id, p in sorted(progress.positions.items())],
        "orders": [_order(engine, record) for record in orders],
    }
    return zlib.compress(json.dumps(state, separators=(",", ":")).encode())


def load(payload: bytes, market: Market) -> SymbolEngine:
    """Raises: ValueError, zlib.error when the bytes are none that `dump` made."""
    state = json.loads(zlib.decompress(payload))
    progress = SymbolProgress(market=market, **dict(zip(PROGRESS, state["progress"], strict=True)))
    progress.chain, progress.conditions = bytes.fromhex(state["chain"]), Conditions.of(state["conditions"])
    progress.positions = {account_id: Position(*position) for account_id, *position in state["positions"]}
    engine = SymbolEngine(progress)
    for values, time_in_force, prevention, terms in state["orders"]:
        known = dict(zip(RECORD, values, strict=True))
        record = OrderRecord(*(known.pop(name) for name in RECORD[:8]))
        for name, value in known.items():
            setattr(record, name, value)
        record.open_lots = record.left
        record.terms = None if terms is None else Terms(*terms)
        engine.restore(record, time_in_force, prevention)
    return engine


def nearest(connection: Connection[Any], *, market: Market, sequence: int) -> SymbolEngine | None:
    """The newest snapshot at or before this sequence; None: there is none. Raises: psycopg.Error."""
    row = connection.execute(NEWEST_SQL, [market.id, sequence]).fetchone()
    return None if row is None else load(bytes(row[0]), market)


def at(connection: Connection[Any], symbol_id: int, sequence: int) -> bytes:
    """What the engine was after this command, from the log. Joins the connection's transaction. Raises: ReplayDiffers, psycopg.Error."""
    market = market_by_id(symbol_id)
    begin = nearest(connection, market=market, sequence=sequence)
    return dump(replay(connection, market=market, until_sequence=sequence, begin=begin).engine)


def _order(engine: SymbolEngine, record: OrderRecord) -> list[Any]:
    terms = record.terms
    time_in_force, prevention = (terms.time_in_force, terms.prevention) if terms is not None else engine.book.terms(record.order_id)
    return [[getattr(record, name) for name in RECORD], time_in_force, prevention, None if terms is None else astuple(terms)]
