"""What symbols and assets are worth: pure, from the last prices. Decision 0024 tells what happens where there is no price.

A symbol's price is its last trade's, before the first one what an operator set. Sums over symbols are in USDT.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from exchange_platform.db import EXACT

MONEY: Final = "USDT"
MEASURE: Final = "BTC"
ONE: Final = Decimal(1)
ZERO: Final = Decimal(0)


@dataclass(frozen=True, slots=True)
class Mark:
    """A symbol's prices as stored. `day`: days since 1970 of its last trade; `previous_close`: last price before that day."""

    symbol_id: int
    base_id: int
    quote_id: int
    base: str
    quote: str
    last_price: Decimal | None
    day: int | None
    previous_close: Decimal | None
    reference_price: Decimal | None

    @property
    def price(self) -> Decimal | None:
        return self.last_price if self.last_price is not None else self.reference_price

    def opening(self, today: int) -> Decimal | None:
        """The price at the last midnight."""
        return self.previous_close if self.day == today else self.last_price


class Marks:
    """All marks of a moment. Values of assets are reckoned once."""

    def __init__(self, marks: Iterable[Mark] = ()) -> None:
        self.by_symbol: dict[int, Mark] = {}
        self._usdt: dict[int, Decimal] = {}  # assets with a price in USDT of their own
        self._worth: dict[int, Decimal] = {}
        self.measure: Decimal | None = None  # a BTC in USDT
        for mark in sorted(marks, key=lambda mark: mark.symbol_id):
            self.by_symbol[mark.symbol_id] = mark
            if mark.base == MONEY:
                self._usdt[mark.base_id] = ONE
            if mark.quote == MONEY:
                self._usdt[mark.quote_id] = ONE
                if mark.price is not None:
                    self._usdt[mark.base_id] = mark.price
                    if mark.base == MEASURE:
                        self.measure = mark.price

    def price(self, symbol_id: int) -> Decimal | None:
        mark = self.by_symbol.get(symbol_id)
        return None if mark is None else mark.price

    def usdt(self, asset_id: int) -> Decimal | None:
        """One of the asset in USDT by its own symbol against USDT; None: it has none, or that has no price."""
        return self._usdt.get(asset_id)

    def worth(self, asset_id: int) -> Decimal:
        """One of the asset in USDT, whatever it takes: through another symbol's quote; a quote asset without a price counts as one USDT,
        and what nobody quotes as nothing."""
        found = self._worth.get(asset_id)
        if found is None:
            found = self._worth[asset_id] = self._reckon(asset_id)
        return found

    def _reckon(self, asset_id: int) -> Decimal:
        if (found := self._usdt.get(asset_id)) is not None:
            return found
        for mark in self.by_symbol.values():
            if mark.base_id == asset_id and mark.price is not None:
                return EXACT.multiply(mark.price, self._usdt.get(mark.quote_id, ONE))
        return ONE if any(mark.quote_id == asset_id for mark in self.by_symbol.values()) else ZERO
