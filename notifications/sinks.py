"""Where events go to be kept: sinks, named in the setting EVENT_SINKS.

A sink takes events in order per stream, at least once, and makes once of it where it can.
"""

from collections.abc import Sequence
from typing import Final, Protocol

import redis
from django.conf import settings

from notifications.events import Event

STREAM_PREFIX: Final = "exchange:"
KEPT_PER_STREAM: Final = 10_000
PIPELINE_AT_MOST: Final = 1_000


class SinkUnavailable(Exception):
    """The sink cannot be reached; nothing is wrong with the events."""


class Sink(Protocol):
    """Takes events; returns what it refuses for good, by event id."""

    def publish(self, events: Sequence[Event]) -> dict[str, str]:
        """Raises: SinkUnavailable, when some or all may not have arrived."""


class RedisStreams:
    """One Redis stream per stream of events, `exchange:<stream>`, an entry's id is its sequence: what Redis has it does not take again."""

    def __init__(self) -> None:
        self._redis = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=5, socket_connect_timeout=2)

    def publish(self, events: Sequence[Event]) -> dict[str, str]:
        """One round trip per thousand events. Raises: SinkUnavailable."""
        refused: dict[str, str] = {}
        for start in range(0, len(events), PIPELINE_AT_MOST):
            chunk = events[start : start + PIPELINE_AT_MOST]
            pipeline = self._redis.pipeline(transaction=False)
            for event in chunk:
                pipeline.execute_command(
                    "XADD", STREAM_PREFIX + event.stream, "MAXLEN", "~", KEPT_PER_STREAM, f"{event.sequence}-0", "event", event.envelope()
                )
            try:
                answers = pipeline.execute(raise_on_error=False)
            except (redis.ConnectionError, redis.TimeoutError) as error:
                raise SinkUnavailable(str(error)) from error
            for event, answer in zip(chunk, answers, strict=True):
                if isinstance(answer, redis.ResponseError) and "equal or smaller" not in str(answer):
                    if isinstance(answer, redis.BusyLoadingError | redis.ReadOnlyError | redis.OutOfMemoryError):
                        raise SinkUnavailable(str(answer))
                    refused[event.event_id] = str(answer)
                elif isinstance(answer, redis.ConnectionError | redis.TimeoutError):
                    raise SinkUnavailable(str(answer))
        return refused
