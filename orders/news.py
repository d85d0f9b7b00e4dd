"""What intake and settlement have to tell, in as few bytes as its words can be made from: `orders.feeds` puts it into words.

An order's first news carries what never changes of it; later ones what did. Numbers are the engine's integers.

    order    ["N", order, request, client_order_id, account, symbol, side, type, time_in_force, status, quantity, quote_quantity,
              price, stop_price, reason]
             ["C", order, request, symbol, status, reason, sequence, ticks, total, filled, filled_quote, prevented, fee]
             ["T", … of "C", price]: a stop was triggered at this price
    trade    [trade, symbol, price, quantity, taker's side, own order, own fee, is_maker]
    balance  [asset, posted, held]

    market   [symbol, at_ms, book, trades, statuses]
             book: null or [sequence, checksum, bids, asks, auction] with [price, quantity] of every level that changed, quantity "0" when
              gone; auction: null or [indicative: null or [ticks, lots, surplus], ends_ms]
             trades: [trade, number, sequence, price, quantity, taker's side, maker's order, taker's order, maker's account, taker's
              account, maker's fee, taker's fee, request]
             statuses: [number, engine sequence, status, actor, request, cause]
"""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, Protocol

from markets.units import Market
from matching.core.messages import BUY, SELL
from orders.checksum import CHECKSUM_LEVELS, checksum
from orders.requests import PlaceOrder


class OrderLike(Protocol):
    """What a settlement knows of an order."""

    order_id: str
    status: str
    reason: str | None
    sequence: int
    ticks: int
    total: int
    filled: int
    filled_quote: int
    prevented: int
    fee: int


class ProgressLike(Protocol):
    """What a settlement knows of how far a symbol has come."""

    market: Market
    book_sequence: int

    def auction(self) -> list[Any] | None: ...


class BookReader(Protocol):
    """What is told of a book: `levels` of a side as (ticks, lots), best first."""

    def levels(self, side: int) -> Iterable[tuple[int, int]]: ...


def new_order(order_id: str, request: PlaceOrder, *, account: str, symbol_id: int, status: str, reason: str | None) -> list[Any]:
    """An order that intake has recorded, taken or refused."""
    return [
        "N", order_id, request.request_id, request.client_order_id, account, symbol_id, request.side, request.order_type,
        request.time_in_force, status, _text(request.quantity), _text(request.quote_quantity), _text(request.price),
        _text(request.stop_price), reason,
    ]  # fmt: skip


def changed_order(record: OrderLike, symbol_id: int, request_id: str) -> list[Any]:
    """An order as a settlement leaves it."""
    return [
        "C", record.order_id, request_id, symbol_id, record.status, record.reason, record.sequence, record.ticks, record.total,
        record.filled, record.filled_quote, record.prevented, record.fee,
    ]  # fmt: skip


def triggered_order(record: OrderLike, symbol_id: int, price: str) -> list[Any]:
    """A stop as it is when it leaves the watch list; what it does then is told by the settlement's `changed_order`."""
    return ["T", *changed_order(record, symbol_id, "")[1:], price]


def own_trade(trade: Sequence[Any], symbol_id: int, *, is_maker: bool) -> list[Any]:
    """A trade as one of its parties is told of it. `trade`: a row of `SymbolBatch.trades`."""
    identity, _, _, price, quantity, taker_side, maker_order, taker_order, _, _, maker_fee, taker_fee, _ = trade
    return [
        identity, symbol_id, price, quantity, taker_side, maker_order if is_maker else taker_order, maker_fee if is_maker else taker_fee,
        is_maker,
    ]  # fmt: skip


def book_change(progress: ProgressLike, book: BookReader, bids: list[list[str]], asks: list[list[str]]) -> list[Any]:
    """The levels that changed, the checksum of the book as it now is, and what an auction that is going on would come to."""
    market = progress.market
    return [progress.book_sequence, checksum(_best(market, book, BUY), _best(market, book, SELL)), bids, asks, progress.auction()]


def _best(market: Market, book: BookReader, side: int) -> list[tuple[str, str]]:
    return [(market.price_text(ticks), market.quantity_text(lots)) for ticks, lots in islice(book.levels(side), CHECKSUM_LEVELS)]


def _text(value: object) -> str | None:
    return None if value is None else str(value)
