"""The health document: what it says, that nothing can make it hang, and what strangers learn from it."""

import asyncio
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping

import psycopg
import pytest
import redis

from api.operations import checks
from api.operations.checks import DEGRADED, HEALTHY, UNHEALTHY, Finding
from api.operations.door import OperationsDoor
from api.operations.health import Health
from tests.operations.asking import LOOPBACK, OUTSIDE, ask

NAMES = ("postgresql", "redis", "matching", "outbox", "partitions", "venue", "price_feed", "workers")
FINE = Finding(HEALTHY, "fine, with 7 details")

Check = Callable[[], Finding] | Finding


def raising(error: Exception) -> Callable[[], Finding]:
    def check() -> Finding:
        raise error

    return check


def door(*, within_s: float = 2.0, **changed: Check) -> OperationsDoor:
    made = OperationsDoor()
    made._health = Health({**dict.fromkeys(NAMES, FINE), **changed}, within_s=within_s)
    return made


def told(made: OperationsDoor, path: str = "/health", *, client: tuple[str, int] = LOOPBACK) -> tuple[int, dict[str, object]]:
    answer = asyncio.run(ask(made, path, client=client))
    return answer.status, answer.json


@pytest.mark.parametrize(
    ("changed", "status", "word"),
    [
        ({}, 200, "healthy"),
        ({"postgresql": Finding(UNHEALTHY, "")}, 503, "unhealthy"),
        ({"matching": Finding(UNHEALTHY, "")}, 503, "unhealthy"),
        ({"matching": Finding(DEGRADED, "")}, 200, "degraded"),
        ({"redis": Finding(UNHEALTHY, "")}, 200, "degraded"),
        ({"outbox": Finding(UNHEALTHY, "")}, 200, "degraded"),
        ({"workers": Finding(DEGRADED, "")}, 200, "degraded"),
        ({"venue": Finding(UNHEALTHY, "")}, 200, "degraded"),
        ({"redis": Finding(UNHEALTHY, ""), "postgresql": Finding(UNHEALTHY, "")}, 503, "unhealthy"),
    ],
)
def test_only_what_orders_need_makes_it_unhealthy(changed: Mapping[str, Finding], status: int, word: str) -> None:
    code, document = told(door(**changed))
    assert (code, document["status"]) == (status, word)


def test_the_document_has_the_contracts_fields() -> None:
    answer = asyncio.run(ask(door(), "/health"))
    document = answer.json
    assert set(document) == {"status", "timestamp", "version", "uptime_s", "checks"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", document["timestamp"])
    assert tuple(document["checks"]) == NAMES
    assert all(set(check) == {"status", "duration_ms", "message"} for check in document["checks"].values())
    assert answer.headers[b"cache-control"] == b"no-store"
    assert answer.headers[b"content-type"] == b"application/json"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (psycopg.OperationalError("connection to server at 10.1.2.3 failed: password=hunter-two"), "the database cannot be reached"),
        (redis.ConnectionError("Error 111 connecting to 10.1.2.3:6379"), "Redis cannot be reached"),
        (ZeroDivisionError("secret detail"), "the check failed; see the log"),
    ],
)
def test_an_error_is_a_finding_and_its_text_stays_inside(error: Exception, message: str) -> None:
    _, document = told(door(outbox=raising(error)))
    assert document["checks"]["outbox"]["message"] == message  # type: ignore[index]
    assert document["checks"]["outbox"]["status"] == UNHEALTHY  # type: ignore[index]


def test_strangers_learn_that_something_is_wrong_and_not_what() -> None:
    made = door(matching=Finding(UNHEALTHY, "no matching worker owns shard 3"), venue=checks.NOT_CONFIGURED)
    code, document = told(made, client=OUTSIDE)
    assert (code, document["status"]) == (503, "unhealthy")
    messages = {name: check["message"] for name, check in document["checks"].items()}  # type: ignore[attr-defined]
    assert {message for name, message in messages.items() if name != "venue"} == {""}
    assert messages["venue"] == "not configured"
    assert document["checks"]["matching"]["status"] == UNHEALTHY  # type: ignore[index]


def test_live_says_so_whatever_is_wrong() -> None:
    made = door(postgresql=Finding(UNHEALTHY, ""), matching=Finding(UNHEALTHY, ""))
    assert told(made, "/health/live") == (200, {"status": "alive"})


