"""Pre-trade checks: pure functions over plain values, no database, no clock.

`AccountRisk` is an account's counters as intake read them under the account's lock; a check that passes counts the order in.
The strictest limit of platform, institution, account and symbol wins.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

ORDER_VALUE: Final = "ORDER_VALUE"
OPEN_ORDERS: Final = "OPEN_ORDERS"
DAILY_ORDERS: Final = "DAILY_ORDERS"
ORDERS_PER_SECOND: Final = "ORDERS_PER_SECOND"
ORDERS_PER_MINUTE: Final = "ORDERS_PER_MINUTE"


@dataclass(frozen=True, slots=True)
class LimitRow:
    """A limit as stored; None means any."""

    kind: str
    institution_id: int | None
    account_id: int | None
    symbol_id: int | None
    value: Decimal


@dataclass(frozen=True, slots=True)
class Breach:
    """A limit that refuses an order: its stable code, and words that name the limit."""

    code: str
    message: str
    limit: Decimal


@dataclass(slots=True)
class AccountRisk:
    """Counters of one account. `second` is the UTC second of `second_orders`; its minute that of `minute_orders`; `day` is
    days since 1970 of `day_orders`."""

    account_id: int
    institution_id: int
    open_orders: int
    day: int
    day_orders: int
    second: int
    second_orders: int
    minute_orders: int

    def roll(self, now_s: int) -> None:
        """Start the counters of a new second, minute or day."""
        if now_s // 86_400 != self.day:
            self.day, self.day_orders = now_s // 86_400, 0
        if now_s // 60 != self.second // 60:
            self.minute_orders = 0
        if now_s != self.second:
            self.second, self.second_orders = now_s, 0

    def count_request(self) -> None:
        """A new order was asked for, whatever becomes of it."""
        self.day_orders += 1
        self.second_orders += 1
        self.minute_orders += 1


def strictest(rows: Iterable[LimitRow], kind: str, institution_id: int, account_id: int, symbol_id: int) -> Decimal | None:
    """The lowest limit of this kind that applies; None when there is none."""
    found: Decimal | None = None
    for row in rows:
        if (
            row.kind == kind
            and row.institution_id in (None, institution_id)
            and row.account_id in (None, account_id)
            and row.symbol_id in (None, symbol_id)
            and (found is None or row.value < found)
        ):
            found = row.value
    return found


class Limits:
    """The limits of one intake batch, resolved once per account, symbol and kind."""

    def __init__(self, rows: Iterable[LimitRow]) -> None:
        self._rows = tuple(rows)
        self._found: dict[tuple[str, int, int], Decimal | None] = {}

    def of(self, kind: str, account: AccountRisk, symbol_id: int) -> Decimal | None:
        key = (kind, account.account_id, symbol_id)
        if key not in self._found:
            self._found[key] = strictest(self._rows, kind, account.institution_id, account.account_id, symbol_id)
        return self._found[key]


_RATES: Final[Mapping[str, tuple[str, str]]] = {
    ORDERS_PER_SECOND: ("RISK_ORDER_RATE", "orders per second"),
    ORDERS_PER_MINUTE: ("RISK_ORDER_RATE", "orders per minute"),
    DAILY_ORDERS: ("RISK_DAILY_ORDERS", "orders per day"),
}


def check_rate(limits: Limits, account: AccountRisk, symbol_id: int) -> Breach | None:
    """Whether one more order request fits the account's rates; `roll` and `count_request` have been called for it."""
    for kind, counted in (
        (ORDERS_PER_SECOND, account.second_orders),
        (ORDERS_PER_MINUTE, account.minute_orders),
        (DAILY_ORDERS, account.day_orders),
    ):
        limit = limits.of(kind, account, symbol_id)
        if limit is not None and counted > limit:
            code, words = _RATES[kind]
            return Breach(code, f"More than {limit:f} {words} (limit {kind}). Send fewer, or ask for a higher limit.", limit)
    return None


def check_open_orders(limits: Limits, account: AccountRisk, symbol_id: int, symbol_limit: int | None, symbol_open: int) -> Breach | None:
    """Whether one more open order fits: the account's limit over all symbols, and the symbol's own per account."""
    limit = limits.of(OPEN_ORDERS, account, symbol_id)
    if limit is not None and account.open_orders + 1 > limit:
        return Breach("RISK_OPEN_ORDERS", f"{account.open_orders} orders are open (limit OPEN_ORDERS {limit:f}). Cancel some first.", limit)
    if symbol_limit is not None and symbol_open + 1 > symbol_limit:
        return Breach(
            "RISK_OPEN_ORDERS",
            f"{symbol_open} orders are open on this symbol (the symbol's limit is {symbol_limit}). Cancel some first.",
            Decimal(symbol_limit),
        )
    return None


def check_order_value(limits: Limits, account: AccountRisk, symbol_id: int, value: Decimal) -> Breach | None:
    """Whether price × quantity (quote asset) is within the limit."""
    limit = limits.of(ORDER_VALUE, account, symbol_id)
    if limit is not None and value > limit:
        return Breach(
            "RISK_MAX_ORDER_VALUE", f"Order value {value:f} is above the limit ORDER_VALUE {limit:f}. Send a smaller order.", limit
        )
    return None
