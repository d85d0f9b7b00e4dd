"""Requests that are wrong before any order is looked at: paths, methods, media types, sizes, bodies, queries."""

from typing import Any

import httpx
import orjson
import pytest
from django.db import OperationalError

from api.handler import BODY_LIMIT
from exchange_platform.asgi import application
from orders import market_data, queries
from tests.api.conftest import Client, FakeDesk


def error(reply: httpx.Response) -> tuple[int, str]:
    body = reply.json()
    assert set(body) == {"code", "message", "field", "request_id", "details"}
    assert body["message"]
    assert body["request_id"] == reply.headers["x-request-id"]
    assert reply.headers["x-ratelimit-limit"]
    return reply.status_code, body["code"]


@pytest.mark.parametrize("path", ["/no/such/path", "/orders/", "/orders/a/b", "/candles", "/withdrawals/a/b", "/strategies"])
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_an_unknown_path_is_404(run_api: Any, method: str, path: str) -> None:
    assert error(run_api(lambda client: client.call(method, path))) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/orders", "GET, POST, DELETE"),
        ("POST", "/orders/1", "GET, DELETE, PATCH"),
        ("GET", "/orders/cancel-all-after", "POST"),
        ("GET", "/orders/batch", "POST"),
        ("OPTIONS", "/orders", "GET, POST, DELETE"),
        ("POST", "/symbols", "GET"),
        ("PUT", "/trades/my", "GET"),
        ("DELETE", "/schema", "GET"),
        ("PUT", "/withdrawals", "GET, POST"),
        ("PATCH", "/withdrawals/1", "GET, DELETE"),
        ("GET", "/withdrawal-addresses/1", "DELETE"),
        ("POST", "/deposits", "GET"),
        ("GET", "/transfers", "POST"),
        ("POST", "/statements", "GET"),
    ],
)
def test_a_known_path_tells_what_it_takes(run_api: Any, method: str, path: str, allowed: str) -> None:
    reply = run_api(lambda client: client.call(method, path))
    assert error(reply) == (405, "METHOD_NOT_ALLOWED")
    assert reply.headers["allow"] == allowed


@pytest.mark.parametrize(
    "media_type", ["application/x-www-form-urlencoded", "text/plain", "application/jsonp", "multipart/form-data; boundary=x"]
)
def test_only_json_is_understood(desk: FakeDesk, run_api: Any, media_type: str) -> None:
    reply = run_api(lambda client: client.call("POST", "/orders", raw=b"symbol=BTC", headers={"Content-Type": media_type}))
    assert error(reply) == (415, "UNSUPPORTED_MEDIA_TYPE")


def test_json_may_name_its_charset(desk: FakeDesk, run_api: Any) -> None:
    reply = run_api(lambda client: client.call("POST", "/orders", raw=b"[]", headers={"Content-Type": "Application/JSON; charset=utf-8"}))
    assert error(reply) == (400, "MALFORMED")


def test_a_body_over_the_limit_is_refused_without_being_read(run_api: Any) -> None:
    for size, expected in ((BODY_LIMIT + 1, (413, "TOO_LARGE")), (BODY_LIMIT, (400, "MALFORMED"))):
        assert error(run_api(lambda client, size=size: client.call("POST", "/orders", raw=b" " * size))) == expected

    async def stream(client: Client) -> httpx.Response:
        async def forever() -> Any:
            for _ in range(100):
                yield b" " * 10_000

        return await client.http.post("/api/v1/orders", content=forever())

    reply = run_api(stream)
    assert error(reply) == (413, "TOO_LARGE")
    assert reply.headers["connection"] == "close"  # of unknown length: not even discarded


def test_a_declared_length_is_enough_to_refuse() -> None:
    import asyncio

    sent: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("nothing is read")

    async def send(message: Any) -> None:
        sent.append(message)

    for length in (b"1000000", b"9" * 30):
        scope = {"type": "http", "method": "POST", "path": "/api/v1/orders", "raw_path": b"", "headers": [(b"content-length", length)]}
        asyncio.run(application(scope, receive, send))
    assert [message["status"] for message in sent if "status" in message] == [413, 413]


