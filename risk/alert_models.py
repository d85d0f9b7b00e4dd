"""Alerts and what hangs on them. Nobody deletes any of it, and no alert changes without a row of its history."""

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from institutions.models import Account, Institution, User
from risk.alert_states import EVIDENCE_KINDS, Severity, State


class Alert(models.Model):
    """Something that somebody must look at. One per `dedupe_key`, for ever.

    `score` from 0 to 1, where what raised it has one. `details`: what raised it says about it (JSON, decimals as strings). `number`: of
    its last row of history. `due_at`: until when it should be closed.
    """

    kind = models.CharField(max_length=40)
    severity = models.CharField(max_length=8, choices=[(name.value, name.value) for name in Severity])
    title = models.CharField(max_length=300)
    dedupe_key = models.CharField(max_length=200, unique=True)
    institution = models.ForeignKey(Institution, null=True, on_delete=models.PROTECT, related_name="+")
    symbol_id = models.IntegerField(null=True)
    score = models.DecimalField(max_digits=7, decimal_places=6, null=True)
    details = models.JSONField()
    raised_at = models.DateTimeField(db_default=Now())
    state = models.CharField(max_length=13, db_default="NEW", choices=[(name.value, name.value) for name in State])
    assignee = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    due_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)
    close_reason = models.TextField(db_default="")
    number = models.IntegerField(db_default=1)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(state__in=[name.value for name in State]), name="alert_state_known"),
            models.CheckConstraint(condition=Q(severity__in=[name.value for name in Severity]), name="alert_severity_known"),
            models.CheckConstraint(condition=Q(score__gte=0, score__lte=1), name="alert_score_is_a_share"),
            models.CheckConstraint(condition=~Q(kind="") & ~Q(title="") & ~Q(dedupe_key=""), name="alert_says_what"),
            models.CheckConstraint(
                condition=Q(state="CLOSED", closed_at__isnull=False) & ~Q(close_reason="")
                | ~Q(state="CLOSED") & Q(closed_at__isnull=True, close_reason=""),
                name="alert_closed_says_why",
            ),
            models.CheckConstraint(condition=Q(state__in=["NEW", "CLOSED"]) | Q(assignee__isnull=False), name="alert_worked_by_somebody"),
        ]
        indexes = [
            models.Index(fields=["severity", "due_at"], condition=~Q(state="CLOSED"), name="alert_open"),
            models.Index(fields=["kind", "id"], name="alert_by_kind"),
            models.Index(fields=["symbol_id", "id"], name="alert_by_symbol"),
        ]

    def __str__(self) -> str:
        return f"{self.pk}"


class AlertAccount(models.Model):
    """An account that an alert is about. Append-only."""

    pk = models.CompositePrimaryKey("account_id", "alert_id")
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="+", db_index=False)
    alert = models.ForeignKey(Alert, on_delete=models.PROTECT, related_name="accounts")


class AlertEvidence(models.Model):
    """A row that an alert rests on: `reference` is its id as text. Append-only."""

    alert = models.ForeignKey(Alert, on_delete=models.PROTECT, related_name="evidence", db_index=False)
    kind = models.CharField(max_length=12)
    reference = models.CharField(max_length=120)
    actor = models.CharField(max_length=80)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["alert", "kind", "reference"], name="evidence_once"),
            models.CheckConstraint(condition=Q(kind__in=list(EVIDENCE_KINDS)) & ~Q(reference=""), name="evidence_points_at_something"),
        ]
        indexes = [models.Index(fields=["kind", "reference"], name="evidence_by_reference")]


class AlertNote(models.Model):
    """What somebody has found out. Append-only: who was wrong writes another."""

    alert = models.ForeignKey(Alert, on_delete=models.PROTECT, related_name="notes")
    author = models.CharField(max_length=80)
    text = models.TextField()
    at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.CheckConstraint(condition=~Q(text="") & ~Q(author=""), name="alert_note_says_something")]


class AlertHistory(models.Model):
    """What became of an alert, counted from 1 without a gap. Append-only. `assignee`: who has it from then on."""

    pk = models.CompositePrimaryKey("alert_id", "number")
    alert = models.ForeignKey(Alert, on_delete=models.PROTECT, related_name="history", db_index=False)
    number = models.IntegerField()
    change = models.CharField(max_length=10)  # RAISED, TAKEN, ASSIGNED, ESCALATED, CLOSED, REOPENED, EVIDENCE
    state = models.CharField(max_length=13)
    assignee = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+", db_index=False)
    actor = models.CharField(max_length=80)
    reason = models.TextField(db_default="")
    at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(number__gt=0) & ~Q(actor=""), name="alert_history_sane"),
            models.CheckConstraint(condition=Q(number=1, change="RAISED") | Q(number__gt=1), name="alert_history_begins"),
        ]
        ordering = [F("number").asc()]
