"""Raising alerts: once per key, with evidence, told through the outbox."""

import threading
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, connections, transaction

from api.operations.readings import read
from exchange_platform.db import connect_direct
from notifications.addresses import address_of
from notifications.outbox import unpack
from risk.alert_news import alert_words
from risk.alerts import raise_alert
from risk.models import Alert, AlertAccount, AlertEvidence, AlertHistory
from tests.factories import AccountFactory


def raised(**asked: Any) -> int | None:
    return raise_alert(
        **{"kind": "WASH_TRADING", "severity": "HIGH", "title": "Two accounts trade with each other.", "dedupe_key": "wash:1", **asked}
    )


@pytest.mark.django_db
def test_an_alert_says_what_whom_and_on_what_it_rests():
    account = AccountFactory()
    alert_id = raised(
        account_ids=[account.pk, account.pk],
        institution_id=account.institution_id,
        symbol_id=7,
        score=Decimal("0.91"),
        details={"volume": Decimal("1.50"), "order": UUID(int=1)},
        evidence=[("order", "o-1"), ("trade", "t-1"), ("order", "o-1")],
    )
    alert = Alert.objects.get(pk=alert_id)
    assert (alert.state, alert.severity, alert.score, alert.symbol_id) == ("NEW", "HIGH", Decimal("0.91"), 7)
    assert alert.details == {"volume": "1.50", "order": str(UUID(int=1))}
    assert (alert.due_at - alert.raised_at).total_seconds() == 4 * 3600
    assert list(AlertAccount.objects.values_list("account_id", "alert_id")) == [(account.pk, alert_id)]
    assert sorted(AlertEvidence.objects.values_list("kind", "reference")) == [("order", "o-1"), ("trade", "t-1")]
    assert list(AlertHistory.objects.values_list("number", "change", "state")) == [(1, "RAISED", "NEW")]


@pytest.mark.django_db
def test_the_same_key_raises_nothing_a_second_time():
    first = raised()
    assert raised(title="Again.", severity="LOW", evidence=[("order", "o-9")]) is None
    assert Alert.objects.values_list("pk", "title").get() == (first, "Two accounts trade with each other.")
    assert not AlertEvidence.objects.exists()
    assert raised(dedupe_key="wash:2") not in (None, first)


@pytest.mark.django_db
def test_it_is_told_once_as_an_event_with_an_address():
    alert_id = raised(evidence=[("trade", "t-1")], score=Decimal("0.5"))
    raised()
    with connection.cursor() as cursor:
        cursor.execute("SELECT topic, stream, payload FROM notifications_outbox ORDER BY id")
        [(topic, stream, payload)] = cursor.fetchall()
    assert (topic, stream) == ("alert", f"alert.{alert_id}")
    [words] = alert_words([unpack(bytes(payload))])
    assert not isinstance(words, Exception)
    [event] = words.events
    assert (event.event_type, event.event_id) == ("ALERT_RAISED", f"alerts.{alert_id}:1")
    assert (event.payload["severity"], event.payload["score"], event.payload["evidence"]) == ("HIGH", "0.5", [["trade", "t-1"]])
    assert address_of(event) == ("audit.logs", "trading.alerts", str(alert_id))


@pytest.mark.django_db(transaction=False)
@pytest.mark.parametrize(
    "wrong",
    [
        {"severity": "URGENT"},
        {"kind": ""},
        {"title": " "},
        {"dedupe_key": "x" * 201},
        {"score": Decimal("1.01")},
        {"score": Decimal("NaN")},
        {"evidence": [("rumour", "1")]},
        {"evidence": [("order", "")]},
        {"details": {"x": float("nan")}},
    ],
)
def test_nonsense_is_refused_before_it_reaches_the_database(wrong):
    with pytest.raises(ValueError):
        raised(**wrong)
    assert not Alert.objects.exists()


def test_it_joins_a_transaction_and_refuses_to_run_without_one(fresh_database):
    with pytest.raises(RuntimeError):
        raised()
    with transaction.atomic():
        raised()
        transaction.set_rollback(True)
    assert not Alert.objects.exists()


def test_of_many_at_once_one_raises_it(fresh_database):
    found: list[int | None] = []
    together = threading.Barrier(4)

    def race() -> None:
        try:
            together.wait()
            with transaction.atomic():
                found.append(raised())
        finally:
            connections.close_all()

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(alert_id is None for alert_id in found) == [False, True, True, True]
    assert Alert.objects.count() == AlertHistory.objects.count() == 1


def test_open_alerts_are_counted_by_severity(fresh_database):
    with transaction.atomic():
        raised()
    with connect_direct(name="test", autocommit=True) as direct:
        counted = dict(read(direct)["alerts_open"])
    assert counted == {("LOW",): 0.0, ("MEDIUM",): 0.0, ("HIGH",): 1.0, ("CRITICAL",): 0.0}