@pytest.mark.parametrize(("part", "status"), [("postgresql", 503), ("matching", 200), ("redis", 200)])
def test_ready_is_about_this_process(part: str, status: int) -> None:
    assert told(door(**{part: Finding(UNHEALTHY, "")}), "/health/ready")[0] == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_only_questions_are_answered(method: str) -> None:
    assert asyncio.run(ask(door(), "/health", method=method)).status == 405


def test_head_is_get_without_its_body() -> None:
    answer = asyncio.run(ask(door(), "/health", method="HEAD"))
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers[b"content-length"]) > 100


# -- time


class Hanging:
    """A check that hangs until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.asked = 0

    def __call__(self) -> Finding:
        self.asked += 1
        self.go.wait(30)
        return FINE


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    made = Hanging()
    yield made
    made.go.set()


def test_a_check_that_hangs_is_left_behind_and_asked_once(hanging: Hanging) -> None:
    async def scenario() -> None:
        made = door(redis=hanging, within_s=0.2)
        for _ in range(3):
            began = time.monotonic()
            answer = await ask(made, "/health")
            assert time.monotonic() - began < 1
            assert answer.json["checks"]["redis"] == {
                "status": UNHEALTHY,
                "duration_ms": answer.json["checks"]["redis"]["duration_ms"],
                "message": "no answer within 0.2 s",
            }
            assert answer.json["status"] == "degraded"
            made.health()._asked_at = 0.0
        assert hanging.asked == 1, "a second thread would hang as well"
        hanging.go.set()
        await asyncio.sleep(0.2)
        assert (await ask(made, "/health")).json["status"] == "healthy"

    asyncio.run(scenario())


def test_checks_run_side_by_side() -> None:
    def slow() -> Finding:
        time.sleep(0.3)
        return FINE

    made = door(**dict.fromkeys(NAMES, slow))
    began = time.monotonic()
    assert told(made)[0] == 200
    assert time.monotonic() - began < 1.0


def test_many_questions_at_once_and_soon_after_cost_one_round() -> None:
    asked = []

    def counting() -> Finding:
        asked.append(time.monotonic())
        time.sleep(0.05)
        return FINE

    async def scenario() -> None:
        made = door(postgresql=counting)
        await asyncio.gather(*(ask(made, path) for path in ("/health", "/health/ready", "/health", "/health") * 10))
        assert len(asked) == 1
        await ask(made, "/health")
        assert len(asked) == 1
        made.health()._asked_at -= 1.5
        await ask(made, "/health")
        assert len(asked) == 2

    asyncio.run(scenario())


@pytest.fixture
def black_hole() -> Iterator[int]:
    """A port whose connections are taken and never answered."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(16)
        yield server.getsockname()[1]


def test_servers_that_take_connections_and_never_answer(black_hole: int, settings: object) -> None:
    database = settings.DATABASES["default"]  # type: ignore[attr-defined]
    settings.DATABASES = {"default": {**database, "HOST": "127.0.0.1", "PORT": str(black_hole)}}  # type: ignore[attr-defined]
    settings.REDIS_URL = f"redis://127.0.0.1:{black_hole}/0"  # type: ignore[attr-defined]

    async def scenario() -> None:
        made = OperationsDoor()
        made._health = Health(within_s=1.0)
        for path in ("/health", "/health/ready"):
            began = time.monotonic()
            answer = await ask(made, path)
            assert time.monotonic() - began < 2.0
            assert answer.status == 503
        document = (await ask(made, "/health")).json
        sick = {name for name, check in document["checks"].items() if check["status"] == UNHEALTHY}
        assert sick == {"postgresql", "matching", "outbox", "partitions", "redis", "workers"}
        assert (await ask(made, "/health/live")).status == 200

    asyncio.run(scenario())


def test_servers_that_are_not_there(settings: object) -> None:
    database = settings.DATABASES["default"]  # type: ignore[attr-defined]
    settings.DATABASES = {"default": {**database, "HOST": "127.0.0.1", "PORT": "1"}}  # type: ignore[attr-defined]
    settings.REDIS_URL = "redis://127.0.0.1:1/0"  # type: ignore[attr-defined]
    made = OperationsDoor()
    code, document = told(made)
    assert code == 503
    messages = {name: check["message"] for name, check in document["checks"].items()}  # type: ignore[attr-defined]
    assert messages["postgresql"] == "the database cannot be reached"
    assert messages["redis"] == "Redis cannot be reached"
