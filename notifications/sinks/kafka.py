"""Kafka: topics and keys as `exchange_platform.subscriptions.ADDRESSES` says; the broker's operators make topics and their retention.

The producer is idempotent and waits for all replicas. Events go out in waves of at most one request per partition, so nothing that
stands behind a refused request has left yet. The producer never gives up by itself: whether a wave has arrived is decided here, for all of
it, after `ANSWER_WITHIN_S`; a producer that has not delivered by then is thrown away with what it holds, since a message that timed
out alone would let later ones of its key overtake it.
"""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaError, Message, Producer
from django.conf import settings

from notifications.events import Event
from notifications.sinks import ANSWER_WITHIN_S, LARGEST_EVENT_BYTES, Parcel, SinkUnavailable, Sorting

REQUEST_BYTES: Final = 1_000_000
RECORD_BYTES: Final = 200  # key and frame of a record, generously
WAVE_AT_MOST: Final = 2_000

_FOR_GOOD: Final = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD})


class Kafka:
    """`servers`: host:port, separated by commas."""

    def __init__(self, *, servers: str | None = None, options: dict[str, str] | None = None) -> None:
        self._servers: str = settings.KAFKA_SERVERS if servers is None else servers
        self._options = read_properties(settings.KAFKA_PROPERTIES) if options is None else options
        self._producer: Producer | None = None
        self._trouble = ""

    def publish(self, events: Sequence[Event]) -> dict[str, str]:
        """Raises: SinkUnavailable."""
        sorting = Sorting()
        try:
            for wave in _waves(sorting.parcels(events, largest_bytes=LARGEST_EVENT_BYTES)):
                going = [parcel for parcel in wave if not sorting.is_withheld(parcel)]
                reports = self._deliver(going)
                missing = [parcel for parcel, problem in zip(going, reports, strict=True) if problem is not None]
                for parcel in missing:  # one by one, to see which of them is refused itself
                    if sorting.is_withheld(parcel):
                        continue
                    [problem] = self._deliver([parcel])
                    if problem is not None and problem.code() in _FOR_GOOD:
                        sorting.refuse(parcel, problem.str())
                    elif problem is not None:
                        raise SinkUnavailable(problem.str())
        except SinkUnavailable:
            self.close()
            raise
        return sorting.refused

    def close(self) -> None:
        """What the producer still holds will be told again; it must not come late."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with contextlib.suppress(Exception):  # what it has met it may raise again
                producer.purge()
                producer.flush(0)

    def _deliver(self, parcels: Sequence[Parcel]) -> list[KafkaError | None]:
        """What became of each: None when it has arrived. Raises: SinkUnavailable, when that is not known of all of them."""
        reports: list[KafkaError | None] = [None] * len(parcels)

        def note(number: int, error: KafkaError | None, _: Message) -> None:
            reports[number] = error

        try:
            if self._producer is None:
                self._producer = self._make_producer()
            for number, parcel in enumerate(parcels):
                topic, _, key = parcel.address
                self._producer.produce(topic, key=key.encode(), value=parcel.body, on_delivery=partial(note, number))
            waiting = self._producer.flush(ANSWER_WITHIN_S)
        except Exception as error:
            # A producer that has met a fatal error raises it out of whichever call comes next, reports included, and what arrives here is
            # what the interpreter makes of callbacks that run over it.
            raise SinkUnavailable(f"the producer failed: {error}") from error
        if waiting:
            raise SinkUnavailable(f"{waiting} of {len(parcels)} events were not acknowledged; {self._trouble or 'no error was told'}")
        return reports

    def _make_producer(self) -> Producer:
        self._trouble = ""
        return Producer(
            {
                "client.id": "exchange-relay",
                "compression.type": "lz4",
                "partitioner": "murmur2_random",  # as Java's clients, so that both find a key in the same partition
                "reconnect.backoff.max.ms": 1_000,
                **self._options,
                "bootstrap.servers": self._servers,
                "acks": "all",
                "enable.idempotence": True,
                "message.timeout.ms": 0,
                "message.max.bytes": REQUEST_BYTES,
                "batch.size": REQUEST_BYTES,
                "linger.ms": 1_000,  # a wave is sent when it is complete: `flush` does not wait for this
                "error_cb": self._note_trouble,
                "logger": logging.getLogger("librdkafka"),
                "log_level": 3,  # errors
            }
        )

    def _note_trouble(self, error: KafkaError) -> None:
        self._trouble = error.str()


def _waves(parcels: Sequence[Parcel]) -> Iterator[list[Parcel]]:
    """In order, and each small enough for one request, wherever its events go."""
    wave: list[Parcel] = []
    size = 0
    for parcel in parcels:
        more = len(parcel.body) + RECORD_BYTES
        if wave and (size + more > REQUEST_BYTES or len(wave) == WAVE_AT_MOST):
            yield wave
            wave, size = [], 0
        wave.append(parcel)
        size += more
    if wave:
        yield wave


def read_properties(path: str) -> dict[str, str]:
    """Settings of the client library (`security.protocol=SASL_SSL`), one per line, as Kafka's own tools read them; none without a path.

    Raises: OSError.
    """
    lines = Path(path).read_text().splitlines() if path else []
    pairs = (line.partition("=") for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs}
