"""Who may do what, and to whose accounts: scopes of keys, roles of people, tenants."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.db import connections
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken

from api import auth, threads
from api.auth import RIGHTS
from institutions import queries as institutions
from institutions import services
from institutions.models import Role
from orders import market_data, queries
from orders.requests import PlaceOrder
from tests.api.conftest import Client, FakeDesk

LIMIT = {"symbol": "TEST/USDT", "side": "BUY", "order_type": "LIMIT", "quantity": "1", "price": "100", "client_order_id": "c-1"}
ORDER_PATH = "/orders/019a0000-0000-7000-8000-000000000001"
FIND_USER = institutions.find_user


def bearer(user_id: int, **change: Any) -> dict[str, str]:
    token: Any = AccessToken()
    token["user_id"] = str(user_id)
    if "lifetime" in change:
        token.set_exp(lifetime=change["lifetime"])
    return {"Authorization": f"Bearer {token}"}


async def as_user(client: Client, user_id: int, method: str, path: str, body: Any = None) -> tuple[int, str | None]:
    reply = await client.call(method, path, body=body, key=None, headers=bearer(user_id))
    return told(reply)


def told(reply: httpx.Response) -> tuple[int, str | None]:
    return reply.status_code, reply.json().get("code")


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    seen: dict[str, Any] = {}

    def orders(**filters: Any) -> queries.Page:
        seen.update(filters)
        return queries.Page([], None)

    monkeypatch.setattr(queries, "orders", orders)
    monkeypatch.setattr(queries, "order_by_id", lambda **filters: seen.update(filters))
    monkeypatch.setattr(market_data, "tickers", list)
    return seen


def test_a_scope_that_is_missing_is_named(desk: FakeDesk, run_api: Any) -> None:
    async def act(client: Client) -> None:
        missing = (403, "SCOPE_MISSING")
        assert told(await client.call("POST", "/orders", body=LIMIT, key="reader")) == missing
        assert told(await client.call("DELETE", "/orders?symbol=TEST%2FUSDT", key="reader")) == missing
        assert told(await client.call("DELETE", ORDER_PATH, key="reader")) == missing
        assert told(await client.call("PATCH", ORDER_PATH, body={"price": "1"}, key="reader")) == missing
        assert told(await client.call("POST", "/orders/batch", body={"orders": [LIMIT]}, key="reader")) == missing
        assert told(await client.call("GET", "/orders", key="reader")) == (200, None)
        assert told(await client.call("GET", "/orders", key="trader-only")) == missing
        assert told(await client.call("POST", "/orders", body=LIMIT, key="trader-only")) == (201, None)

    run_api(act)
    assert len(desk.asked) == 1


def test_only_traders_trade() -> None:
    assert set(RIGHTS) == set(Role.values)
    assert [role for role, rights in RIGHTS.items() if auth.TRADE in rights] == ["trader"]
    assert all(auth.READ in rights for rights in RIGHTS.values())


def test_people_name_the_account(desk: FakeDesk, run_api: Any) -> None:
    async def act(client: Client) -> None:
        assert await as_user(client, 1, "POST", "/orders", LIMIT) == (400, "MISSING_FIELD")
        assert await as_user(client, 1, "POST", "/orders", LIMIT | {"account": "alpha-2"}) == (201, None)
        for account in ("beta-1", "no-such", "house-fees"):
            assert await as_user(client, 1, "POST", "/orders", LIMIT | {"account": account}) == (404, "NOT_FOUND")
        for other in (2, 3, 4):
            assert await as_user(client, other, "POST", "/orders", LIMIT | {"account": "alpha-2"}) == (403, "FORBIDDEN")

    run_api(act)
    [(submission, _)] = desk.asked
    [request] = submission.requests
    assert isinstance(request, PlaceOrder)
    assert (request.account_id, request.principal.actor, request.principal.institution_id, submission.nonce) == (12, "user:1:tina", 1, None)


def test_keys_of_an_institution_name_the_account(desk: FakeDesk, run_api: Any) -> None:
    async def act(client: Client) -> None:
        assert told(await client.call("POST", "/orders", body=LIMIT, key="institution")) == (400, "MISSING_FIELD")
        assert told(await client.call("POST", "/orders", body=LIMIT | {"account": "alpha-2"}, key="institution")) == (201, None)
        assert told(await client.call("POST", "/orders", body=LIMIT | {"account": "beta-1"}, key="institution")) == (404, "NOT_FOUND")

    run_api(act)
    assert [submission.requests[0].account_id for submission, _ in desk.asked] == [12]  # type: ignore[union-attr]


def test_the_key_of_an_account_acts_for_no_other(desk: FakeDesk, run_api: Any) -> None:
    async def act(client: Client) -> None:
        assert told(await client.call("POST", "/orders", body=LIMIT | {"account": "alpha-1"})) == (201, None)
        for account in ("alpha-2", "beta-1", "no-such"):
            assert told(await client.call("POST", "/orders", body=LIMIT | {"account": account})) == (404, "NOT_FOUND")
            assert told(await client.call("DELETE", f"/orders?account={account}")) == (404, "NOT_FOUND")
            for path in ("/orders", "/trades/my", "/balances", "/ledger", "/fees", "/orders/by-client-id/c-1"):
                assert told(await client.call("GET", f"{path}?account={account}")) == (404, "NOT_FOUND")
        assert told(await client.call("POST", "/orders", body=LIMIT | {"account": 5})) == (400, "INVALID_FIELD")
        assert told(await client.call("POST", "/orders", body=LIMIT | {"account": {}})) == (400, "INVALID_FIELD")

    run_api(act)
    assert len(desk.asked) == 1


@pytest.mark.parametrize(
    ("who", "account", "reach"),
    [
        ("own", None, (1, [11])),
        ("own", "alpha-1", (1, [11])),
        ("institution", None, (1, None)),
        ("institution", "alpha-2", (1, [12])),
        (2, None, (1, None)),
        (3, None, (None, None)),
        (3, "beta-1", (None, [21])),
    ],
)
def test_reads_reach_as_far_as_the_caller(asked: Any, run_api: Any, who: Any, account: str | None, reach: Any) -> None:
    path = "/orders" + (f"?account={account}" if account else "")

    async def act(client: Client) -> tuple[int, str | None]:
        if isinstance(who, int):
            return await as_user(client, who, "GET", path)
        return told(await client.call("GET", path, key=who))

    assert run_api(act) == (200, None)
    assert (asked["institution_id"], asked["account_ids"]) == reach


def test_what_is_out_of_reach_is_not_there(asked: Any, run_api: Any) -> None:
    reply = run_api(lambda client: client.call("GET", ORDER_PATH))
    assert told(reply) == (404, "NOT_FOUND")
    assert (asked["institution_id"], asked["account_ids"]) == (1, [11])


def test_public_data_needs_no_log_in_but_a_wrong_one_is_told(run_api: Any) -> None:
    async def act(client: Client) -> None:
        assert told(await client.call("GET", "/ticker", key=None)) == (200, None)
        assert told(await client.call("GET", "/ticker", key="reader")) == (200, None)
        assert told(await client.call("GET", "/ticker", key="trader-only")) == (200, None)
        assert told(await client.call("GET", "/ticker", key="nobody")) == (401, "UNAUTHENTICATED")
        for path in ("/orders", "/balances", "/trades/my", "/ledger", "/fees"):
            assert told(await client.call("GET", path, key=None)) == (401, "UNAUTHENTICATED")

    run_api(act)


@pytest.mark.parametrize("value", ["Bearer a.b.c", "Bearer ", "Bearer", "Basic dGluYTp4", "", "Bearer " + "x" * 5000, "Bearer é.é.é"])
def test_a_token_that_is_none_is_no_log_in(run_api: Any, value: str) -> None:
    reply = run_api(lambda client: client.http.get("/api/v1/orders", headers=[(b"Authorization", value.encode())]))
    assert told(reply) == (401, "UNAUTHENTICATED")
    assert reply.headers["www-authenticate"] == "Bearer"


def test_tokens_end(run_api: Any) -> None:
    async def act(client: Client) -> None:
        late = bearer(1, lifetime=timedelta(seconds=-1))
        assert told(await client.call("GET", "/orders", key=None, headers=late)) == (401, "TOKEN_EXPIRED")
        assert await as_user(client, 1, "GET", "/orders") == (200, None)
        assert await as_user(client, 77, "GET", "/orders") == (401, "UNAUTHENTICATED")  # deactivated, or never there
        refresh = {"Authorization": f"Bearer {RefreshToken()}"}
        assert told(await client.call("GET", "/orders", key=None, headers=refresh)) == (401, "UNAUTHENTICATED")

    run_api(act)


@pytest.fixture
def people(fresh_database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two people in a database of their own, which the threads of the application see."""
    threads.shut_down()
    monkeypatch.setattr(institutions, "find_user", FIND_USER)
    institution = services.create_institution(code="gamma", name="Gamma", actor="test")
    made = {
        name: services.create_user(username=name, password="correct horse battery", role=role, institution_id=institution.pk, actor="test")
        for name, role in (("tess", "trader"), ("gone", "compliance"))
    }
    yield made
    threads.shut_down()


