"""Redis Streams: `events:<stream>` for every stream of events, the newest ten thousand each; an entry's id is its event's sequence.

Redis takes no id that is not above the last one: what it has already it does not take again. An event that comes after later ones of
its stream (a dead letter sent again) is appended under an id of its own, behind the last one's sequence; its envelope tells which it is.
"""

from collections.abc import Sequence
from typing import Any, Final

import redis
from django.conf import settings

from notifications.events import Event
from notifications.sinks import SinkUnavailable

STREAM_PREFIX: Final = "events:"
KEPT_PER_STREAM: Final = 10_000
PIPELINE_AT_MOST: Final = 1_000
_KEPT: Final = str(KEPT_PER_STREAM).encode()
_NOT_ABOVE_THE_LAST: Final = "equal or smaller"
_FOR_GOOD: Final = ("WRONGTYPE", "Elements are too large")


class RedisStreams:
    """Order is kept within a stream; events of one account's orders and balances are two streams."""

    def __init__(self, *, url: str | None = None) -> None:
        self._redis = redis.Redis.from_url(settings.REDIS_URL if url is None else url, socket_timeout=5, socket_connect_timeout=2)

    def publish(self, events: Sequence[Event]) -> dict[str, str]:
        """One round trip per thousand events. Raises: SinkUnavailable."""
        refused: dict[str, str] = {}
        commands: list[tuple[Event, bytes]] = []
        for event in events:
            try:
                commands.append((event, _xadd(event)))
            except TypeError as error:  # its payload cannot be written as JSON
                refused[event.event_id] = str(error)
        for start in range(0, len(commands), PIPELINE_AT_MOST):
            chunk = commands[start : start + PIPELINE_AT_MOST]
            try:
                answers = self._send(b"".join([command for _, command in chunk]), len(chunk))
                for (event, _), answer in zip(chunk, answers, strict=True):
                    if isinstance(answer, redis.ResponseError):
                        if _NOT_ABOVE_THE_LAST in str(answer):
                            self._append_unless_there(event)
                        elif str(answer).startswith(_FOR_GOOD):
                            refused[event.event_id] = str(answer)
                        else:
                            raise SinkUnavailable(str(answer))
            except redis.RedisError as error:
                raise SinkUnavailable(str(error)) from error
        return refused

    def close(self) -> None:
        self._redis.close()

    def _append_unless_there(self, event: Event) -> None:
        """Raises: redis.RedisError."""
        name, identity = f"{STREAM_PREFIX}{event.stream}", f"{event.sequence}-0"
        if self._redis.xrange(name, identity, identity):
            return
        newest: Any = self._redis.xrevrange(name, count=1)
        [(last, _)] = newest
        sequence, _, number = last.decode().partition("-")
        self._redis.xadd(name, {"event": event.envelope()}, id=f"{sequence}-{int(number) + 1}", maxlen=KEPT_PER_STREAM, approximate=True)

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
