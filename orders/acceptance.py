"""Whether an order or amend may be taken: decides on values that intake has read under its locks. No database, no clock.

`check_*` functions raise `Refusal`; `accept` and `accept_amend` also reserve what they need in the batch's own view of the
balances, so that later requests of the same batch see what earlier ones took.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from itertools import product
from typing import Final
from uuid import UUID

from exchange_platform.db import EXACT
from markets.units import Market, OffGrid, to_units
from matching.core.messages import MAX_LOTS, MAX_TICKS
from orders.commands import MARKET_TYPES
from orders.refusals import AmendRefused, Refusal
from orders.requests import AmendOrder, PlaceOrder
from risk.checks import AccountRisk, Breach, Limits, check_open_orders, check_order_value, check_rate

MAX_AMOUNT: Final = 10**20  # what NUMERIC(38, 18) holds before the point
MAX_PENDING_AMENDS: Final = 20


@dataclass(slots=True)
class SymbolRules:
    """A symbol's rules as they stand in this transaction. Prices are decimals; None switches a rule off."""

    market: Market
    status: str
    is_listed: bool
    min_quantity: Decimal
    max_quantity: Decimal | None
    min_price: Decimal | None
    max_price: Decimal | None
    min_notional: Decimal
    max_open_orders: int | None
    static_band: Decimal | None
    market_protection: Decimal
    reference_price: Decimal | None  # set by an operator
    maker_rate: int
    taker_rate: int
    order_types: tuple[str, ...]
    last_price: Decimal | None
    last_price_is_fresh: bool
    best_bid: Decimal | None
    best_ask: Decimal | None
    is_owned: bool  # a matching worker holds the lease
    waiting: int  # commands in the inbox

    def band_reference(self) -> Decimal | None:
        """What the static band is around: the operator's price, else the last trade."""
        return self.reference_price if self.reference_price is not None else self.last_price

    def market_reference(self, side: str) -> Decimal | None:
        """What a market order is protected around: best opposite quote, a fresh last trade, the operator's price."""
        opposite = self.best_ask if side == "BUY" else self.best_bid
        if opposite is not None:
            return opposite
        if self.last_price is not None and self.last_price_is_fresh:
            return self.last_price
        return self.reference_price


@dataclass(slots=True)
class AccountView:
    """An account under its lock. `free` is posted − held per asset in units; `reserved` what this batch adds to held."""

    id: int
    name: str
    institution_id: int
    is_frozen: bool
    is_institution_frozen: bool
    prevention: str
    risk: AccountRisk
    posted: dict[int, int] = field(default_factory=dict)
    free: dict[int, int] = field(default_factory=dict)
    reserved: dict[int, int] = field(default_factory=dict)
    opened: int = 0
    open_by_symbol: dict[int, int] = field(default_factory=dict)

    def reserve(self, asset_id: int, units: int) -> None:
        """Raises Refusal INSUFFICIENT_FUNDS."""
        if units > self.free.get(asset_id, 0):
            raise Refusal(
                "Not enough available balance for this order. Cancel orders, deposit, or send a smaller one.", code="INSUFFICIENT_FUNDS"
            )
        self.free[asset_id] -= units
        self.reserved[asset_id] = self.reserved.get(asset_id, 0) + units

    def count_open(self, symbol_id: int) -> None:
        self.risk.open_orders += 1
        self.opened += 1
        self.open_by_symbol[symbol_id] = self.open_by_symbol.get(symbol_id, 0) + 1


@dataclass(slots=True)
class Acceptance:
    """What an accepted order is in integers. `ticks` bounds it (a market order's protection price); `hold` is in units."""

    ticks: int
    lots: int  # 0 for an order by quote amount
    hold: int
    hold_asset_id: int
    protection_price: Decimal | None
    stop_ticks: int  # 0: no stop
    prevention: str


def check_account(account: AccountView) -> None:
    if account.is_institution_frozen:
        raise Refusal("Trading is frozen for the institution. Ask your administrator.", code="INSTITUTION_FROZEN")
    if account.is_frozen:
        raise Refusal("The account is frozen. Ask your administrator.", code="ACCOUNT_FROZEN")


