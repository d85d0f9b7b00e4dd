"""Candles and the 24-hour ticker, kept from trades: a consumer of the market's news, and what readers ask.

One row per minute and per hour in which something traded (`markets_candle`); 5m and 15m are added up from minutes, 4h and 1d from
hours. How far a symbol has come stands beside its channels' sequences (`markets_marketfeed`) and moves in the same transaction as the
candles: a trade is in them once, however often somebody calls. Trades of a symbol have rising ids, so none comes late.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Final
from uuid import UUID

import orjson
from django.db import connections

from exchange_platform.db import EXACT, own
from exchange_platform.errors import ExchangeError
from exchange_platform.ids import uuid_floor
from markets.units import Market, market_by_id
from notifications import outbox
from notifications.channels import symbol_group
from notifications.events import Words
from notifications.outbox import MARKET_DATA, Letter
from notifications.wakeups import NOTIFY_SQL, OUTBOX
from orders.presentation import fixed, timestamp
from orders.queries import market_named

MINUTE: Final = 60
HOUR: Final = 3600
INTERVALS: Final = {"1m": 60, "5m": 300, "15m": 900, "1h": 3600, "4h": 14_400, "1d": 86_400}
TRADES_PER_UPDATE: Final = 20_000
SNAPSHOT_CANDLES: Final = 2
DAY: Final = timedelta(hours=24)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

BEGIN_SQL: Final = """
    INSERT INTO markets_marketfeed (symbol_id, ticker, candles) VALUES (%s, 0, '{}') ON CONFLICT DO NOTHING"""

FEED_SQL: Final = "SELECT trade_id, ticker, candles FROM markets_marketfeed WHERE symbol_id = %s FOR UPDATE"

NEW_TRADES_SQL: Final = """
    SELECT id, price, quantity, executed_at FROM orders_trade
    WHERE symbol_id = %s AND id > %s ORDER BY id LIMIT %s"""

ADD_SQL: Final = """
    INSERT INTO markets_candle AS c (symbol_id, interval_s, open_time, open, high, low, close, volume, quote_volume, trade_count)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (symbol_id, interval_s, open_time) DO UPDATE SET high = greatest(c.high, excluded.high), low = least(c.low, excluded.low),
        close = excluded.close, volume = c.volume + excluded.volume, quote_volume = c.quote_volume + excluded.quote_volume,
        trade_count = c.trade_count + excluded.trade_count"""

# Kept candles of one symbol between two times, added up to `width`, oldest first, and the sequence of their channel: in one statement, so
# that they belong together. One row without a candle when there is none.
READ_SQL: Final = """
    SELECT f.sequence, c.* FROM (SELECT coalesce((SELECT (candles->>%(interval)s)::bigint FROM markets_marketfeed
                                                  WHERE symbol_id = %(symbol)s), 0) AS sequence) f LEFT JOIN (
    SELECT bucket, (array_agg(open ORDER BY open_time))[1], max(high), min(low), (array_agg(close ORDER BY open_time DESC))[1],
           sum(volume), sum(quote_volume), sum(trade_count)
    FROM (SELECT *, date_bin(%(width)s * interval '1 s', open_time, TIMESTAMPTZ 'epoch') AS bucket FROM markets_candle
          WHERE symbol_id = %(symbol)s AND interval_s = %(kept)s AND open_time >= %(since)s AND open_time < %(until)s) c
    GROUP BY bucket) c ON true ORDER BY bucket"""

_NO_TRADE: Final = UUID(int=0)


class UnknownInterval(ExchangeError):
    code = "INVALID_FIELD"


@dataclass(slots=True)
class Bar:
    """Trades of one interval, in order."""

    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    quote_volume: Decimal
    trade_count: int

    def add(self, price: Decimal, quantity: Decimal) -> None:
        self.high, self.low, self.close = max(self.high, price), min(self.low, price), price
        self.volume = EXACT.add(self.volume, quantity)
        self.quote_volume = EXACT.add(self.quote_volume, EXACT.multiply(price, quantity))
        self.trade_count += 1


def update(*, symbol_id: int) -> int:
    """Take the trades that are not in the symbol's candles yet, and tell candles and ticker to whoever watches. Returns how many trades.

    Owns its transaction; locks the symbol's feed row, so that two calls act one after the other.
    """
    market = market_by_id(symbol_id)
    with own(), connections["default"].cursor() as cursor:
        cursor.execute(BEGIN_SQL, [symbol_id])
        cursor.execute(FEED_SQL, [symbol_id])
        last, ticker_sequence, sequences = cursor.fetchone()
        sequences = orjson.loads(sequences)
        cursor.execute(NEW_TRADES_SQL, [symbol_id, last or _NO_TRADE, TRADES_PER_UPDATE])
        trades = cursor.fetchall()
        messages: list[list[Any]] = []
        if trades:
            _add(cursor, symbol_id, trades)
            for interval, width in INTERVALS.items():
                # Trades never come late, so what has changed is everything from the first of them to the last.
                since, until = _bucket(trades[0][3], width), _bucket(trades[-1][3], width) + timedelta(seconds=width)
                for candle in _read(cursor, market, interval, since, until)[1]:
                    sequences[interval] = sequences.get(interval, 0) + 1
                    messages.append(["CANDLE", f"candles.{market.name}.{interval}", sequences[interval], candle])
        ticker_sequence += 1
        last = trades[-1][0] if trades else last
        now = datetime.now(UTC)
        cursor.execute(
            "UPDATE markets_marketfeed SET trade_id = %s, ticker = %s, candles = %s::jsonb WHERE symbol_id = %s",
            [last, ticker_sequence, orjson.dumps(sequences).decode(), symbol_id],
        )
        messages.append(["TICKER", f"ticker.{market.name}", *_ticker(cursor, market)])
        payload = [symbol_id, timestamp(now), messages]
        outbox.write(cursor.execute, [Letter(MARKET_DATA, f"{MARKET_DATA}.{symbol_id}", len(messages), payload)])
        cursor.execute(NOTIFY_SQL, [OUTBOX])
    return len(trades)


def _add(cursor: Any, symbol_id: int, trades: Sequence[tuple[UUID, Decimal, Decimal, datetime]]) -> None:
    """Put trades into the kept candles."""
    bars: dict[tuple[int, datetime], Bar] = {}
    for _, price, quantity, executed_at in trades:
        for width in (MINUTE, HOUR):
            key = (width, _bucket(executed_at, width))
            bar = bars.get(key)
            if bar is None:
                bars[key] = Bar(price, price, price, price, quantity, EXACT.multiply(price, quantity), 1)
            else:
                bar.add(price, quantity)
    cursor.executemany(
        ADD_SQL,
        [
            (symbol_id, width, at, b.open, b.high, b.low, b.close, b.volume, b.quote_volume, b.trade_count)
            for (width, at), b in sorted(bars.items())
        ],
    )


def market_data_words(payloads: Sequence[Any]) -> list[Words | Exception]:
    """Topic `market_data`: already in words."""
    found: list[Words | Exception] = []
    for symbol_id, at, messages in payloads:
        words = Words(group=symbol_group(symbol_id))
        for kind, channel, sequence, data in messages:
            words.message(kind, channel, sequence, at, data)
        found.append(words)
    return found


# -- reading


def candles(*, symbol: str, interval: str, start: datetime | None = None, end: datetime | None = None, limit: int = 500) -> list[list[Any]]:
    """Candles that have trades, oldest first: `[open_time, open, high, low, close, volume, quote_volume, trade_count, closed]`.

    Without `start` the last `limit` intervals up to `end` (default: now). At most `limit`. A trade is in them a quarter of a second after
    it happened. Raises: UnknownSymbol, UnknownInterval.
    """
    market, width = market_named(symbol), _width(interval)
    until = end or datetime.now(UTC)
    since = start or _bucket(until, width) - timedelta(seconds=width * (limit - 1))
    if start is not None:
        until = min(until, _bucket(start, width) + timedelta(seconds=width * limit))
    with connections["default"].cursor() as cursor:
        return _read(cursor, market, interval, _bucket(since, width), until)[1][-limit:]


def candle_snapshot(*, symbol: str, interval: str) -> tuple[int, list[list[Any]]]:
    """The channel's sequence, and the last candles as of it. Raises: UnknownSymbol, UnknownInterval."""
    market, width = market_named(symbol), _width(interval)
    now = datetime.now(UTC)
    with connections["default"].cursor() as cursor:
        return _read(cursor, market, interval, _bucket(now, width) - timedelta(seconds=width * SNAPSHOT_CANDLES), now + DAY)