def test_a_person_logs_in_and_refreshes(people: Any, run_api: Any) -> None:
    async def act(client: Client) -> None:
        body = {"username": "tess", "password": "correct horse battery"}
        reply = await client.call("POST", "/auth/token", body=body, key=None)
        assert told(reply) == (200, None)
        claims: Any = AccessToken(reply.json()["access"])
        assert [claims[n] for n in ("user", "institution", "role", "permissions")] == ["tess", "gamma", "trader", ["read", "trade"]]
        assert claims["exp"] - claims["iat"] == 300
        again = await client.call("POST", "/auth/token/refresh", body={"refresh": reply.json()["refresh"]}, key=None)
        assert again.json()["access"]
        headers = {"Authorization": f"Bearer {again.json()['access']}"}
        assert told(await client.call("GET", "/orders", key=None, headers=headers)) == (200, None)
        for wrong in ({"password": "wrong"}, {"username": "nobody"}, {"username": "TESS"}):
            assert told(await client.call("POST", "/auth/token", body=body | wrong, key=None)) == (401, "UNAUTHENTICATED")

    run_api(act)


def _deactivate(user: Any) -> None:
    user.is_active = False
    user.save()
    connections.close_all()


def test_who_was_deactivated_is_out(people: Any, run_api: Any) -> None:
    async def act(client: Client) -> None:
        body = {"username": "gone", "password": "correct horse battery"}
        tokens = (await client.call("POST", "/auth/token", body=body, key=None)).json()
        await asyncio.to_thread(_deactivate, people["gone"])
        auth.people.forget()
        headers = {"Authorization": f"Bearer {tokens['access']}"}
        assert told(await client.call("GET", "/orders", key=None, headers=headers)) == (401, "UNAUTHENTICATED")
        refresh = {"refresh": tokens["refresh"]}
        assert told(await client.call("POST", "/auth/token/refresh", body=refresh, key=None)) == (401, "UNAUTHENTICATED")
        assert told(await client.call("POST", "/auth/token", body=body, key=None)) == (401, "UNAUTHENTICATED")

    run_api(act)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "MISSING_FIELD"),
        ({"username": {"a": 1}}, "INVALID_FIELD"),
        ({"username": "x"}, "MISSING_FIELD"),
        ({"username": "x\x00", "password": "y"}, "INVALID_FIELD"),
        ({"username": "x", "password": 5}, "INVALID_FIELD"),
        ({"username": "x", "password": ""}, "INVALID_FIELD"),
        ({"username": "x", "password": "y" * 1001}, "INVALID_FIELD"),
        ({"username": "x", "password": "y", "otp": 123456}, "INVALID_FIELD"),
        ({"username": "x", "password": "y", "remember": True}, "UNKNOWN_FIELD"),
    ],
)
def test_a_log_in_of_a_wrong_form_is_refused(run_api: Any, body: Any, code: str) -> None:
    assert told(run_api(lambda client: client.call("POST", "/auth/token", body=body, key=None))) == (400, code)


def test_a_refresh_of_a_wrong_form_is_refused(run_api: Any) -> None:
    async def act(client: Client) -> None:
        late: Any = RefreshToken()
        late["user_id"] = "1"
        late.set_exp(lifetime=timedelta(seconds=-1))
        for refresh, expected in (
            (str(late), (401, "TOKEN_EXPIRED")),
            ("a.b.c", (401, "UNAUTHENTICATED")),
            (str(AccessToken()), (401, "UNAUTHENTICATED")),
            (str(RefreshToken()), (401, "UNAUTHENTICATED")),
            (7, (400, "INVALID_FIELD")),
        ):
            assert told(await client.call("POST", "/auth/token/refresh", body={"refresh": refresh}, key=None)) == expected

    run_api(act)
