"""Puts the news of orders and markets into words: live messages as clients of the WebSocket get them, and events for the sinks.

`orders.news` tells what the payloads hold. Everything is in them but what never changes of an order, which its first news
carries: it is remembered here, and read from the database by whoever was not there then.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from django.db import connections

from exchange_platform.db import array
from exchange_platform.ids import moment_of
from markets.units import Market, market_by_id
from matching.core.messages import COMMAND, HALTED
from notifications.channels import account_group, symbol_group
from notifications.events import BALANCE_CHANGED, ORDER_STATUS_CHANGED, ORDER_TRIGGERED, SYMBOL_STATUS_CHANGED, TRADE_EXECUTED, Event, Words
from orders.lifecycle import TERMINAL
from orders.market_data import auction_view
from orders.presentation import ORDER_COLUMNS, ORDER_FROM, fixed, order_view, timestamp
from wallet import queries as wallet

REMEMBERED_ORDERS: Final = 50_000

_UPDATE_TYPES: Final = {"FILLED": "FILLED", "CANCELLED": "CANCELED", "EXPIRED": "CANCELED", "REJECTED": "REJECTED"}
_ZERO: Final = Decimal(0)

Row = tuple[Any, ...]  # ORDER_COLUMNS


def account_words(payloads: Sequence[Any]) -> list[Words | Exception]:
    """Topic `account`. Reads the orders it does not remember in one statement. Raises: django.db.Error."""
    first_heard_of = {news[1] for payload in payloads for news in payload[2] if news[0] == "N"}
    _orders.learn({news[1] for payload in payloads for news in payload[2]} - first_heard_of)
    return [_attempt(_account, payload) for payload in payloads]


def market_words(payloads: Sequence[Any]) -> list[Words | Exception]:
    """Topic `market`."""
    return [_attempt(_market, payload) for payload in payloads]


def account_stream(channel: str, account_id: int) -> str:
    """The stream of events behind a private channel: `user.orders` of account 12 is `user.orders.12`."""
    return f"{channel}.{account_id}"


def _attempt(render: Any, payload: Any) -> Words | Exception:
    try:
        words: Words = render(payload)
        return words
    except Exception as error:
        return error


# -- accounts


def _account(payload: Any) -> Words:
    at_ms, first_order, orders, first_trade, trades, first_balance, balances, account_id = payload
    moment = moment_of(at_ms)
    at = timestamp(moment)
    words = Words(group=account_group(account_id))
    known = wallet.assets({asset_id for asset_id, _, _ in balances})
    for sequence, news in enumerate(orders, first_order):
        order, update_type = _order(news, moment, account_id)
        words.message("ORDER_UPDATE", "user.orders", sequence, at, order)
        told = {"update_type": update_type, "order": order}
        kind = ORDER_STATUS_CHANGED
        if news[0] == "T":
            kind, told["trigger_price"] = ORDER_TRIGGERED, news[13]
        words.events.append(Event(kind, account_stream("user.orders", account_id), sequence, at, news[2], told))
    for sequence, news in enumerate(trades, first_trade):
        words.message("TRADE", "user.trades", sequence, at, _own_trade(news, at))
    for sequence, (asset_id, posted, held) in enumerate(balances, first_balance):
        balance = wallet.balance_view(asset=known[asset_id], posted=Decimal(posted), held=Decimal(held))
        words.message("BALANCE_UPDATE", "user.balances", sequence, at, balance)
        stream = account_stream("user.balances", account_id)
        words.events.append(Event(BALANCE_CHANGED, stream, sequence, at, "", {"account_id": account_id, **balance}))
    return words


def _order(news: Sequence[Any], moment: datetime, account_id: int) -> tuple[dict[str, Any], str]:
    """The order as it is after this news, and the kind of update."""
    if news[0] == "N":
        row = _new_row(news, account_id)
        _orders.remember(news[1], row)
        return order_view(row), "REJECTED" if row[8] == "REJECTED" else "CREATED"
    _, order_id, _, symbol_id, status, reason, sequence, ticks, total, filled, filled_quote, prevented, fee = news[:13]
    market = market_by_id(symbol_id)
    known = _orders.take(order_id, ended=status in TERMINAL)
    row = (
        *known[:8], status,
        None if known[9] is None else _decimal(market.quantity_text(total)),  # by a quote amount: no quantity of its own
        known[10], _decimal(market.quantity_text(filled)), _decimal(market.quantity_text(prevented)),
        None if known[13] is None else _decimal(market.price_text(ticks)),  # a market order's bound is nobody's price
        known[14], _decimal(market.quote_text(filled_quote)),
        _decimal(market.base_text(fee) if known[5] == "BUY" else market.quote_text(fee)),
        reason, known[18], moment, sequence, account_id,
    )  # fmt: skip
    return order_view(row), _UPDATE_TYPES.get(status, "UPDATED")


def _new_row(news: Sequence[Any], account_id: int) -> Row:
    (_, order_id, _, client_order_id, account, symbol_id, side, order_type, time_in_force, status, quantity, quote_quantity, price,
     stop_price, reason) = news  # fmt: skip
    created_at = moment_of(int(order_id[:12], 16))
    return (
        _dashed(order_id), client_order_id, None, account, symbol_id, side, order_type, time_in_force, status, _decimal(quantity),
        _decimal(quote_quantity), _ZERO, _ZERO, _decimal(price), _decimal(stop_price), _ZERO, _ZERO, reason, created_at, created_at, 0,
        account_id,
    )  # fmt: skip


class _Orders:
    """What never changes of the orders that may soon be heard of again, by the 32 hex digits of their ids."""

    def __init__(self) -> None:
        self._rows: OrderedDict[str, Row] = OrderedDict()

    def remember(self, order_id: str, row: Row) -> None:
        if row[8] in TERMINAL:
            return
        self._rows[order_id] = row
        if len(self._rows) > REMEMBERED_ORDERS:
            self._rows.popitem(last=False)

    def learn(self, order_ids: Iterable[str]) -> None:
        """Read those that are not remembered."""
        unknown = sorted({order_id for order_id in order_ids if order_id not in self._rows})
        if not unknown:
            return
        with connections["default"].cursor() as cursor:
            cursor.execute(
                f"SELECT {ORDER_COLUMNS} FROM {ORDER_FROM} WHERE o.id = ANY(%s::uuid[]) AND o.id >= %s AND o.id <= %s",
                [array(unknown), unknown[0], unknown[-1]],
            )
            for row in cursor.fetchall():
                self._rows[row[0].hex] = row

    def take(self, order_id: str, *, ended: bool) -> Row:
        """Raises: KeyError when there is no such order."""
        return self._rows.pop(order_id) if ended else self._rows[order_id]


_orders = _Orders()


def _own_trade(news: Sequence[Any], at: str) -> dict[str, Any]:
    identity, symbol_id, price, quantity, taker_side, order_id, fee, is_maker = news
    market = market_by_id(symbol_id)
    receives_base = (taker_side == "BUY") != is_maker
    return {
        **_public_trade(identity, market, price, quantity, taker_side, at),
        "order_id": _dashed(order_id),
        "fee": fixed(Decimal(fee), market.base_scale if receives_base else market.quote_scale),
        "fee_asset": market.base if receives_base else market.quote,
        "is_maker": is_maker,
    }


# -- markets


def _market(payload: Any) -> Words:
    symbol_id, at_ms, book, trades, statuses = payload
    market, at = market_by_id(symbol_id), timestamp(moment_of(at_ms))
    words = Words(group=symbol_group(symbol_id), reactions=[("trades" if trades else "book", str(symbol_id))])
    if book is not None:
        sequence, checksum, bids, asks, *told = book
        auction = told[0] if told else None  # one written before auctions were told may still wait in the outbox
        data = {
            "symbol": market.name,
            "sequence": sequence,
            "checksum": checksum,
            "bids": bids,
            "asks": asks,
            "auction": None if auction is None else auction_view(market, *auction),
            "timestamp": at,
        }
        words.message("ORDERBOOK_UPDATE", f"orderbook.{market.name}", sequence, at, data)
    channel = f"trades.{market.name}"
    for trade in trades:
        (identity, number, sequence, price, quantity, taker_side, maker_order, taker_order, maker_account, taker_account, maker_fee,
         taker_fee, request_id) = trade  # fmt: skip
        public = _public_trade(identity, market, price, quantity, taker_side, at)
        words.message("TRADE", channel, number, at, public)
        told = {
            **public,
            "engine_sequence": sequence,
            "maker_order_id": _dashed(maker_order),
            "taker_order_id": _dashed(taker_order),
            "maker_account_id": maker_account,
            "taker_account_id": taker_account,
            "maker_fee": maker_fee,
            "taker_fee": taker_fee,
        }
        words.events.append(Event(TRADE_EXECUTED, channel, number, at, request_id, told))
    for number, sequence, status, actor, request_id, cause in statuses:
        told = {"symbol": market.name, "status": status, "actor": actor, "cause": cause, "engine_sequence": sequence}
        if status == HALTED and cause != COMMAND:
            words.reactions.append(("halts", str(symbol_id)))
        words.events.append(Event(SYMBOL_STATUS_CHANGED, f"status.{market.name}", number, at, request_id or "", told))
    return words


def _public_trade(identity: str, market: Market, price: str, quantity: str, taker_side: str, at: str) -> dict[str, Any]:
    return {
        "trade_id": _dashed(identity),
        "symbol": market.name,
        "price": price,
        "quantity": quantity,
        "side": taker_side,
        "is_buyer_maker": taker_side == "SELL",
        "timestamp": at,
    }


def _dashed(digits: str) -> str:
    """32 hex digits as a UUID is written; a tenth of the cost of making one."""
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
