"""A consumer applies each event once, however often and in whatever order it is delivered, and knows what it has missed."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from django.conf import settings
from django.db import connection, connections

from notifications import consumers
from notifications.consumers import Arrival, MissingEvents, TooOldToTell, apply_once
from notifications.events import Event
from notifications.tasks import purge_receipts
from orders.presentation import timestamp

STREAM = "trades.A/B"


@pytest.fixture(autouse=True)
def effects(fresh_database: str) -> Iterator[None]:
    with psycopg.connect(settings.DATABASE_URL, autocommit=True) as owner:
        owner.execute("CREATE TABLE effect (sequence bigint)")
        owner.execute("GRANT SELECT, INSERT ON effect TO exchange_engine")
    yield
    connections.close_all()


def event(sequence: int, *, days_old: float = 0, stream: str = STREAM) -> Event:
    return Event("TEST", stream, sequence, timestamp(datetime.now(UTC) - timedelta(days=days_old)), "", {})


def effect(event: Event, arrival: Arrival) -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO effect VALUES (%s)", [event.sequence])


def applied() -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT sequence FROM effect ORDER BY 1")
        return [row[0] for row in cursor.fetchall()]


def deliver(*sequences: int, consumer: str = "one", in_order: bool = False) -> list[Arrival]:
    return [apply_once(consumer=consumer, event=event(n), effect=effect, in_order=in_order) for n in sequences]


def test_delivered_again_it_has_no_effect() -> None:
    assert deliver(1, 2, 2, 1, 3) == [Arrival.FIRST, Arrival.NEXT, Arrival.REPEATED, Arrival.REPEATED, Arrival.NEXT]
    assert applied() == [1, 2, 3]


def test_a_gap_is_told_and_what_comes_late_is_applied() -> None:
    assert deliver(1, 4, 2, 5, 2, 3) == [Arrival.FIRST, Arrival.AHEAD, Arrival.LATE, Arrival.NEXT, Arrival.REPEATED, Arrival.LATE]
    assert applied() == [1, 2, 3, 4, 5]


def test_a_consumer_that_needs_all_waits_for_what_is_missing() -> None:
    deliver(1, in_order=True)
    with pytest.raises(MissingEvents):
        deliver(3, in_order=True)
    assert deliver(2, 3, in_order=True) == [Arrival.NEXT, Arrival.NEXT]
    assert applied() == [1, 2, 3]


def test_consumers_and_streams_do_not_know_of_each_other() -> None:
    assert deliver(1) == deliver(1, consumer="two") == [Arrival.FIRST]
    assert apply_once(consumer="one", event=event(7, stream="trades.C/D"), effect=effect) is Arrival.FIRST


def test_an_effect_that_fails_has_not_been_applied() -> None:
    def fail(event: Event, arrival: Arrival) -> None:
        effect(event, arrival)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        apply_once(consumer="one", event=event(1), effect=fail)
    assert applied() == []
    assert deliver(1) == [Arrival.FIRST]


def test_delivered_to_many_at_once_each_is_applied_once() -> None:
    gate = threading.Barrier(4)
    arrivals: list[Arrival] = []

    def consume() -> None:
        gate.wait()
        try:
            arrivals.extend(apply_once(consumer="one", event=event(n), effect=effect) for n in range(1, 21))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=consume) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert applied() == list(range(1, 21))
    assert arrivals.count(Arrival.REPEATED) == 3 * 20
    assert arrivals.count(Arrival.FIRST) == 1


def test_the_next_event_waits_for_the_one_before_that_is_being_applied() -> None:
    deliver(1)
    begun, go_on = threading.Event(), threading.Event()
    arrivals: dict[int, Arrival] = {}

    def slowly(event: Event, arrival: Arrival) -> None:
        begun.set()
        go_on.wait(10)
        effect(event, arrival)

    def consume(sequence: int) -> None:
        try:
            arrivals[sequence] = apply_once(consumer="one", event=event(sequence), effect=slowly if sequence == 2 else effect)
        finally:
            connections.close_all()

    second, third = (threading.Thread(target=consume, args=[n]) for n in (2, 3))
    second.start()
    assert begun.wait(10)
    third.start()
    third.join(0.5)
    assert arrivals == {}
    go_on.set()
    second.join()
    third.join()
    assert arrivals == {2: Arrival.NEXT, 3: Arrival.NEXT}


def test_outside_a_transaction_nothing_is_received() -> None:
    with pytest.raises(RuntimeError):
        consumers.receive(consumer="one", event=event(1))


def test_receipts_are_forgotten_when_no_broker_keeps_the_event_any_more() -> None:
    deliver(1, 2, 3)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO notifications_receipt SELECT 'one', 'old:' || n, now() - interval '37 days' FROM generate_series(1, 5) n"
        )
    assert purge_receipts() == 5
    assert deliver(2) == [Arrival.REPEATED]


def test_so_old_that_nobody_knows_it_is_not_applied_again() -> None:
    deliver(1, 2)
    assert forget_first()
    with pytest.raises(TooOldToTell):
        apply_once(consumer="one", event=event(1, days_old=36), effect=effect)
    assert applied() == [1, 2]


def forget_first() -> bool:
    """As the purge does after 36 days."""
    with psycopg.connect(settings.DATABASE_URL, autocommit=True) as owner:
        owner.execute("ALTER TABLE notifications_receipt DISABLE TRIGGER receipt_unchanged")
        owner.execute("UPDATE notifications_receipt SET received_at = now() - interval '37 days' WHERE event_id = %s", [f"{STREAM}:1"])
        owner.execute("ALTER TABLE notifications_receipt ENABLE TRIGGER receipt_unchanged")
    return purge_receipts() == 1


def test_an_old_event_that_was_never_missed_is_applied() -> None:
    assert apply_once(consumer="one", event=event(1, days_old=40), effect=effect) is Arrival.FIRST
    assert apply_once(consumer="one", event=event(2, days_old=40), effect=effect) is Arrival.NEXT


def test_an_event_survives_its_envelope() -> None:
    told = Event("TRADE_EXECUTED", STREAM, 3, "2026-01-02T03:04:05.000Z", "trace", {"price": "1.50", "symbol": "A/B"})
    assert Event.read(told.envelope()) == told


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM notifications_receipt",
        "UPDATE notifications_receipt SET event_id = 'another'",
        "DELETE FROM notifications_consumerposition",
        "UPDATE notifications_consumerposition SET sequence = 1",
        "UPDATE notifications_consumerposition SET consumer = 'two'",
    ],
)
def test_the_database_does_not_forget_early(statement: str) -> None:
    deliver(1, 2)
    for url in (settings.DATABASE_URL, settings.ENGINE_DATABASE_URL):
        with psycopg.connect(url) as session, pytest.raises(psycopg.errors.RestrictViolation):
            session.execute(statement.encode())


@pytest.mark.parametrize("table", ["notifications_receipt", "notifications_consumerposition"])
def test_nor_everything_at_once(table: str) -> None:
    with psycopg.connect(settings.DATABASE_URL) as owner, pytest.raises(psycopg.errors.RestrictViolation):
        owner.execute(f"TRUNCATE {table}".encode())
