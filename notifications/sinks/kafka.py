"""Kafka: topics and keys as `exchange_platform.subscriptions.ADDRESSES` says; the broker's operators make topics and their retention.

The producer is idempotent and waits for all replicas. It never gives up by itself: whether a batch has arrived is decided here, for
all of it, after `ANSWER_WITHIN_S`; a producer that has not delivered by then is thrown away with what it holds, since a message that
timed out alone would let later ones of its key overtake it.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from django.conf import settings

from notifications.events import Event
from notifications.sinks import ANSWER_WITHIN_S, LARGEST_EVENT_BYTES, Parcel, SinkUnavailable, Sorting

LARGEST_MESSAGE_BYTES: Final = 1_000_000

_FOR_GOOD: Final = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD})
_UNTOLD: Final = KafkaError._FAIL

log = structlog.get_logger(__name__)


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
        parcels = sorting.parcels(events, largest_bytes=LARGEST_EVENT_BYTES)
        try:
            missing = self._send_all(parcels)
            if missing:
                self._send_one_by_one(missing, sorting)
        except KafkaException as error:  # of a producer that cannot even be made
            self.close()
            raise SinkUnavailable(str(error)) from error
        except SinkUnavailable:
            self.close()
            raise
        return sorting.refused

    def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            _throw_away(producer)

    def _send_all(self, parcels: Sequence[Parcel]) -> list[Parcel]:
        """Returns those that were not taken since one among them is not acceptable. Raises: SinkUnavailable, KafkaException."""
        if self._producer is None:
            # After a refusal this producer sends nothing more, so what stands behind the refused one cannot overtake it.
            self._producer = self._make_producer({"enable.gapless.guarantee": "true"})
        reports = self._deliver(self._producer, parcels)
        return [parcel for number, parcel in enumerate(parcels) if reports.get(number, _UNTOLD) is not None]

    def _send_one_by_one(self, parcels: Sequence[Parcel], sorting: Sorting) -> None:
        """To see which of them is refused itself. Raises: SinkUnavailable, KafkaException."""
        self.close()
        producer = self._make_producer({})
        try:
            for parcel in parcels:
                if sorting.is_withheld(parcel):
                    continue
                problem = self._deliver(producer, [parcel]).get(0, _UNTOLD)
                if problem in _FOR_GOOD:
                    sorting.refuse(parcel, KafkaError(problem).str())
                elif problem is not None:
                    raise SinkUnavailable(KafkaError(problem).str())
        finally:
            _throw_away(producer)

    def _deliver(self, producer: Producer, parcels: Sequence[Parcel]) -> dict[int, int | None]:
        """What became of each, by its number: the code of its error, None when it has arrived. Raises: SinkUnavailable."""
        reports: dict[int, int | None] = {}

        def note(number: int, error: KafkaError | None, _: Message) -> None:
            reports[number] = None if error is None else error.code()

        deadline = time.monotonic() + ANSWER_WITHIN_S
        try:
            for number, parcel in enumerate(parcels):
                _produce(producer, parcel, partial(note, number), deadline)
            waiting = producer.flush(max(0.0, deadline - time.monotonic()))
        except SinkUnavailable:
            raise
        except Exception as error:
            # A producer that has met a fatal error raises it out of whichever call comes next, in the middle of its reports, and what
            # arrives here is what the interpreter makes of callbacks that run over it. Whatever was not reported is sent again.
            log.warning("kafka_producer_failed", error=repr(error))
            return reports
        if waiting:
            raise SinkUnavailable(f"{waiting} of {len(parcels)} events were not acknowledged; {self._trouble or 'no error told'}")
        return reports

    def _make_producer(self, more: dict[str, str]) -> Producer:
        self._trouble = ""
        return Producer(
            {
                "client.id": "exchange-relay",
                "compression.type": "lz4",
                "linger.ms": 2,
                "partitioner": "murmur2_random",  # as Java's clients, so that both find a key in the same partition
                "reconnect.backoff.max.ms": 1_000,
                **self._options,
                **more,
                "bootstrap.servers": self._servers,
                "acks": "all",
                "enable.idempotence": True,
                "message.timeout.ms": 0,
                "message.max.bytes": LARGEST_MESSAGE_BYTES,
                "error_cb": self._note_trouble,
                "logger": logging.getLogger("librdkafka"),
                "log_level": 3,  # errors
            }
        )

    def _note_trouble(self, error: KafkaError) -> None:
        self._trouble = error.str()


def _produce(producer: Producer, parcel: Parcel, note: Callable[[KafkaError | None, Message], None], deadline: float) -> None:
    """Raises: SinkUnavailable, when the producer's queue stays full; KafkaException."""
    while True:
        try:
            producer.produce(parcel.address.topic, key=parcel.address.key.encode(), value=parcel.body, on_delivery=note)
            return
        except BufferError:
            if time.monotonic() > deadline:
                raise SinkUnavailable("the producer's queue is full") from None
            producer.poll(0.05)


def _throw_away(producer: Producer) -> None:
    """What it still holds will be told again; it must not come late."""
    with contextlib.suppress(Exception):  # it may have met a fatal error, which it raises again
        producer.purge()
        producer.flush(0)


def read_properties(path: str) -> dict[str, str]:
    """Settings of the client library (`security.protocol=SASL_SSL`), one per line, as Kafka's own tools read them; none without a path.

    Raises: OSError.
    """
    lines = Path(path).read_text().splitlines() if path else []
    pairs = (line.partition("=") for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs}
