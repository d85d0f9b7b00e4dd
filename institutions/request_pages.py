"""Pages of what takes two people: what was asked, what it would change, and the decision."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest

from exchange_platform.approvals import CHANGES
from exchange_platform.back_office import show
from exchange_platform.back_office.base import Reader
from exchange_platform.back_office.listing import Column, Facts, Filters, Listed, Table, choices, newest, whole_number
from exchange_platform.back_office.operations import Operation, ReasonForm, actor_of
from exchange_platform.errors import ExchangeError
from institutions import requests
from institutions.back_office import audit_table, institution_link
from institutions.models import ChangeRequest
from institutions.rights import Right


class RequestFilters(Filters):
    state = forms.ChoiceField(required=False, choices=choices(ChangeRequest.State.values))
    kind = forms.ChoiceField(required=False, choices=choices(sorted(CHANGES)))


class DecisionForm(ReasonForm):
    """Carries what the person was shown, so that nothing else can be approved."""

    shown = forms.CharField(widget=forms.HiddenInput)


def difference(row: ChangeRequest) -> Table:
    before, after = row.effect["before"], row.effect["after"]
    rows = [[name, _told(before.get(name)), _told(after.get(name))] for name in sorted({*before, *after})]
    return Table("What it changes", ["What", "Now", "Afterwards"], rows, "The summary says it all.")


def _told(value: Any) -> object:
    return show.NOTHING if value is None else value if isinstance(value, str) else show.data(value)


class Decision(Operation):
    right = Right.CHECK_CHANGES
    form = DecisionForm

    def is_offered(self, row: ChangeRequest) -> bool:
        return row.state == ChangeRequest.State.PENDING

    def initial(self, request: HttpRequest, row: ChangeRequest) -> dict[str, Any]:
        return {"shown": bytes(row.payload_hash).hex()}

    def effect(self, request: HttpRequest, row: ChangeRequest) -> Sequence[Facts | Table]:
        asked = [("Asked by", row.maker), ("Why", row.reason), ("In short", row.effect["summary"])]
        return [Facts("The request", asked), difference(row), *_facts_now(row)]


class Approve(Decision):
    name, title = "approve", "Approve"
    question = "It is done at once, as it stands here. Whoever asked cannot approve."

    def run(self, request: HttpRequest, row: ChangeRequest, asked: dict[str, Any]) -> str:
        requests.approve(
            change_id=row.pk, payload_hash=asked["shown"], checker_id=_person(request), actor=actor_of(request), reason=asked["reason"]
        )
        return f"Approved and done: {row.effect['summary']}"


class Reject(Decision):
    name, title, is_dangerous = "reject", "Reject", True
    question = "Nothing changes. Whoever asked can ask anew."

    def run(self, request: HttpRequest, row: ChangeRequest, asked: dict[str, Any]) -> str:
        requests.reject(change_id=row.pk, checker_id=_person(request), actor=actor_of(request), reason=asked["reason"])
        return "Rejected. Nothing was changed."


class Withdraw(Operation):
    name, title, right = "withdraw", "Take back", Right.BACK_OFFICE
    question = "By whoever asked. Nothing changes."

    def is_offered(self, row: ChangeRequest) -> bool:
        return row.state == ChangeRequest.State.PENDING and row.maker_user_id is not None

    def run(self, request: HttpRequest, row: ChangeRequest, asked: dict[str, Any]) -> str:
        requests.withdraw(change_id=row.pk, maker_id=request.user.pk, actor=actor_of(request), reason=asked["reason"])
        return "Taken back. Nothing was changed."


def _person(request: HttpRequest) -> int:
    assert request.user.pk is not None  # pages are for people who are logged in
    return request.user.pk


def _facts_now(row: ChangeRequest) -> list[Facts]:
    """What the kind says at this moment; what has made it impossible since, if something has."""
    if row.state != ChangeRequest.State.PENDING:
        return []
    try:
        now = requests.change_of(row.kind).effect(json.loads(row.payload))
    except ExchangeError as problem:
        return [Facts("Now", [("It cannot be done any more", str(problem))])]
    if now.before != row.effect["before"]:
        return [Facts("Now", [("It is stale", "What it would change has changed since. Reject it; whoever asked can ask anew.")])]
    return [Facts("Now", [(name.capitalize(), _told(value)) for name, value in now.facts.items()])] if now.facts else []


@admin.register(ChangeRequest)
class RequestAdmin(Reader):
    plural = "Requests"
    empty = "Nobody has asked for anything that takes a second person."
    filters = RequestFilters
    related = ("institution",)
    columns = (
        Column("Number", lambda row: show.link(show.url_of("institutions.changerequest", row.pk), row.pk), numeric=True),
        Column("Asked (UTC)", lambda row: show.moment(row.created_at)),
        Column("State", lambda row: show.badge(row.state.lower())),
        Column("What", lambda row: row.effect["summary"][:120]),
        Column("Asked by", lambda row: row.maker),
        Column("Decided by", lambda row: row.checker or show.NOTHING),
        Column("Time until (UTC)", lambda row: show.moment(row.expires_at) if row.state == "PENDING" else show.NOTHING),
    )
    operations = (Approve(), Reject(), Withdraw())

    def find(self, request: HttpRequest, question: dict[str, Any]) -> Listed:
        rows = self.rows(request)
        for name in ("state", "kind"):
            if name in question:
                rows = rows.filter(**{name: question[name]})
        if "q" in question:
            rows = rows.filter(subject=question["q"]) | rows.filter(maker=question["q"])
        return newest(rows, whole_number(question.get("before")))

    def facts(self, request: HttpRequest, row: ChangeRequest) -> Sequence[Facts]:
        asked = [
            ("What", row.effect["summary"]),
            ("Of", show.link(show.page_url("find", q=row.subject.partition(":")[2] or row.subject), row.subject)),
            ("Kind", requests.change_of(row.kind).title),
            ("Institution", institution_link(row.institution)),
            ("Asked by", row.maker),
            ("Why", row.reason),
            ("Asked (UTC)", show.moment(row.created_at)),
            ("Time until (UTC)", show.moment(row.expires_at)),
        ]
        is_late = row.state == "PENDING" and row.expires_at <= datetime.now(UTC)
        decided = [
            ("State", show.badge("expired" if is_late else row.state.lower())),
            ("Decided by", row.checker or show.NOTHING),
            ("Why", row.check_reason or show.NOTHING),
            ("Decided (UTC)", show.moment(row.checked_at)),
        ]
        result = [("Came of it", show.data(row.result))] if row.result else []
        return [Facts("The request", asked), Facts("The decision", [*decided, *result]), *_facts_now(row)]

    def tables(self, request: HttpRequest, row: ChangeRequest) -> Sequence[Table]:
        return [difference(row), audit_table(request, f"request:{row.pk}")]

    def title_of(self, row: ChangeRequest) -> str:
        return f"Request {row.pk}: {requests.change_of(row.kind).title}"
