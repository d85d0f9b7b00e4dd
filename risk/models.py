"""Limits and the counters behind them."""

from django.db import models
from django.db.models import Q

from exchange_platform.fields import Amount
from institutions.models import Account, Institution
from risk.watch_models import AccountLink, PortfolioSnapshot, Signal, WatchedMark, Watermark

__all__ = [
    "AccountLink",
    "AccountState",
    "Limit",
    "LimitKind",
    "PortfolioSnapshot",
    "Position",
    "Signal",
    "WatchedMark",
    "Watermark",
]


class LimitKind(models.TextChoices):
    ORDER_VALUE = "ORDER_VALUE"  # price × quantity in the quote asset
    OPEN_ORDERS = "OPEN_ORDERS"  # of an account, all symbols
    DAILY_ORDERS = "DAILY_ORDERS"  # new orders of an account per UTC day
    ORDERS_PER_SECOND = "ORDERS_PER_SECOND"  # new orders of an account per calendar second
    ORDERS_PER_MINUTE = "ORDERS_PER_MINUTE"  # per calendar minute


class Limit(models.Model):
    """An upper bound. All null: for everybody; otherwise for the institution, account or symbol named. The strictest wins."""

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

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(quantity__gt=-(10**20), quantity__lt=10**20), name="position_quantity_sane"),
            models.CheckConstraint(condition=Q(cost__gte=0, cost__lt=10**20), name="position_cost_sane"),
            models.CheckConstraint(condition=Q(realised__gt=-(10**20), realised__lt=10**20), name="position_realised_sane"),
            models.CheckConstraint(condition=~Q(quantity=0) | Q(cost=0), name="position_closed_costs_nothing"),
        ]
        indexes = [models.Index(fields=["symbol_id"], name="position_by_symbol")]


class AccountState(models.Model):
    """Counters of an account, written under its account lock by intake and settlement. Made with the account by a trigger."""

    account_id = models.BigIntegerField(primary_key=True)
    open_orders = models.IntegerField(default=0)
    day = models.DateField(null=True)
    day_orders = models.IntegerField(default=0)
    second = models.BigIntegerField(default=0)
    second_orders = models.IntegerField(default=0)
    minute_orders = models.IntegerField(default=0)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(open_orders__gte=0), name="accountstate_open_orders_not_negative")]
