"""Pre-trade checks: pure functions over plain values, no database, no clock.

`AccountRisk` is an account's counters as intake read them under the account's lock; `AccountRisk.standing` what it has open, owns and has
won or lost. The strictest limit of platform, institution, account and symbol wins. Decision 0024 tells what each measures.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import product
from typing import Final, NamedTuple

from exchange_platform.db import EXACT
from risk.exposures import Standing
from risk.marks import MEASURE, MONEY, Marks

ORDER_VALUE: Final = "ORDER_VALUE"
OPEN_ORDERS: Final = "OPEN_ORDERS"
DAILY_ORDERS: Final = "DAILY_ORDERS"
ORDERS_PER_SECOND: Final = "ORDERS_PER_SECOND"
ORDERS_PER_MINUTE: Final = "ORDERS_PER_MINUTE"
MAX_POSITION: Final = "MAX_POSITION"
DAILY_NOTIONAL: Final = "DAILY_NOTIONAL"
DAILY_LOSS: Final = "DAILY_LOSS"
DRAWDOWN: Final = "DRAWDOWN"
MIN_BALANCE: Final = "MIN_BALANCE"
MAX_SCORE: Final = "MAX_SCORE"
LOWER_BOUNDS: Final = frozenset({MIN_BALANCE})  # of these the highest is the strictest
BLOCKED: Final = "BLOCKED"
ALLOWED: Final = "ALLOWED"


class LimitRow(NamedTuple):
    """A limit as stored; None means any."""

    kind: str
    institution_id: int | None
    account_id: int | None
    symbol_id: int | None
    value: Decimal


class RuleRow(NamedTuple):
    """A symbol that may be traded or not, as stored; None means everybody."""

    rule: str
    institution_id: int | None
    account_id: int | None
    symbol_id: int


@dataclass(frozen=True, slots=True)
class Breach:
    """A limit that refuses an order: its stable code, words that name the limit, and its value where it has one."""

    code: str
    message: str
    limit: Decimal | None = None


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
    score: Decimal = Decimal(0)
    standing: Standing = field(default_factory=Standing)

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


Scope = tuple[int | None, int | None, int | None]  # institution, account, symbol


def strictest(values: Mapping[Scope, Decimal], kind: str, institution_id: int, account_id: int, symbol_id: int) -> Decimal | None:
    """The strictest of this kind's limits that applies: the lowest, of a lower bound the highest; None when there is none."""
    found: Decimal | None = None
    for scope in product((None, institution_id), (None, account_id), (None, symbol_id)):
        value = values.get(scope)
        if value is not None and (found is None or (value > found if kind in LOWER_BOUNDS else value < found)):
            found = value
    return found


class Limits:
    """The limits of one intake batch, resolved once per account, symbol and kind. `today`: days since 1970."""

    def __init__(self, rows: Iterable[LimitRow], *, rules: Iterable[RuleRow] = (), marks: Marks | None = None, today: int = 0) -> None:
        self._values: dict[str, dict[Scope, Decimal]] = {}
        self._per_symbol: set[str] = set()  # kinds that are limited differently on some symbol
        for row in rows:
            self._values.setdefault(row.kind, {})[(row.institution_id, row.account_id, row.symbol_id)] = row.value
            if row.symbol_id is not None:
                self._per_symbol.add(row.kind)
        self._rules = tuple(rules)
        self.marks = marks or Marks()
        self.today = today
        self._found: dict[tuple[str, int, int], Decimal | None] = {}
        self._may_trade: dict[tuple[int, int], bool] = {}

    def of(self, kind: str, account: AccountRisk, symbol_id: int) -> Decimal | None:
        key = (kind, account.account_id, symbol_id if kind in self._per_symbol else 0)
        if key not in self._found:
            values = self._values.get(kind)
            self._found[key] = strictest(values, kind, account.institution_id, account.account_id, symbol_id) if values else None
        return self._found[key]

    def may_trade(self, account: AccountRisk, symbol_id: int) -> bool:
        key = (account.account_id, symbol_id)
        if key not in self._may_trade:
            self._may_trade[key] = may_trade(self._rules, account.institution_id, account.account_id, symbol_id)
        return self._may_trade[key]


def may_trade(rules: Iterable[RuleRow], institution_id: int, account_id: int, symbol_id: int) -> bool:
    """Whether nobody has blocked the symbol, and everybody who allows some (the platform, the institution, the account) allows this one."""
    allowing: dict[tuple[int | None, int | None], bool] = {}
    for row in rules:
        if row.institution_id not in (None, institution_id) or row.account_id not in (None, account_id):
            continue
        if row.rule == BLOCKED:
            if row.symbol_id == symbol_id:
                return False
        else:
            scope = (row.institution_id, row.account_id)
            allowing[scope] = allowing.get(scope, False) or row.symbol_id == symbol_id
    return all(allowing.values())


_SHOWN: Final = Decimal("1e-8")

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


def check_symbol(limits: Limits, account: AccountRisk, symbol_id: int, name: str) -> Breach | None:
    """Whether this account may trade the symbol at all."""
    if limits.may_trade(account, symbol_id):
        return None
    return Breach(
        "RISK_SYMBOL_BLOCKED", f"{name} is blocked for this account, or not among the symbols it is allowed. Ask your administrator."
    )


def check_score(limits: Limits, account: AccountRisk, symbol_id: int) -> Breach | None:
    """Whether the account's risk score is within the limit."""
    limit = limits.of(MAX_SCORE, account, symbol_id)
    if limit is None or account.score <= limit:
        return None
    return Breach(
        "RISK_SCORE", f"The account's risk score {account.score} is above the limit MAX_SCORE {limit:f}. Ask your administrator.", limit
    )


