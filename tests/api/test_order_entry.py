"""What intake is asked, and how its answers look: statuses, replays, batches, and the one case in which nothing is answered."""

from typing import Any
from uuid import UUID

import orjson
import pytest

from api.errors import DropConnection
from exchange_platform.asgi import application
from orders.refusals import (
    AmendRefused,
    IdempotencyConflict,
    NotFound,
    NotTaken,
    OrderNotOpen,
    OutcomeUnknown,
    Refusal,
    ReplayedSignature,
    UnknownSymbol,
)
from orders.requests import AmendOrder, CancelAll, CancelledAll, CancelOrder, Decided, PlaceOrder
from tests.api.conftest import ORDER, Client, FakeDesk, placed

LIMIT = {"symbol": "TEST/USDT", "side": "BUY", "order_type": "LIMIT", "quantity": "1", "price": "100", "client_order_id": "c-1"}
ORDER_ID = ORDER["order_id"]


def test_a_new_order_is_201_with_the_order(desk: FakeDesk, run_api: Any) -> None:
    async def act(client: Client) -> None:
        reply = await client.call("POST", "/orders", body=LIMIT, headers={"X-Request-Id": "trace-7"})
        assert (reply.status_code, reply.json()) == (201, ORDER)
        assert reply.headers["x-request-id"] == "trace-7"
        assert "idempotent-replay" not in reply.headers

    run_api(act)
    [(submission, wait)] = desk.asked
    [request] = submission.requests
    assert isinstance(request, PlaceOrder)
    assert (request.account_id, request.principal.institution_id, request.principal.actor, request.request_id) == (
        11,
        1,
        "key:own",
        "trace-7",
    )
    assert wait
    assert submission.nonce is not None
    assert len(submission.nonce.digest) == 32


def test_ack_does_not_wait_for_the_engine(desk: FakeDesk, run_api: Any) -> None:
    run_api(lambda client: client.call("POST", "/orders", body=LIMIT | {"response_type": "ACK"}))
    assert desk.asked[0][1] is False


@pytest.mark.parametrize(
    ("result", "status", "code", "replay"),
    [
        (placed(ORDER, replay=True), 200, None, "true"),
        (placed(ORDER, refusal=Refusal("off", code="OFF_TICK", field="price")), 422, "OFF_TICK", None),
        (placed(ORDER, replay=True, refusal=Refusal("off", code="OFF_TICK")), 422, "OFF_TICK", "true"),
        (placed(ORDER, refusal=Refusal("late", code="POST_ONLY_WOULD_TAKE")), 422, "POST_ONLY_WOULD_TAKE", None),
        (IdempotencyConflict("other"), 409, "IDEMPOTENCY_CONFLICT", None),
        (UnknownSymbol("gone"), 404, "UNKNOWN_SYMBOL", None),
        (ReplayedSignature("again"), 401, "REPLAYED_SIGNATURE", None),
        (NotTaken("nobody", code="NO_MATCHING_OWNER", retry_after_s=3), 503, "NO_MATCHING_OWNER", None),
        (NotTaken("full", code="OVERLOADED"), 503, "OVERLOADED", None),
        (NotTaken("away", code="DATABASE_UNAVAILABLE"), 503, "DATABASE_UNAVAILABLE", None),
    ],
)
def test_each_result_has_its_status(desk: FakeDesk, run_api: Any, result: Any, status: int, code: str | None, replay: str | None) -> None:
    desk.answer = lambda request: result
    reply = run_api(lambda client: client.call("POST", "/orders", body=LIMIT))
    assert (reply.status_code, reply.json().get("code"), reply.headers.get("idempotent-replay")) == (status, code, replay)
    if code:
        assert set(reply.json()) == {"code", "message", "field", "request_id", "details"}
        assert reply.json()["request_id"] == reply.headers["x-request-id"]
    if status == 503:
        assert reply.headers["retry-after"] == str(getattr(result, "retry_after_s", 1))


