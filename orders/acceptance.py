"""Whether an order or amend may be taken: decides on values that intake has read under its locks. No database, no clock.

`check_*` functions raise `Refusal`; `accept` also reserves what it needs in the batch's own view of the balances, so that later requests of
the same batch see what earlier ones took.
"""

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final

from exchange_platform.db import EXACT
from markets.units import OffGrid, to_units
from matching.core.messages import MAX_LOTS, MAX_TICKS
from orders import pretrade
from orders.batch_views import AccountView, SymbolRules
from orders.commands import MARKET_TYPES
from orders.refusals import Refusal
from orders.requests import PlaceOrder
from risk.checks import Limits

MAX_AMOUNT: Final = 10**20  # what NUMERIC(38, 18) holds before the point


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


def hold_units(units: int, scale: int, what: str) -> int:
    """`units`, when an account can hold as much. Raises: Refusal."""
    if units >= MAX_AMOUNT * 10**scale:
        raise Refusal("Price times quantity is beyond what an account can hold.", code="QUANTITY_TOO_LARGE", field=what)
    return units


def _hold_of(order: PlaceOrder, rules: SymbolRules, ticks: int, lots: int) -> tuple[int, int]:
    """The asset an order pays with, and how many units of it it holds. Raises: Refusal."""
    market = rules.market
    value = hold_units(ticks * lots * market.quote_per_step, market.quote_scale, "quantity")
    if order.side == "SELL":
        return market.base_id, hold_units(lots * market.base_per_lot, market.base_scale, "quantity")
    if order.quote_quantity is None:
        return market.quote_id, value
    try:
        hold = to_units(order.quote_quantity, market.quote_scale)
    except OffGrid:
        message = f"{market.quote} has {market.quote_scale} decimals."
        raise Refusal(message, code="OFF_TICK", field="quote_quantity") from None
    if hold // market.quote_per_step > MAX_LOTS:
        raise Refusal("The amount is beyond what the engine counts.", code="QUANTITY_TOO_LARGE", field="quote_quantity")
    if hold < market.quote_per_step:
        raise Refusal("The amount does not pay for the smallest trade.", code="NOTIONAL_TOO_SMALL", field="quote_quantity")
    return market.quote_id, hold


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
        pretrade.check_order(value, account, rules, limits)
    asset_id, hold = _hold_of(order, rules, ticks, lots)
    steps, spending = ticks * lots, 0 if lots else hold
    bought = lots if order.side == "BUY" else 0
    if not order.principal.unlimited:
        growth = pretrade.Growth(order.side, lots=bought, steps=steps, price_ticks=ticks, hold=hold, spending=spending)
        pretrade.check_growth(growth, account, rules, limits)
    account.reserve(asset_id, hold)
    account.count_open(market.id)
    account.expose(market, lots=bought, steps=steps, spending=spending)
    return Acceptance(
        ticks=ticks,
        lots=lots,
        hold=hold,
        hold_asset_id=asset_id,
        protection_price=protection,
        stop_ticks=stop_ticks,
        prevention=order.self_trade_prevention or account.prevention,
    )