class Buy(NamedTuple):
    """What a buy would add: `quantity` in base, or `amount` in quote for one by amount. `price`: the symbol's, else the order's own."""

    symbol_id: int
    base: str
    quote: str
    quote_id: int
    quantity: Decimal
    amount: Decimal
    price: Decimal


def check_position(limits: Limits, account: AccountRisk, buy: Buy) -> Breach | None:
    """Whether position, open buys and this buy together are within the limit, in BTC. Compared without a division. A sale only makes the
    position smaller and is not asked. Without a price of BTC it cannot be reckoned and holds nobody up (decision 0024)."""
    limit = limits.of(MAX_POSITION, account, buy.symbol_id)
    if limit is None:
        return None
    exposure = account.standing.on(buy.symbol_id)
    quantity = EXACT.add(EXACT.add(exposure.now.quantity, exposure.buying), buy.quantity)
    worth = EXACT.add(EXACT.multiply(quantity, buy.price), EXACT.add(exposure.spending, buy.amount))  # in quote
    if buy.base == MEASURE:
        measure = buy.price
    elif buy.quote == MEASURE:
        measure = Decimal(1)
    else:
        rate, bitcoin = limits.marks.usdt(buy.quote_id), limits.marks.measure
        if rate is None or bitcoin is None:
            return None
        worth, measure = EXACT.multiply(worth, rate), bitcoin
    if worth <= EXACT.multiply(limit, measure):
        return None
    message = (
        f"Position and open buys on {buy.base}/{buy.quote} would be worth {_rounded(EXACT.divide(worth, measure))} {MEASURE} "
        f"(limit MAX_POSITION {limit:f}). Sell, cancel buys, or send a smaller order."
    )
    return Breach("RISK_MAX_POSITION", message, limit)


def check_notional(limits: Limits, account: AccountRisk, symbol_id: int, quote_id: int, value: Decimal) -> Breach | None:
    """Whether what was traded today, what is open and this `value` (quote) together are within the limit, in USDT."""
    limit = limits.of(DAILY_NOTIONAL, account, symbol_id)
    if limit is None:
        return None
    total = EXACT.add(account.standing.notional(limits.marks, limits.today), EXACT.multiply(value, limits.marks.worth(quote_id)))
    if total <= limit:
        return None
    message = (
        f"Traded today, open and this order come to {_rounded(total)} {MONEY} (limit DAILY_NOTIONAL {limit:f}). "
        "Cancel orders, or wait for the next day (UTC)."
    )
    return Breach("RISK_DAILY_NOTIONAL", message, limit)


def check_losses(limits: Limits, account: AccountRisk, symbol_id: int) -> Breach | None:
    """Whether the account may still buy: today's loss, and how far its result is below its peak. Sales are not asked."""
    loss_limit, drawdown_limit = (limits.of(kind, account, symbol_id) for kind in (DAILY_LOSS, DRAWDOWN))
    if loss_limit is None and drawdown_limit is None:
        return None
    # What was lost does not change within a batch.
    verdicts: dict[tuple[Decimal | None, Decimal | None], Breach | None] = account.standing.verdicts
    key = (loss_limit, drawdown_limit)
    if key not in verdicts:
        verdicts[key] = _losses(limits, account.standing, loss_limit, drawdown_limit)
    return verdicts[key]


def _losses(limits: Limits, standing: Standing, loss_limit: Decimal | None, drawdown_limit: Decimal | None) -> Breach | None:
    now, opening = standing.results(limits.marks, limits.today)
    loss = EXACT.subtract(opening, now)
    if loss_limit is not None and loss > loss_limit:
        message = (
            f"{_rounded(loss)} {MONEY} were lost since midnight UTC (limit DAILY_LOSS {loss_limit:f}). "
            "Until the next day only sales are taken."
        )
        return Breach("RISK_DAILY_LOSS", message, loss_limit)
    if drawdown_limit is None:
        return None
    down = EXACT.subtract(opening if standing.high is None else max(opening, standing.high), now)
    if down <= 0:
        return None
    peak = EXACT.add(standing.equity(limits.marks), down)
    if EXACT.multiply(down, Decimal(100)) <= EXACT.multiply(peak, drawdown_limit):
        return None
    message = (
        f"The account is {_rounded(down)} {MONEY} below its peak of {_rounded(peak)} (limit DRAWDOWN {drawdown_limit:f} %). "
        "Only sales are taken. Ask your administrator."
    )
    return Breach("RISK_DRAWDOWN", message, drawdown_limit)


def check_balance(limits: Limits, account: AccountRisk, symbol_id: int, quote_id: int, left: Decimal) -> Breach | None:
    """Whether a buy leaves enough available of what it pays with: `left` in quote, the limit in USDT."""
    limit = limits.of(MIN_BALANCE, account, symbol_id)
    if limit is None:
        return None
    worth = EXACT.multiply(left, limits.marks.worth(quote_id))
    if worth >= limit:
        return None
    message = f"The order would leave {_rounded(worth)} {MONEY} available (limit MIN_BALANCE {limit:f}). Send a smaller order, or deposit."
    return Breach("RISK_MIN_BALANCE", message, limit)


def _rounded(value: Decimal) -> str:
    """For people: to eight decimals, half to even; what decides is never rounded."""
    return f"{value.quantize(_SHOWN, context=EXACT).normalize(EXACT):f}"
