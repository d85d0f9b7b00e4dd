"""A whole stack under an operator's eyes: healthy when it starts, truthful while parts of it are stopped, exact after kills."""

import hashlib
import hmac
import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.stacks import RunningStack, wait_until

pytestmark = pytest.mark.slow

SOON_S = 5.0  # whatever has stopped, whoever asks is answered by then


def get(stack: RunningStack, path: str, *, within_s: float = 30.0) -> tuple[int, bytes]:
    """Status and body. Fails when the answer takes longer. (While the web itself is replaced, questions wait for its successor.)"""
    began = time.monotonic()
    try:
        with urllib.request.urlopen(stack["base_url"] + path, timeout=60) as answer:  # noqa: S310 - our own address
            found = answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        found = refused.code, refused.read()
    assert time.monotonic() - began < within_s, f"{path} hung"
    return found


def health(stack: RunningStack) -> tuple[int, dict[str, Any]]:
    status, body = get(stack, "/health")
    return status, json.loads(body)


def is_healthy(stack: RunningStack) -> bool:
    return health(stack)[1]["status"] == "healthy"


def sick(document: dict[str, Any]) -> set[str]:
    return {name for name, check in document["checks"].items() if check["status"] != "healthy"}


def series(stack: RunningStack) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    status, body = get(stack, "/metrics")
    assert status == 200
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def call(stack: RunningStack, account: str, method: str, path: str, body: dict[str, Any] | None = None, *, request_id: str = "") -> int:
    """A signed request with an unlimited key of the account. Returns the status."""
    key = next(key for key in stack["api_keys"] if key["account"] == account and key["unlimited"])
    content = json.dumps(body) if body else ""
    now = str(int(time.time() * 1000))
    signature = hmac.new(key["secret"].encode(), f"{now}5000{method}/api/v1{path}{content}".encode(), hashlib.sha256).hexdigest()
    headers = {"X-API-Key": key["key"], "X-Timestamp": now, "X-Recv-Window": "5000", "X-Signature": signature}
    headers |= {"Content-Type": "application/json", **({"X-Request-Id": request_id} if request_id else {})}
    request = urllib.request.Request(stack["base_url"] + "/api/v1" + path, content.encode(), headers, method=method)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code


def order(number: object, side: str, price: str = "100.00") -> dict[str, Any]:
    return {
        "symbol": "TEST/USDT", "side": side, "order_type": "LIMIT", "price": price, "quantity": "1", "client_order_id": f"op-{number}",
        "response_type": "RESULT",
    }  # fmt: skip


@contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """Processes that are there and do nothing."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass


def test_a_fresh_stack_is_healthy_at_once(running_stack: RunningStack) -> None:
    status, document = health(running_stack)
    assert (status, document["status"], sick(document)) == (200, "healthy", set())
    assert get(running_stack, "/health/ready")[0] == get(running_stack, "/health/live")[0] == 200


def test_a_request_is_found_again_from_order_to_ledger(running_stack: RunningStack) -> None:
    assert call(running_stack, "alpha-1", "POST", "/orders", order("maker", "SELL"), request_id="trace-maker") == 201
    assert call(running_stack, "beta-1", "POST", "/orders", order("taker", "BUY"), request_id="trace-taker") == 201
    sql = """SELECT x.kind FROM orders_transition s JOIN orders_trade t ON s.order_id IN (t.taker_order_id, t.maker_order_id)
             JOIN wallet_transfer x ON x.id = t.id WHERE s.request_id = %s AND s.sequence = 0 ORDER BY x.leg"""
    with psycopg.connect(running_stack["database_url"]) as connection:
        for request_id in ("trace-maker", "trace-taker"):
            kinds = [kind for (kind,) in connection.execute(sql, [request_id]).fetchall()]
            assert kinds[:2] == ["TRADE", "TRADE"]


def test_counters_survive_kills_of_every_process(running_stack: RunningStack) -> None:
    trades = ("trades_executed_total", (("symbol", "TEST/USDT"),))
    before = series(running_stack)
    assert before[trades] == 1
    for name in ("matching-0", "web-0", "worker-0"):
        running_stack.wait_until_replaced(name, running_stack.kill(name))
    wait_until(lambda: is_healthy(running_stack), within_s=60, what="healthy after the kills")
    assert series(running_stack)[trades] == 1
    assert call(running_stack, "alpha-1", "POST", "/orders", order("maker-2", "SELL")) == 201
    assert call(running_stack, "beta-1", "POST", "/orders", order("taker-2", "BUY")) == 201
    after = series(running_stack)
    assert after[trades] == 2
    assert after["matching_batch_size_sum", ()] == before["matching_batch_size_sum", ()] + 2
    assert after["matching_lease_epoch", (("shard", "0"),)] == before["matching_lease_epoch", (("shard", "0"),)] + 1


def test_a_redis_that_answers_nothing_makes_it_degraded(running_stack: RunningStack) -> None:
    with stopped(running_stack.pid("redis")):
        wait_until(lambda: not is_healthy(running_stack), within_s=10, what="the stopped Redis is noticed")
        assert get(running_stack, "/health", within_s=SOON_S)[0] == 200
        status, document = health(running_stack)
        assert (status, document["status"]) == (200, "degraded")
        assert {"redis", "workers"} <= sick(document) <= {"redis", "workers", "outbox"}
        assert get(running_stack, "/health/ready")[0] == 200
    wait_until(lambda: is_healthy(running_stack), within_s=60, what="healthy again")


def test_a_matching_worker_that_does_nothing_makes_it_unhealthy(running_stack: RunningStack) -> None:
    with stopped(running_stack.pid("matching-0")):
        wait_until(lambda: health(running_stack)[0] == 503, within_s=20, what="the lease has expired")
        assert sick(health(running_stack)[1]) == {"matching"}
        assert get(running_stack, "/health/ready")[0] == 200, "reads are still answered"
    wait_until(lambda: is_healthy(running_stack), within_s=60, what="healthy again")


def test_a_postgresql_that_answers_nothing_hangs_nobody(running_stack: RunningStack) -> None:
    postmaster = psutil.Process(running_stack.pid("postgresql"))
    with stopped(postmaster.pid, *(child.pid for child in postmaster.children(recursive=True))):
        wait_until(lambda: health(running_stack)[0] == 503, within_s=20, what="the stopped PostgreSQL is noticed")
        for _ in range(3):
            status, document = health(running_stack)
            assert (status, document["status"]) == (503, "unhealthy")
            assert {"postgresql", "matching"} <= sick(document)
            for path, answered in (("/health", 503), ("/health/ready", 503), ("/health/live", 200), ("/metrics", 200)):
                assert get(running_stack, path, within_s=SOON_S)[0] == answered
            shown = series(running_stack)
            assert ("trades_executed_total", (("symbol", "TEST/USDT"),)) in shown
            assert ("outbox_pending", ()) not in shown
    wait_until(lambda: is_healthy(running_stack), within_s=90, what="healthy again")


def test_every_line_of_every_log_is_json_and_holds_no_secret(running_stack: RunningStack) -> None:
    secrets = list(json.loads((running_stack.home / "secrets.json").read_text()).values())
    secrets += [key["secret"] for key in running_stack["api_keys"]] + [user["password"] for user in running_stack["users"]]
    lines = 0
    for name in ("web-0", "matching-0", "worker-0", "beat"):
        text = (running_stack.home / "logs" / f"{name}.log").read_text()
        for line in filter(None, text.splitlines()):
            assert {"event", "level", "timestamp"} <= json.loads(line).keys(), f"{name}: {line}"
            lines += 1
        assert [secret for secret in secrets if secret in text] == [], name
    assert lines > 5, "what was done above left something to say"
