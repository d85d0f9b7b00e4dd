"""Limits and the counters behind them."""

from django.db import models
from django.db.models import Q

from exchange_platform.fields import Amount
from institutions.models import Account, Institution
from risk.alert_models import Alert, AlertAccount, AlertEvidence, AlertHistory, AlertNote
from risk.watch_models import AccountLink, PortfolioSnapshot, Signal, WatchedMark, Watermark

__all__ = [
    "AccountLink",
    "AccountState",
    "Alert",
    "AlertAccount",
    "AlertEvidence",
    "AlertHistory",
    "AlertNote",
    "DayResult",
    "Exposure",
    "Limit",
    "LimitKind",
    "PortfolioSnapshot",
    "Position",
    "Signal",
    "SymbolRule",
    "SymbolRuleKind",
    "WatchedMark",
    "Watermark",
]


class LimitKind(models.TextChoices):
    ORDER_VALUE = "ORDER_VALUE"  # price × quantity in the quote asset
    OPEN_ORDERS = "OPEN_ORDERS"  # of an account, all symbols
    DAILY_ORDERS = "DAILY_ORDERS"  # new orders of an account per UTC day
    ORDERS_PER_SECOND = "ORDERS_PER_SECOND"  # new orders of an account per calendar second
    ORDERS_PER_MINUTE = "ORDERS_PER_MINUTE"  # per calendar minute
    MAX_POSITION = "MAX_POSITION"  # position and open buys on one symbol, in BTC
    DAILY_NOTIONAL = "DAILY_NOTIONAL"  # traded this UTC day and still open, all symbols, in USDT
    DAILY_LOSS = "DAILY_LOSS"  # of trading since UTC midnight, in USDT
    DRAWDOWN = "DRAWDOWN"  # of equity from its peak, in percent
    MIN_BALANCE = "MIN_BALANCE"  # a lower bound: what a buy leaves available, in USDT
    MAX_SCORE = "MAX_SCORE"  # the account's risk score, 0 to 1


class Limit(models.Model):
    """An upper bound (MIN_BALANCE: a lower one). All null: for everybody; otherwise for the orders of the institution or account, or on the
    symbol named. The strictest wins."""

    kind = models.CharField(max_length=20, choices=LimitKind.choices)
    institution = models.ForeignKey(Institution, null=True, blank=True, on_delete=models.PROTECT)
    account = models.ForeignKey(Account, null=True, blank=True, on_delete=models.PROTECT)
    symbol_id = models.IntegerField(null=True, blank=True)
    value = Amount()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(kind__in=LimitKind.values), name="limit_kind_known"),
            models.CheckConstraint(condition=Q(value__gte=0, value__lt=10**18), name="limit_value_sane"),
            models.UniqueConstraint(
                fields=["kind", "institution", "account", "symbol_id"], name="limit_once_per_scope", nulls_distinct=False
            ),
        ]


class Position(models.Model):
    """What an account has bought and sold of a symbol, net, in base; `cost` of what is open and `realised` profit in quote, without fees.
    Written by settlement under the account's lock; `risk.positions` tells how it is reckoned."""

    pk = models.CompositePrimaryKey("account_id", "symbol_id")
    account_id = models.BigIntegerField()
    symbol_id = models.IntegerField()
    quantity = Amount()
    cost = Amount()
    realised = Amount()
    day = models.DateField(null=True)  # UTC, of its last trade; what it was before that day's first:
    opening_quantity = Amount(db_default=0)
    opening_cost = Amount(db_default=0)
    opening_realised = Amount(db_default=0)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(quantity__gt=-(10**20), quantity__lt=10**20), name="position_quantity_sane"),
            models.CheckConstraint(condition=Q(cost__gte=0, cost__lt=10**20), name="position_cost_sane"),
            models.CheckConstraint(condition=Q(realised__gt=-(10**20), realised__lt=10**20), name="position_realised_sane"),
            models.CheckConstraint(
                condition=Q(opening_quantity__gt=-(10**20), opening_quantity__lt=10**20), name="position_opening_quantity_sane"
            ),
            models.CheckConstraint(condition=Q(opening_cost__gte=0, opening_cost__lt=10**20), name="position_opening_cost_sane"),
            models.CheckConstraint(
                condition=Q(opening_realised__gt=-(10**20), opening_realised__lt=10**20), name="position_opening_realised_sane"
            ),
            models.CheckConstraint(condition=~Q(quantity=0) | Q(cost=0), name="position_closed_costs_nothing"),
        ]
        indexes = [models.Index(fields=["symbol_id"], name="position_by_symbol")]


