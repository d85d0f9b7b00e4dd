"""A web process is killed with orders of its clients in the book: what was to end with it ends, with nobody left to ask for it."""

import asyncio
import hashlib
import hmac
import json
import os
import signal
import time
from datetime import datetime
from typing import Any

import httpx
import psycopg
import pytest
import websockets

from api.ws.app import HOLD_S
from api.ws.connection import SWITCH_MS
from tests.chaos.rest import Key, call, keys_of
from tests.money import assert_money_conserved
from tests.support.stacks import RunningStack, wait_until

pytestmark = pytest.mark.slow

TIMEOUT_MS = 3_000
LIMIT = {"order_type": "LIMIT", "price": "90"}
STOP = {"order_type": "STOP", "stop_price": "110", "trigger_source": "REFERENCE"}
WORKER_LOOKS_WITHIN_S = 3.0  # a tenth of a second, and a machine that has a process to start


async def place(http: httpx.AsyncClient, key: Key, kind: dict[str, str]) -> str:
    body = {"symbol": "TEST/USDT", "side": "BUY", "quantity": "1", "client_order_id": f"switch-{time.time_ns()}", **kind}
    reply = await call(http, key, "POST", "/orders", body=body)
    assert reply.status_code == 201, reply.text
    return str(reply.json()["order_id"])


async def ask(socket: Any, **message: Any) -> dict[str, Any]:
    await socket.send(json.dumps({"id": 1, **message}))
    answer: dict[str, Any] = json.loads(await socket.recv())
    assert answer["type"] == "ACK", answer
    return answer


async def cancel_on_disconnect(socket: Any, key: Key) -> None:
    stamp, window = time.time_ns() // 1_000_000, 10_000
    signature = hmac.new(key.secret.encode(), f"{stamp}{window}GET/stream".encode(), hashlib.sha256).hexdigest()
    await ask(socket, type="AUTH", api_key=key.key, timestamp=stamp, recv_window=window, signature=signature)
    await ask(socket, type="CANCEL_ON_DISCONNECT", enabled=True)


async def orders_of_three_clients(stack: RunningStack) -> tuple[dict[str, list[str]], float, float]:
    """One is connected, one has a deadline, one has neither; then kill -9 of the web process that they all use. Returns their orders,
    when the deadline is, and when the process was killed (seconds since 1970)."""
    connected, deadline, neither = keys_of(stack)[:3]
    orders: dict[str, list[str]] = {}
    async with (
        httpx.AsyncClient(base_url=stack["base_url"], timeout=30) as http,
        websockets.connect(stack["ws_url"], compression=None) as socket,
    ):
        await cancel_on_disconnect(socket, connected)
        for name, key in {"connected": connected, "deadline": deadline, "neither": neither}.items():
            orders[name] = [await place(http, key, kind) for kind in (LIMIT, STOP)]
        await asyncio.sleep(HOLD_S + 1)  # the switch is moved on while the process lives
        reply = await call(http, deadline, "POST", "/orders/cancel-all-after", body={"timeout_ms": TIMEOUT_MS})
        assert reply.status_code == 200, reply.text
        due_at = datetime.fromisoformat(reply.json()["deadline"]).timestamp()
        os.kill(stack.pid("web-0"), signal.SIGKILL)
        return orders, due_at, time.time()


def test_switches_fire_though_the_web_process_was_killed(running_stack: RunningStack) -> None:
    orders, due_at, killed_at = asyncio.run(orders_of_three_clients(running_stack))

    def of(name: str) -> list[tuple[str, str | None, float]]:
        with psycopg.connect(running_stack["database_url"]) as connection:
            return connection.execute(
                "SELECT status, reason, extract(epoch FROM updated_at)::float FROM orders_order WHERE id = ANY(%s::uuid[])", [orders[name]]
            ).fetchall()

    def have_ended(name: str) -> bool:
        return all(status == "CANCELLED" for status, *_ in of(name))

    switch_s = SWITCH_MS / 1000
    wait_until(lambda: have_ended("deadline"), within_s=due_at - time.time() + WORKER_LOOKS_WITHIN_S, what="cancel-all-after fires")
    for _, reason, at in of("deadline"):
        assert reason == "DEAD_MAN_SWITCH"
        assert due_at - 0.05 <= at <= due_at + WORKER_LOOKS_WITHIN_S
    assert {status for status, *_ in of("connected")} == {"OPEN", "PENDING_TRIGGER"}, "its process might be back soon"
    within_s = killed_at + switch_s + WORKER_LOOKS_WITHIN_S - time.time()
    wait_until(lambda: have_ended("connected"), within_s=within_s, what="the connection's orders are cancelled")
    for _, reason, at in of("connected"):
        assert reason == "DISCONNECT"
        assert killed_at + switch_s - HOLD_S - WORKER_LOOKS_WITHIN_S <= at
    assert {status for status, *_ in of("neither")} == {"OPEN", "PENDING_TRIGGER"}
    assert_money_conserved(running_stack["database_url"])
