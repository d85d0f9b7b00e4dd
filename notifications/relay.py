"""The relay: publishes the outbox to whoever watches live and to the sinks, at least once, in order per stream.

It runs as a thread of every Celery worker; an advisory lock lets one at a time work. It is woken by what writes news (LISTEN) and
looks by itself now and then; when the thread is gone a task of Celery beat does its work (`notifications.tasks.sweep_outbox`).

News that nobody can put into words, or that a sink refuses, is tried again ten times, with its stream waiting behind it, and then put
aside as a dead letter, of which everything that is acceptable by itself has been published. A sink or Redis that is away is not the
news' fault: everything waits, and nothing is counted. A dead letter that is sent again (`notifications.dead_letters`) has lost its place
in the order, so it travels in a lane of its own and holds nobody up.
"""

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
import redis
import structlog
from celery import current_app
from channels.layers import get_channel_layer
from django.db import connections
from django.utils.module_loading import import_string

from exchange_platform.db import array, connect_direct
from exchange_platform.subscriptions import REACTIONS, RENDERERS
from notifications.channels import Message, feed_messages
from notifications.events import Event, Renderer, Words
from notifications.outbox import AGAIN, unpack
from notifications.sinks import WITHHELD, Sink, SinkUnavailable, make_sinks
from notifications.wakeups import INBOX, OUTBOX, SETTLED, listen, wait

log = structlog.get_logger(__name__)

RELAY_LOCK: Final = 7_240_001
LETTERS_PER_ROUND: Final = 400
PACE_S: Final = 0.008  # not more rounds than live messages need
LOOK_EVERY_S: Final = 0.25
RETRY_LOCK_S: Final = 1.0
UNAVAILABLE_WAIT_S: Final = 0.5
LONGEST_UNAVAILABLE_WAIT_S: Final = 4.0
PUBLISH_WITHIN_S: Final = 5.0
MESSAGES_PER_SEND: Final = 200
TRIES: Final = 10
FIRST_BACK_OFF_S: Final = 0.1
LONGEST_BACK_OFF_S: Final = 30.0

# Behind news that is to be tried again later its whole stream waits.
SELECT_SQL: Final = """
    SELECT o.id, o.topic, o.stream, o.payload, o.attempts FROM notifications_outbox o
    WHERE NOT EXISTS (SELECT FROM notifications_outbox b
                      WHERE b.stream = o.stream AND b.id <= o.id AND b.next_try_at > clock_timestamp())
    ORDER BY o.id LIMIT %s"""

DELETE_SQL: Final = "DELETE FROM notifications_outbox WHERE id = ANY(%s::bigint[])"

RETRY_SQL: Final = """
    UPDATE notifications_outbox SET attempts = attempts + 1, error = %s, next_try_at = clock_timestamp() + make_interval(secs => %s)
    WHERE id = %s"""

BURY_SQL: Final = """
    WITH gone AS (DELETE FROM notifications_outbox WHERE id = %s RETURNING *)
    INSERT INTO notifications_deadletter (outbox_id, topic, stream, events, payload, created_at, attempts, error)
    SELECT id, topic, %s, events, payload, created_at, attempts + 1, %s FROM gone"""


class Unavailable(Exception):
    """What the relay publishes to is away."""


@dataclass(slots=True)
class WaitingLetter:
    """A row of the outbox."""

    id: int
    topic: str
    stream: str
    payload: bytes
    attempts: int

    @property
    def is_again(self) -> bool:
        """Whether it is a dead letter sent again."""
        return self.stream.startswith(AGAIN)

    @property
    def is_last_try(self) -> bool:
        return self.attempts + 1 >= TRIES


@dataclass(slots=True)
class Reactions:
    """Tasks to be called, not more often than `REACTIONS` says, the last change never left out."""

    send: Callable[[str, str], None]
    due: dict[tuple[str, str], float] = field(default_factory=dict)
    sent: dict[tuple[str, str], float] = field(default_factory=dict)

    def note(self, topic: str, key: str, now: float) -> None:
        for task, every_s in REACTIONS.get(topic, ()):
            at = max(now, self.sent.get((task, key), -math.inf) + every_s)
            self.due[task, key] = min(at, self.due.get((task, key), math.inf))

    def call(self, now: float) -> None:
        """Call what is due. A broker that is away loses the call; the sweep makes up for it."""
        for (task, key), at in list(self.due.items()):
            if at <= now:
                del self.due[task, key]
                self.sent[task, key] = now
                try:
                    self.send(task, key)
                except Exception as error:
                    log.warning("reaction_not_called", task=task, key=key, error=str(error))


