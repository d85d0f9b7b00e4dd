"""The real application with a desk, keys and symbols that the test chooses: no database where none is the matter."""

import hashlib
import hmac
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any
from uuid import UUID

import httpx
import orjson
import pytest

from api import auth, lookups, throttling
from api.rest import orders as order_views
from exchange_platform.asgi import application
from institutions import queries as institutions
from institutions.queries import AccountRecord, KeyRecord, UserRecord
from markets import queries as markets
from orders.requests import CancelAll, CancelledAll, Decided, Placed, PlaceOrder, Result, Submission

SECRET = "0123456789abcdef" * 4
WINDOW = 5000

ACCOUNTS = [
    AccountRecord(id=11, name="alpha-1", institution_id=1, institution_code="alpha", kind="CUSTOMER", is_frozen=False),
    AccountRecord(id=12, name="alpha-2", institution_id=1, institution_code="alpha", kind="CUSTOMER", is_frozen=False),
    AccountRecord(id=21, name="beta-1", institution_id=2, institution_code="beta", kind="CUSTOMER", is_frozen=False),
    AccountRecord(id=99, name="house-fees", institution_id=1, institution_code="alpha", kind="FEES", is_frozen=False),
]
USERS = {
    1: UserRecord(id=1, username="tina", role="trader", institution_id=1, institution_code="alpha"),
    2: UserRecord(id=2, username="ian", role="institution_admin", institution_id=1, institution_code="alpha"),
    3: UserRecord(id=3, username="olga", role="operator", institution_id=None, institution_code=None),
    4: UserRecord(id=4, username="sam", role="superuser", institution_id=None, institution_code=None),
}


def key_record(key: str, **change: Any) -> KeyRecord:
    fields: dict[str, Any] = {
        "id": sum(key.encode()),
        "key": key,
        "kind": "hmac",
        "institution_id": 1,
        "institution_code": "alpha",
        "account_id": 11,
        "account_name": "alpha-1",
        "scopes": frozenset({"read", "trade"}),
        "ip_allow_list": (),
        "is_unlimited": True,
        "secret": SECRET.encode(),
        "public_key": None,
    }
    return KeyRecord(**fields | change)


KEYS = {
    record.key: record
    for record in (
        key_record("own"),
        key_record("limited", is_unlimited=False),
        key_record("reader", scopes=frozenset({"read"})),
        key_record("trader-only", scopes=frozenset({"trade"})),
        key_record("elsewhere", ip_allow_list=("10.1.2.0/24", "192.0.2.7")),
        key_record("here", ip_allow_list=("127.0.0.0/8",)),
        key_record("institution", account_id=None, account_name=None),
    )
}
ORDER = {"order_id": "019a0000-0000-7000-8000-000000000001", "client_order_id": "c-1", "status": "OPEN"}


def placed(order: dict[str, Any], **more: Any) -> Placed:
    """An order as intake or the engine left it."""
    return Placed(UUID(order["order_id"]), lambda: order, **more)


class FakeDesk:
    """Answers what the test told it to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Submission, bool]] = []
        self.answer: Callable[[Any], Result] = self.accept

    @staticmethod
    def accept(request: Any) -> Result:
        if isinstance(request, PlaceOrder):
            return placed(ORDER | {"client_order_id": request.client_order_id})
        return CancelledAll(2, 2) if isinstance(request, CancelAll) else Decided(ORDER)

    def submit(self, submission: Submission, *, wait: bool) -> "Future[list[Result]]":
        self.asked.append((submission, wait))
        future: Future[list[Result]] = Future()
        future.set_result([self.answer(request) for request in submission.requests])
        return future


class Client:
    """Signs as the contract says and sends to the application in this process."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    def signed(
        self, method: str, path: str, body: bytes = b"", *, key: str = "own", at: object = None, window: object = WINDOW
    ) -> dict[str, str]:
        stamp = int(time.time() * 1000) if at is None else at
        text = f"{stamp}{window}{method}{path}".encode() + body
        signature = hmac.new(SECRET.encode(), text, hashlib.sha256).hexdigest()
        return {"X-API-Key": key, "X-Timestamp": str(stamp), "X-Recv-Window": str(window), "X-Signature": signature}

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        raw: bytes | None = None,
        key: str | None = "own",
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        content = raw if raw is not None else (b"" if body is None else orjson.dumps(body))
        target = "/api/v1" + path
        sent = {"Content-Type": "application/json"} if content else {}
        if key is not None:
            sent |= self.signed(method, target, content, key=key)
        return await self.http.request(method, target, content=content, headers=sent | (headers or {}))


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> FakeDesk:
    made = FakeDesk()
    monkeypatch.setattr(order_views, "process_desk", lambda: made)
    return made


@pytest.fixture(autouse=True)
def _known_world(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keys, people, accounts and symbols without a database; nothing remembered from other tests."""
    monkeypatch.setattr(institutions, "find_api_key", KEYS.get)
    monkeypatch.setattr(institutions, "find_user", USERS.get)
    monkeypatch.setattr(institutions, "find_account", {account.name: account for account in ACCOUNTS}.get)
    monkeypatch.setattr(
        institutions,
        "accounts_of",
        lambda institution_id: [a for a in ACCOUNTS if a.kind == "CUSTOMER" and institution_id in (None, a.institution_id)],
    )
    monkeypatch.setattr(markets, "symbols", lambda: [{"symbol": "BTC/USDT"}, {"symbol": "TEST/USDT"}])
    forget_all()
    yield
    forget_all()


def forget_all() -> None:
    for lookup in (auth.keys, auth.people, auth.accounts):
        lookup.forget()
    lookups.forget_symbols()
    throttling.forget()


@pytest.fixture
def run_api() -> Callable[[Callable[[Client], Any]], Any]:
    """Runs a coroutine function with a client, on an event loop of its own."""
    import asyncio

    async def with_client(act: Callable[[Client], Any]) -> Any:
        transport = httpx.ASGITransport(app=application)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            return await act(Client(http))

    return lambda act: asyncio.run(with_client(act))
