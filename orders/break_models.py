"""What reconciliation found, kept until somebody has said what became of it."""

from django.db import models
from django.db.models import F, Q

from institutions.models import User


class Break(models.Model):
    """A row that did not agree: `row_key` finds it in `table_name`. Written by `orders.breaks`, never removed.

    `gone_at`: when a run no longer found it; then it stays OPEN until somebody says what it was. If it comes back it is another row.
    `asset_id`, `symbol_id`, `account_id`: what it concerns, as far as that is known. `halted`: names of the symbols that it stopped.
    """

    check_name = models.CharField(max_length=40)
    table_name = models.CharField(max_length=63)
    row_key = models.CharField(max_length=400)
    expected = models.TextField()
    found = models.TextField()
    sentence = models.TextField()
    touches_funds = models.BooleanField()
    asset_id = models.IntegerField(null=True)
    symbol_id = models.IntegerField(null=True)
    account_id = models.BigIntegerField(null=True)
    halted = models.JSONField(default=list)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    gone_at = models.DateTimeField(null=True)
    owner = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    state = models.CharField(max_length=8, db_default="OPEN", choices=[("OPEN", "OPEN"), ("RESOLVED", "RESOLVED")])
    resolution = models.TextField(db_default="")
    resolved_by = models.CharField(max_length=80, db_default="")
    resolved_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["check_name", "table_name", "row_key"], condition=Q(gone_at__isnull=True), name="break_once_while_seen"
            ),
            models.CheckConstraint(
                condition=Q(state="OPEN", resolution="", resolved_by="", resolved_at__isnull=True)
                | Q(state="RESOLVED", resolved_at__isnull=False) & ~Q(resolution="") & ~Q(resolved_by=""),
                name="break_resolved_says_how",
            ),
            models.CheckConstraint(condition=Q(state="OPEN") | Q(gone_at__isnull=False), name="break_resolved_is_gone"),
            models.CheckConstraint(condition=Q(last_seen_at__gte=F("first_seen_at")), name="break_seen_in_order"),
        ]
        indexes = [models.Index(fields=["id"], condition=Q(state="OPEN"), name="break_open")]

    def __str__(self) -> str:
        return f"{self.pk}"
