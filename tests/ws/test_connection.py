"""One connection, in this process: who it is, what it may, how orders go in and what comes back. Keys, people and the desk are the
test's; no database, no Redis."""

import asyncio
import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any
from uuid import UUID

import orjson
import pytest
from rest_framework_simplejwt.tokens import AccessToken

from api import auth
from api.ws import app as app_module
from api.ws import connection as connection_module
from api.ws import entry, protocol
from api.ws.app import StreamApp
from institutions import queries as institutions
from orders import queries
from orders.refusals import NotTaken, OrderNotOpen, OutcomeUnknown, Refusal
from orders.requests import (
    AmendOrder,
    CancelAll,
    CancelledAll,
    CancelOrder,
    Decided,
    PlaceOrder,
    Result,
    SetSwitch,
    Submission,
    SwitchSet,
)
from tests.api.conftest import KEYS, ORDER, SECRET, FakeDesk, _known_world, placed

__all__ = ["_known_world"]  # a fixture for every test here

LIMIT = {"symbol": "TEST/USDT", "side": "BUY", "order_type": "LIMIT", "quantity": "1", "price": "100", "client_order_id": "c-1"}
ORDER_ID = ORDER["order_id"]


class Wire:
    """A client on plain ASGI."""

    def __init__(self, app: StreamApp, address: str = "127.0.0.1") -> None:
        self.to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.from_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.to_app.put_nowait({"type": "websocket.connect"})
        scope = {"type": "websocket", "path": "/stream", "client": (address, 1), "headers": []}
        self.task = asyncio.create_task(app(scope, self.to_app.get, self._send))
        self.closed: int | None = None
        self.count = 0

    async def _send(self, message: Any) -> None:
        if message["type"] == "websocket.close":
            self.closed = message["code"]
            self.to_app.put_nowait({"type": "websocket.disconnect", "code": message["code"]})
        self.from_app.put_nowait(dict(message))

    def send(self, raw: str) -> None:
        self.to_app.put_nowait({"type": "websocket.receive", "text": raw})

    async def next(self) -> dict[str, Any]:
        """The next message; a close ends the test's patience."""
        async with asyncio.timeout(5):
            while True:
                message = await self.from_app.get()
                if message["type"] == "websocket.send":
                    found = orjson.loads(message["text"])
                    assert isinstance(found, dict)
                    return found
                if message["type"] == "websocket.close":
                    raise ConnectionError(message["code"])

    def ask_soon(self, kind: str, **fields: Any) -> str:
        self.count += 1
        ident = f"m{self.count}"
        self.send(orjson.dumps({"type": kind, "id": ident, **fields}).decode())
        return ident

    async def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        ident = self.ask_soon(kind, **fields)
        answer = await self.next()
        assert answer["id"] == ident
        return answer

    async def auth(self, key: str = "own", **fields: Any) -> dict[str, Any]:
        return await self.ask("AUTH", **(signed(key) | fields))

    async def until_closed(self) -> int:
        async with asyncio.timeout(5):
            await asyncio.wait([self.task])
        assert self.closed is not None
        return self.closed

    async def hang_up(self) -> None:
        self.to_app.put_nowait({"type": "websocket.disconnect", "code": 1001})
        async with asyncio.timeout(5):
            await asyncio.wait([self.task])


def signed(key: str, *, at: int | None = None, window: object = 5000, secret: str = SECRET) -> dict[str, Any]:
    stamp = int(time.time() * 1000) if at is None else at
    signature = hmac.new(secret.encode(), f"{stamp}{window}GET/stream".encode(), hashlib.sha256).hexdigest()
    return {"api_key": key, "timestamp": stamp, "recv_window": window, "signature": signature}


def code_of(answer: dict[str, Any]) -> str:
    assert answer["type"] == "ERROR", answer
    assert set(answer["data"]) == {"code", "message", "field", "request_id", "details"}
    return str(answer["data"]["code"])


