"""Whether an amend may be taken: as `orders.acceptance`, on values that intake has read under its locks. No database, no clock."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from itertools import product
from typing import Final
from uuid import UUID

from exchange_platform.db import EXACT
from markets.units import Market, OffGrid
from matching.core.messages import MAX_LOTS
from orders import pretrade
from orders.acceptance import check_account, hold_units, ticks_of
from orders.batch_views import AccountView, SymbolRules
from orders.refusals import AmendRefused, Refusal
from orders.requests import AmendOrder
from risk.checks import Limits

MAX_PENDING_AMENDS: Final = 20


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


def extra_lots(shapes: Iterable[Shape], total: int) -> int:
    """How many lots an amend may add to the order, at most."""
    return max((total - shape.total for shape in shapes), default=0) if total else 0


@dataclass(slots=True)
class AmendAcceptance:
    ticks: int  # 0: stays
    total: int  # 0: stays
    extra: int  # units
    extra_asset_id: int
    lots: int  # what the account's exposure counts for it: lots that a BUY may add
    steps: int  # and ticks × lots that either side may


def accept_amend(amend: AmendOrder, order: OpenOrderView, account: AccountView, rules: SymbolRules, limits: Limits) -> AmendAcceptance:
    """Decide on an amend and reserve what it may need more. Raises: Refusal, AmendRefused; then nothing is reserved."""
    market = rules.market
    check_account(account)
    if len(order.pending) >= MAX_PENDING_AMENDS:
        raise AmendRefused("Too many amends of this order are still being decided. Ask again when they are.")
    if amend.price is not None and not order.is_priced:
        raise AmendRefused("The order has no price: it trades at market once it is triggered. Amend its quantity, or cancel it.")
    ticks = ticks_of(amend.price, rules) if amend.price is not None else 0
    total = _total_of(amend, market, rules)
    shapes = order.shapes()
    lots = max(0, extra_lots(shapes, total)) if order.side == "BUY" else 0
    steps = extra_lot_ticks("BUY", order.done, shapes, ticks, total)
    if order.side == "BUY":
        asset_id, extra = market.quote_id, hold_units(steps * market.quote_per_step, market.quote_scale, "quantity")
    else:
        need = extra_lot_ticks("SELL", order.done, shapes, ticks, total)
        asset_id, extra = market.base_id, hold_units(need * market.base_per_lot, market.base_scale, "quantity")
    if not amend.principal.unlimited:
        largest = max((ticks or shape.ticks) * (total or shape.total) for shape in shapes)
        if largest > order.ticks * order.total:
            pretrade.check_value(EXACT.multiply(EXACT.multiply(market.tick, market.lot), Decimal(largest)), account, rules, limits)
        if ticks not in (0, order.ticks) or steps or lots:
            growth = pretrade.Growth(order.side, lots=lots, steps=steps, price_ticks=ticks or order.ticks, hold=extra)
            pretrade.check_amend(growth, account, rules, limits)
    if extra:
        account.reserve(asset_id, extra)
    account.expose(market, lots=lots, steps=steps)
    return AmendAcceptance(ticks=ticks, total=total, extra=extra, extra_asset_id=asset_id, lots=lots, steps=steps)


def _total_of(amend: AmendOrder, market: Market, rules: SymbolRules) -> int:
    """The new total in lots; 0: it stays. A total at or below what is filled cancels the rest, so only the grid and the upper bound are
    asked of it. Raises: Refusal."""
    if amend.quantity is None:
        return 0
    if rules.max_quantity is not None and amend.quantity > rules.max_quantity:
        raise Refusal(f"At most {rules.max_quantity:f} {market.base} in one order.", code="QUANTITY_TOO_LARGE", field="quantity")
    try:
        total = market.lots(amend.quantity)
    except OffGrid:
        raise Refusal(f"quantity must be a multiple of the lot size {market.lot:f}.", code="OFF_LOT", field="quantity") from None
    if total > MAX_LOTS:
        raise Refusal("The quantity is beyond what the engine counts.", code="QUANTITY_TOO_LARGE", field="quantity")
    return total
