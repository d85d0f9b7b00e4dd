"""Orders and trades as rows of the back office: with their market's decimals and the names of the accounts in reach."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any
from uuid import UUID

from django.utils.safestring import SafeString

from exchange_platform.back_office import show
from exchange_platform.db import EXACT
from institutions.back_office import account_link, accounts_by_id
from institutions.models import Account
from markets.units import Market, market_by_id
from orders.models import Order, Trade
from orders.presentation import fixed

SLIPPAGE_STEP = Decimal("0.0001")


@dataclass(frozen=True, slots=True)
class OrderRow:
    order: Order
    market: Market
    account: Account | None

    @property
    def pk(self) -> UUID:
        return self.order.pk

    def price(self, value: Decimal | None) -> object:
        return show.NOTHING if value is None else fixed(value, self.market.tick_decimals)

    def quantity(self, value: Decimal | None) -> object:
        return show.NOTHING if value is None else fixed(value, self.market.lot_decimals)

    def quote(self, value: Decimal | None) -> object:
        return show.NOTHING if value is None else f"{fixed(value, self.market.quote_scale)} {self.market.quote}"

    def slippage(self) -> object:
        """Of a triggered stop: how much worse than its trigger price it was filled on average, in percent of it; negative: better. Rounded
        half to even to four decimals, for show."""
        order = self.order
        if order.trigger_price is None or not order.filled_quantity:
            return show.NOTHING
        average = EXACT.divide(order.filled_quote, order.filled_quantity)
        worse = average - order.trigger_price if order.side == "BUY" else order.trigger_price - average
        percent = EXACT.divide(worse * 100, order.trigger_price).quantize(SLIPPAGE_STEP, rounding=ROUND_HALF_EVEN)
        return f"{percent:f} %"

    def held(self) -> str:
        """In quote for a buy, in base for a sell."""
        if self.order.side == "BUY":
            return f"{fixed(self.order.held, self.market.quote_scale)} {self.market.quote}"
        return f"{fixed(self.order.held, self.market.base_scale)} {self.market.base}"

    def fee(self) -> str:
        """In what it received."""
        if self.order.side == "BUY":
            return f"{fixed(self.order.fee, self.market.base_scale)} {self.market.base}"
        return f"{fixed(self.order.fee, self.market.quote_scale)} {self.market.quote}"


@dataclass(frozen=True, slots=True)
class TradeRow:
    """`maker` and `taker` are null when they are out of reach: then neither their order nor their fee is shown."""

    trade: Trade
    market: Market
    maker: Account | None
    taker: Account | None

    @property
    def pk(self) -> UUID:
        return self.trade.pk

    @property
    def price(self) -> str:
        return fixed(self.trade.price, self.market.tick_decimals)

    @property
    def quantity(self) -> str:
        return fixed(self.trade.quantity, self.market.lot_decimals)

    def fee(self, *, of_maker: bool) -> object:
        if (self.maker if of_maker else self.taker) is None:
            return show.NOTHING
        receives_base = (self.trade.taker_side == "BUY") != of_maker
        scale, asset = (self.market.base_scale, self.market.base) if receives_base else (self.market.quote_scale, self.market.quote)
        return f"{fixed(self.trade.maker_fee if of_maker else self.trade.taker_fee, scale)} {asset}"

    def order_link(self, *, of_maker: bool) -> SafeString:
        if (self.maker if of_maker else self.taker) is None:
            return show.NOTHING
        return order_link(self.trade.maker_order_id if of_maker else self.trade.taker_order_id)


def order_link(order_id: UUID) -> SafeString:
    return show.link(show.url_of("orders.order", order_id), show.short(order_id))


def trade_link(trade_id: UUID) -> SafeString:
    return show.link(show.url_of("orders.trade", trade_id), show.short(trade_id))


def symbol_link(market: Market) -> SafeString:
    return show.link(show.url_of("markets.symbol", market.id), market.name)


def order_rows(ids: Sequence[UUID]) -> list[OrderRow]:
    """The orders in reach, newest first. Two statements."""
    found = list(Order.objects.using("tenant").filter(pk__in=ids).order_by("-pk")) if ids else []
    names = accounts_by_id(order.account_id for order in found)
    return [OrderRow(order, market_by_id(order.symbol_id), names.get(order.account_id)) for order in found]


def trade_rows(ids: Sequence[UUID]) -> list[TradeRow]:
    """The trades in reach, newest first. Two statements."""
    return rows_of_trades(list(Trade.objects.using("tenant").filter(pk__in=ids).order_by("-pk")) if ids else [])


def rows_of_trades(trades: Sequence[Trade]) -> list[TradeRow]:
    names = accounts_by_id(account for trade in trades for account in (trade.maker_account_id, trade.taker_account_id))
    return [
        TradeRow(trade, market_by_id(trade.symbol_id), names.get(trade.maker_account_id), names.get(trade.taker_account_id))
        for trade in trades
    ]


def party(account: Account | None) -> Any:
    """Its name, or that it is somebody else's."""
    return account_link(account) if account is not None else show.badge("another institution")
