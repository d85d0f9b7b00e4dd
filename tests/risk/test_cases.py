"""Work on alerts, by the people who may, step by step and with a trace of each."""

from typing import Any

import pytest
from django.db import transaction

from institutions.models import AuditEntry, User
from notifications.models import Outbox
from notifications.outbox import unpack
from risk import cases
from risk.alert_news import alert_words
from risk.alerts import raise_alert
from risk.models import Alert, AlertHistory
from tests.factories import UserFactory

REASONED: dict[str, Any] = {"actor": "carla", "reason": "a test"}


@pytest.fixture
def carla(fresh_database: str) -> User:
    return UserFactory(username="carla", role="compliance", institution=None)


@pytest.fixture
def alert_id(carla: User) -> int:
    return raised()


def raised(severity: str = "HIGH", key: str = "one") -> int:
    with transaction.atomic():
        alert_id = raise_alert(kind="SPOOFING", severity=severity, title="Orders that were never meant.", dedupe_key=key)
    assert alert_id is not None
    return alert_id


def test_an_alert_is_taken_escalated_closed_and_opened_again_and_every_step_is_told(carla, alert_id):
    dora = UserFactory(username="dora", role="compliance", institution=None)
    due = Alert.objects.get().due_at
    cases.take(alert_id=alert_id, user_id=carla.pk, actor="carla")
    cases.take(alert_id=alert_id, user_id=carla.pk, actor="carla")  # has it already
    cases.assign(alert_id=alert_id, user_id=dora.pk, **REASONED)
    cases.escalate(alert_id=alert_id, user_id=carla.pk, **REASONED)
    cases.close(alert_id=alert_id, actor="dora", reason="the client explained it")
    closed = Alert.objects.get()
    assert (closed.state, closed.close_reason, closed.assignee, closed.due_at) == ("CLOSED", "the client explained it", dora, due)
    cases.reopen(alert_id=alert_id, user_id=carla.pk, **REASONED)

    alert = Alert.objects.get()
    assert (alert.state, alert.close_reason, alert.closed_at, alert.assignee) == ("INVESTIGATING", "", None, carla)
    assert alert.due_at > due
    steps = [("RAISED", "NEW", None), ("TAKEN", "INVESTIGATING", carla.pk), ("ASSIGNED", "INVESTIGATING", dora.pk),
             ("ESCALATED", "ESCALATED", dora.pk), ("CLOSED", "CLOSED", dora.pk), ("REOPENED", "INVESTIGATING", carla.pk)]  # fmt: skip
    assert list(AlertHistory.objects.order_by("number").values_list("change", "state", "assignee")) == steps
    actions = list(AuditEntry.objects.filter(subject=f"alert:{alert_id}").order_by("pk").values_list("action", flat=True))
    assert actions == ["alert.taken", "alert.assigned", "alert.escalated", "alert.closed", "alert.reopened"]
    words = alert_words([unpack(bytes(row.payload)) for row in Outbox.objects.filter(topic="alert").order_by("pk")])
    events = [event for told in words for event in told.events]
    assert [(event.event_type, event.sequence) for event in events] == [("ALERT_RAISED", 1), *(("ALERT_CHANGED", n) for n in range(2, 7))]
    assert [event.payload["assignee"] for event in events] == [None, "carla", "dora", "dora", "dora", "carla"]


def test_whoever_escalates_what_nobody_has_then_has_it(carla, alert_id):
    cases.escalate(alert_id=alert_id, user_id=carla.pk, **REASONED)
    assert Alert.objects.values_list("state", "assignee").get() == ("ESCALATED", carla.pk)


@pytest.mark.parametrize(
    ("steps", "then"),
    [
        (["close"], "close"),
        (["close"], "take"),
        (["close"], "assign"),
        (["close"], "escalate"),
        (["escalate"], "escalate"),
        ([], "reopen"),
        (["take"], "reopen"),
    ],
)
def test_what_the_state_does_not_allow_is_refused_and_leaves_no_trace(carla, alert_id, steps, then):
    for step in steps:
        do(step, alert_id, carla)
    before = Alert.objects.values().get(), AlertHistory.objects.count(), AuditEntry.objects.count(), Outbox.objects.count()
    with pytest.raises(cases.NotNow):
        do(then, alert_id, carla)
    assert before == (Alert.objects.values().get(), AlertHistory.objects.count(), AuditEntry.objects.count(), Outbox.objects.count())


def do(step: str, alert_id: int, user: User) -> None:
    asked: dict[str, Any] = {"alert_id": alert_id, "actor": user.username, "user_id": user.pk, "reason": "a test"}
    if step == "take":
        del asked["reason"]
    if step == "close":
        del asked["user_id"]
    getattr(cases, step)(**asked)


@pytest.mark.parametrize("step", ["take", "assign", "escalate", "close", "reopen"])
def test_there_must_be_such_an_alert(carla, step):
    with pytest.raises(cases.NoSuchAlert):
        do(step, 77, carla)


@pytest.mark.parametrize("step", ["assign", "escalate", "close", "reopen"])
def test_every_step_but_taking_says_why(carla, alert_id, step):
    asked = {"alert_id": alert_id, "actor": "carla", "reason": " "} | ({} if step == "close" else {"user_id": carla.pk})
    with pytest.raises(cases.SayWhy):
        getattr(cases, step)(**asked)


@pytest.mark.parametrize("role", ["operator", "trader", "institution_admin"])
def test_nobody_else_can_have_an_alert(carla, alert_id, role):
    other = UserFactory(role=role, **({"institution": None} if role == "operator" else {}))
    for step in ("take", "assign", "escalate"):
        with pytest.raises(cases.NotForThem):
            do(step, alert_id, other)
    User.objects.filter(pk=carla.pk).update(is_active=False)
    with pytest.raises(cases.NotForThem):
        do("take", alert_id, carla)


def test_notes_stay_in_order_with_what_they_rest_on(carla, alert_id):
    cases.note(alert_id=alert_id, text=" Called the client. ", actor="carla")
    cases.note(alert_id=alert_id, text="See this order.", actor="carla", evidence=("order", "o-1"))
    cases.note(alert_id=alert_id, text="Again.", actor="carla", evidence=("order", "o-1"))
    alert = Alert.objects.get()
    assert [note.text for note in alert.notes.order_by("pk")] == ["Called the client.", "See this order.", "Again."]
    assert list(alert.evidence.values_list("kind", "reference", "actor")) == [("order", "o-1", "carla")]
    for wrong in ({"text": " "}, {"text": "x", "evidence": ("rumour", "1")}, {"text": "x", "evidence": ("order", "")}):
        with pytest.raises(cases.SayWhy):
            cases.note(alert_id=alert_id, actor="carla", **wrong)
    assert alert.notes.count() == 3


def test_an_alert_is_due_by_its_severity(carla):
    minutes = {}
    for severity in ("LOW", "MEDIUM", "HIGH", "CRITICAL"):
        alert = Alert.objects.get(pk=raised(severity, severity))
        minutes[severity] = round((alert.due_at - alert.raised_at).total_seconds() / 60)
    assert minutes == {"LOW": 4320, "MEDIUM": 1440, "HIGH": 240, "CRITICAL": 30}
