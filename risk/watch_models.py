"""What surveillance keeps: how far it has come, what feeds the scores, who belongs together, what is looked out for, portfolios."""

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from exchange_platform.fields import Amount
from institutions.models import Account


class Watermark(models.Model):
    """Up to which row something has been judged: `trades:12` by trade, `orders` by order, `movements` by transfer. Never goes back."""

    name = models.CharField(max_length=60, primary_key=True)
    position = models.UUIDField()
    updated_at = models.DateTimeField(db_default=Now())


class Signal(models.Model):
    """A suspicion about an account, as its score counts it: once per key of the alert. Append-only."""

    pk = models.CompositePrimaryKey("account_id", "dedupe_key")
    account_id = models.BigIntegerField()
    dedupe_key = models.CharField(max_length=200)
    kind = models.CharField(max_length=40)
    severity = models.CharField(max_length=8)
    score = models.DecimalField(max_digits=3, decimal_places=2)
    at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(score__gte=0, score__lte=1), name="signal_score_is_a_share"),
            models.CheckConstraint(condition=Q(severity__in=["LOW", "MEDIUM", "HIGH", "CRITICAL"]), name="signal_severity_known"),
        ]
        indexes = [models.Index(fields=["at"], name="signal_by_time")]


class AccountLink(models.Model):
    """Two accounts that compliance holds to be one beneficial owner's, beyond what the accounts say themselves. Ended, never removed."""

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="+")
    other = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="+")
    reason = models.TextField()
    actor = models.CharField(max_length=80)
    created_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(account__lt=F("other")), name="accountlink_in_order"),
            models.CheckConstraint(condition=~Q(reason=""), name="accountlink_says_why"),
            models.UniqueConstraint(fields=["account", "other"], condition=Q(ended_at__isnull=True), name="accountlink_once"),
        ]


class WatchedMark(models.Model):
    """An address or reference, in lower case, that money must not come from or go to unseen. Ended, never removed."""

    mark = models.CharField(max_length=200)
    reason = models.TextField()
    actor = models.CharField(max_length=80)
    created_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=~Q(mark="") & ~Q(reason=""), name="watchedmark_says_what"),
            models.UniqueConstraint(fields=["mark"], condition=Q(ended_at__isnull=True), name="watchedmark_once"),
        ]


class PortfolioSnapshot(models.Model):
    """A portfolio as a run saw it; money in USDT, shares 0 to 1. Append-only; one per account and run. `inflow`: all that ever came in
    net; `peak_gain`: the most that equity was ever above it. Value at risk: 99 %, one day; 0 periods: prices are not known long
    enough."""

    pk = models.CompositePrimaryKey("account_id", "at")
    account_id = models.BigIntegerField()
    at = models.DateTimeField()
    equity = Amount()
    inflow = Amount()
    peak_gain = Amount()
    var_historical = Amount()
    var_parametric = Amount()
    var_periods = models.IntegerField()
    concentration = models.DecimalField(max_digits=7, decimal_places=6)
    concentrated_in = models.CharField(max_length=20)
    drawdown = models.DecimalField(max_digits=7, decimal_places=6)
    daily_loss = Amount()

    class Meta:
        constraints = [
            # NaN compares greater than every number, so an upper bound refuses it too.
            models.CheckConstraint(condition=Q(equity__gt=-(10**20), equity__lt=10**20), name="snapshot_equity_sane"),
            models.CheckConstraint(condition=Q(inflow__gt=-(10**20), inflow__lt=10**20), name="snapshot_inflow_sane"),
            models.CheckConstraint(condition=Q(peak_gain__gt=-(10**20), peak_gain__lt=10**20), name="snapshot_peak_sane"),
            models.CheckConstraint(condition=Q(var_historical__gte=0, var_historical__lt=10**20), name="snapshot_var_historical_sane"),
            models.CheckConstraint(condition=Q(var_parametric__gte=0, var_parametric__lt=10**20), name="snapshot_var_parametric_sane"),
            models.CheckConstraint(condition=Q(daily_loss__gte=0, daily_loss__lt=10**20), name="snapshot_daily_loss_sane"),
            models.CheckConstraint(condition=Q(concentration__gte=0, concentration__lte=1), name="snapshot_concentration_is_a_share"),
            models.CheckConstraint(condition=Q(drawdown__gte=0, drawdown__lte=1), name="snapshot_drawdown_is_a_share"),
        ]
        indexes = [models.Index(fields=["at"], name="snapshot_by_time")]
