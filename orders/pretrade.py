"""The limits of `risk.checks`, put to an order or an amend: the strictest that applies refuses it, by its code. No database, no clock."""

from decimal import Decimal
from typing import NamedTuple

from exchange_platform.db import EXACT
from orders.batch_views import AccountView, SymbolRules, amount_of
from orders.refusals import Refusal
from risk import checks
from risk.checks import Breach, Buy, Limits


class Growth(NamedTuple):
    """What an order, or an amend of one, adds: lots that a BUY may buy, ticks × lots, units of quote that a buy by amount may spend, units
    of the asset it pays with. `price_ticks`: its own price, for a symbol that has none."""

    side: str
    lots: int
    steps: int
    price_ticks: int
    hold: int
    spending: int = 0


def check_order(value: Decimal, account: AccountView, rules: SymbolRules, limits: Limits) -> None:
    """What is asked of a new order whatever it would add to: symbol, score, rates, value (quote), open orders. Raises: Refusal."""
    risk, symbol_id = account.risk, rules.market.id
    _check_standing(account, rules, limits)
    _raise(checks.check_rate(limits, risk, symbol_id))
    check_value(value, account, rules, limits)
    _raise(checks.check_open_orders(limits, risk, symbol_id, rules.max_open_orders, account.open_by_symbol.get(symbol_id, 0)))


def check_value(value: Decimal, account: AccountView, rules: SymbolRules, limits: Limits) -> None:
    """Raises: Refusal."""
    _raise(checks.check_order_value(limits, account.risk, rules.market.id, value))


def check_amend(growth: Growth, account: AccountView, rules: SymbolRules, limits: Limits) -> None:
    """What is asked of an amend that moves its order or lets it grow. Raises: Refusal."""
    _check_standing(account, rules, limits)
    check_growth(growth, account, rules, limits)


def check_growth(growth: Growth, account: AccountView, rules: SymbolRules, limits: Limits) -> None:
    """What is asked of what it adds: notional of both sides; position, losses and what is left to pay with of buys alone, since a sale can
    only make the position smaller. Raises: Refusal."""
    market, risk = rules.market, account.risk
    value = amount_of(growth.steps * market.quote_per_step + growth.spending, market.quote_scale)
    if value:
        _raise(checks.check_notional(limits, risk, market.id, market.quote_id, value))
    if growth.side == "SELL" or not (growth.lots or growth.steps or growth.spending):
        return
    price = rules.last_price if rules.last_price is not None else rules.reference_price
    buy = Buy(
        symbol_id=market.id,
        base=market.base,
        quote=market.quote,
        quote_id=market.quote_id,
        quantity=EXACT.multiply(market.lot, Decimal(growth.lots)),
        amount=amount_of(growth.spending, market.quote_scale),
        price=EXACT.multiply(market.tick, Decimal(growth.price_ticks)) if price is None else price,
    )
    if growth.lots or growth.spending:
        _raise(checks.check_position(limits, risk, buy))
    _raise(checks.check_losses(limits, risk, market.id))
    left = account.free.get(market.quote_id, 0) - growth.hold
    if left >= 0:  # what is not there at all is refused by `reserve`
        _raise(checks.check_balance(limits, risk, market.id, market.quote_id, amount_of(left, market.quote_scale)))


def _check_standing(account: AccountView, rules: SymbolRules, limits: Limits) -> None:
    _raise(checks.check_symbol(limits, account.risk, rules.market.id, rules.market.name))
    _raise(checks.check_score(limits, account.risk, rules.market.id))


def _raise(breach: Breach | None) -> None:
    if breach is not None:
        raise Refusal(breach.message, code=breach.code, details=None if breach.limit is None else {"limit": f"{breach.limit:f}"})
