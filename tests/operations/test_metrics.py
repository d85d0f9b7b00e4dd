"""Who is answered /metrics, and with what while PostgreSQL is away."""

import asyncio
import time

import pytest

from api.operations import readings
from api.operations.addresses import is_internal
from api.operations.door import OperationsDoor
from api.operations.probes import Probe
from exchange_platform import metrics
from tests.operations.asking import LOOPBACK, OUTSIDE, ask


@pytest.mark.parametrize(
    ("address", "internal"),
    [
        ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("10.0.0.7", True), ("172.16.0.1", True), ("172.31.255.255", True),
        ("192.168.1.1", True), ("fd00::5", True), ("::ffff:10.0.0.7", True), ("fe80::1%eth0", True),
        ("8.8.8.8", False), ("172.32.0.1", False), ("11.0.0.1", False), ("2001:db8::1", False), ("::ffff:8.8.8.8", False), ("", False),
        ("localhost", False), ("0.0.0.0", False),
    ],
)  # fmt: skip
def test_who_is_internal(address: str, internal: bool) -> None:
    assert is_internal({"client": (address, 1)}, {}) is internal


@pytest.mark.parametrize("header", [b"x-forwarded-for", b"forwarded", b"x-real-ip", b"x-forwarded-host"])
def test_whoever_came_through_a_proxy_is_not_internal_whatever_he_claims(header: bytes) -> None:
    assert not is_internal({"client": LOOPBACK}, {header: b"127.0.0.1"})
    assert not is_internal({"client": OUTSIDE}, {header: b"127.0.0.1"})


def test_the_networks_are_a_setting(settings: object) -> None:
    settings.INTERNAL_NETWORKS = ["203.0.113.0/24"]  # type: ignore[attr-defined]
    assert is_internal({"client": OUTSIDE}, {})
    assert not is_internal({"client": LOOPBACK}, {})


def test_strangers_are_told_that_there_is_nothing() -> None:
    answer = asyncio.run(ask(OperationsDoor(), "/metrics", client=OUTSIDE))
    assert answer.status == 404
    assert b"orders" not in answer.body


def test_without_postgresql_everything_else_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang() -> dict[str, object]:
        time.sleep(3)
        return {}

    monkeypatch.setattr(readings, "_probe", Probe(hang, name="test", within_s=0.2))
    began = time.monotonic()
    answer = asyncio.run(ask(OperationsDoor(), "/metrics"))
    assert time.monotonic() - began < 2
    assert answer.status == 200
    assert answer.headers[b"content-type"].startswith(b"text/plain")
    text = answer.body.decode()
    for family in metrics.FAMILIES:
        assert f"# TYPE {family.name} {family.kind}\n" in text
    assert "\noutbox_pending 0" not in text, "what is not known is not told"


def test_with_postgresql_its_readings_are_shown(fresh_database: str) -> None:
    readings._database.forget()
    try:
        text = asyncio.run(ask(OperationsDoor(), "/metrics")).body.decode()
    finally:
        readings._database.forget()
    assert "\noutbox_pending 0.0\n" in text
    assert "\npostgresql_connections_limit 200.0\n" in text
