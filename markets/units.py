"""Exact conversion between decimals and the integers that books and holds count in. Nothing rounds silently.

* ticks: price / tick_size; lots: quantity / lot_size;
* units of an asset: amount × 10^scale;
* price × quantity in units of quote = ticks × lots × `quote_per_step`, quantity in units of base = lots × `base_per_lot`;
* fee rates: parts of 10^8.

A symbol's grid and assets never change (the database refuses), so a `Market` is cached for the life of the process; its
rules and status do change and are read by intake in its transaction.
"""

import threading
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Context, Decimal, InvalidOperation
from typing import Final

from django.db import InterfaceError, OperationalError, connections

RATE_ONE: Final = 10**8
_EXACT: Final = Context(prec=76, traps=[InvalidOperation])


class OffGrid(ValueError):
    """The value is not a whole number of steps."""


@dataclass(frozen=True, slots=True)
class Market:
    """What never changes of a symbol."""

    id: int
    name: str
    base: str
    quote: str
    base_id: int
    quote_id: int
    base_scale: int
    quote_scale: int
    tick: Decimal
    lot: Decimal
    tick_decimals: int
    lot_decimals: int
    tick_units: int  # tick × 10^tick_decimals
    lot_units: int  # lot × 10^lot_decimals
    quote_per_step: int  # units of quote in one tick × one lot
    base_per_lot: int  # units of base in one lot
    fee_account_id: int

    def ticks(self, price: Decimal) -> int:
        """Raises OffGrid."""
        return whole_steps(price, self.tick)

    def lots(self, quantity: Decimal) -> int:
        """Raises OffGrid."""
        return whole_steps(quantity, self.lot)

    def price_text(self, ticks: int) -> str:
        """Plain decimal text of a price in ticks."""
        return units_text(ticks * self.tick_units, self.tick_decimals)

    def quantity_text(self, lots: int) -> str:
        """Plain decimal text of a quantity in lots."""
        return units_text(lots * self.lot_units, self.lot_decimals)

    def quote_text(self, units: int) -> str:
        """Plain decimal text of an amount in units of quote."""
        return units_text(units, self.quote_scale)

    def base_text(self, units: int) -> str:
        """Plain decimal text of an amount in units of base."""
        return units_text(units, self.base_scale)


def whole_steps(value: Decimal, step: Decimal) -> int:
    """`value / step` when that is whole. Raises OffGrid."""
    # Values and steps have at most 38 digits each, so a quotient that is not whole shows it within 76.
    steps = _EXACT.divide(value, step)
    whole = int(steps)
    if whole != steps:
        raise OffGrid(f"{value} is not a multiple of {step}")
    return whole


def neighbours(value: Decimal, step: Decimal) -> tuple[int, int]:
    """The whole numbers of steps at or below, and at or above `value`; both the same when it is on the grid."""
    steps = _EXACT.divide(value, step)
    low = int(steps.to_integral_value(rounding=ROUND_FLOOR))
    return low, low if low == steps else low + 1


def decimals_of(step: Decimal) -> int:
    """Number of decimals of a step: 0.010 has 2."""
    exponent = step.normalize(_EXACT).as_tuple().exponent
    assert isinstance(exponent, int)
    return max(0, -exponent)


def to_units(amount: Decimal, scale: int) -> int:
    """Amount in 10^-scale. Raises OffGrid when it has more decimals."""
    scaled = amount.scaleb(scale, _EXACT)
    whole = int(scaled)
    if whole != scaled:
        raise OffGrid(f"{amount} has more than {scale} decimals")
    return whole


def units_text(units: int, scale: int) -> str:
    """Plain decimal text of an amount in 10^-scale, all its decimals shown."""
    if scale == 0:
        return str(units)
    if units < 0:
        return "-" + units_text(-units, scale)
    digits = str(units).rjust(scale + 1, "0")
    return f"{digits[:-scale]}.{digits[-scale:]}"


def rate_units(rate: Decimal) -> int:
    """A fee rate in parts of 10^8."""
    return to_units(rate, 8)


def fee_units(received: int, rate: int) -> int:
    """Fee on an amount received, both in units of the asset; `rate` in parts of 10^8.

    Rounded down: the customer gains (of a rebate, a negative rate, too).
    """
    return received * rate // RATE_ONE


_lock = threading.Lock()
_by_id: dict[int, Market] = {}
_by_name: dict[str, Market] = {}

_SELECT = """SELECT s.id, s.name, b.code, q.code, b.id, q.id, b.scale, q.scale, s.tick_size, s.lot_size, s.fee_account_id
    FROM markets_symbol s JOIN markets_asset b ON b.id = s.base_id JOIN markets_asset q ON q.id = s.quote_id"""


def _load(where: str, parameter: int | str) -> Market | None:
    """Read a market; once more when this thread's connection had been lost since it was last used."""
    connection = connections["default"]
    for last_try in (False, True):
        try:
            with connection.cursor() as cursor:
                cursor.execute(f"{_SELECT} WHERE {where}", [parameter])
                row = cursor.fetchone()
            return None if row is None else remember(row)
        except (OperationalError, InterfaceError):
            connection.close()
            if last_try:
                raise
    return None


def remember(row: tuple[int, str, str, str, int, int, int, int, Decimal, Decimal, int]) -> Market:
    """Keep the market of a row of `MARKET_SELECT`."""
    symbol_id, name, base, quote, base_id, quote_id, base_scale, quote_scale, tick, lot, fee_account_id = row
    market = Market(
        id=symbol_id,
        name=name,
        base=base,
        quote=quote,
        base_id=base_id,
        quote_id=quote_id,
        base_scale=base_scale,
        quote_scale=quote_scale,
        tick=tick.normalize(_EXACT),
        lot=lot.normalize(_EXACT),
        tick_decimals=decimals_of(tick),
        lot_decimals=decimals_of(lot),
        tick_units=to_units(tick, decimals_of(tick)),
        lot_units=to_units(lot, decimals_of(lot)),
        quote_per_step=to_units(_EXACT.multiply(tick, lot), quote_scale),
        base_per_lot=to_units(lot, base_scale),
        fee_account_id=fee_account_id,
    )
    with _lock:
        _by_id[market.id] = market
        _by_name[market.name] = market
    return market


MARKET_SELECT: Final = _SELECT


def known_market(name: str) -> Market | None:
    """The market of this name if the process has seen it; never reads."""
    return _by_name.get(name)


def market_by_id(symbol_id: int) -> Market:
    """Raises LookupError. Reads the database once per symbol and process."""
    market = _by_id.get(symbol_id) or _load("s.id = %s", symbol_id)
    if market is None:
        raise LookupError(f"no symbol with id {symbol_id}")
    return market


def market_by_name(name: str) -> Market | None:
    """The market of BASE/QUOTE, or None. Reads the database when the name has not been seen yet."""
    return _by_name.get(name) or _load("s.name = %s", name)


def forget() -> None:
    """Drop the cache; for tests that change databases."""
    with _lock:
        _by_id.clear()
        _by_name.clear()