def ticker_snapshot(*, symbol: str) -> tuple[int, dict[str, Any]]:
    """The channel's sequence, and the ticker as of it. Raises: UnknownSymbol."""
    market = market_named(symbol)
    with connections["default"].cursor() as cursor:
        return _ticker(cursor, market)


def ticker(*, symbol: str) -> dict[str, Any]:
    """The ticker with every trade that has been settled. One statement. Raises: UnknownSymbol."""
    return ticker_snapshot(symbol=symbol)[1]


def _read(cursor: Any, market: Market, interval: str, since: datetime, until: datetime) -> tuple[int, list[list[Any]]]:
    """The channel's sequence, and candles."""
    width = INTERVALS[interval]
    kept = HOUR if width >= HOUR else MINUTE
    cursor.execute(READ_SQL, {"interval": interval, "width": width, "symbol": market.id, "kept": kept, "since": since, "until": until})
    rows = cursor.fetchall()
    now = datetime.now(UTC)
    return rows[0][0], [
        [
            timestamp(at),
            *(fixed(price, market.tick_decimals) for price in (opened, high, low, close)),
            fixed(volume, market.lot_decimals),
            fixed(quote_volume, market.quote_scale),
            int(count),
            at + timedelta(seconds=width) <= now,
        ]
        for _, at, opened, high, low, close, volume, quote_volume, count in rows
        if at is not None
    ]


