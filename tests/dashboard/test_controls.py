"""An operator's controls: who may, what is needed, what is done, what is left in the trail."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client

from institutions.models import AuditEntry, User
from markets.models import Symbol
from tests.dashboard.conftest import token_of
from tests.factories import AccountFactory, SymbolFactory, order_row

pytestmark = pytest.mark.django_db(transaction=False)


@pytest.fixture
def symbol(db: None, monkeypatch: pytest.MonkeyPatch) -> Symbol:
    # The services own their transactions; a test that rolls back has one around them.
    from django.db import transaction

    from orders import controls

    monkeypatch.setattr(controls, "own", lambda: transaction.atomic())
    found: Symbol = SymbolFactory()
    return found


def path(symbol: Symbol) -> str:
    return f"/markets/{symbol.name.replace('/', '-')}/controls"


def post(symbol: Symbol, user: User | None, body: Any, **headers: str) -> Any:
    if user is not None:
        headers["Authorization"] = f"Bearer {token_of(user)}"
    return Client(enforce_csrf_checks=True).post(path(symbol), body, content_type="application/json", headers=headers)


def used_controls(user: User) -> Any:
    return Client().get("/controls", headers={"Authorization": f"Bearer {token_of(user)}"})


def test_a_halt_is_recorded_with_actor_reason_and_request(symbol: Symbol, operator: User) -> None:
    answer = post(symbol, operator, {"action": "halt", "reason": " odd prints "}, **{"X-Request-ID": "night-1", "User-Agent": "a browser"})
    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["request_id"]) == ("HALTED", "night-1")
    assert answer.json()["waiting"] == 1, "the worker has its command and not acted yet"
    symbol.refresh_from_db()
    assert symbol.status == "HALTED"
    entry = AuditEntry.objects.get(action="symbol.status")
    assert (entry.actor, entry.reason, entry.request_id) == (f"user:{operator.pk}:night-operator", "odd prints", "night-1")
    assert (entry.ip, entry.user_agent) == ("127.0.0.1", "a browser")
    assert (entry.before, entry.after) == ({"status": "TRADING"}, {"status": "HALTED"})


def test_a_halted_market_is_resumed(symbol: Symbol, operator: User) -> None:
    post(symbol, operator, {"action": "halt", "reason": "odd prints"})
    assert post(symbol, operator, {"action": "resume", "reason": "all clear"}).json()["status"] == "TRADING"


def test_cancel_all_says_how_many_orders_were_told_to_end(symbol: Symbol, operator: User) -> None:
    account = AccountFactory()
    order_row(account, symbol)
    order_row(account, symbol)
    assert _state(symbol, operator)["open_orders"] == 2
    answer = post(symbol, operator, {"action": "cancel_all", "reason": "runaway program"})
    assert (answer.status_code, answer.json()["asked"]) == (200, 2)
    with connection.cursor() as cursor:
        cursor.execute("SELECT sum(commands) FROM orders_inbox WHERE symbol_id = %s", [symbol.pk])
        assert cursor.fetchone() == (2,)


def test_the_latest_controls_are_listed_with_who_and_why(symbol: Symbol, operator: User, trader: User) -> None:
    post(symbol, operator, {"action": "halt", "reason": "odd prints"})
    [used] = used_controls(operator).json()["results"]
    assert (used["actor"], used["what"], used["subject"], used["reason"]) == (
        "night-operator", "TRADING → HALTED", symbol.name, "odd prints",
    )  # fmt: skip
    assert used_controls(trader).status_code == 403


def test_only_operators_and_superusers_may(symbol: Symbol, trader: User) -> None:
    assert post(symbol, trader, {"action": "halt", "reason": "x"}).json()["code"] == "FORBIDDEN"
    refused = post(symbol, None, {"action": "halt", "reason": "x"})
    assert (refused.status_code, refused.json()["code"]) == (401, "UNAUTHENTICATED")
    symbol.refresh_from_db()
    assert symbol.status == "TRADING"


def test_another_site_cannot_use_a_control(symbol: Symbol, operator: User) -> None:
    refused = post(symbol, operator, {"action": "halt", "reason": "x"}, **{"Sec-Fetch-Site": "cross-site"})
    assert (refused.status_code, refused.json()["code"]) == (403, "FORBIDDEN")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"action": "halt", "reason": "  "}, "MISSING_FIELD"),
        ({"action": "halt"}, "MISSING_FIELD"),
        ({"action": "delist", "reason": "x"}, "INVALID_FIELD"),
        ({"action": "halt", "reason": "x" * 501}, "INVALID_FIELD"),
        (["halt"], "MALFORMED"),
    ],
)
def test_what_is_missing_or_wrong_is_named(symbol: Symbol, operator: User, body: Any, code: str) -> None:
    answer = post(symbol, operator, body)
    assert (answer.status_code, answer.json()["code"]) == (400, code)


def test_a_market_that_is_not_there(operator: User) -> None:
    answer = Client().get("/markets/NO-ONE/controls", headers={"Authorization": f"Bearer {token_of(operator)}"})
    assert (answer.status_code, answer.json()["code"]) == (404, "UNKNOWN_SYMBOL")


def _state(symbol: Symbol, user: User) -> Any:
    return Client().get(path(symbol), headers={"Authorization": f"Bearer {token_of(user)}"}).json()