def test_an_unknown_outcome_drops_the_connection(desk: FakeDesk, run_api: Any) -> None:
    desk.answer = lambda request: OutcomeUnknown("who knows")
    with pytest.raises(DropConnection):  # no way to drop it here: the server is made to fail
        run_api(lambda client: client.call("POST", "/orders", body=LIMIT))

    sent: list[Any] = []
    dropped: list[bool] = []

    async def act(client: Client) -> None:
        body = orjson.dumps(LIMIT)
        headers = client.signed("POST", "/api/v1/orders", body)
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/api/v1/orders",
            "raw_path": b"/api/v1/orders",
            "query_string": b"",
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 1),
            "extensions": {"exchange.abort": lambda: dropped.append(True)},
        }

        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect"} if dropped else {"type": "http.request", "body": body}

        async def send(message: Any) -> None:
            sent.append(message)

        await application(scope, receive, send)

    run_api(act)
    assert (sent, dropped) == ([], [True])


def test_a_failure_nobody_foresaw_is_500_in_the_contracts_shape(desk: FakeDesk, run_api: Any) -> None:
    def fail(request: Any) -> Any:
        raise RuntimeError("secret detail")

    desk.answer = fail
    reply = run_api(lambda client: client.call("POST", "/orders", body=LIMIT))
    assert (reply.status_code, reply.json()["code"]) == (500, "INTERNAL")
    assert "secret" not in reply.text


def test_cancel_answers_200_or_202_or_why_not(desk: FakeDesk, run_api: Any) -> None:
    for result, status, code in (
        (Decided(ORDER), 200, None),
        (Decided(ORDER, decided=False), 202, None),
        (OrderNotOpen("ended"), 409, "ORDER_NOT_OPEN"),
        (NotFound("none"), 404, "NOT_FOUND"),
    ):
        desk.answer = lambda request, result=result: result
        reply = run_api(lambda client: client.call("DELETE", f"/orders/{ORDER_ID}"))
        assert (reply.status_code, reply.json().get("code")) == (status, code)
    [request] = desk.asked[0][0].requests
    assert isinstance(request, CancelOrder)
    assert (request.order_id, request.reason) == (UUID(ORDER_ID), "USER_CANCEL")


def test_amend_answers_200_or_202_or_why_not(desk: FakeDesk, run_api: Any) -> None:
    for result, status, code in (
        (Decided(ORDER), 200, None),
        (Decided(ORDER, decided=False), 202, None),
        (AmendRefused("no"), 409, "AMEND_REFUSED"),
        (Refusal("off", code="OFF_TICK"), 422, "OFF_TICK"),
        (NotFound("none"), 404, "NOT_FOUND"),
    ):
        desk.answer = lambda request, result=result: result
        reply = run_api(lambda client: client.call("PATCH", f"/orders/{ORDER_ID}", body={"price": "101"}))
        assert (reply.status_code, reply.json().get("code")) == (status, code)
    assert isinstance(desk.asked[0][0].requests[0], AmendOrder)


@pytest.mark.parametrize(
    "order_id", ["not-an-id", "9" * 5000, "-1", "%00", "%7B" + ORDER_ID + "%7D", ORDER_ID.replace("-", "")], ids=lambda i: i[:20]
)
def test_a_malformed_id_is_not_there_and_intake_is_not_asked(desk: FakeDesk, run_api: Any, order_id: str) -> None:
    async def act(client: Client) -> list[Any]:
        return [
            await client.call("DELETE", f"/orders/{order_id}"),
            await client.call("PATCH", f"/orders/{order_id}", body={"price": "1"}),
            await client.call("GET", f"/orders/{order_id}"),
            await client.call("GET", f"/trades/{order_id}"),
        ]

    assert [(reply.status_code, reply.json()["code"]) for reply in run_api(act)] == [(404, "NOT_FOUND")] * 4
    assert desk.asked == []


