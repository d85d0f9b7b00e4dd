"""Maker and checker: what takes two people is asked for by one and decided by another, and what was approved is what is applied.

A request holds the exact payload; the database keeps its hash, refuses every edit, an approval by the maker, one after the
request's time and one of a payload that the checker did not see (migration 0005). Approving and applying are one transaction: where the
change cannot be made, nothing is approved.

Kinds are named in `exchange_platform.approvals`; guards in other rooms' triggers ask `institutions_approved_now`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, ClassVar, Final

from django.db import IntegrityError, transaction
from django.utils.module_loading import import_string

from exchange_platform.approvals import CHANGES
from exchange_platform.db import own, require_transaction
from exchange_platform.errors import ExchangeError
from institutions import audit
from institutions.models import ChangeRequest, User
from institutions.rights import Right, may

VALID_FOR: Final = timedelta(hours=24)
SYSTEM: Final = "system:requests"
State = ChangeRequest.State


class InvalidRequest(ExchangeError):
    code = "INVALID_FIELD"


class NoSuchRequest(ExchangeError):
    code = "NOT_FOUND"


class NotPending(ExchangeError):
    """It was decided, withdrawn or has expired, or the same was asked already."""

    code = "REQUEST_NOT_PENDING"


class AnotherPerson(ExchangeError):
    """The maker cannot check; only the maker can withdraw; a checker is staff."""

    code = "FORBIDDEN"


class StaleRequest(ExchangeError):
    """What it would change is not any more what the maker, or the checker, saw."""

    code = "STALE_REQUEST"


@dataclass(frozen=True, slots=True)
class Effect:
    """What a request would do, for the checker. JSON values, decimals as strings.

    `before` and `after`: the difference. `before` is pinned: reads it otherwise at the approval, the request is stale. `facts`: what
    else the checker should know now, not pinned.
    """

    subject: str
    summary: str
    before: dict[str, Any]
    after: dict[str, Any]
    facts: dict[str, Any] = field(default_factory=dict)
    institution_id: int | None = None


class Change:
    """A kind of request. Stateless; `payload` is what was asked, as JSON values."""

    kind: ClassVar[str]
    title: ClassVar[str]
    make: ClassVar[Right]

    def effect(self, payload: Mapping[str, Any]) -> Effect:
        """Reads only. Raises: ExchangeError when it cannot be done."""
        raise NotImplementedError

    def apply(self, payload: Mapping[str, Any], *, request_id: int, actor: str, reason: str) -> dict[str, Any]:
        """Do it. Joins the approval's transaction; returns what to keep as its result. Raises: ExchangeError."""
        raise NotImplementedError

    def declined(self, payload: Mapping[str, Any], *, request_id: int, actor: str, reason: str) -> None:
        """It was rejected, withdrawn or has expired. Joins that transaction."""


@cache
def change_of(kind: str) -> Change:
    """Raises: InvalidRequest."""
    if kind not in CHANGES:
        raise InvalidRequest(f"There are no requests of the kind {kind}; there are {', '.join(sorted(CHANGES))}.", field="kind")
    made: Change = import_string(CHANGES[kind])()
    return made


def ask(*, kind: str, payload: Mapping[str, Any], actor: str, maker_id: int | None, reason: str, request_id: str = "") -> int:
    """A new request, valid for a day; returns its id. `maker_id`: the person, null for a client's key. Joins the caller's transaction.

    Raises: InvalidRequest, NotPending (the same is asked already), whatever the kind's `effect` raises.
    """
    require_transaction()
    change = change_of(kind)
    if not reason.strip():
        raise InvalidRequest("Say why: the checker and the audit trail are told.", field="reason")
    effect = change.effect(payload)
    told = {"summary": effect.summary, "before": effect.before, "after": effect.after, "facts": effect.facts}
    now = datetime.now(UTC)
    row = ChangeRequest(
        kind=kind,
        subject=effect.subject,
        institution_id=effect.institution_id,
        payload=json.dumps(payload, sort_keys=True),
        payload_hash=b"",  # the database reckons it
        effect=told,
        maker=actor[:80],
        maker_user_id=maker_id,
        reason=reason,
        request_id=request_id[:40],
        created_at=now,
        expires_at=now + VALID_FOR,
    )
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError as problem:
        if "request_pending_once" not in str(problem):
            raise
        raise NotPending("The same is asked already and waits for somebody to decide.") from None
    after = {"kind": kind, "of": effect.subject, "before": effect.before, "after": effect.after}
    audit.record(actor=actor, action="request.ask", subject=f"request:{row.pk}", reason=reason, after=after, request_id=request_id)
    return row.pk


def submit(*, kind: str, payload: Mapping[str, Any], actor: str, maker_id: int | None, reason: str, request_id: str = "") -> int:
    """As `ask`, in a transaction of its own."""
    with own():
        return ask(kind=kind, payload=payload, actor=actor, maker_id=maker_id, reason=reason, request_id=request_id)


