"""Alerts, breaks and the kill switch as staff work them in the admin."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from institutions.models import Account, Platform, User
from orders.break_models import Break
from risk.alerts import raise_alert
from risk.models import Alert
from tests.admin.conftest import text_of
from tests.factories import UserFactory, house
from tests.matching_worker.exchange import Exchange, open_exchange


class Desk:
    def __init__(self, exchange: Exchange, url: str) -> None:
        self.exchange, self.url = exchange, url
        house()
        self.quote = exchange.asset()
        self.symbol = exchange.symbol(exchange.asset(), self.quote)
        self.trader = exchange.trader((self.quote, 1_000))
        self.bid = exchange.placed(self.trader, self.symbol, "BUY", "3", "10")
        exchange.settle()
        self.people: dict[str, User] = {}

    def person(self, role: str) -> User:
        if role not in self.people:
            institution = self.trader.account.institution if role == "institution_admin" else None
            self.people[role] = UserFactory(username=f"the-{role}", role=role, institution=institution)
        return self.people[role]

    def client(self, role: str) -> Client:
        client = Client()
        client.force_login(self.person(role))
        return client

    def do(self, role: str, model: str, pk: object, name: str, **asked: Any) -> Any:
        url = reverse(f"admin:{model}_make", args=[name]) if pk is None else reverse(f"admin:{model}_do", args=[str(pk), name])
        return self.client(role).post(url, asked)

    def page(self, role: str, model: str, pk: object) -> str:
        return text_of(self.client(role).get(reverse(f"admin:{model}_change", args=[str(pk)])))

    def queue(self, **filters: str) -> list[int]:
        """Ids of the alerts in the order of the list."""
        response = self.client("compliance").get(reverse("admin:risk_alert_changelist"), filters)
        page = text_of(response)
        at = {pk: page.find(reverse("admin:risk_alert_change", args=[pk])) for pk in Alert.objects.values_list("pk", flat=True)}
        return sorted((pk for pk, position in at.items() if position >= 0), key=lambda pk: at[pk])


@pytest.fixture
def desk(fresh_database: str) -> Iterator[Desk]:
    with open_exchange() as exchange:
        yield Desk(exchange, fresh_database)


def raised(desk: Desk, severity: str = "HIGH", key: str = "one", **change: Any) -> int:
    asked: dict[str, Any] = {"kind": "SPOOFING", "title": f"What {key} did.", "account_ids": [desk.trader.id], "symbol_id": desk.symbol.pk,
                             "evidence": [("order", str(desk.bid))]}  # fmt: skip
    with transaction.atomic():
        made = raise_alert(severity=severity, dedupe_key=key, **{**asked, **change})
    assert made is not None
    return made


def test_compliance_works_an_alert_from_the_queue_to_its_end(desk: Desk) -> None:
    pk = raised(desk)
    page = desk.page("compliance", "risk_alert", pk)
    assert reverse("admin:orders_order_change", args=[str(desk.bid)]) in page
    assert reverse("admin:institutions_account_change", args=[desk.trader.id]) in page
    assert desk.do("compliance", "risk_alert", pk, "take").status_code == 302
    assert desk.do("compliance", "risk_alert", pk, "note", text="Called them.", kind="trade", reference="t-9").status_code == 302
    assert desk.do("compliance", "risk_alert", pk, "escalate", reason="too large").status_code == 302
    boss = desk.person("superuser")
    assert desk.do("compliance", "risk_alert", pk, "assign", assignee=str(boss.pk), reason="for you").status_code == 302
    assert desk.do("superuser", "risk_alert", pk, "close", reason="they explained it").status_code == 302
    alert = Alert.objects.get()
    assert (alert.state, alert.assignee, alert.close_reason) == ("CLOSED", boss, "they explained it")
    page = desk.page("operator", "risk_alert", pk)
    assert all(word in page for word in ("Called them.", "too large", "they explained it", "t-9"))
    assert desk.do("compliance", "risk_alert", pk, "reopen", reason="not over").status_code == 302
    assert Alert.objects.get().state == "INVESTIGATING"


def test_operators_read_and_institutions_see_nothing(desk: Desk) -> None:
    pk = raised(desk)
    assert "What one did." in desk.page("operator", "risk_alert", pk)
    for name, asked in (("take", {}), ("note", {"text": "x"}), ("close", {"reason": "x"})):
        assert desk.do("operator", "risk_alert", pk, name, **asked).status_code == 403
    assert desk.client("institution_admin").get(reverse("admin:risk_alert_change", args=[pk])).status_code == 403
    assert desk.do("institution_admin", "risk_alert", pk, "take").status_code == 403
    assert Alert.objects.get().state == "NEW"


def test_what_is_not_possible_now_is_not_offered(desk: Desk) -> None:
    pk = raised(desk)
    assert desk.do("compliance", "risk_alert", pk, "reopen", reason="x").status_code == 404
    desk.do("compliance", "risk_alert", pk, "close", reason="x")
    for name in ("take", "assign", "escalate", "close"):
        assert desk.do("compliance", "risk_alert", pk, name, reason="x").status_code == 404
    refused = desk.do("compliance", "risk_alert", pk, "note", text="x", kind="", reference="t-9")
    assert "Evidence is one of" in text_of(refused)


def test_the_queue_has_the_most_severe_first_then_the_newest_and_its_filters(desk: Desk) -> None:
    low, high, critical, newer = (raised(desk, severity, key) for severity, key in
                                  (("LOW", "a"), ("HIGH", "b"), ("CRITICAL", "c"), ("HIGH", "d")))  # fmt: skip
    other = raised(desk, "MEDIUM", "e", kind="WASH_TRADING", account_ids=[], evidence=[])
    assert desk.queue() == [critical, newer, high, other, low]
    desk.do("compliance", "risk_alert", high, "take")
    desk.do("compliance", "risk_alert", low, "close", reason="x")
    assert desk.queue(state="OPEN") == [critical, newer, high, other]
    assert desk.queue(state="INVESTIGATING") == [high]
    assert desk.queue(severity="HIGH") == [newer, high]
    assert desk.queue(kind="WASH_TRADING") == [other]
    assert desk.queue(assignee="the-compliance") == [high]
    assert desk.queue(assignee="nobody", state="OPEN") == [critical, newer, other]
    assert desk.queue(q=desk.trader.account.name) == [critical, newer, high, low]
    assert desk.queue(q=str(desk.bid)) == [critical, newer, high, low]
    with psycopg.connect(desk.url) as connection:
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute("UPDATE risk_alert SET due_at = %s WHERE id = %s", [timezone.now() - timedelta(hours=1), newer])
    assert desk.queue(overdue="yes") == [newer]
    assert desk.queue(overdue="no") == [critical, high, other]
    assert "overdue" in desk.page("compliance", "risk_alert", newer)


def test_a_page_begins_where_the_last_one_ended(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("risk.alert_admin.PER_PAGE", 2)
    made = [raised(desk, severity, key) for severity, key in (("LOW", "a"), ("HIGH", "b"), ("HIGH", "c"), ("LOW", "d"), ("HIGH", "e"))]
    a, b, c, d, e = made
    assert [desk.queue(), desk.queue(before=f"2-{c}"), desk.queue(before=f"0-{d}")] == [[e, c], [b, d], [a]]


def test_breaks_are_found_owned_and_resolved(desk: Desk) -> None:
    change = "UPDATE wallet_balance SET held = held + %s WHERE account_id = %s AND posted > 0"
    with psycopg.connect(desk.url) as connection:
        connection.execute(change, [5, desk.trader.id])
    assert desk.do("compliance", "orders_break", None, "reconcile").status_code == 403
    assert desk.do("operator", "orders_break", None, "reconcile").status_code == 302
    row = Break.objects.get()
    page = desk.page("compliance", "orders_break", row.pk)
    assert row.sentence in page
    assert desk.symbol.name in page
    assert desk.do("operator", "orders_break", row.pk, "own").status_code == 302
    assert desk.do("operator", "orders_break", row.pk, "resolve", reason="x").status_code == 404  # it is still there
    with psycopg.connect(desk.url) as connection:
        connection.execute(change, [-5, desk.trader.id])
    assert desk.do("operator", "orders_break", None, "reconcile").status_code == 302
    assert "not seen any more" in desk.page("operator", "orders_break", row.pk)
    assert desk.do("compliance", "orders_break", row.pk, "resolve", reason="x").status_code == 403
    assert desk.do("operator", "orders_break", row.pk, "resolve", reason="a hand in the database").status_code == 302
    row.refresh_from_db()
    assert (row.state, row.owner, row.resolution) == ("RESOLVED", desk.person("operator"), "a hand in the database")
    assert reverse("admin:orders_break_change", args=[row.pk]) in desk.page("operator", "risk_alert", Alert.objects.get().pk)


@pytest.mark.parametrize("what", ["account", "institution", "platform"])
def test_the_kill_switch_says_what_it_asked_to_end_and_what_is_still_live(desk: Desk, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orders.kill_admin.WAIT_S", 0)
    pk = {"account": desk.trader.id, "institution": desk.trader.account.institution_id, "platform": 1}[what]
    model = f"institutions_{what}"
    assert desk.do("compliance", model, pk, "kill", reason="x").status_code == 403
    assert "KILL_SWITCH" in text_of(desk.client("operator").get(reverse(f"admin:{model}_do", args=[pk, "kill"])))
    done = desk.client("operator").post(reverse(f"admin:{model}_do", args=[pk, "kill"]), {"reason": "a fire"}, follow=True)
    assert f"1 orders were asked to end; 1 are still live on {desk.symbol.name}" in text_of(done)
    desk.exchange.settle()
    assert desk.exchange.order(desk.bid)["reason"] == "KILL_SWITCH"
    assert (Platform.objects.get().is_frozen, Account.objects.get(pk=desk.trader.id).is_frozen) == (what == "platform", what == "account")
    again = desk.client("operator").post(reverse(f"admin:{model}_do", args=[pk, "unfreeze"]), {"reason": "it is out"}, follow=True)
    assert "another person decides" in text_of(again)
