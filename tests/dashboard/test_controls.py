"""An operator's controls: who may, what is needed, what is done, what is left in the trail."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils.timezone import now

from institutions.models import AuditEntry, User
from markets.models import Symbol
from orders.models import Checkpoint, SymbolStatus
from tests.dashboard.conftest import token_of
from tests.factories import AccountFactory, SymbolFactory, order_row
from tests.support.approvals import agree

pytestmark = pytest.mark.django_db(transaction=False)


@pytest.fixture
def symbol(db: None, monkeypatch: pytest.MonkeyPatch) -> Symbol:
    # The services own their transactions; a test that rolls back has one around them.
    from django.db import transaction

    from institutions import requests
    from orders import controls

    for module in (controls, requests):
        monkeypatch.setattr(module, "own", lambda: transaction.atomic())
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
    asked = post(symbol, operator, {"action": "resume", "reason": "all clear"}).json()
    assert asked["status"] == "HALTED", "it takes a second person"
    assert agree(asked["change_request"]) == {"status": "TRADING"}
    assert _state(symbol, operator)["status"] == "TRADING"


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


def test_an_auction_is_called_and_resumption_may_lead_through_one(symbol: Symbol, operator: User) -> None:
    assert post(symbol, operator, {"action": "auction", "reason": "news"}).json()["status"] == "AUCTION"
    post(symbol, operator, {"action": "halt", "reason": "odd prints"})
    Symbol.objects.filter(pk=symbol.pk).update(resumes_by_auction=True)
    asked = post(symbol, operator, {"action": "resume", "reason": "all clear"}).json()
    assert agree(asked["change_request"]) == {"status": "AUCTION"}


def phase_of(symbol: Symbol, status: str, cause: str, *, actor: str = "engine", **conditions: Any) -> Any:
    """What the page is told of a symbol whose worker left it so."""
    Checkpoint.objects.create(
        symbol_id=symbol.pk, shard_id=0, status=status, chain=b"", settled_at=now(), conditions={"cause": cause, **conditions}
    )
    SymbolStatus.objects.create(symbol_id=symbol.pk, number=1, sequence=1, status=status, actor=actor, cause=cause, at=now())
    answer = Client().get("/phases").json()
    assert answer["at"].endswith("Z")
    return [row for row in answer["results"] if row["symbol"] == symbol.name]


def test_a_halt_is_told_with_its_cause_and_its_end(symbol: Symbol) -> None:
    [phase] = phase_of(symbol, "HALTED", "PRICE_BAND", phase_ends_ms=1_700_000_030_000)
    assert (phase["status"], phase["cause"], phase["ends_at"], phase["auction"]) == (
        "HALTED", "PRICE_BAND", "2023-11-14T22:13:50.000Z", None,
    )  # fmt: skip


def test_a_persons_halt_has_no_end_and_tells_nobodys_name(symbol: Symbol) -> None:
    [phase] = phase_of(symbol, "HALTED", "COMMAND", actor="user:7:olga", phase_ends_ms=0)
    assert phase == {"symbol": symbol.name, "status": "HALTED", "cause": "COMMAND", "ends_at": None, "auction": None}


def test_an_opening_auction_is_told_as_scheduled_with_what_it_would_come_to(symbol: Symbol) -> None:
    ends = {"phase_ends_ms": 1_700_000_030_000}
    [phase] = phase_of(symbol, "AUCTION", "COMMAND", actor="schedule", indicative=[10_150, 2_500, -500], **ends)
    assert phase["cause"] == "SCHEDULE"
    assert phase["auction"] == {
        "price": "101.50", "quantity": "2.500", "surplus": "0.500", "surplus_side": "SELL", "ends_at": "2023-11-14T22:13:50.000Z",
    }  # fmt: skip


def test_what_trades_has_no_phase(symbol: Symbol) -> None:
    assert phase_of(symbol, "TRADING", "AUCTION_OVER") == []
