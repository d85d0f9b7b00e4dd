"""Letters of a topic of their own, so that a test decides which events there are. A payload lists [stream, sequence, size]."""

import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import psycopg

from exchange_platform.db import connect_direct
from notifications import outbox
from notifications.events import Event, Words
from notifications.outbox import Letter
from notifications.relay import Relay
from notifications.sinks import Sink

TOPIC = "letters"
AT = "2026-01-02T03:04:05.000Z"


def event_of(stream: str, sequence: int, size: int = 100) -> Event:
    return Event("TEST", stream, sequence, AT, "", {"symbol": "A/B", "padding": "x" * size})


def in_words(payloads: Sequence[Any]) -> list[Words | Exception]:
    return [Words(events=[event_of(*told) for told in payload]) for payload in payloads]


def relay_to(*sinks: Sink) -> Relay:
    relay = Relay(sinks=sinks, send_task=lambda task, key: None)
    relay._renderers = {TOPIC: in_words}
    return relay


def write(connection: psycopg.Connection[Any], lane: str, told: list[tuple[str, int] | tuple[str, int, int]]) -> None:
    """One letter, committed."""
    outbox.write(lambda sql, parameters: connection.execute(sql.encode(), parameters), [Letter(TOPIC, lane, len(told), told)])
    connection.commit()


class Load:
    """Several writers at once, whose commits overtake each other; within a lane sequences rise without a gap."""

    writers = 3
    lanes_each = 2

    def __init__(self) -> None:
        self.written: dict[str, int] = defaultdict(int)
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=[number]) for number in range(self.writers)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _write(self, number: int) -> None:
        rng = random.Random(number)
        with connect_direct(name="load") as connection:
            while not self._over.is_set():
                lane = number * self.lanes_each + rng.randrange(self.lanes_each)
                told = []
                for _ in range(rng.randint(1, 4)):
                    stream = rng.choice([f"trades.S{lane}/USD", f"status.S{lane}/USD"])
                    self.written[stream] += 1
                    told.append((stream, self.written[stream]))
                write(connection, f"market.{lane}", told)
                time.sleep(0.003)


def sequences(events: Sequence[Event]) -> dict[str, list[int]]:
    """By stream, in order of arrival."""
    found: dict[str, list[int]] = defaultdict(list)
    for event in events:
        found[event.stream].append(event.sequence)
    return dict(found)


def once_each(arrived: list[int]) -> list[int]:
    """Without what was told again."""
    return list(dict.fromkeys(arrived))


def wait_until(condition: Callable[[], bool], *, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def count(table: str) -> int:
    with connect_direct(name="test", autocommit=True) as connection:
        row = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
        assert row is not None
        return int(row[0])