def approve(*, change_id: int, payload_hash: str, checker_id: int, actor: str, reason: str) -> dict[str, Any]:
    """Apply what was asked. `payload_hash`: in hex, of what the checker saw. Returns the kind's result.

    Owns its transaction; locks the request's row, then what the kind locks.
    Raises: NoSuchRequest, NotPending, AnotherPerson, StaleRequest, InvalidRequest (no reason), whatever the kind's `apply` raises: then
    nothing is approved.
    """
    with own():
        row = _to_decide(change_id, reason)
        _check_checker(row, checker_id)
        if bytes(row.payload_hash).hex() != payload_hash:
            raise StaleRequest("This is not the request that you were shown. Look at it again.")
        if row.expires_at <= datetime.now(UTC):
            raise NotPending("The request's time is over. Ask anew, if it is still wanted.")
        change, payload = change_of(row.kind), json.loads(row.payload)
        effect = change.effect(payload)
        if effect.before != row.effect["before"]:
            raise StaleRequest("What the request would change has changed since it was asked. Reject it and ask anew.")
        row.approved_hash = row.payload_hash
        _decide(row, State.APPROVED, checker_id, actor, reason)
        result = change.apply(payload, request_id=row.pk, actor=actor, reason=f"{row.reason} (request {row.pk} by {row.maker}: {reason})")
        row.result = result
        row.save(update_fields=["result"])
        audit.record(
            actor=actor, action="request.approve", subject=f"request:{row.pk}", reason=reason, before=effect.before,
            after={"kind": row.kind, "of": row.subject, **effect.after},
        )  # fmt: skip
    return result


def reject(*, change_id: int, checker_id: int, actor: str, reason: str) -> None:
    """Owns its transaction; locks the request's row. Raises: NoSuchRequest, NotPending, AnotherPerson, InvalidRequest (no reason)."""
    with own():
        row = _to_decide(change_id, reason)
        _check_checker(row, checker_id)
        _decline(row, State.REJECTED, checker_id, actor, reason)


def withdraw(*, change_id: int, maker_id: int | None, actor: str, reason: str) -> None:
    """By whoever asked. Owns its transaction; locks the request's row. Raises: as `reject`."""
    with own():
        row = _to_decide(change_id, reason)
        if (row.maker_user_id, row.maker) != (maker_id, actor[:80]):
            raise AnotherPerson("Only whoever asked can take a request back. Reject it instead.")
        _decline(row, State.WITHDRAWN, maker_id, actor, reason)


def expire_due() -> int:
    """End what nobody decided in time, each in a transaction of its own; returns how many. May run any number of times."""
    due = ChangeRequest.objects.filter(state=State.PENDING, expires_at__lte=datetime.now(UTC)).order_by("expires_at")
    ended = 0
    for pk in list(due.values_list("pk", flat=True)[:1000]):
        with own():
            row = ChangeRequest.objects.select_for_update(skip_locked=True, of=("self",)).filter(pk=pk, state=State.PENDING).first()
            if row is not None:
                _decline(row, State.EXPIRED, None, SYSTEM, "nobody decided in time")
                ended += 1
    return ended


def may_check(user: User, row: ChangeRequest) -> bool:
    """Whether this person can decide about it."""
    return may(user, Right.CHECK_CHANGES) and row.maker_user_id != user.pk


def _to_decide(change_id: int, reason: str) -> ChangeRequest:
    if not reason.strip():
        raise InvalidRequest("Say why: the reason is kept in the audit trail.", field="reason")
    row = ChangeRequest.objects.select_for_update(of=("self",)).filter(pk=change_id).first()
    if row is None:
        raise NoSuchRequest("There is no such request.")
    if row.state != State.PENDING:
        raise NotPending(f"The request is {row.state} already.")
    return row


def _check_checker(row: ChangeRequest, checker_id: int) -> None:
    checker = User.objects.filter(pk=checker_id).first()
    if checker is None or not may(checker, Right.CHECK_CHANGES):
        raise AnotherPerson("Requests are decided by staff of the platform.")
    if row.maker_user_id == checker_id:
        raise AnotherPerson("Whoever asked cannot decide: it takes another person.")


def _decline(row: ChangeRequest, state: str, checker_id: int | None, actor: str, reason: str) -> None:
    _decide(row, state, checker_id, actor, reason)
    change_of(row.kind).declined(json.loads(row.payload), request_id=row.pk, actor=actor, reason=reason)
    words = {State.REJECTED: "reject", State.WITHDRAWN: "withdraw", State.EXPIRED: "expire"}
    audit.record(
        actor=actor, action=f"request.{words[State(state)]}", subject=f"request:{row.pk}", reason=reason,
        after={"kind": row.kind, "of": row.subject},
    )  # fmt: skip


def _decide(row: ChangeRequest, state: str, checker_id: int | None, actor: str, reason: str) -> None:
    row.state, row.checker_user_id, row.checker, row.check_reason = state, checker_id, actor[:80], reason
    row.checked_at = datetime.now(UTC)  # the database puts its own
    row.save(update_fields=["state", "checker_user", "checker", "check_reason", "checked_at", "approved_hash"])
