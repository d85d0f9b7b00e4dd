"""Where events go to be kept: sinks, named in the setting EVENT_SINKS.

A sink takes events in order per stream, at least once, and makes once of it where it can.
"""

from collections.abc import Sequence
from typing import Final, Protocol

import redis
from django.conf import settings

from notifications.events import Event

STREAM_PREFIX: Final = "events:"
KEPT_PER_STREAM: Final = 10_000
PIPELINE_AT_MOST: Final = 1_000
_KEPT: Final = str(KEPT_PER_STREAM).encode()


class SinkUnavailable(Exception):
    """The sink cannot be reached; nothing is wrong with the events."""


class Sink(Protocol):
    """Takes events; returns what it refuses for good, by event id."""

    def publish(self, events: Sequence[Event]) -> dict[str, str]:
        """Raises: SinkUnavailable, when some or all may not have arrived."""


class RedisStreams:
    """One Redis stream per stream of events, `events:<stream>`, an entry's id is its sequence: what Redis has it does not take again."""

    def __init__(self) -> None:
        self._redis = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=5, socket_connect_timeout=2)

    def publish(self, events: Sequence[Event]) -> dict[str, str]:
        """One round trip per thousand events. Raises: SinkUnavailable."""
        refused: dict[str, str] = {}
        for start in range(0, len(events), PIPELINE_AT_MOST):
            chunk = events[start : start + PIPELINE_AT_MOST]
            try:
                answers = self._send(b"".join([_xadd(event) for event in chunk]), len(chunk))
            except (redis.ConnectionError, redis.TimeoutError) as error:
                raise SinkUnavailable(str(error)) from error
            for event, answer in zip(chunk, answers, strict=True):
                if isinstance(answer, redis.ResponseError) and "equal or smaller" not in str(answer):
                    if isinstance(answer, redis.ReadOnlyError | redis.OutOfMemoryError):
                        raise SinkUnavailable(str(answer))
                    refused[event.event_id] = str(answer)
        return refused

    def _send(self, commands: bytes, count: int) -> list[object]:
        """Commands in one write, their answers in order. Raises: redis.ConnectionError, redis.TimeoutError."""
        pool = self._redis.connection_pool
        connection = pool.get_connection()
        try:
            connection.send_packed_command([commands])
            answers: list[object] = []
            for _ in range(count):
                try:
                    answers.append(connection.read_response())
                except redis.ResponseError as refused:
                    answers.append(refused)
            return answers
        except BaseException:
            connection.disconnect()  # answers that nobody has read must not become those of the next commands
            raise
        finally:
            pool.release(connection)


def _xadd(event: Event) -> bytes:
    """The command as Redis reads it. Written out, because a pipeline spends more on each than all the rest of the relay."""
    stream, identity, envelope = f"{STREAM_PREFIX}{event.stream}".encode(), b"%d-0" % event.sequence, event.envelope()
    return b"*8\r\n$4\r\nXADD\r\n$%d\r\n%b\r\n$6\r\nMAXLEN\r\n$1\r\n~\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$5\r\nevent\r\n$%d\r\n%b\r\n" % (
        len(stream),
        stream,
        len(_KEPT),
        _KEPT,
        len(identity),
        identity,
        len(envelope),
        envelope,
    )
