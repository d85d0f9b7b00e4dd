"""Reads that are public: the order book, trades, the ticker. Nobody's account or order is in them, so as the engine's role."""

import threading
import time
from collections.abc import Sequence
from decimal import Decimal
from itertools import accumulate
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction

from exchange_platform.db import EXACT
from exchange_platform.ids import moment_of
from markets.queries import symbols
from markets.units import Market
from orders import candles
from orders.checksum import checksum
from orders.presentation import timestamp
from orders.queries import TRADE_COLUMNS, Page, market_named, own_trade_view, pin_index_scans, public_trade_view

TICKER_LIFETIME_S: Final = 1.0
_LAST: Final = UUID(int=2**128 - 1)


def book(*, symbol: str, depth: int = 100) -> dict[str, Any]:
    """The book as of one settlement: `symbol, sequence, checksum, bids, asks, auction, timestamp`; at most `depth` levels a side, best
    first, each [price, quantity] as strings at the symbol's decimals.

    `sequence` counts the settlements that changed the book; `checksum` is over what is sent. `auction`: as `auction_view`, null unless
    the engine is in one. One statement, so all of it belongs together. Raises: UnknownSymbol.
    """
    market = market_named(symbol)
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT c.book_sequence, clock_timestamp(), c.status = 'AUCTION', (c.conditions->>'phase_ends_ms')::bigint,
                      (c.conditions->'indicative'->>0)::bigint, (c.conditions->'indicative'->>1)::bigint,
                      (c.conditions->'indicative'->>2)::bigint, l.side, l.price, l.quantity
               FROM (VALUES (%(symbol)s)) AS s (id) LEFT JOIN orders_checkpoint c ON c.symbol_id = s.id
               LEFT JOIN LATERAL (
                   (SELECT side, price, quantity, -price AS rank FROM orders_booklevel
                    WHERE symbol_id = %(symbol)s AND side = 'BUY' ORDER BY price DESC LIMIT %(depth)s)
                   UNION ALL
                   (SELECT side, price, quantity, price FROM orders_booklevel
                    WHERE symbol_id = %(symbol)s AND side = 'SELL' ORDER BY price LIMIT %(depth)s)
               ) l ON true ORDER BY l.side, l.rank""",
            {"symbol": market.id, "depth": depth},
        )
        rows = cursor.fetchall()
    levels: dict[str | None, list[list[str]]] = {"BUY": [], "SELL": [], None: []}
    ticks, lots = market.tick_decimals, market.lot_decimals  # what rests is on the grid: nothing is rounded
    for *_, side, price, quantity in rows:
        if side is not None:
            levels[side].append([f"{price:.{ticks}f}", f"{quantity:.{lots}f}"])
    sequence, at, in_auction, ends_ms, *found = rows[0][:7]
    return {
        "symbol": market.name,
        "sequence": sequence or 0,
        "checksum": checksum(levels["BUY"], levels["SELL"]),
        "bids": levels["BUY"],
        "asks": levels["SELL"],
        "auction": auction_view(market, None if found[0] is None else found, ends_ms or 0) if in_auction else None,
        "timestamp": timestamp(at),
    }


def auction_view(market: Market, indicative: Sequence[int] | None, ends_ms: int) -> dict[str, str | None]:
    """What an auction would come to now: `price, quantity, surplus, surplus_side, ends_at`.

    `indicative`: price in ticks, lots that would trade, and lots left over (positive: of buyers); null: nothing would trade, then all but
    the end are null. `surplus_side` is null when nothing is left over. `ends_ms` 0: it ends by a command alone, `ends_at` is null.
    """
    ends_at = timestamp(moment_of(ends_ms)) if ends_ms else None
    if indicative is None:
        return {"price": None, "quantity": None, "surplus": None, "surplus_side": None, "ends_at": ends_at}
    ticks, lots, surplus = indicative
    return {
        "price": market.price_text(ticks),
        "quantity": market.quantity_text(lots),
        "surplus": market.quantity_text(abs(surplus)),
        "surplus_side": None if not surplus else "BUY" if surplus > 0 else "SELL",
        "ends_at": ends_at,
    }


def cumulative_depth(*, symbol: str, depth: int = 100) -> dict[str, Any]:
    """As `book`, but each level's quantity is the sum of all from the best price to it; the checksum stays the book's."""
    content = book(symbol=symbol, depth=depth)
    return {**content, "bids": _summed(content["bids"]), "asks": _summed(content["asks"])}


def trades(*, symbol: str, limit: int = 100, before: UUID | None = None) -> Page:
    """A symbol's trades, newest first, without their parties. Owns a read transaction: one backward index scan. Raises: UnknownSymbol."""
    market = market_named(symbol)
    with transaction.atomic(), connection.cursor() as cursor:
        pin_index_scans(cursor)
        cursor.execute(
            f"SELECT {TRADE_COLUMNS} FROM orders_trade t WHERE t.symbol_id = %s AND t.id < %s ORDER BY t.id DESC LIMIT %s",
            [market.id, before or _LAST, limit + 1],
        )
        rows = cursor.fetchall()
    return Page([public_trade_view(row) for row in rows[:limit]], rows[limit - 1][0] if len(rows) > limit else None)