class SlowDesk(FakeDesk):
    """Answers when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.futures: list[Future[list[Result]]] = []

    def submit(self, submission: Submission, *, wait: bool) -> "Future[list[Result]]":
        if all(isinstance(request, SetSwitch) for request in submission.requests):  # asked for before the test begins
            return FakeDesk().submit(submission, wait=wait)
        self.asked.append((submission, wait))
        future: Future[list[Result]] = Future()
        future.set_running_or_notify_cancel()
        self.futures.append(future)
        return future

    def release(self, index: int) -> None:
        self.futures[index].set_result([self.answer(request) for request in self.asked[index][0].requests])


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> FakeDesk:
    made = FakeDesk()
    monkeypatch.setattr(entry, "process_desk", lambda: made)
    return made


@pytest.fixture
def slow_desk(monkeypatch: pytest.MonkeyPatch) -> SlowDesk:
    made = SlowDesk()
    monkeypatch.setattr(entry, "process_desk", lambda: made)
    return made


def run(act: Callable[[StreamApp], Awaitable[None]]) -> None:
    async def main() -> None:
        app = StreamApp()
        app.start()
        try:
            await act(app)
        finally:
            await app.stop()

    asyncio.run(main())


async def turns(count: int = 50) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_nothing_else_is_served_under_another_path() -> None:
    async def act(app: StreamApp) -> None:
        wire = Wire(app)
        await wire.hang_up()
        other: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            other.append(message["type"])

        await app({"type": "websocket", "path": "/elsewhere", "headers": []}, receive, send)
        assert other == ["websocket.close"]

    run(act)


# -- junk


def test_twenty_pieces_of_junk_are_answered_and_one_more_closes() -> None:
    async def act(app: StreamApp) -> None:
        wire = Wire(app)
        for _ in range(2):
            for n in range(20):
                wire.send("{}" if n % 2 else "not json")
                assert code_of(await wire.next()) in ("MISSING_FIELD", "MALFORMED")
            assert (await wire.ask("PING"))["type"] == "PONG"
        for _ in range(21):
            wire.send("[]")
        assert await wire.until_closed() == 1008

    run(act)


def test_well_formed_messages_that_are_refused_are_no_junk() -> None:
    async def act(app: StreamApp) -> None:
        wire = Wire(app)
        for _ in range(25):
            assert code_of(await wire.ask("SUBSCRIBE", channels=["nothing.at.all"])) == "INVALID_FIELD"
            assert code_of(await wire.ask("PING", more=1)) == "UNKNOWN_FIELD"
        assert (await wire.ask("PING"))["type"] == "PONG"

    run(act)


def test_bytes_are_read_as_text_is() -> None:
    async def act(app: StreamApp) -> None:
        wire = Wire(app)
        wire.to_app.put_nowait({"type": "websocket.receive", "bytes": b'{"type": "PING", "id": 7}'})
        assert (await wire.next())["id"] == 7

    run(act)


def test_what_is_refused_is_counted_as_rest_counts_it(desk: FakeDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    refusals: list[str] = []
    placements: list[tuple[str, ...]] = []
    monkeypatch.setattr(protocol, "count_refusal", refusals.append)
    monkeypatch.setattr(entry, "count_placements", lambda began_at, symbols: placements.append(tuple(symbols)))

    async def act(app: StreamApp) -> None:
        wire = Wire(app)
        wire.send("junk")
        await wire.next()
        await wire.ask("PLACE_ORDER", data=LIMIT)  # nobody: not the request is wrong
        await wire.auth()
        await wire.ask("PLACE_ORDER", data=LIMIT | {"x": 1})
        desk.answer = lambda _: placed(ORDER, refusal=Refusal("off", code="OFF_TICK"))
        await wire.ask("PLACE_ORDER", data=LIMIT)
        assert (refusals, placements) == (["MALFORMED", "UNKNOWN_FIELD"], [("TEST/USDT",)])

    run(act)


# -- AUTH


def test_auth_by_key_tells_the_account_and_what_is_allowed() -> None:
    async def act(app: StreamApp) -> None:
        answer = await Wire(app).auth("own")
        assert (answer["type"], answer["data"]) == ("ACK", {"account": "alpha-1", "rights": ["read", "trade"]})
        fields = signed("own")
        assert (await Wire(app).ask("AUTH", **fields | {"timestamp": str(fields["timestamp"]), "recv_window": "5000"}))["type"] == "ACK"

    run(act)


def test_auth_by_token_is_for_people() -> None:
    async def act(app: StreamApp) -> None:
        token = AccessToken()
        token["user_id"] = "1"
        answer = await Wire(app).ask("AUTH", token=str(token))
        assert (answer["type"], answer["data"]) == ("ACK", {"account": None, "rights": ["read", "trade"]})
        answer = await Wire(app).ask("AUTH", token=str(token), account="alpha-2")
        assert answer["data"]["account"] == "alpha-2"

    run(act)


WRONG = {
    "signature": (lambda: signed("own", secret="x" * 64), "INVALID_SIGNATURE"),
    "time": (lambda: signed("own", at=int(time.time() * 1000) - 60_000), "STALE_TIMESTAMP"),
    "negative time": (lambda: signed("own", at=-1), "STALE_TIMESTAMP"),
    "window": (lambda: signed("own", window=60_001), "STALE_TIMESTAMP"),
    "key": (lambda: signed("nobody"), "UNAUTHENTICATED"),
    "address": (lambda: signed("elsewhere"), "IP_NOT_ALLOWED"),
    "token": (lambda: {"token": "a.b.c"}, "UNAUTHENTICATED"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_auth_gets_its_error_and_then_4401(what: str) -> None:
    async def act(app: StreamApp) -> None:
        wire = Wire(app)
        make, code = WRONG[what]
        answer = await wire.ask("AUTH", **make())
        assert code_of(answer) == code
        assert not str(answer["data"]["field"]).startswith("X-")
        assert await wire.until_closed() == 4401

    run(act)


def test_what_comes_behind_a_wrong_auth_is_not_acted_on(desk: FakeDesk) -> None:
    async def act(app: StreamApp) -> None:
        wire = Wire(app)
        wire.ask_soon("AUTH", **signed("own", secret="x" * 64))
        wire.ask_soon("AUTH", **signed("own"))
        wire.ask_soon("PLACE_ORDER", data=LIMIT)
        assert await wire.until_closed() == 4401
        assert desk.asked == []

    run(act)


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({}, "MISSING_FIELD", "api_key"),
        ({"signature": None}, "INVALID_FIELD", "signature"),
        ({"timestamp": 1.5}, "INVALID_FIELD", "timestamp"),
        ({"timestamp": True}, "INVALID_FIELD", "timestamp"),
        ({"api_key": "ä"}, "INVALID_FIELD", "api_key"),
        ({"token": "x"}, "CONFLICTING_FIELDS", "api_key"),
        ({"token": 5, "api_key": None}, "CONFLICTING_FIELDS", "api_key"),
    ],
)
def test_an_auth_of_a_wrong_form_is_refused_and_may_be_sent_again(fields: dict[str, Any], code: str, field: str) -> None:
    async def act(app: StreamApp) -> None:
        wire = Wire(app)
        sent = (signed("own") | fields) if fields else {}
        answer = await wire.ask("AUTH", **sent)
        assert (code_of(answer), answer["data"]["field"]) == (code, field)
        assert (await wire.auth("own"))["type"] == "ACK"

    run(act)


def test_a_connection_keeps_its_log_in() -> None:
    async def act(app: StreamApp) -> None:
        wire = Wire(app)
        assert (await wire.auth("own"))["type"] == "ACK"
        assert (await wire.auth("own"))["type"] == "ACK"
        assert code_of(await wire.auth("reader")) == "FORBIDDEN"
        assert await wire.until_closed() == 4401

    run(act)


@pytest.mark.parametrize("who", ["key", "person"])
def test_who_is_disabled_is_cut_off_within_five_seconds(who: str, monkeypatch: pytest.MonkeyPatch, desk: FakeDesk) -> None:
    now = [0.0]
    for lookup in (auth.keys, auth.people):
        monkeypatch.setattr(lookup, "_clock", lambda: now[0])
    monkeypatch.setattr(app_module, "LOOK_S", 0.01)

    async def act(app: StreamApp) -> None:
        wire, other = Wire(app), Wire(app)
        token = AccessToken()
        token["user_id"] = "1"
        await (wire.auth("own") if who == "key" else wire.ask("AUTH", token=str(token)))
        await other.auth("reader")
        await wire.ask("CANCEL_ON_DISCONNECT", enabled=False)
        monkeypatch.setattr(institutions, "find_api_key", {"reader": KEYS["reader"]}.get)
        monkeypatch.setattr(institutions, "find_user", lambda _: None)
        now[0] = 1.0
        await asyncio.sleep(0.1)
        assert wire.closed is None
        now[0] = 3.5  # and at most a look later
        assert await wire.until_closed() == 4401
        assert code_of(await wire.next()) == "UNAUTHENTICATED"
        assert other.closed is None

    run(act)


def test_an_access_token_that_expires_does_not_close(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "LOOK_S", 0.01)

    async def act(app: StreamApp) -> None:
        from datetime import timedelta

        wire, token = Wire(app), AccessToken()
        token["user_id"] = "1"
        token.set_exp(lifetime=timedelta(seconds=1))
        assert (await wire.ask("AUTH", token=str(token)))["type"] == "ACK"
        await asyncio.sleep(2.1)
        assert code_of(await Wire(app).ask("AUTH", token=str(token))) == "TOKEN_EXPIRED"
        assert (await wire.ask("PING"))["type"] == "PONG"

    run(act)


# -- user channels


@pytest.mark.parametrize(
    ("key", "fields", "code", "field"),
    [
        (None, {"channels": ["user.orders"]}, "UNAUTHENTICATED", None),
        ("trader-only", {"channels": ["user.orders"]}, "SCOPE_MISSING", None),
        ("institution", {"channels": ["user.orders"]}, "INVALID_FIELD", "account"),
        ("institution", {"channels": ["user.orders"], "account": "beta-1"}, "NOT_FOUND", "account"),
        ("institution", {"channels": ["user.orders"], "account": "house-fees"}, "NOT_FOUND", "account"),
        ("institution", {"channels": ["user.orders"], "account": 5}, "INVALID_FIELD", "account"),
        ("own", {"channels": ["user.orders"], "account": "alpha-2"}, "NOT_FOUND", "account"),
        ("own", {"channels": ["orderbook.TEST/USDT"], "account": "alpha-1"}, "CONFLICTING_FIELDS", "account"),
        ("own", {"channels": ["user.orders.alpha-1"]}, "INVALID_FIELD", "channels"),
        ("own", {"channels": ["user.orders", "orderbook.NO/USDT"]}, "UNKNOWN_SYMBOL", "channels"),
        ("own", {"channels": ["candles.TEST/USDT.2m"]}, "INVALID_FIELD", "channels"),
        ("own", {"channels": ["orderbook."]}, "INVALID_FIELD", "channels"),
        ("own", {"channels": [["orderbook.TEST/USDT"]]}, "INVALID_FIELD", "channels"),
        ("own", {"channels": []}, "INVALID_FIELD", "channels"),
        ("own", {"channels": ["user.orders"] * 201}, "INVALID_FIELD", "channels"),
        ("own", {}, "MISSING_FIELD", "channels"),
    ],
)
def test_who_may_not_subscribe_is_told_why(key: str | None, fields: dict[str, Any], code: str, field: str | None) -> None:
    async def act(app: StreamApp) -> None:
        wire = Wire(app)
        if key is not None:
            await wire.auth(key)
        answer = await wire.ask("SUBSCRIBE", **fields)
        assert (code_of(answer), answer["data"]["field"]) == (code, field)

    run(act)


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"channel": "orderbook.TEST/USDT", "last_sequence": 1}, "INVALID_FIELD", "channel"),
        ({"channel": "x"}, "INVALID_FIELD", "channel"),
        ({"channel": "user.orders", "last_sequence": -1}, "INVALID_FIELD", "last_sequence"),
        ({"channel": "user.orders", "last_sequence": "1"}, "INVALID_FIELD", "last_sequence"),
        ({"last_sequence": 1}, "MISSING_FIELD", "channel"),
        ({}, "UNAUTHENTICATED", None),
    ],
)
def test_a_resync_that_makes_no_sense_is_refused(fields: dict[str, Any], code: str, field: str | None) -> None:
    async def act(app: StreamApp) -> None:
        answer = await Wire(app).ask("RESYNC", **fields)
        assert (code_of(answer), answer["data"]["field"]) == (code, field)

    run(act)


# -- limits


def test_messages_of_a_limited_key_count_as_its_requests(desk: FakeDesk) -> None:
    async def act(app: StreamApp) -> None:
        wire = Wire(app)
        await wire.auth("limited")
        answers = [await wire.ask("PLACE_ORDER", data=LIMIT | {"client_order_id": f"c-{n}"}) for n in range(30)]
        refused = [answer for answer in answers if answer["type"] == "ERROR"]
        assert {code_of(answer) for answer in refused} == {"RATE_LIMITED"}
        assert all(answer["data"]["details"]["retry_after"] >= 1 for answer in refused)
        assert len(desk.asked) == 30 - len(refused) == 20
        again = Wire(app)
        await again.auth("limited")
        assert code_of(await again.ask("PING")) == "RATE_LIMITED", "the limit is the key's, not the connection's"

    run(act)


def test_two_hundred_who_subscribe_at_once_without_a_log_in_do_not_limit_each_other() -> None:
    async def act(app: StreamApp) -> None:
        answers = await asyncio.gather(*(Wire(app).ask("PING") for _ in range(200)))
        assert {answer["type"] for answer in answers} == {"PONG"}

    run(act)


def test_failed_log_ins_count_for_their_address() -> None:
    async def act(app: StreamApp) -> None:
        codes = [code_of(await Wire(app, "192.0.2.9").auth("nobody")) for _ in range(110)]
        assert codes[:100] == ["UNAUTHENTICATED"] * 100
        assert "RATE_LIMITED" in codes[100:]

    run(act)


# -- orders


def test_an_order_is_acknowledged_with_the_order(desk: FakeDesk) -> None:
    async def act(app: StreamApp) -> None:
        wire = Wire(app)
        await wire.auth()
        answer = await wire.ask("PLACE_ORDER", data=LIMIT | {"response_type": "ACK"})
        assert (answer["type"], answer["data"]["client_order_id"]) == ("ACK", "c-1")
        await wire.ask("PLACE_ORDER", data=LIMIT)
        [(first, waits), (_, waits_for_result)] = desk.asked
        [request] = first.requests
        assert isinstance(request, PlaceOrder)
        assert (request.account_id, request.principal.actor, first.nonce) == (11, "key:own", None)
        assert (waits, waits_for_result) == (False, True)

    run(act)


@pytest.mark.parametrize(
    ("kind", "data", "code", "field"),
    [
        ("PLACE_ORDER", LIMIT | {"quantity": "NaN"}, "INVALID_NUMBER", "quantity"),
        ("PLACE_ORDER", LIMIT | {"quantity": 1}, "INVALID_FIELD", "quantity"),
        ("PLACE_ORDER", LIMIT | {"x": 1}, "UNKNOWN_FIELD", "x"),
        ("PLACE_ORDER", LIMIT | {"symbol": "NO/USDT"}, "UNKNOWN_SYMBOL", "symbol"),
        ("PLACE_ORDER", LIMIT | {"account": "alpha-2"}, "NOT_FOUND", "account"),
        ("PLACE_ORDER", {}, "MISSING_FIELD", "symbol"),
        ("PLACE_ORDER", [], "INVALID_FIELD", "data"),
        ("PLACE_ORDER", None, "INVALID_FIELD", "data"),
        ("CANCEL_ORDER", {}, "MISSING_FIELD", "order_id"),
        ("CANCEL_ORDER", {"order_id": "none"}, "NOT_FOUND", None),
        ("CANCEL_ORDER", {"order_id": 5}, "INVALID_FIELD", "order_id"),
        ("CANCEL_ORDER", {"order_id": ORDER_ID, "reason": "x"}, "UNKNOWN_FIELD", "reason"),
        ("CANCEL_ORDER", {"order_id": ORDER_ID, "client_order_id": "c-1"}, "CONFLICTING_FIELDS", "client_order_id"),
        ("CANCEL_ORDER", {"client_order_id": "a b"}, "INVALID_FIELD", "client_order_id"),
        ("CANCEL_ORDER", {"client_order_id": "c", "account": ""}, "INVALID_FIELD", "account"),
        ("AMEND_ORDER", {}, "MISSING_FIELD", "order_id"),
        ("AMEND_ORDER", {"order_id": ORDER_ID}, "MISSING_FIELD", "price"),
        ("AMEND_ORDER", {"order_id": ORDER_ID, "quantity": "0"}, "INVALID_NUMBER", "quantity"),
        ("AMEND_ORDER", {"order_id": "none", "price": "1"}, "NOT_FOUND", None),
    ],
)
def test_what_rest_refuses_is_refused_with_the_same_code(kind: str, data: Any, code: str, field: str | None, desk: FakeDesk) -> None:
    async def act(app: StreamApp) -> None:
        wire = Wire(app)
        await wire.auth()
        answer = await wire.ask(kind, data=data)
        assert (code_of(answer), answer["data"]["field"]) == (code, field)
        assert desk.asked == []

    run(act)


@pytest.mark.parametrize("kind", ["PLACE_ORDER", "CANCEL_ORDER", "AMEND_ORDER"])
@pytest.mark.parametrize(("key", "code"), [(None, "UNAUTHENTICATED"), ("reader", "SCOPE_MISSING")])
def test_only_who_may_trade_trades(kind: str, key: str | None, code: str, desk: FakeDesk) -> None:
    async def act(app: StreamApp) -> None:
        wire = Wire(app)
        if key:
            await wire.auth(key)
        assert code_of(await wire.ask(kind, data=LIMIT)) == code
        assert desk.asked == []

    run(act)


def test_refusals_replays_and_late_decisions_are_told_as_over_rest(desk: FakeDesk) -> None:
    async def act(app: StreamApp) -> None:
        wire = Wire(app)
        await wire.auth()
        desk.answer = lambda _: placed(ORDER, refusal=Refusal("off", code="OFF_TICK", field="price"))
        answer = await wire.ask("PLACE_ORDER", data=LIMIT)
        assert (code_of(answer), answer["data"]["field"]) == ("OFF_TICK", "price")
        desk.answer = lambda _: placed(ORDER, replay=True)
        assert (await wire.ask("PLACE_ORDER", data=LIMIT))["type"] == "ACK"
        desk.answer = lambda _: NotTaken("busy", code="OVERLOADED")
        answer = await wire.ask("PLACE_ORDER", data=LIMIT)
        assert (code_of(answer), answer["data"]["details"]) == ("OVERLOADED", {"retry_after": 1})
        desk.answer = lambda _: OrderNotOpen("ended")
        assert code_of(await wire.ask("CANCEL_ORDER", data={"order_id": ORDER_ID})) == "ORDER_NOT_OPEN"
        desk.answer = lambda _: Decided(ORDER, decided=False)
        assert (await wire.ask("AMEND_ORDER", data={"order_id": ORDER_ID, "price": "2"}))["data"] == ORDER
        kinds = [type(submission.requests[0]) for submission, _ in desk.asked]
        assert kinds == [PlaceOrder, PlaceOrder, PlaceOrder, CancelOrder, AmendOrder]

    run(act)


def test_requests_go_in_in_their_order_without_waiting_for_answers(slow_desk: SlowDesk) -> None:
    async def act(app: StreamApp) -> None:
        wire = Wire(app)
        await wire.auth()
        idents = [wire.ask_soon("PLACE_ORDER", data=LIMIT | {"client_order_id": f"c-{n}"}) for n in range(100)]
        for _ in range(500):  # the first looks its account up in a thread, and the others wait behind it
            if len(slow_desk.asked) == 100:
                break
            await asyncio.sleep(0.01)
        sent = [submission.requests[0].client_order_id for submission, _ in slow_desk.asked]  # type: ignore[union-attr]
        assert sent == [f"c-{n}" for n in range(100)]
        for n in reversed(range(100)):
            slow_desk.release(n)
        answers = {}
        for _ in range(100):
            answer = await wire.next()
            answers[answer["id"]] = answer["data"]["client_order_id"]
        assert answers == {ident: f"c-{n}" for n, ident in enumerate(idents)}

    run(act)


def test_so_many_unanswered_requests_and_nothing_more_is_read(slow_desk: SlowDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry, "MOST_UNDER_WAY", 5)

    async def act(app: StreamApp) -> None:
        wire = Wire(app)
        await wire.auth()
        for n in range(8):
            wire.ask_soon("PLACE_ORDER", data=LIMIT | {"client_order_id": f"c-{n}"})
        await turns(200)
        assert len(slow_desk.asked) == 5
        slow_desk.release(0)
        await wire.next()
        await turns(200)
        assert len(slow_desk.asked) == 6

    run(act)


def test_a_cancel_by_client_id_finds_the_order_sent_just_before(slow_desk: SlowDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    stored: dict[str, Any] = {}
    monkeypatch.setattr(queries, "order_by_client_id", lambda **wanted: stored.get(wanted["client_order_id"]))

    async def act(app: StreamApp) -> None:
        wire = Wire(app)
        await wire.auth()
        wire.ask_soon("PLACE_ORDER", data=LIMIT)
        wire.ask_soon("CANCEL_ORDER", data={"client_order_id": "c-1"})
        wire.ask_soon("PLACE_ORDER", data=LIMIT | {"client_order_id": "c-2"})
        await turns(200)
        assert len(slow_desk.asked) == 1, "what comes behind the cancel waits with it"
        stored["c-1"] = ORDER
        slow_desk.release(0)
        await wire.next()
        async with asyncio.timeout(5):
            while len(slow_desk.asked) < 3:
                await asyncio.sleep(0.01)
        cancel = slow_desk.asked[1][0].requests[0]
        assert isinstance(cancel, CancelOrder)
        assert cancel.order_id == UUID(ORDER_ID)

    run(act)


def test_a_cancel_by_an_unknown_client_id_is_not_found(desk: FakeDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(queries, "order_by_client_id", lambda **wanted: asked.append(wanted))

    async def act(app: StreamApp) -> None:
        wire = Wire(app)
        await wire.auth()
        assert code_of(await wire.ask("CANCEL_ORDER", data={"client_order_id": "c-9"})) == "NOT_FOUND"
        assert asked == [{"institution_id": 1, "account_ids": [11], "client_order_id": "c-9"}]

    run(act)


def test_when_nobody_knows_whether_an_order_was_taken_the_connection_goes_without_an_answer(desk: FakeDesk) -> None:
    async def act(app: StreamApp) -> None:
        wire = Wire(app)
        await wire.auth()
        desk.answer = lambda _: OutcomeUnknown("?")
        wire.ask_soon("PLACE_ORDER", data=LIMIT)
        assert await wire.until_closed() == 1011
        assert [m["type"] for m in iter_queue(wire.from_app)] == ["websocket.close"]

    run(act)


def iter_queue(queue: "asyncio.Queue[dict[str, Any]]") -> list[dict[str, Any]]:
    return [queue.get_nowait() for _ in range(queue.qsize())]


# -- CANCEL_ON_DISCONNECT


def cancels(desk: FakeDesk) -> list[CancelAll]:
    return [submission.requests[0] for submission, _ in desk.asked if isinstance(submission.requests[0], CancelAll)]


def test_the_accounts_orders_are_cancelled_when_the_connection_goes(desk: FakeDesk) -> None:
    async def act(app: StreamApp) -> None:
        for enabled in (True, False):
            wire = Wire(app)
            await wire.auth()
            assert (await wire.ask("CANCEL_ON_DISCONNECT", enabled=True))["data"] == {"enabled": True}
            await wire.ask("CANCEL_ON_DISCONNECT", enabled=enabled)
            await wire.hang_up()
            await turns()
        [cancel] = cancels(desk)
        [first, *_, off] = [request for submission, _ in desk.asked for request in submission.requests if isinstance(request, SetSwitch)]
        assert (first.timeout_ms, first.reason, off.timeout_ms, off.holder[:7]) == (20_000, "DISCONNECT", 0, "stream:")
        assert (cancel.account_ids, cancel.symbol, cancel.reason, cancel.principal.actor) == ((11,), None, "DISCONNECT", "key:own")

    run(act)


def test_what_was_sent_just_before_the_connection_went_is_cancelled_too(slow_desk: SlowDesk) -> None:
    """One batch of intake reads what is open before it takes what is in it, so the cancel has to come behind the orders' answers."""

    async def act(app: StreamApp) -> None:
        wire = Wire(app)
        await wire.auth()
        await wire.ask("CANCEL_ON_DISCONNECT", enabled=True)
        wire.ask_soon("PLACE_ORDER", data=LIMIT)
        await turns()
        await wire.hang_up()
        await turns()
        assert cancels(slow_desk) == []
        slow_desk.release(0)
        await turns()
        assert len(cancels(slow_desk)) == 1
        slow_desk.release(1)
        await turns()

    run(act)