MALFORMED = {
    "broken": b'{"symbol": "BTC/USDT", ',
    "blank": b" ",
    "list": b"[]",
    "null": b"null",
    "text": b'"order"',
    "number": b"1",
    "not UTF-8": b'{"symbol": "\xff\xfe"}',
    "brackets": b"[" * 100_000,
    "objects": b'{"a":' * 30_000 + b"1" + b"}" * 30_000,
    "trailing": b"{}}}",
    "form": b"symbol=BTC%2FUSDT",
    "UTF-16": "{}".encode("utf-16"),
    "NaN": b'{"quantity": NaN}',
    "surrogate": b'{"client_order_id": "\\ud800"}',
}


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.parametrize("path", ["/orders", "/orders/batch", "/transfers", "/auth/token", "/auth/token/refresh"])
def test_a_body_that_is_no_object_is_malformed(desk: FakeDesk, run_api: Any, path: str, name: str) -> None:
    assert error(run_api(lambda client: client.call("POST", path, raw=MALFORMED[name]))) == (400, "MALFORMED")


BATCHES: dict[str, tuple[Any, str]] = {
    "51 orders": ({"orders": [{}] * 51}, "INVALID_FIELD"),
    "no orders": ({"orders": []}, "INVALID_FIELD"),
    "text": ({"orders": "x"}, "INVALID_FIELD"),
    "null": ({"orders": None}, "INVALID_FIELD"),
    "empty": ({}, "MISSING_FIELD"),
    "more": ({"orders": [{}], "atomic": True}, "UNKNOWN_FIELD"),
}


@pytest.mark.parametrize("name", BATCHES)
def test_a_batch_of_a_wrong_form_is_refused_whole(desk: FakeDesk, run_api: Any, name: str) -> None:
    body, code = BATCHES[name]
    assert error(run_api(lambda client: client.call("POST", "/orders/batch", body=body))) == (400, code)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/orders?limit=many", "INVALID_FIELD"),
        ("/withdrawals?limit=0", "INVALID_FIELD"),
        ("/withdrawals?status=LOST", "INVALID_FIELD"),
        ("/withdrawals?asset=%00", "INVALID_FIELD"),
        ("/withdrawals?institution=beta", "UNKNOWN_FIELD"),
        ("/withdrawals/x", "NOT_FOUND"),
        ("/withdrawal-addresses?cursor=", "INVALID_FIELD"),
        ("/deposits?asset=USD", "UNKNOWN_FIELD"),
        ("/deposits?account=beta-1", "NOT_FOUND"),
        ("/statements?from=yesterday", "INVALID_FIELD"),
        ("/statements?to=2026-01-01T00:00:00Z", "MISSING_FIELD"),
        ("/orders?limit=0", "INVALID_FIELD"),
        ("/orders?limit=-5", "INVALID_FIELD"),
        ("/orders?limit=501", "INVALID_FIELD"),
        ("/orders?limit=%D9%A3", "INVALID_FIELD"),
        ("/orders?cursor=%25%25%25", "INVALID_FIELD"),
        ("/orders?cursor=", "INVALID_FIELD"),
        ("/orders?cursor=%C3%A4", "INVALID_FIELD"),
        ("/orders?status=LOST", "INVALID_FIELD"),
        ("/orders?status=OPEN&status=", "INVALID_FIELD"),
        ("/orders?side=HOLD", "INVALID_FIELD"),
        ("/orders?start_time=yesterday", "INVALID_FIELD"),
        ("/orders?end_time=" + "9" * 30, "INVALID_FIELD"),
        ("/orders?symbol=NO%2FSUCH", "UNKNOWN_SYMBOL"),
        ("/orders?institution=beta", "UNKNOWN_FIELD"),
        ("/orders?" + "&".join(f"a{n}=1" for n in range(200)), "MALFORMED"),
        ("/orders/by-client-id/%00", "NOT_FOUND"),
        ("/orders/by-client-id/" + "x" * 101, "NOT_FOUND"),
        ("/orderbook/NO-SUCH", "UNKNOWN_SYMBOL"),
        ("/orderbook/%00/depth", "UNKNOWN_SYMBOL"),
        ("/orderbook/TEST-USDT?depth=deep", "INVALID_FIELD"),
        ("/orderbook/TEST-USDT?depth=-1", "INVALID_FIELD"),
        ("/orderbook/TEST-USDT/depth?depth=1001", "INVALID_FIELD"),
        ("/ticker/NO-SUCH", "UNKNOWN_SYMBOL"),
        ("/trades", "MISSING_FIELD"),
        ("/trades?symbol=NO%2FSUCH", "UNKNOWN_SYMBOL"),
        ("/trades/my?limit=1e2", "INVALID_FIELD"),
        ("/ledger?cursor=AAAA", "INVALID_FIELD"),
        ("/balances?account=", "INVALID_FIELD"),
        ("/balances?account=%00", "INVALID_FIELD"),
        ("/balances?account=no-such", "NOT_FOUND"),
    ],
)
def test_a_wrong_query_names_its_fault(run_api: Any, path: str, code: str) -> None:
    assert error(run_api(lambda client: client.call("GET", path)))[1] == code


