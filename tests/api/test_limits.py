"""Request limits: counted per key, person and address, told on every answer, lifted for unlimited keys."""

import asyncio
from typing import Any

import httpx
import pytest

from api import throttling
from api.errors import RateLimited
from tests.api.conftest import Client, FakeDesk

LIMIT = {"symbol": "TEST/USDT", "side": "BUY", "order_type": "LIMIT", "quantity": "1", "price": "100", "client_order_id": "c-1"}


def limits_of(reply: httpx.Response) -> tuple[int, int, int]:
    limit, remaining, reset = (int(reply.headers[f"x-ratelimit-{name}"]) for name in ("limit", "remaining", "reset"))
    return limit, remaining, reset


def test_forty_orders_at_once_of_a_limited_key_meet_the_limit(desk: FakeDesk, run_api: Any) -> None:
    async def act(client: Client) -> list[httpx.Response]:
        return await asyncio.gather(
            *(client.call("POST", "/orders", body=LIMIT | {"client_order_id": f"c-{n}"}, key="limited") for n in range(40))
        )

    replies = run_api(act)
    refused = [reply for reply in replies if reply.status_code == 429]
    assert len(desk.asked) == 40 - len(refused) == 20
    assert {reply.json()["code"] for reply in refused} == {"RATE_LIMITED"}
    assert all(int(reply.headers["retry-after"]) >= 1 and limits_of(reply)[1] == 0 for reply in refused)


def test_unlimited_keys_are_not_counted_but_told(desk: FakeDesk, run_api: Any) -> None:
    async def act(client: Client) -> list[httpx.Response]:
        return [await client.call("POST", "/orders", body=LIMIT) for _ in range(60)]

    replies = run_api(act)
    assert {reply.status_code for reply in replies} == {201}
    assert {limits_of(reply)[:2] for reply in replies} == {(20, 20)}


def test_every_answer_carries_the_headers(desk: FakeDesk, run_api: Any) -> None:
    async def act(client: Client) -> list[httpx.Response]:
        return [
            await client.call("GET", "/nowhere"),
            await client.call("PUT", "/orders"),
            await client.call("GET", "/time", key=None),
            await client.call("GET", "/orders", key=None),
            await client.call("GET", "/orders", key="nobody"),
            await client.call("POST", "/orders", raw=b"[]", key="limited"),
            await client.call("POST", "/orders", raw=b" " * 300_000),
        ]

    for reply in run_api(act):
        limit, remaining, reset = limits_of(reply)
        assert 0 <= remaining <= limit
        assert reset > 1_700_000_000


def test_a_batch_counts_as_one_call(desk: FakeDesk, run_api: Any) -> None:
    async def act(client: Client) -> httpx.Response:
        return await client.call("POST", "/orders/batch", body={"orders": [LIMIT] * 50}, key="limited")

    assert limits_of(run_api(act))[:2] == (20, 19)


def test_failed_log_ins_use_up_the_address(run_api: Any) -> None:
    async def act(client: Client) -> list[int]:
        return [(await client.call("GET", "/orders", key="nobody")).status_code for _ in range(103)]

    statuses = run_api(act)
    assert statuses[:90] == [401] * 90
    assert statuses[-1] == 429


def test_limits_are_settings(settings: Any) -> None:
    settings.API_RATE_LIMITS = {"key": "2/minute"}
    throttling.forget()
    assert [throttling.take("key", "a").remaining for _ in range(2)] == [1, 0]
    with pytest.raises(RateLimited) as caught:
        throttling.take("key", "a")
    assert 1 <= caught.value.details["retry_after"] <= 60  # type: ignore[index]
    assert throttling.take("key", "b").remaining == 1
    assert throttling.take("address", "a").limit == 100