def trade(*, trade_id: UUID, institution_id: int | None = None, account_ids: Sequence[int] | None = ()) -> dict[str, Any] | None:
    """One trade: its public fields for anybody; with one's own side (the taker's when both are) for whom that is theirs.

    Reach as in `orders.queries`, but staff of the platform (both null) see the public fields: they have no side.
    One statement, by primary key. Null when there is none.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"""SELECT {TRADE_COLUMNS}, m.name, m.institution_id, k.name, k.institution_id FROM orders_trade t
                JOIN institutions_account m ON m.id = t.maker_account_id JOIN institutions_account k ON k.id = t.taker_account_id
                WHERE t.id = %s""",
            [trade_id],
        )
        row = cursor.fetchone()
    if row is None:
        return None
    maker_id, taker_id, maker_name, maker_institution, taker_name, taker_institution = row[10:]
    for is_maker, account, name, owner in (
        (False, taker_id, taker_name, taker_institution),
        (True, maker_id, maker_name, maker_institution),
    ):
        within = owner == institution_id if institution_id is not None else account_ids is not None
        if within and (account_ids is None or account in account_ids):
            return own_trade_view(row, is_maker=is_maker, account=name)
    return public_trade_view(row)


_tickers: dict[str, tuple[float, dict[str, Any]]] = {}
_ticker_lock = threading.Lock()


def ticker(*, symbol: str) -> dict[str, Any]:
    """The last 24 hours of a symbol, at most a second old. Prices are null where there was no trade; `last_price` is that of the
    last trade ever. `price_change_percent` has two decimals, rounded half to even (for show, nobody gains).

    Owns a read transaction, and none when asked again within a second by this process. Raises: UnknownSymbol.
    """
    kept = _tickers.get(symbol)
    if kept is None or kept[0] < time.monotonic():
        with _ticker_lock:  # of many who ask at once, one reads
            kept = _tickers.get(symbol)
            if kept is None or kept[0] < time.monotonic():
                kept = (time.monotonic() + TICKER_LIFETIME_S, candles.ticker(symbol=symbol))
                _tickers[symbol] = kept
    return kept[1]


def tickers() -> list[dict[str, Any]]:
    """Of all listed symbols, by name."""
    return [ticker(symbol=row["symbol"]) for row in symbols()]


def forget() -> None:
    """Drop the cache; for tests that change databases."""
    _tickers.clear()


def _summed(levels: list[list[str]]) -> list[list[str]]:
    totals = accumulate((Decimal(quantity) for _, quantity in levels), EXACT.add)
    return [[price, f"{total:f}"] for (price, _), total in zip(levels, totals, strict=True)]
