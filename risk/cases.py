"""Work on alerts: take, assign, note, escalate, close, open again. Every step is a row of the alert's history, of the audit trail, and an
event; the table of moves is `risk.alert_states`.
"""

from typing import Any, Final

from django.db import connection

from exchange_platform.db import own, require_transaction
from exchange_platform.errors import ExchangeError
from institutions import audit
from institutions.models import User
from institutions.rights import Right, may
from risk.alert_models import Alert, AlertNote
from risk.alert_states import DUE_AFTER, EVIDENCE_KINDS, LEGAL_MOVES, Severity, State
from risk.alerts import HISTORY_SQL, add_evidence, tell

NOTE_LENGTH: Final = 10_000

# What becomes of the due time: opened again, it counts anew.
CHANGE_SQL: Final = """
    UPDATE risk_alert SET number = number + 1, state = %(state)s, assignee_id = %(assignee)s,
        closed_at = CASE WHEN %(state)s = 'CLOSED' THEN statement_timestamp() END,
        close_reason = CASE WHEN %(state)s = 'CLOSED' THEN %(reason)s ELSE '' END,
        due_at = coalesce(statement_timestamp() + make_interval(secs => %(due_after_s)s::int), due_at)
    WHERE id = %(id)s RETURNING number"""


class NoSuchAlert(ExchangeError):
    code = "NOT_FOUND"


class NotNow(ExchangeError):
    """The alert is in a state in which this cannot be done; `details` has the state."""

    code = "ALERT_STATE"


class NotForThem(ExchangeError):
    """Who is to have the alert does not work on alerts."""

    code = "INVALID_FIELD"


class SayWhy(ExchangeError):
    code = "INVALID_FIELD"


def take(*, alert_id: int, user_id: int, actor: str) -> None:
    """The person has it from now on, and it is being investigated. Taking what one has already changes nothing.

    Owns its transaction; locks the alert. Raises: NoSuchAlert, NotNow (closed), NotForThem.
    """
    with own():
        alert = _locked(alert_id)
        if alert.state == State.CLOSED:
            raise NotNow("The alert is closed. Open it again instead.", details={"state": alert.state})
        if alert.assignee_id == user_id and alert.state != State.NEW:
            return
        state = State.INVESTIGATING if alert.state == State.NEW else State(alert.state)
        _step(alert, "TAKEN", state, assignee=_worker(user_id), actor=actor, reason="")


def assign(*, alert_id: int, user_id: int, actor: str, reason: str) -> None:
    """Somebody else has it from now on. Owns its transaction; locks the alert. Raises: NoSuchAlert, NotNow (closed), NotForThem, SayWhy."""
    _check(reason)
    with own():
        alert = _locked(alert_id)
        if alert.state == State.CLOSED:
            raise NotNow("The alert is closed. Open it again first.", details={"state": alert.state})
        state = State.INVESTIGATING if alert.state == State.NEW else State(alert.state)
        _step(alert, "ASSIGNED", state, assignee=_worker(user_id), actor=actor, reason=reason)


def note(*, alert_id: int, text: str, actor: str, evidence: tuple[str, str] | None = None) -> int:
    """Keep what somebody has found out, with the row it rests on, if there is one: (kind, id). Returns the note's id; for ever.

    Owns its transaction. Raises: NoSuchAlert, SayWhy (an empty or too long note, evidence that is none).
    """
    if not 0 < len(text.strip()) <= NOTE_LENGTH:
        raise SayWhy(f"A note has 1 to {NOTE_LENGTH} characters.", field="text")
    if evidence is not None and (evidence[0] not in EVIDENCE_KINDS or not 0 < len(evidence[1]) <= 120):
        raise SayWhy(f"Evidence is one of {', '.join(EVIDENCE_KINDS)}, with an id.", field="reference")
    with own(), connection.cursor() as cursor:
        alert = _locked(alert_id)
        made = AlertNote.objects.create(alert=alert, author=actor[:80], text=text.strip())
        if evidence is not None:
            add_evidence(cursor, alert_id=alert_id, evidence=[evidence], actor=actor)
        audit.record(actor=actor, action="alert.note", subject=f"alert:{alert_id}", after={"note": made.pk, "evidence": evidence})
        return int(made.pk)