def check_offered(order: PlaceOrder, rules: SymbolRules) -> None:
    if order.order_type not in rules.order_types:
        raise Refusal(f"{order.order_type} orders are not taken on {rules.market.name}.", code="ORDER_TYPE_NOT_ALLOWED", field="order_type")
    if order.quote_quantity is not None and order.time_in_force == "FOK":
        message = "A market order by quote_quantity buys what the amount pays for; it cannot be FOK."
        raise Refusal(message, code="ORDER_TYPE_NOT_ALLOWED", field="time_in_force")
    if order.reduce_only and (order.side == "BUY" or order.quantity is None):
        raise Refusal(
            "Here an order can reduce by selling alone: a position is what was bought.", code="REDUCE_ONLY_REJECTED", field="reduce_only"
        )


def check_status(order: PlaceOrder, rules: SymbolRules) -> None:
    name = rules.market.name
    match rules.status:
        case "TRADING":
            return
        case "POST_ONLY":
            if order.order_type != "LIMIT" or order.time_in_force in ("IOC", "FOK"):
                raise Refusal(f"{name} takes only orders that rest.", code="SYMBOL_POST_ONLY")
        case "AUCTION":
            if (
                order.quantity is None
                or order.time_in_force in ("FOK", "GTX")
                or (order.time_in_force == "IOC" and order.order_type == "LIMIT")
            ):
                raise Refusal(
                    f"{name} is in an auction, which collects LIMIT orders that rest and MARKET orders by quantity.",
                    code="ORDER_TYPE_NOT_ALLOWED",
                    field="time_in_force",
                )
        case "CANCEL_ONLY":
            raise Refusal(f"{name} takes cancels only.", code="SYMBOL_CANCEL_ONLY")
        case _:
            raise Refusal(f"{name} is halted.", code="SYMBOL_HALTED")


def lots_of(quantity: Decimal, rules: SymbolRules) -> int:
    """Quantity in lots within the symbol's bounds. Raises Refusal OFF_LOT, QUANTITY_TOO_SMALL, QUANTITY_TOO_LARGE."""
    market = rules.market
    if rules.max_quantity is not None and quantity > rules.max_quantity:
        raise Refusal(f"At most {rules.max_quantity:f} {market.base} in one order.", code="QUANTITY_TOO_LARGE", field="quantity")
    try:
        lots = market.lots(quantity)
    except OffGrid:
        raise Refusal(f"quantity must be a multiple of the lot size {market.lot:f}.", code="OFF_LOT", field="quantity") from None
    if quantity < rules.min_quantity:
        raise Refusal(f"At least {rules.min_quantity:f} {market.base} in one order.", code="QUANTITY_TOO_SMALL", field="quantity")
    if lots > MAX_LOTS:
        raise Refusal("The quantity is beyond what the engine counts.", code="QUANTITY_TOO_LARGE", field="quantity")
    return lots


def ticks_of(price: Decimal, rules: SymbolRules, field: str = "price") -> int:
    """Price in ticks within the symbol's bounds. Raises Refusal OFF_TICK, PRICE_OUT_OF_RANGE, PRICE_OUTSIDE_BAND."""
    market = rules.market
    try:
        ticks = market.ticks(price)
    except OffGrid:
        raise Refusal(f"{field} must be a multiple of the tick size {market.tick:f}.", code="OFF_TICK", field=field) from None
    low, high = rules.min_price, rules.max_price
    if (low is not None and price < low) or (high is not None and price > high) or ticks > MAX_TICKS:
        raise Refusal(f"The {field} is outside what {market.name} takes.", code="PRICE_OUT_OF_RANGE", field=field)
    reference = rules.band_reference()
    if rules.static_band is not None and reference is not None:
        width = EXACT.multiply(reference, rules.static_band)
        if abs(EXACT.subtract(price, reference)) > width:
            raise Refusal(
                f"The {field} is more than {rules.static_band:%} away from the reference {reference.normalize(EXACT):f}.",
                code="PRICE_OUTSIDE_BAND",
                field=field,
            )
    return ticks


def protection_ticks(side: str, reference: Decimal, rules: SymbolRules) -> int:
    """The price a market order may not trade beyond: reference × (1 ± protection), within band and bounds, on the grid.

    Rounded towards the reference, so the order's owner is never exposed further than promised.
    """
    market = rules.market
    band_reference = rules.band_reference()
    if side == "BUY":
        bound = EXACT.multiply(reference, 1 + rules.market_protection)
        if rules.static_band is not None and band_reference is not None:
            bound = min(bound, EXACT.multiply(band_reference, 1 + rules.static_band))
        if rules.max_price is not None:
            bound = min(bound, rules.max_price)
        ticks = int(EXACT.divide(bound, market.tick).to_integral_value(rounding=ROUND_FLOOR))
    else:
        bound = EXACT.multiply(reference, 1 - rules.market_protection)
        if rules.static_band is not None and band_reference is not None:
            bound = max(bound, EXACT.multiply(band_reference, 1 - rules.static_band))
        if rules.min_price is not None:
            bound = max(bound, rules.min_price)
        ticks = int(EXACT.divide(bound, market.tick).to_integral_value(rounding=ROUND_CEILING))
    return max(1, min(ticks, MAX_TICKS))