def test_cancelling_goes_on_while_nobody_can_take_it(desk: FakeDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry, "CANCEL_RETRY_S", 0.01)
    answers: list[Result] = [
        NotTaken("", code="NO_MATCHING_OWNER"),
        NotTaken("", code="DATABASE_UNAVAILABLE"),
        OutcomeUnknown(""),
        CancelledAll(1, 1),
    ]

    async def act(app: StreamApp) -> None:
        wire = Wire(app)
        await wire.auth()
        await wire.ask("CANCEL_ON_DISCONNECT", enabled=True)
        desk.answer = lambda request: SwitchSet(0, None) if isinstance(request, SetSwitch) else answers.pop(0)
        await wire.hang_up()
        async with asyncio.timeout(5):
            while answers:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert len(cancels(desk)) == 4

    run(act)


def test_stopping_waits_for_what_connections_left_behind(slow_desk: SlowDesk) -> None:
    async def act(app: StreamApp) -> None:
        wire = Wire(app)
        await wire.auth()
        await wire.ask("CANCEL_ON_DISCONNECT", enabled=True)
        await wire.hang_up()
        await turns()
        stopping = asyncio.create_task(app.stop())
        await turns()
        assert not stopping.done()
        slow_desk.release(0)
        await asyncio.wait_for(stopping, 1)

    run(act)