def escalate(*, alert_id: int, user_id: int, actor: str, reason: str) -> None:
    """It needs somebody above; whoever had it keeps it, else who escalates has it. Owns its transaction; locks the alert.

    Raises: NoSuchAlert, NotNow (closed, or escalated already), NotForThem, SayWhy.
    """
    _check(reason)
    with own():
        alert = _locked(alert_id)
        _step(alert, "ESCALATED", State.ESCALATED, assignee=_worker(alert.assignee_id or user_id), actor=actor, reason=reason)


def close(*, alert_id: int, actor: str, reason: str) -> None:
    """It has been dealt with; `reason` says how. Owns its transaction; locks the alert. Raises: NoSuchAlert, NotNow (closed), SayWhy."""
    _check(reason)
    with own():
        alert = _locked(alert_id)
        _step(alert, "CLOSED", State.CLOSED, assignee=alert.assignee, actor=actor, reason=reason)


def reopen(*, alert_id: int, user_id: int, actor: str, reason: str) -> None:
    """It was not over after all: the person investigates it, and its time counts anew. Owns its transaction; locks the alert.

    Raises: NoSuchAlert, NotNow (not closed), NotForThem, SayWhy.
    """
    _check(reason)
    with own():
        alert = _locked(alert_id)
        if alert.state != State.CLOSED:
            raise NotNow("The alert is not closed.", details={"state": alert.state})
        due_after_s = int(DUE_AFTER[Severity(alert.severity)].total_seconds())
        _step(alert, "REOPENED", State.INVESTIGATING, assignee=_worker(user_id), actor=actor, reason=reason, due_after_s=due_after_s)


def _locked(alert_id: int) -> Alert:
    found = Alert.objects.select_for_update(of=("self",)).select_related("assignee").filter(pk=alert_id).first()
    if found is None:
        raise NoSuchAlert("There is no such alert.", field="alert")
    return found


def _worker(user_id: int | None) -> User:
    user = None if user_id is None else User.objects.filter(pk=user_id).first()
    if user is None or not may(user, Right.WORK_ALERTS):
        raise NotForThem("Only people who work on alerts can have one.", field="assignee")
    return user


def _step(
    alert: Alert, change: str, state: State, *, assignee: User | None, actor: str, reason: str, due_after_s: int | None = None
) -> None:
    """One step of a locked alert with everything that tells of it. Raises: NotNow."""
    require_transaction()
    if (state != alert.state and state not in LEGAL_MOVES[State(alert.state)]) or change == alert.state == state:
        raise NotNow(f"The alert is {alert.state}; it cannot become {state}.", details={"state": alert.state})
    told: dict[str, Any] = {
        "id": alert.pk,
        "state": state.value,
        "assignee": None if assignee is None else assignee.pk,
        "reason": reason.strip(),
        "due_after_s": due_after_s,
    }
    with connection.cursor() as cursor:
        cursor.execute(CHANGE_SQL, told)
        (number,) = cursor.fetchone()
        cursor.execute(HISTORY_SQL, [alert.pk, number, change, state.value, told["assignee"], actor[:80], reason.strip()])
        name = None if assignee is None else assignee.username
        tell(
            cursor,
            alert_id=alert.pk,
            number=number,
            change=change,
            alert={"kind": alert.kind, "severity": alert.severity, "title": alert.title, "state": state.value, "assignee": name},
        )
    audit.record(
        actor=actor,
        action=f"alert.{change.lower()}",
        subject=f"alert:{alert.pk}",
        reason=reason.strip(),
        before={"state": alert.state, "assignee": alert.assignee and alert.assignee.username},
        after={"state": state.value, "assignee": name},
    )


def _check(reason: str) -> None:
    if not reason.strip():
        raise SayWhy("Say why: it is kept for ever.", field="reason")