def check_notional(value: Decimal, rules: SymbolRules) -> None:
    if value < rules.min_notional:
        raise Refusal(
            f"An order on {rules.market.name} must be worth at least {rules.min_notional.normalize(EXACT):f} {rules.market.quote}.",
            code="NOTIONAL_TOO_SMALL",
        )


def _raise(breach: Breach | None) -> None:
    if breach is not None:
        raise Refusal(breach.message, code=breach.code, details={"limit": f"{breach.limit:f}"})


def _hold_units(units: int, scale: int, what: str) -> int:
    if units >= MAX_AMOUNT * 10**scale:
        raise Refusal("Price times quantity is beyond what an account can hold.", code="QUANTITY_TOO_LARGE", field=what)
    return units


def accept(order: PlaceOrder, account: AccountView, rules: SymbolRules, limits: Limits) -> Acceptance:
    """Decide on a new order and reserve its funds in `account`.

    Raises: Refusal; then nothing is reserved (the request itself has been counted for the rate).
    """
    market = rules.market
    if not order.principal.unlimited:
        account.risk.count_request()
    check_account(account)
    check_offered(order, rules)
    check_status(order, rules)
    protection, stop_ticks = None, 0
    if order.order_type == "MARKET":
        reference = rules.market_reference(order.side)
        lots = lots_of(order.quantity, rules) if order.quantity is not None else 0
        if reference is None:
            raise Refusal(
                f"{market.name} has no fresh price to protect a market order with. Send a LIMIT order.", code="NO_REFERENCE_PRICE"
            )
        ticks = protection_ticks(order.side, reference, rules)
        protection = EXACT.multiply(market.tick, Decimal(ticks))
        value = order.quote_quantity if order.quantity is None else EXACT.multiply(reference, order.quantity)
    else:
        assert order.quantity is not None
        lots = lots_of(order.quantity, rules)
        if order.stop_price is not None:
            stop_ticks = ticks_of(order.stop_price, rules, "stop_price")
        if order.order_type in MARKET_TYPES:
            assert order.stop_price is not None
            # What it may trade at once it is triggered, and is held for until then.
            ticks = protection_ticks(order.side, order.stop_price, rules)
            protection = EXACT.multiply(market.tick, Decimal(ticks))
            value = EXACT.multiply(order.stop_price, order.quantity)
        else:
            assert order.price is not None
            ticks = ticks_of(order.price, rules)
            value = EXACT.multiply(order.price, order.quantity)
    assert value is not None
    check_notional(value, rules)
    if not order.principal.unlimited:
        _raise(check_rate(limits, account.risk, market.id))
        _raise(check_order_value(limits, account.risk, market.id, value))
        _raise(check_open_orders(limits, account.risk, market.id, rules.max_open_orders, account.open_by_symbol.get(market.id, 0)))
    if order.side == "SELL":
        asset_id, hold = market.base_id, _hold_units(lots * market.base_per_lot, market.base_scale, "quantity")
    elif order.quantity is None:
        assert order.quote_quantity is not None
        try:
            asset_id, hold = market.quote_id, to_units(order.quote_quantity, market.quote_scale)
        except OffGrid:
            message = f"{market.quote} has {market.quote_scale} decimals."
            raise Refusal(message, code="OFF_TICK", field="quote_quantity") from None
        if hold // market.quote_per_step > MAX_LOTS:
            raise Refusal("The amount is beyond what the engine counts.", code="QUANTITY_TOO_LARGE", field="quote_quantity")
        if hold < market.quote_per_step:
            raise Refusal("The amount does not pay for the smallest trade.", code="NOTIONAL_TOO_SMALL", field="quote_quantity")
    else:
        asset_id, hold = market.quote_id, _hold_units(ticks * lots * market.quote_per_step, market.quote_scale, "quantity")
    account.reserve(asset_id, hold)
    account.count_open(market.id)
    return Acceptance(
        ticks=ticks,
        lots=lots,
        hold=hold,
        hold_asset_id=asset_id,
        protection_price=protection,
        stop_ticks=stop_ticks,
        prevention=order.self_trade_prevention or account.prevention,
    )


