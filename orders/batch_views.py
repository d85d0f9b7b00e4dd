"""What the decisions of an intake batch rest on: a symbol's rules and an account, as read in its transaction."""

from dataclasses import dataclass, field
from decimal import Decimal

from exchange_platform.db import EXACT
from markets.units import Market
from orders.refusals import Refusal
from risk.checks import AccountRisk


def amount_of(units: int, scale: int) -> Decimal:
    """Units of an asset as an amount of it."""
    return Decimal(units).scaleb(-scale, EXACT)


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
    exposed: dict[int, tuple[int, int, int]] = field(default_factory=dict)  # symbol → lots, spending, open value that this batch adds

    def reserve(self, asset_id: int, units: int) -> None:
        """Raises Refusal INSUFFICIENT_FUNDS."""
        if units > self.free.get(asset_id, 0):
            raise Refusal(
                "Not enough available balance for this order. Cancel orders, deposit, or send a smaller one.", code="INSUFFICIENT_FUNDS"
            )
        self.free[asset_id] -= units
        self.reserved[asset_id] = self.reserved.get(asset_id, 0) + units

    def expose(self, market: Market, *, lots: int = 0, steps: int = 0, spending: int = 0) -> None:
        """Count lots to buy, ticks × lots open, and units of quote that a buy by amount may spend."""
        if not (lots or steps or spending):
            return
        value = steps * market.quote_per_step + spending
        known = self.exposed.get(market.id, (0, 0, 0))
        self.exposed[market.id] = (known[0] + lots, known[1] + spending, known[2] + value)
        self.risk.standing.count(
            market.id,
            buying=EXACT.multiply(market.lot, Decimal(lots)),
            spending=amount_of(spending, market.quote_scale),
            value=amount_of(value, market.quote_scale),
        )

    def count_open(self, symbol_id: int) -> None:
        self.risk.open_orders += 1
        self.opened += 1
        self.open_by_symbol[symbol_id] = self.open_by_symbol.get(symbol_id, 0) + 1
