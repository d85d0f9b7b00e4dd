"""What one intake batch knows of an account's exposure: as read under its lock, and what the batch has added since. Pure.

A result is what trading has won or lost, all in all: realised profit and what long positions are worth above their cost. A short
position is coins that were deposited and sold: nothing is owed for them and nothing of them is left that could fall, so it counts with
what it has realised alone (decision 0024).
"""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, NamedTuple

from exchange_platform.db import EXACT
from risk.marks import ONE, ZERO, Marks

NEVER: Final = -1


class Holding(NamedTuple):
    """A position as it was at some moment, in base and quote."""

    quantity: Decimal = ZERO
    cost: Decimal = ZERO
    realised: Decimal = ZERO

    def result(self, price: Decimal | None) -> Decimal:
        """In quote, at this price."""
        if self.quantity <= 0 or price is None:
            return self.realised
        return EXACT.add(self.realised, EXACT.subtract(EXACT.multiply(self.quantity, price), self.cost))


NOTHING: Final = Holding()


@dataclass(slots=True)
class Exposure:
    """One account on one symbol (`risk.models.Exposure`, `risk.models.Position`). Days count since 1970."""

    buying: Decimal = ZERO
    spending: Decimal = ZERO
    open_value: Decimal = ZERO
    day: int = NEVER
    traded: Decimal = ZERO
    now: Holding = NOTHING
    traded_on: int = NEVER
    opening: Holding = NOTHING


class Results(NamedTuple):
    """An account's result in USDT: now, and at the last midnight."""

    now: Decimal
    opening: Decimal


@dataclass(slots=True)
class Standing:
    """All exposures of an account, by symbol, and the highest result it was seen with (`risk.models.DayResult.high`). One batch, one set of
    marks: sums are reckoned once, and from then on go with what the batch adds."""

    exposures: dict[int, Exposure] = field(default_factory=dict)
    high: Decimal | None = None
    balances: list[tuple[int, Decimal]] = field(default_factory=list)  # (asset, posted)
    verdicts: dict[tuple[Decimal | None, Decimal | None], Any] = field(default_factory=dict)  # of `risk.checks.check_losses`, by its limits
    _notional: Decimal | None = None
    _marks: Marks | None = None  # by which `_notional` was reckoned
    _results: Results | None = None
    _equity: Decimal | None = None

    def on(self, symbol_id: int) -> Exposure:
        found = self.exposures.get(symbol_id)
        if found is None:
            found = self.exposures[symbol_id] = Exposure()
        return found

    def notional(self, marks: Marks, today: int) -> Decimal:
        """Traded today and open, all symbols, in USDT."""
        if self._notional is None:
            total = ZERO
            for symbol_id, exposure in self.exposures.items():
                value = EXACT.add(exposure.open_value, exposure.traded) if exposure.day == today else exposure.open_value
                if value:
                    total = EXACT.add(total, EXACT.multiply(value, _quote_worth(marks, symbol_id)))
            self._notional, self._marks = total, marks
        return self._notional

    def count(self, symbol_id: int, *, buying: Decimal, spending: Decimal, value: Decimal) -> None:
        """An order of this batch, or what an amend may add."""
        exposure = self.on(symbol_id)
        exposure.buying = EXACT.add(exposure.buying, buying)
        exposure.spending = EXACT.add(exposure.spending, spending)
        exposure.open_value = EXACT.add(exposure.open_value, value)
        if self._notional is not None and self._marks is not None:
            self._notional = EXACT.add(self._notional, EXACT.multiply(value, _quote_worth(self._marks, symbol_id)))

    def results(self, marks: Marks, today: int) -> Results:
        if self._results is None:
            now = opening = ZERO
            for symbol_id, exposure in self.exposures.items():
                mark = marks.by_symbol.get(symbol_id)
                if mark is None or exposure.now is NOTHING:
                    continue
                began = exposure.opening if exposure.traded_on == today else exposure.now
                worth = marks.worth(mark.quote_id)
                now = EXACT.add(now, EXACT.multiply(exposure.now.result(mark.price), worth))
                opening = EXACT.add(opening, EXACT.multiply(began.result(mark.opening(today)), worth))
            self._results = Results(now, opening)
        return self._results

    def equity(self, marks: Marks) -> Decimal:
        """What the balances are worth in USDT."""
        if self._equity is None:
            total = ZERO
            for asset_id, posted in self.balances:
                if posted:
                    total = EXACT.add(total, EXACT.multiply(posted, marks.worth(asset_id)))
            self._equity = total
        return self._equity


def _quote_worth(marks: Marks, symbol_id: int) -> Decimal:
    mark = marks.by_symbol.get(symbol_id)
    return ONE if mark is None else marks.worth(mark.quote_id)
