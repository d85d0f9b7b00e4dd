"""Pages of alerts: the queue, and what an alert rests on. Compliance works them, operators read them, institutions see none."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Case, IntegerField, Value, When
from django.http import HttpRequest
from django.urls import NoReverseMatch

from exchange_platform.back_office import show
from exchange_platform.back_office.base import Reader
from exchange_platform.back_office.listing import ANY, PER_PAGE, Column, Facts, Filters, Listed, Table, choices, whole_number
from exchange_platform.back_office.operations import Operation, ReasonForm, actor_of
from institutions.back_office import account_link, accounts_by_id, audit_table, institution_link
from institutions.models import Role, User
from institutions.rights import Right
from risk import cases
from risk.alert_models import Alert, AlertEvidence
from risk.alert_states import EVIDENCE_KINDS, Severity, State
from risk.queries import symbol_names

OPEN = "OPEN"  # whatever is not closed
MANY = 500
RANK = {Severity.CRITICAL: 3, Severity.HIGH: 2, Severity.MEDIUM: 1, Severity.LOW: 0}

# Where evidence is shown; what has no page of its own is looked for.
PAGES = {"order": "orders.order", "trade": "orders.trade", "symbol": "markets.symbol", "break": "orders.break"}


class AlertFilters(Filters):
    state = forms.ChoiceField(required=False, choices=choices([OPEN, *State]))
    severity = forms.ChoiceField(required=False, choices=choices(list(Severity)))
    kind = forms.ChoiceField(required=False)
    assignee = forms.ChoiceField(required=False)
    overdue = forms.ChoiceField(required=False, choices=[ANY, ("yes", "overdue"), ("no", "in time")])


class AssignForm(ReasonForm):
    assignee = forms.ChoiceField()
    field_order = ("assignee", "reason")


class NoteForm(forms.Form):
    text = forms.CharField(max_length=cases.NOTE_LENGTH, widget=forms.Textarea(attrs={"rows": 4}), help_text="Nobody can change it later.")
    kind = forms.ChoiceField(required=False, choices=[("", "no evidence"), *((kind, kind) for kind in EVIDENCE_KINDS)], label="Evidence")
    reference = forms.CharField(required=False, max_length=120, label="Its id")


class AlertOperation(Operation):
    right = Right.WORK_ALERTS

    def is_offered(self, row: Alert) -> bool:
        return row.state != State.CLOSED


class Take(AlertOperation):
    name, title, form = "take", "Take", forms.Form
    question = "You have it from now on, and it is being investigated."

    def run(self, request: HttpRequest, row: Alert, asked: dict[str, Any]) -> str:
        cases.take(alert_id=row.pk, user_id=_person(request), actor=actor_of(request))
        return "It is yours."


class Assign(AlertOperation):
    name, title, form = "assign", "Assign", AssignForm

    def prepare(self, request: HttpRequest, form: forms.Form, row: Any) -> None:
        _choices(form, "assignee", [(str(user.pk), user.username) for user in workers()])

    def run(self, request: HttpRequest, row: Alert, asked: dict[str, Any]) -> str:
        cases.assign(alert_id=row.pk, user_id=int(asked["assignee"]), actor=actor_of(request), reason=asked["reason"])
        return "Assigned."


class AddNote(AlertOperation):
    name, title, form = "note", "Add a note", NoteForm

    def is_offered(self, row: Alert) -> bool:
        return True

    def run(self, request: HttpRequest, row: Alert, asked: dict[str, Any]) -> str:
        evidence = (asked["kind"], asked["reference"].strip()) if asked["kind"] or asked["reference"] else None
        cases.note(alert_id=row.pk, text=asked["text"], actor=actor_of(request), evidence=evidence)
        return "The note is kept."


class Escalate(AlertOperation):
    name, title = "escalate", "Escalate"
    question = "It needs somebody above."

    def is_offered(self, row: Alert) -> bool:
        return row.state in (State.NEW, State.INVESTIGATING)

    def run(self, request: HttpRequest, row: Alert, asked: dict[str, Any]) -> str:
        cases.escalate(alert_id=row.pk, user_id=_person(request), actor=actor_of(request), reason=asked["reason"])
        return "Escalated."


class Close(AlertOperation):
    name, title, is_dangerous = "close", "Close", True
    question = "The reason is why nothing more has to be done. It can be opened again; nothing of it is ever removed."

    def run(self, request: HttpRequest, row: Alert, asked: dict[str, Any]) -> str:
        cases.close(alert_id=row.pk, actor=actor_of(request), reason=asked["reason"])
        return "Closed."


class Reopen(AlertOperation):
    name, title = "reopen", "Open again"
    question = "You have it, and its time counts anew."

    def is_offered(self, row: Alert) -> bool:
        return row.state == State.CLOSED

    def run(self, request: HttpRequest, row: Alert, asked: dict[str, Any]) -> str:
        cases.reopen(alert_id=row.pk, user_id=_person(request), actor=actor_of(request), reason=asked["reason"])
        return "It is open again, and yours."


def workers() -> list[User]:
    """Who can have an alert."""
    roles = (Role.COMPLIANCE, Role.SUPERUSER)
    return list(User.objects.filter(role__in=roles, institution=None, is_active=True).order_by("username")[:MANY])


def due(row: Alert) -> object:
    """Until when, and whether that is over."""
    if row.state == State.CLOSED:
        return show.NOTHING
    return show.badge("overdue") if row.due_at < datetime.now(UTC) else show.moment(row.due_at)


@admin.register(Alert)
class AlertAdmin(Reader):
    plural = "Alerts"
    read_right = "read_platform"
    alias = "default"
    related = ("institution", "assignee")
    filters = AlertFilters
    empty = "No alert has been raised."
    columns = (
        Column("Alert", lambda row: show.link(show.url_of("risk.alert", row.pk), row.pk), numeric=True),
        Column("Severity", lambda row: show.badge(row.severity)),
        Column("State", lambda row: show.badge(row.state)),
        Column("What", lambda row: row.title[:140]),
        Column("Kind", lambda row: row.kind.replace("_", " ").lower()),
        Column("Symbol", lambda row: symbol_names().get(row.symbol_id, show.NOTHING)),
        Column("Score", lambda row: show.NOTHING if row.score is None else f"{row.score:.2f}", numeric=True),
        Column("Raised (UTC)", lambda row: show.moment(row.raised_at)),
        Column("Due (UTC)", due),
        Column("Who has it", lambda row: show.NOTHING if row.assignee is None else row.assignee.username),
    )
    operations = (Take(), Assign(), AddNote(), Escalate(), Close(), Reopen())

    def prepare(self, request: HttpRequest, form: Filters) -> None:
        kinds = Alert.objects.order_by("kind").values_list("kind", flat=True).distinct()
        _choices(form, "kind", choices(list(kinds[:MANY])))
        _choices(form, "assignee", [ANY, ("nobody", "nobody"), *((user.username, user.username) for user in workers())])

    def find(self, request: HttpRequest, question: dict[str, Any]) -> Listed:
        """The most severe first, then the newest. A page begins where the last one ended: `before` is "rank-id"."""
        rank = Case(*(When(severity=name, then=Value(number)) for name, number in RANK.items()), output_field=IntegerField())
        rows = self.rows(request).annotate(rank=rank)
        state = question.get("state")
        if state:
            rows = rows.exclude(state=State.CLOSED) if state == OPEN else rows.filter(state=state)
        for name in ("severity", "kind"):
            if name in question:
                rows = rows.filter(**{name: question[name]})
        if "assignee" in question:
            nobody = question["assignee"] == "nobody"
            rows = rows.filter(assignee=None) if nobody else rows.filter(assignee__username=question["assignee"])
        if "overdue" in question:
            late = {"due_at__lt": datetime.now(UTC)}
            rows = rows.exclude(state=State.CLOSED)
            rows = rows.filter(**late) if question["overdue"] == "yes" else rows.exclude(**late)
        if "q" in question:
            rows = rows.filter(accounts__account__name=question["q"]) | rows.filter(evidence__reference=question["q"])
            rows = rows.distinct()
        before = str(question.get("before") or "").split("-")
        if len(before) == 2 and (at := whole_number(before[0])) is not None and (pk := whole_number(before[1])) is not None:
            rows = rows.filter(rank__lt=at) | rows.filter(rank=at, pk__lt=pk)
        found = list(rows.order_by("-rank", "-pk")[: PER_PAGE + 1])
        last = found[PER_PAGE - 1] if len(found) > PER_PAGE else None
        return Listed(found[:PER_PAGE], None if last is None else f"{last.rank}-{last.pk}")

    def facts(self, request: HttpRequest, row: Alert) -> Sequence[Facts]:
        about = [
            ("What", row.title),
            ("Kind", row.kind),
            ("Severity", show.badge(row.severity)),
            ("Score", show.NOTHING if row.score is None else f"{row.score:f}"),
            ("Symbol", symbol_names().get(row.symbol_id, show.NOTHING)),
            ("Institution", institution_link(row.institution)),
            ("Raised (UTC)", show.moment(row.raised_at)),
            ("Details", show.data(row.details)),
        ]
        work = [
            ("State", show.badge(row.state)),
            ("Who has it", show.NOTHING if row.assignee is None else row.assignee.username),
            ("Due (UTC)", show.moment(row.due_at)),
            ("In time", show.NOTHING if row.state == State.CLOSED else show.yes(row.due_at < datetime.now(UTC), "overdue")),
            ("Closed (UTC)", show.moment(row.closed_at)),
            ("Why closed", row.close_reason or show.NOTHING),
        ]
        return [Facts("Alert", about), Facts("Work", work)]

    def tables(self, request: HttpRequest, row: Alert) -> Sequence[Table]:
        accounts = accounts_by_id(row.accounts.values_list("account_id", flat=True)[:MANY])
        notes = [[show.moment(note.at), note.author, note.text] for note in row.notes.order_by("pk")]
        history = [
            [
                step.number,
                show.moment(step.at),
                step.change.lower(),
                show.badge(step.state),
                show.NOTHING if step.assignee is None else step.assignee.username,
                step.actor,
                step.reason or show.NOTHING,
            ]
            for step in row.history.select_related("assignee").order_by("number")
        ]
        return [
            Table(
                "Evidence",
                ["What", "Which", "Added by", "When (UTC)"],
                [[e.kind, evidence_link(e), e.actor, show.moment(e.at)] for e in row.evidence.order_by("pk")[:MANY]],
                "Nothing is linked.",
            ),
            Table(
                "Accounts",
                ["Account", "Institution"],
                [[account_link(account), institution_link(account.institution)] for account in accounts.values()],
                "No account is named.",
            ),
            Table("Notes", ["Time (UTC)", "Who", "Note"], notes, "Nobody has written anything."),
            Table("History", ["", "Time (UTC)", "What", "State", "Who has it", "By", "Why"], history, "", numeric=frozenset({0})),
            audit_table(request, f"alert:{row.pk}"),
        ]

    def title_of(self, row: Alert) -> str:
        return f"Alert {row.pk}: {row.title[:100]}"


def evidence_link(evidence: AlertEvidence) -> object:
    """To its page; to the box that finds anything, when it has none."""
    text = show.code(evidence.reference)
    if evidence.kind in PAGES:
        try:
            return show.link(show.url_of(PAGES[evidence.kind], evidence.reference), text)
        except NoReverseMatch:  # a room above that is not installed
            return text
    return show.link(show.page_url("find", q=evidence.reference), text)


def _choices(form: forms.Form, name: str, offered: list[tuple[str, str]]) -> None:
    field = form.fields[name]
    assert isinstance(field, forms.ChoiceField)
    field.choices = offered


def _person(request: HttpRequest) -> int:
    assert request.user.pk is not None  # pages are for people who are logged in
    return request.user.pk