def _send_task(task: str, key: str) -> None:
    current_app.send_task(task, args=[key], retry=False, expires=60)


class Relay:
    """Publishes. `drain` does one round; `run` goes on until `stop`."""

    def __init__(self, *, sinks: Sequence[Sink] | None = None, send_task: Callable[[str, str], None] = _send_task) -> None:
        self._renderers: dict[str, Renderer] = {topic: import_string(path) for topic, path in RENDERERS.items()}
        self._sinks = make_sinks() if sinks is None else sinks
        self._reactions = Reactions(send_task)
        self._stop = threading.Event()

    def stop(self) -> None:
        """May be called from any thread."""
        self._stop.set()

    def run(self) -> None:
        """Publish whenever there is something, while this relay is the one that may. Raises nothing that a new try can mend."""
        while not self._stop.is_set():
            try:
                self._serve()
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                log.warning("relay_database_unavailable", error=str(error).splitlines()[0] if str(error) else type(error).__name__)
            except Exception:
                log.exception("relay_failed")
            connections.close_all()
            self._stop.wait(UNAVAILABLE_WAIT_S)
        self.close()

    def close(self) -> None:
        """Let go of the sinks' connections."""
        for sink in self._sinks:
            sink.close()

    def _serve(self) -> None:
        with (
            connect_direct(name="relay-session", autocommit=True) as session,
            connect_direct(name="relay") as connection,
            asyncio.Runner() as runner,
        ):
            for channel in (INBOX, SETTLED, OUTBOX):
                listen(session, channel)
            # What is lost with the last milliseconds of a crash is only that something had been published: it is published again.
            connection.execute("SET synchronous_commit = off")
            connection.commit()
            while not self._stop.is_set() and not try_lock(session):
                self._stop.wait(RETRY_LOCK_S)
            pause_s = UNAVAILABLE_WAIT_S
            while not self._stop.is_set():
                began = time.monotonic()
                try:
                    published = self.drain(connection, runner)
                except Unavailable as error:
                    log.warning("relay_waits", error=str(error), pause_s=pause_s)
                    self._stop.wait(pause_s)
                    pause_s = min(pause_s * 2, LONGEST_UNAVAILABLE_WAIT_S)
                    continue
                pause_s = UNAVAILABLE_WAIT_S
                self._reactions.call(time.monotonic())
                if published < LETTERS_PER_ROUND:
                    pause = PACE_S - (time.monotonic() - began)
                    if pause > 0:
                        time.sleep(pause)
                    if not published:
                        wait(session, LOOK_EVERY_S / 2 if self._reactions.due else LOOK_EVERY_S)

    def drain(self, connection: psycopg.Connection[Any], runner: asyncio.Runner) -> int:
        """Publish what waits, at most `LETTERS_PER_ROUND` letters, and commit. Returns how many letters left the outbox.

        Raises: Unavailable, with nothing removed; psycopg.Error.
        """
        letters = [WaitingLetter(*row) for row in connection.execute(SELECT_SQL, [LETTERS_PER_ROUND], prepare=True)]
        connection.rollback()  # nothing is held while others are waited for; the advisory lock keeps other relays out
        if not letters:
            return 0
        words = self._in_words(letters)
        failed: dict[str, tuple[WaitingLetter, str]] = {}  # by stream, the first only: the rest of the stream waits behind it
        ready: list[tuple[WaitingLetter, Words]] = []
        for letter in letters:
            if letter.stream in failed:
                continue
            told = words[letter.id]
            if isinstance(told, Exception):
                failed[letter.stream] = (letter, f"{type(told).__name__}: {told}")
            else:
                ready.append((letter, told))
        runner.run(_publish_live([told for _, told in ready]))
        # By lane: what is withheld behind a refused event must not be somebody else's.
        refused = self._publish_to_sinks([event for letter, told in ready if not letter.is_again for event in told.events])
        refused |= self._publish_to_sinks([event for letter, told in ready if letter.is_again for event in told.events])
        done = []
        for letter, told in ready:
            problems = [refused[event.event_id] for event in told.events if event.event_id in refused] if refused else []
            if problems and letter.stream not in failed:
                failed[letter.stream] = (letter, self._last_try(told.events, refused) if letter.is_last_try else problems[0])
            elif letter.stream not in failed or failed[letter.stream][0].id > letter.id:
                done.append(letter.id)
                now = time.monotonic()
                for topic, key in told.reactions:
                    self._reactions.note(topic, key, now)
        if done:
            connection.execute(DELETE_SQL, [array(done)], prepare=True)
        for letter, error in failed.values():
            _put_off(connection, letter, error)
        connection.commit()
        return len(done)

    def _in_words(self, letters: list[WaitingLetter]) -> dict[int, Words | Exception]:
        by_topic: dict[str, list[WaitingLetter]] = {}
        for letter in letters:
            by_topic.setdefault(letter.topic, []).append(letter)
        found: dict[int, Words | Exception] = {}
        for topic, some in by_topic.items():
            readable, payloads = [], []
            for letter in some:
                try:
                    payloads.append(unpack(letter.payload))
                    readable.append(letter)
                except Exception as error:
                    found[letter.id] = error
            renderer = self._renderers.get(topic)
            told = [KeyError(f"nobody knows the topic {topic}")] * len(readable) if renderer is None else renderer(payloads)
            found.update({letter.id: words for letter, words in zip(readable, told, strict=True)})
        return found

    def _last_try(self, events: Sequence[Event], refused: dict[str, str]) -> str:
        """Publish what waits behind the refused events of a letter that is given up. Returns which were refused, and why.

        Raises: Unavailable.
        """
        final = {event.event_id: refused[event.event_id] for event in events if refused.get(event.event_id, WITHHELD) != WITHHELD}
        left = [event for event in events if refused.get(event.event_id) == WITHHELD]
        while left:
            answers = self._publish_to_sinks(left)
            final |= {event_id: reason for event_id, reason in answers.items() if reason != WITHHELD}
            left = [event for event in left if answers.get(event.event_id) == WITHHELD]
        return "; ".join(f"{event_id}: {reason}" for event_id, reason in final.items())

    def _publish_to_sinks(self, events: Sequence[Event]) -> dict[str, str]:
        """What was not taken, by event id. Raises: Unavailable."""
        refused: dict[str, str] = {}
        if events:
            for sink in self._sinks:
                try:
                    answers = sink.publish(events)
                except SinkUnavailable as error:
                    raise Unavailable(f"{type(sink).__name__}: {error}") from error
                refused |= {event_id: reason for event_id, reason in answers.items() if reason != WITHHELD or event_id not in refused}
        return refused


