"""What each check says about a database and a Redis in a given state."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
import redis
from django.conf import settings

from api.operations import checks, readings
from exchange_platform import tasks
from exchange_platform.db import connect_direct
from exchange_platform.partitions import months_after, name_of
from tests.matching_worker.conftest import exchange
from tests.matching_worker.exchange import Exchange

__all__ = ["exchange"]


@pytest.fixture
def connection(fresh_database: str) -> Iterator[psycopg.Connection[Any]]:
    with connect_direct(name="test", autocommit=True) as made:
        yield made


def test_postgresql_counts_its_connections(connection: psycopg.Connection[Any]) -> None:
    found = checks.postgresql(connection)
    assert found.status == "healthy"
    assert found.message.endswith(" of 200 connections")
    assert int(found.message.split()[0]) >= 1


def test_postgresql_with_hardly_a_connection_left(connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "CONNECTIONS_SQL", "SELECT 96, 100")
    assert checks.postgresql(connection).status == "degraded"
    monkeypatch.setattr(checks, "CONNECTIONS_SQL", "SELECT 95, 100")
    assert checks.postgresql(connection).status == "healthy"


def test_partitions_are_made_well_ahead(connection: psycopg.Connection[Any]) -> None:
    until = months_after(datetime.now(UTC).date().replace(day=1), 3)
    assert checks.partitions(connection) == checks.Finding("healthy", f"made until {until}")


@pytest.mark.parametrize(("days", "status"), [(30, "degraded"), (33, "healthy")])
def test_partitions_that_nobody_makes_any_more(
    connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch, days: int, status: str
) -> None:
    monkeypatch.setattr(checks, "MADE_UNTIL_SQL", f"SELECT now() AT TIME ZONE 'UTC' + interval '{days} days'")
    assert checks.partitions(connection).status == status


def test_the_table_that_is_worst_off_counts(fresh_database: str, connection: psycopg.Connection[Any]) -> None:
    with psycopg.connect(fresh_database) as owner:
        name = name_of("orders_trade", months_after(datetime.now(UTC).date().replace(day=1), 2))
        owner.execute(f"ALTER TABLE orders_trade DETACH PARTITION {name}")
    until = months_after(datetime.now(UTC).date().replace(day=1), 2)
    assert checks.partitions(connection).message == f"made until {until}"
    with psycopg.connect(fresh_database) as owner:
        owner.execute("CREATE TABLE parted (id uuid) PARTITION BY RANGE (id)")
    assert checks.partitions(connection) == checks.Finding("degraded", "a table has no partitions")


def test_matching_before_any_worker_has_started(connection: psycopg.Connection[Any]) -> None:
    assert checks.matching(connection) == checks.Finding("unhealthy", "no matching worker has started")


def test_matching_with_and_without_an_owner(exchange: Exchange) -> None:
    exchange.symbol(exchange.asset(), exchange.asset())
    with connect_direct(name="test", autocommit=True) as connection:
        exchange.keep_lease()
        assert checks.matching(connection) == checks.Finding("healthy", "1 shards, 1 symbols, 0 commands wait")
        connection.execute("UPDATE orders_shard SET expires_at = clock_timestamp() - interval '1 ms'")
        assert checks.matching(connection) == checks.Finding("unhealthy", "no matching worker owns shard 0")
        connection.execute("UPDATE orders_shard SET expires_at = clock_timestamp() + interval '1 minute'")
        assert checks.matching(connection).status == "healthy"


def test_a_shard_nobody_needs_any_more_is_nobodys_fault(exchange: Exchange) -> None:
    exchange.symbol(exchange.asset(), exchange.asset())
    with connect_direct(name="test", autocommit=True) as connection:
        exchange.keep_lease()
        connection.execute("INSERT INTO orders_shard (id, owner, epoch, expires_at) VALUES (7, 'gone', 3, '2020-01-01')")
        assert checks.matching(connection).status == "healthy"


def test_a_needed_shard_that_never_had_an_owner(exchange: Exchange) -> None:
    exchange.symbol(exchange.asset(), exchange.asset())
    with connect_direct(name="test", autocommit=True) as connection:
        exchange.keep_lease()
        connection.execute("UPDATE orders_checkpoint SET shard_id = 5, epoch = epoch + 1")
        assert checks.matching(connection).message == "no matching worker owns shard 5"
        connection.execute("UPDATE orders_checkpoint SET shard_id = 0, epoch = epoch + 1")


def test_matching_that_does_not_keep_up(exchange: Exchange) -> None:
    symbol = exchange.symbol(exchange.asset(), exchange.asset())
    with connect_direct(name="test", autocommit=True) as connection:
        exchange.keep_lease()
        connection.execute("INSERT INTO orders_inbox (symbol_id, commands, payload) VALUES (%s, 10001, '')", [symbol.pk])
        assert checks.matching(connection).status == "degraded"
        assert readings.read(connection)["matching_inbox_pending"] == [(("0",), 10001.0)]
        connection.execute("DELETE FROM orders_inbox")


def test_a_symbol_on_the_move_is_told_and_one_that_nobody_attends_to_is_not_well(exchange: Exchange) -> None:
    symbol = exchange.symbol(exchange.asset(), exchange.asset())
    with connect_direct(name="test", autocommit=True) as connection:
        for age_s, told, status in ((0, "1 symbols on the move", "healthy"), (60, "1 symbols on the move, long overdue", "degraded")):
            exchange.keep_lease()
            connection.execute(
                """INSERT INTO orders_symbolmove (symbol_id, from_shard, to_shard, state, actor, reason, note, requested_at, overdue_at)
                   VALUES (%s, 0, 1, 'REQUESTED', 'test', 'a test', '', now(), now() - make_interval(secs => %s))""",
                [symbol.pk, age_s],
            )
            found = checks.matching(connection)
            assert (found.status, found.message) == (status, f"1 shards, 1 symbols, 0 commands wait, {told}")
            connection.execute("UPDATE orders_symbolmove SET state = 'UNDONE', note = 'a test', ended_at = now() WHERE ended_at IS NULL")


LETTER = "(topic, stream, events, payload, created_at) VALUES ('t', 's', 3, '', clock_timestamp() - interval '{} s')"
DEAD = """INSERT INTO notifications_deadletter (topic, stream, events, payload, created_at, attempts, error, settled_at, settled_by)
    VALUES ('t', 's', 1, '', now(), 10, 'e', {})"""


def test_the_outbox(connection: psycopg.Connection[Any]) -> None:
    assert checks.outbox(connection) == checks.Finding("healthy", "0 events wait, the oldest for 0.0 s; 0 dead letters")
    connection.execute(f"INSERT INTO notifications_outbox {LETTER.format(5)}".encode())
    connection.execute(f"INSERT INTO notifications_outbox {LETTER.format(1)}".encode())
    assert checks.outbox(connection) == checks.Finding("healthy", "6 events wait, the oldest for 5.0 s; 0 dead letters")
    found = readings.read(connection)
    assert found["outbox_pending"] == [((), 6.0)]
    assert 5 <= found["outbox_lag_seconds"][0][1] < 10
    connection.execute("UPDATE notifications_outbox SET created_at = created_at - interval '10 s'")
    assert checks.outbox(connection).status == "degraded"
    connection.execute("DELETE FROM notifications_outbox")
    connection.execute(DEAD.format("now(), 'somebody'").encode())
    assert checks.outbox(connection).status == "healthy"
    connection.execute(DEAD.format("NULL, ''").encode())
    assert checks.outbox(connection).status == "degraded"
    assert readings.read(connection)["outbox_dead_letters"] == [((), 1.0)]


def test_the_heartbeat_is_missed_when_it_has_faded(fresh_database: str) -> None:
    tasks._redis.cache_clear()
    client = redis.Redis.from_url(settings.REDIS_URL)
    client.delete(tasks.HEARTBEAT_KEY)
    assert checks.workers(client).status == "degraded"
    tasks.leave_heartbeat()
    assert checks.workers(client).status == "healthy"
    assert 0 < client.ttl(tasks.HEARTBEAT_KEY) <= tasks.HEARTBEAT_FADES_AFTER_S  # type: ignore[operator]
    assert checks.redis_answers(client).status == "healthy"


def test_beat_sends_heartbeats_often_enough() -> None:
    entry = settings.CELERY_BEAT_SCHEDULE["leave-heartbeat"]
    assert entry["task"] == tasks.leave_heartbeat.name
    assert entry["schedule"] * 3 <= tasks.HEARTBEAT_FADES_AFTER_S