@pytest.mark.parametrize(
    ("key", "fields", "code", "field"),
    [
        (None, {"enabled": True}, "UNAUTHENTICATED", None),
        ("reader", {"enabled": True}, "SCOPE_MISSING", None),
        ("own", {}, "MISSING_FIELD", "enabled"),
        ("own", {"enabled": 1}, "INVALID_FIELD", "enabled"),
        ("institution", {"enabled": True}, "INVALID_FIELD", "account"),
    ],
)
def test_who_may_not_arm_it_is_told_why(key: str | None, fields: dict[str, Any], code: str, field: str | None) -> None:
    async def act(app: StreamApp) -> None:
        wire = Wire(app)
        if key:
            await wire.auth(key)
        answer = await wire.ask("CANCEL_ON_DISCONNECT", **fields)
        assert (code_of(answer), answer["data"]["field"]) == (code, field)

    run(act)


def test_an_institution_key_arms_it_for_the_account_it_named_and_keeps_it(desk: FakeDesk) -> None:
    async def act(app: StreamApp) -> None:
        wire = Wire(app)
        assert (await wire.auth("institution", account="alpha-2"))["data"]["account"] == "alpha-2"
        await wire.ask("CANCEL_ON_DISCONNECT", enabled=True)
        assert code_of(await wire.auth("institution", account="alpha-1")) == "INVALID_FIELD"
        await wire.hang_up()
        await turns()
        [cancel] = cancels(desk)
        assert cancel.account_ids == (12,)

    run(act)


# -- HEARTBEAT


def test_a_heartbeat_comes_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(app_module, "LOOK_S", 0.01)

    async def act(app: StreamApp) -> None:
        wire = Wire(app)
        beats = [await wire.next() for _ in range(3)]
        assert {beat["type"] for beat in beats} == {"HEARTBEAT"}
        assert beats[0]["data"] == {}
        assert "timestamp" in beats[0]

    run(act)


def test_everybody_is_counted_and_nobody_is_kept(desk: FakeDesk) -> None:
    async def act(app: StreamApp) -> None:
        wires = [Wire(app) for _ in range(50)]
        await asyncio.gather(*(wire.ask("PING") for wire in wires))
        assert len(app.connections) == 50
        for wire in wires:
            await wire.hang_up()
        assert len(app.connections) == 0

    run(act)