def try_lock(session: psycopg.Connection[Any]) -> bool:
    """Become the one relay that publishes, as long as this session lives."""
    row = session.execute("SELECT pg_try_advisory_lock(%s)", [RELAY_LOCK]).fetchone()
    return row == (True,)


async def _publish_live(words: list[Words]) -> None:
    """Send live messages to their groups. Raises: Unavailable."""
    by_group: dict[str, list[Message]] = {}
    for told in words:
        if told.group is not None and told.messages:
            by_group.setdefault(told.group, []).extend(told.messages)
    if not by_group:
        return
    layer = get_channel_layer()
    assert layer is not None
    try:
        async with asyncio.timeout(PUBLISH_WITHIN_S):
            for group, messages in by_group.items():
                for start in range(0, len(messages), MESSAGES_PER_SEND):
                    await layer.group_send(group, feed_messages(messages[start : start + MESSAGES_PER_SEND]))
    except (redis.ConnectionError, redis.TimeoutError, TimeoutError, OSError) as error:
        raise Unavailable(f"channel layer: {error or type(error).__name__}") from error


def _put_off(connection: psycopg.Connection[Any], letter: WaitingLetter, error: str) -> None:
    """Try again later, or never."""
    if letter.is_last_try:
        connection.execute(BURY_SQL, [letter.id, letter.stream.removeprefix(AGAIN), error[:500]])
        log.error("dead_letter", stream=letter.stream, topic=letter.topic, error=error)
        return
    pause = min(FIRST_BACK_OFF_S * 2**letter.attempts, LONGEST_BACK_OFF_S)
    connection.execute(RETRY_SQL, [error[:500], pause, letter.id])
    log.warning("letter_put_off", stream=letter.stream, topic=letter.topic, attempts=letter.attempts + 1, error=error)


def drain_once(relay: Relay) -> int:
    """Publish everything that waits when no other relay does. Returns how many letters left. Raises: Unavailable, psycopg.Error."""
    published = 0
    with (
        connect_direct(name="relay-sweep-session", autocommit=True) as session,
        connect_direct(name="relay-sweep") as connection,
        asyncio.Runner() as runner,
    ):
        if not try_lock(session):
            return 0
        try:
            while some := relay.drain(connection, runner):
                published += some
        finally:
            relay.close()
    return published


@contextlib.contextmanager
def relay_thread() -> Any:
    """A relay at work while the block runs."""
    relay = Relay()
    thread = threading.Thread(target=relay.run, name="relay", daemon=True)
    thread.start()
    try:
        yield relay
    finally:
        relay.stop()
        thread.join(PUBLISH_WITHIN_S + 1)