def test_cancel_all_tells_how_many(desk: FakeDesk, run_api: Any) -> None:
    desk.answer = lambda request: CancelledAll(6, 5)
    reply = run_api(lambda client: client.call("DELETE", "/orders?symbol=TEST%2FUSDT"))
    assert (reply.status_code, reply.json()) == (200, {"requested": 6, "cancelled": 5})
    run_api(lambda client: client.call("DELETE", "/orders"))
    run_api(lambda client: client.call("DELETE", "/orders", key="institution"))
    asked = [submission.requests[0] for submission, _ in desk.asked]
    assert all(isinstance(request, CancelAll) for request in asked)
    assert [(r.symbol, r.account_ids, r.reason) for r in asked if isinstance(r, CancelAll)] == [
        ("TEST/USDT", (11,), "CANCEL_ALL"),
        (None, (11,), "CANCEL_ALL"),
        (None, (11, 12), "CANCEL_ALL"),
    ]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("symbol=NO%2FSUCH", "UNKNOWN_SYMBOL"),
        ("symbol=", "UNKNOWN_SYMBOL"),
        ("symbl=TEST%2FUSDT", "UNKNOWN_FIELD"),
        ("symbol=TEST%2FUSDT&symbol=BTC%2FUSDT", "INVALID_FIELD"),
        ("symbol=%ff", "MALFORMED"),
        ("account=beta-1", "NOT_FOUND"),
    ],
)
def test_a_mistyped_cancel_all_cancels_nothing(desk: FakeDesk, run_api: Any, query: str, code: str) -> None:
    assert run_api(lambda client: client.call("DELETE", f"/orders?{query}")).json()["code"] == code
    assert desk.asked == []


def test_a_batch_has_one_result_per_item_in_its_order(desk: FakeDesk, run_api: Any) -> None:
    def answer(request: PlaceOrder) -> Any:
        return {
            "c-2": placed(ORDER, replay=True),
            "c-3": placed(ORDER, refusal=Refusal("off", code="OFF_LOT")),
            "c-4": IdempotencyConflict("other"),
        }.get(request.client_order_id, placed(ORDER))

    desk.answer = answer  # type: ignore[assignment]
    orders: list[Any] = [LIMIT | {"client_order_id": f"c-{n}"} for n in range(1, 5)]
    orders += [1, LIMIT | {"quantity": "NaN"}, LIMIT | {"symbol": "NO/SUCH"}, LIMIT | {"account": "beta-1"}, {}, LIMIT]
    reply = run_api(lambda client: client.call("POST", "/orders/batch", body={"orders": orders}))
    assert reply.status_code == 200
    results = reply.json()["results"]
    assert [(r["status"], r["error"]["code"] if "error" in r else None) for r in results] == [
        (201, None),
        (200, None),
        (422, "OFF_LOT"),
        (409, "IDEMPOTENCY_CONFLICT"),
        (400, "MALFORMED"),
        (400, "INVALID_NUMBER"),
        (404, "UNKNOWN_SYMBOL"),
        (404, "NOT_FOUND"),
        (400, "MISSING_FIELD"),
        (201, None),
    ]
    assert all(set(r["error"]) == {"code", "message", "field", "request_id", "details"} for r in results if "error" in r)
    [(submission, _)] = desk.asked
    assert [request.client_order_id for request in submission.requests if isinstance(request, PlaceOrder)] == [
        "c-1",
        "c-2",
        "c-3",
        "c-4",
        "c-1",
    ]


def test_a_batch_of_junk_asks_nobody(desk: FakeDesk, run_api: Any) -> None:
    reply = run_api(lambda client: client.call("POST", "/orders/batch", body={"orders": [1, None, "x", [], {}]}))
    assert [r["status"] for r in reply.json()["results"]] == [400] * 5
    assert desk.asked == []


def test_a_batch_waits_unless_every_item_says_ack(desk: FakeDesk, run_api: Any) -> None:
    ack = LIMIT | {"response_type": "ACK"}
    run_api(lambda client: client.call("POST", "/orders/batch", body={"orders": [ack, ack]}))
    run_api(lambda client: client.call("POST", "/orders/batch", body={"orders": [ack, LIMIT]}))
    assert [wait for _, wait in desk.asked] == [False, True]


def test_a_batch_that_was_not_taken_as_a_whole_says_so_as_a_whole(desk: FakeDesk, run_api: Any) -> None:
    for result, status in ((ReplayedSignature("again"), 401), (NotTaken("full", code="OVERLOADED"), 503)):
        desk.answer = lambda request, result=result: result
        reply = run_api(lambda client: client.call("POST", "/orders/batch", body={"orders": [LIMIT, 5]}))
        assert (reply.status_code, reply.json()["code"]) == (status, result.code)