def test_a_symbol_is_understood_however_it_is_spelled_in_a_path(run_api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market_data, "book", lambda **asked: asked)
    monkeypatch.setattr(market_data, "cumulative_depth", lambda **asked: asked | {"cumulative": True})

    async def act(client: Client) -> list[Any]:
        paths = (
            "/orderbook/TEST-USDT",
            "/orderbook/TEST%2FUSDT",
            "/orderbook/TEST/USDT?depth=7",
            "/orderbook/TEST%2FUSDT/depth?depth=1000",
        )
        return [(await client.call("GET", path, key=None)).json() for path in paths]

    assert run_api(act) == [
        {"symbol": "TEST/USDT", "depth": 100},
        {"symbol": "TEST/USDT", "depth": 100},
        {"symbol": "TEST/USDT", "depth": 7},
        {"symbol": "TEST/USDT", "depth": 1000, "cumulative": True},
    ]


def test_a_database_that_is_away_is_503_with_a_time_to_come_again(run_api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(**_: Any) -> Any:
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(queries, "orders", away)
    reply = run_api(lambda client: client.call("GET", "/orders"))
    assert error(reply) == (503, "DATABASE_UNAVAILABLE")
    assert reply.headers["retry-after"] == "1"


def test_a_request_id_is_taken_when_it_is_sane_and_made_when_it_is_not(run_api: Any) -> None:
    async def act(client: Client) -> list[str]:
        sent = ["abc-1", "x" * 41, "a b", ""]
        replies = [await client.call("GET", "/time", key=None, headers={"X-Request-Id": each}) for each in sent]
        return [reply.headers["x-request-id"] for reply in replies]

    told = run_api(act)
    assert told[0] == "abc-1"
    assert all(len(each) == 32 for each in told[1:])
    assert len(set(told)) == 4


def test_head_is_answered_like_get(run_api: Any) -> None:
    reply = run_api(lambda client: client.call("HEAD", "/time", key=None))
    assert reply.status_code == 200


def test_a_filter_reaches_the_query_as_asked(run_api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def orders(**filters: Any) -> queries.Page:
        asked.append(filters)
        return queries.Page([{"order_id": "1"}], queries.UUID(int=7))

    monkeypatch.setattr(queries, "orders", orders)

    async def act(client: Client) -> Any:
        path = "/orders?status=open&status=FILLED&side=BUY&symbol=TEST-USDT&limit=2&start_time=2026-01-01T00:00:00Z"
        first = (await client.call("GET", path)).json()
        await client.call("GET", f"/orders?cursor={first['next_cursor']}")
        return first

    first = run_api(act)
    assert first["results"] == [{"order_id": "1"}]
    assert asked[0]["statuses"] == {"open", "FILLED"}
    assert (asked[0]["symbol"], asked[0]["side"], asked[0]["limit"], asked[0]["account_ids"]) == ("TEST/USDT", "BUY", 2, [11])
    assert asked[0]["start_time"].isoformat() == "2026-01-01T00:00:00+00:00"
    assert asked[1]["before"] == queries.UUID(int=7)
    assert orjson.dumps(first)