# -- amends


@dataclass(frozen=True, slots=True)
class Shape:
    """An order's price and total, as it may stand when an amend reaches the engine."""

    ticks: int
    total: int


@dataclass(frozen=True, slots=True)
class OpenOrderView:
    """The order to amend as it stands in this transaction; `done` lots are filled or prevented, `ticks` a protection price when it is not
    `is_priced`."""

    order_id: UUID
    side: str
    ticks: int
    total: int
    done: int
    pending: tuple[tuple[int, int], ...]  # (ticks, total) of amends under way, 0: that one stays
    is_priced: bool = True

    def shapes(self) -> set[Shape]:
        """Every shape the order may have when the next amend is decided, whichever of the pending ones are refused and in whatever
        order they are decided."""
        ticks = {self.ticks} | {price for price, _ in self.pending if price}
        totals = {self.total} | {total for _, total in self.pending if total}
        return {Shape(*shape) for shape in product(ticks, totals)}


def extra_lot_ticks(side: str, done: int, shapes: Iterable[Shape], ticks: int, total: int) -> int:
    """What an amend may need beyond what the order holds then: BUY in ticks × lots, SELL in lots.

    The order may fill further before the amend is decided. What it needs is linear in the lots done, so the most is at one of
    the two ends: nothing more done, or everything done.
    """
    most = 0
    for shape in shapes:
        new_ticks, new_total = (ticks or shape.ticks), (total or shape.total)
        for done_then in (done, max(done, shape.total)):
            if side == "BUY":
                need = new_ticks * (new_total - done_then) - shape.ticks * (shape.total - done_then)
            else:
                need = new_total - shape.total
            most = max(most, need)
    return most


@dataclass(slots=True)
class AmendAcceptance:
    ticks: int  # 0: stays
    total: int  # 0: stays
    extra: int  # units
    extra_asset_id: int


def accept_amend(amend: AmendOrder, order: OpenOrderView, account: AccountView, rules: SymbolRules, limits: Limits) -> AmendAcceptance:
    """Decide on an amend and reserve what it may need more. Raises: Refusal, AmendRefused; then nothing is reserved."""
    market = rules.market
    check_account(account)
    if len(order.pending) >= MAX_PENDING_AMENDS:
        raise AmendRefused("Too many amends of this order are still being decided. Ask again when they are.")
    if amend.price is not None and not order.is_priced:
        raise AmendRefused("The order has no price: it trades at market once it is triggered. Amend its quantity, or cancel it.")
    ticks = ticks_of(amend.price, rules) if amend.price is not None else 0
    total = 0
    if amend.quantity is not None:
        # a total at or below what is filled cancels the rest, so only the grid and the upper bound are asked of it
        if rules.max_quantity is not None and amend.quantity > rules.max_quantity:
            raise Refusal(f"At most {rules.max_quantity:f} {market.base} in one order.", code="QUANTITY_TOO_LARGE", field="quantity")
        try:
            total = market.lots(amend.quantity)
        except OffGrid:
            raise Refusal(f"quantity must be a multiple of the lot size {market.lot:f}.", code="OFF_LOT", field="quantity") from None
        if total > MAX_LOTS:
            raise Refusal("The quantity is beyond what the engine counts.", code="QUANTITY_TOO_LARGE", field="quantity")
    shapes = order.shapes()
    largest = max((ticks or shape.ticks) * (total or shape.total) for shape in shapes)
    if largest > order.ticks * order.total and not amend.principal.unlimited:
        value = EXACT.multiply(EXACT.multiply(market.tick, market.lot), Decimal(largest))
        _raise(check_order_value(limits, account.risk, market.id, value))
    steps = extra_lot_ticks(order.side, order.done, shapes, ticks, total)
    if order.side == "BUY":
        asset_id, extra = market.quote_id, _hold_units(steps * market.quote_per_step, market.quote_scale, "quantity")
    else:
        asset_id, extra = market.base_id, _hold_units(steps * market.base_per_lot, market.base_scale, "quantity")
    if extra:
        account.reserve(asset_id, extra)
    return AmendAcceptance(ticks=ticks, total=total, extra=extra, extra_asset_id=asset_id)
