"""Pages of what reconciliation found: what, for how long, who has it, what it was."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest

from exchange_platform.back_office import show
from exchange_platform.back_office.base import Reader
from exchange_platform.back_office.listing import ANY, Column, Facts, Filters, Listed, Table, choices, newest, whole_number
from exchange_platform.back_office.operations import Operation, ReasonForm, actor_of
from institutions.back_office import account_link, accounts_by_id, audit_table
from institutions.rights import Right
from markets.models import Asset, Symbol
from orders import breaks
from orders.break_models import Break
from orders.invariants import CHECKS

SEEN, GONE = "seen", "not seen any more"


class BreakFilters(Filters):
    state = forms.ChoiceField(required=False, choices=choices(["OPEN", "RESOLVED"]))
    check = forms.ChoiceField(required=False, choices=[ANY, *((check.name, check.name) for check in CHECKS)])
    now = forms.ChoiceField(required=False, choices=[ANY, (SEEN, SEEN), (GONE, GONE)], label="At the last run")


class Reconcile(Operation):
    name, title, right, form = "reconcile", "Reconcile now", Right.SETTLE_BREAKS, forms.Form
    question = "Everything is cross-checked on one snapshot while trading goes on. A new break in customers' funds halts what it touches."

    def run(self, request: HttpRequest, row: Any, asked: dict[str, Any]) -> str:
        report, kept = breaks.run()
        if report.is_clean:
            return "No break."
        halted = f" Halted: {', '.join(kept.halted)}." if kept.halted else ""
        return f"{report.broken} breaks, {len(kept.new)} of them new.{halted}"


class Own(Operation):
    name, title, right, form = "own", "Look into it", Right.SETTLE_BREAKS, forms.Form
    question = "Others see that you have it."

    def is_offered(self, row: Break) -> bool:
        return row.state == "OPEN"

    def run(self, request: HttpRequest, row: Break, asked: dict[str, Any]) -> str:
        assert request.user.pk is not None  # pages are for people who are logged in
        breaks.own_break(break_id=row.pk, user_id=request.user.pk, actor=actor_of(request))
        return "It is yours."


class Resolve(Operation):
    name, title, right, form = "resolve", "Resolve", Right.SETTLE_BREAKS, ReasonForm
    question = "Say what it was and what was done; that is final. What it halted stays halted until two people resume it."

    def is_offered(self, row: Break) -> bool:
        return row.state == "OPEN" and row.gone_at is not None

    def run(self, request: HttpRequest, row: Break, asked: dict[str, Any]) -> str:
        breaks.resolve(break_id=row.pk, resolution=asked["reason"], actor=actor_of(request))
        return "Resolved."


def age(row: Break) -> str:
    """How long it has been there, or was."""
    seconds = ((row.gone_at or datetime.now(UTC)) - row.first_seen_at).total_seconds()
    days, hours = int(seconds // 86_400), int(seconds % 86_400 // 3600)
    return f"{days} d {hours} h" if days else f"{hours} h {int(seconds % 3600 // 60)} min"


@admin.register(Break)
class BreakAdmin(Reader):
    plural = "Breaks"
    read_right = "read_platform"
    alias = "default"
    related = ("owner",)
    filters = BreakFilters
    empty = "Reconciliation has never found a break."
    columns = (
        Column("Break", lambda row: show.link(show.url_of("orders.break", row.pk), row.pk), numeric=True),
        Column("State", lambda row: show.badge(row.state)),
        Column("Now", lambda row: show.badge(SEEN if row.gone_at is None else GONE)),
        Column("Check", lambda row: row.check_name),
        Column("What", lambda row: row.sentence[:140]),
        Column("First seen (UTC)", lambda row: show.moment(row.first_seen_at)),
        Column("Age", age),
        Column("Halted", lambda row: ", ".join(row.halted) or show.NOTHING),
        Column("Who has it", lambda row: show.NOTHING if row.owner is None else row.owner.username),
    )
    makers = (Reconcile(),)
    operations = (Own(), Resolve())

    def find(self, request: HttpRequest, question: dict[str, Any]) -> Listed:
        rows = self.rows(request)
        if "state" in question:
            rows = rows.filter(state=question["state"])
        if "check" in question:
            rows = rows.filter(check_name=question["check"])
        if "now" in question:
            rows = rows.filter(gone_at__isnull=question["now"] == SEEN)
        if "q" in question:
            rows = rows.filter(row_key__contains=question["q"])
        return newest(rows, whole_number(question.get("before")))

    def facts(self, request: HttpRequest, row: Break) -> Sequence[Facts]:
        account = accounts_by_id([] if row.account_id is None else [row.account_id]).get(row.account_id or 0)
        asset = None if row.asset_id is None else Asset.objects.filter(pk=row.asset_id).first()
        symbol = None if row.symbol_id is None else Symbol.objects.filter(pk=row.symbol_id).first()
        what = [
            ("What", row.sentence),
            ("Check", row.check_name),
            ("Row", show.code(f"{row.table_name} {row.row_key}")),
            ("Expected", row.expected),
            ("Found", row.found),
            ("Account", account_link(account)),
            ("Asset", show.NOTHING if asset is None else show.link(show.url_of("markets.asset", asset.pk), asset.code)),
            ("Symbol", show.NOTHING if symbol is None else show.link(show.url_of("markets.symbol", symbol.pk), symbol.name)),
            ("Halted", ", ".join(row.halted) or show.NOTHING),
        ]
        life = [
            ("State", show.badge(row.state)),
            ("At the last run", show.badge(SEEN if row.gone_at is None else GONE)),
            ("First seen (UTC)", show.moment(row.first_seen_at)),
            ("Last seen (UTC)", show.moment(row.last_seen_at)),
            ("Not seen since (UTC)", show.moment(row.gone_at)),
            ("Age", age(row)),
            ("Who has it", show.NOTHING if row.owner is None else row.owner.username),
            ("Resolved (UTC)", show.moment(row.resolved_at)),
            ("Resolved by", row.resolved_by or show.NOTHING),
            ("What it was", row.resolution or show.NOTHING),
        ]
        alerts = show.link(show.list_url("risk.alert", q=row.pk), "alerts that rest on it")
        return [Facts("Break", what), Facts("What became of it", [*life, ("Alerts", alerts)])]

    def tables(self, request: HttpRequest, row: Break) -> Sequence[Table]:
        return [audit_table(request, f"break:{row.pk}")]

    def title_of(self, row: Break) -> str:
        return f"Break {row.pk}: {row.sentence[:100]}"