class Exposure(models.Model):
    """What an account's orders on a symbol may still come to, and what they came to this day. Written by intake and settlement under the
    account's lock, never removed; reconciliation checks it against orders, amends and trades.

    `buying`: what open BUY orders by quantity have left, in base; `spending`: what those by amount may spend, in quote. `open_value`: what
    all open orders of both sides have left at their own prices (a market order's: its protection price), in quote. Pending amends count
    with what they may add. `traded`: price × quantity of this account's trades on the UTC day `day`.
    """

    pk = models.CompositePrimaryKey("account_id", "symbol_id")
    account_id = models.BigIntegerField()
    symbol_id = models.IntegerField()
    buying = Amount(db_default=0)
    spending = Amount(db_default=0)
    open_value = Amount(db_default=0)
    day = models.DateField(null=True)
    traded = Amount(db_default=0)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(**{f"{name}__gte": 0, f"{name}__lt": 10**20}), name=f"exposure_{name}_sane")
            for name in ("buying", "spending", "open_value", "traded")
        ]


class DayResult(models.Model):
    """What an account had won or lost by trading, all in all, as seen on a UTC day; in USDT (`risk.marks` tells how it is reckoned).

    `opening`: when first seen that day; `latest`, `peak`: last and highest. `high`: the highest peak of the 30 days up to this one, from
    which a drawdown is measured. `equity`: worth of its balances when last seen. Looked at every minute by a task; never removed.
    """

    pk = models.CompositePrimaryKey("account_id", "day")
    account_id = models.BigIntegerField()
    day = models.DateField()
    opening = Amount()
    latest = Amount()
    peak = Amount()
    high = Amount()
    equity = Amount()
    seen_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(peak__gte=models.F("opening")) & Q(peak__gte=models.F("latest")) & Q(high__gte=models.F("peak")),
                name="dayresult_peak_is_highest",
            ),
            models.CheckConstraint(
                condition=Q(
                    **{
                        f"{name}__{side}": bound
                        for name in ("opening", "latest", "peak", "high")
                        for side, bound in (("gt", -(10**20)), ("lt", 10**20))
                    }
                ),
                name="dayresult_sane",
            ),
            models.CheckConstraint(condition=Q(equity__gte=0, equity__lt=10**20), name="dayresult_equity_sane"),
        ]
        indexes = [models.Index(fields=["day"], name="dayresult_by_day")]


class SymbolRuleKind(models.TextChoices):
    ALLOWED = "ALLOWED"  # whoever has symbols that are allowed may trade no others
    BLOCKED = "BLOCKED"


class SymbolRule(models.Model):
    """A symbol that everybody (nobody named), an institution or an account may trade, or may not. An order must pass all that apply."""

    rule = models.CharField(max_length=7, choices=SymbolRuleKind.choices)
    institution = models.ForeignKey(Institution, null=True, blank=True, on_delete=models.PROTECT)
    account = models.ForeignKey(Account, null=True, blank=True, on_delete=models.PROTECT)
    symbol_id = models.IntegerField()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(rule__in=SymbolRuleKind.values), name="symbolrule_known"),
            models.CheckConstraint(condition=Q(institution=None) | Q(account=None), name="symbolrule_names_one"),
            models.UniqueConstraint(fields=["institution", "account", "symbol_id"], name="symbolrule_once_per_scope", nulls_distinct=False),
        ]


class AccountState(models.Model):
    """Counters of an account, written under its account lock by intake and settlement. Made with the account by a trigger."""

    account_id = models.BigIntegerField(primary_key=True)
    open_orders = models.IntegerField(default=0)
    day = models.DateField(null=True)
    day_orders = models.IntegerField(default=0)
    second = models.BigIntegerField(default=0)
    second_orders = models.IntegerField(default=0)
    minute_orders = models.IntegerField(default=0)
    score = models.DecimalField(max_digits=4, decimal_places=3, db_default=0)  # 0 harmless, 1 the worst; written by `risk.scores`

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(open_orders__gte=0), name="accountstate_open_orders_not_negative"),
            models.CheckConstraint(condition=Q(score__gte=0, score__lte=1), name="accountstate_score_sane"),
        ]
