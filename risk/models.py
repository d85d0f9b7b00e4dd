"""Limits and the counters behind them."""

from django.db import models
from django.db.models import Q

from exchange_platform.db import Amount
from institutions.models import Account, Institution


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