def _ticker(cursor: Any, market: Market) -> tuple[int, dict[str, Any]]:
    """The channel's sequence, and the ticker of the last 24 hours (whole minutes): kept candles, and the trades that are not in them yet.

    One statement. Prices are null where there was no trade; `last_price` is that of the last trade ever. `price_change_percent` has two
    decimals, half to even (for show, nobody gains).
    """
    now = datetime.now(UTC)
    cursor.execute(
        """SELECT d.*,
               (SELECT price FROM orders_trade WHERE symbol_id = %(symbol)s ORDER BY id DESC LIMIT 1),
               (SELECT price FROM orders_booklevel WHERE symbol_id = %(symbol)s AND side = 'BUY' ORDER BY price DESC LIMIT 1),
               (SELECT price FROM orders_booklevel WHERE symbol_id = %(symbol)s AND side = 'SELL' ORDER BY price LIMIT 1),
               coalesce((SELECT status FROM orders_checkpoint WHERE symbol_id = %(symbol)s),
                        (SELECT status FROM markets_symbol WHERE id = %(symbol)s)),
               coalesce((SELECT ticker FROM markets_marketfeed WHERE symbol_id = %(symbol)s), 0)
           FROM (SELECT coalesce(sum(n), 0), max(high), min(low), coalesce(sum(v), 0), coalesce(sum(q), 0),
                        (array_agg(open ORDER BY at))[1] FROM (
               SELECT trade_count AS n, high, low, volume AS v, quote_volume AS q, open, open_time AS at FROM markets_candle
               WHERE symbol_id = %(symbol)s AND interval_s = 60 AND open_time > %(since)s
               UNION ALL
               (SELECT 1, price, price, quantity, price * quantity, price, executed_at FROM orders_trade
                WHERE symbol_id = %(symbol)s AND id > greatest(%(floor)s, (SELECT trade_id FROM markets_marketfeed
                                                                           WHERE symbol_id = %(symbol)s))
                ORDER BY id LIMIT %(most)s)) p) d""",
        {"symbol": market.id, "since": now - DAY, "floor": uuid_floor(now - DAY), "most": TRADES_PER_UPDATE},
    )
    count, high, low, volume, quote_volume, opened, last, best_bid, best_ask, status, sequence = cursor.fetchone()
    change = None if opened is None else EXACT.subtract(last, opened)
    return sequence, {
        "symbol": market.name,
        "last_price": _price(last, market),
        "price_change": _price(change, market),
        "price_change_percent": None if change is None else _percent(change, opened),
        "open": _price(opened, market),
        "high": _price(high, market),
        "low": _price(low, market),
        "volume": fixed(volume, market.lot_decimals),
        "quote_volume": fixed(quote_volume, market.quote_scale),
        "best_bid": _price(best_bid, market),
        "best_ask": _price(best_ask, market),
        "trade_count": int(count),
        "status": status,
        "timestamp": timestamp(now),
    }


def _percent(change: Decimal, opened: Decimal) -> str:
    share = EXACT.divide(EXACT.multiply(change, Decimal(100)), opened).quantize(Decimal("0.01"), rounding=ROUND_HALF_EVEN, context=EXACT)
    return f"{share if share else abs(share):f}"  # "-0.00" would be no change with a sign


def _price(value: Decimal | None, market: Market) -> str | None:
    return None if value is None else fixed(value, market.tick_decimals)


def _bucket(moment: datetime, width_s: int) -> datetime:
    """When the interval began that holds this moment; days begin at midnight UTC."""
    return moment - (moment - _EPOCH) % timedelta(seconds=width_s)


def _width(interval: str) -> int:
    width = INTERVALS.get(interval)
    if width is None:
        raise UnknownInterval(f"There is no interval {interval}; one of {', '.join(INTERVALS)}.", field="interval")
    return width
