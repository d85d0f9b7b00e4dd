"""Where events go to be kept: sinks, chosen by the setting EVENT_SINKS.

A sink takes events in order per key, at least once, and makes once of it where it can. Three things may happen to an event: it is
acknowledged; it is refused for good, by name, with nothing of its key behind it published in that call; or the sink is away, and
everything is to be told again. What is not known to be a refusal is an outage: events wait rather than be given up.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from django.conf import settings
from django.utils.module_loading import import_string

from exchange_platform.subscriptions import SINKS
from notifications.addresses import Address, Unaddressed, address_of
from notifications.events import Event

WITHHELD: Final = "waits behind an event of its key that was refused"
LARGEST_EVENT_BYTES: Final = 900_000  # brokers are set up for a megabyte, headers included
ANSWER_WITHIN_S: Final = 5.0


class SinkUnavailable(Exception):
    """The sink cannot be reached, or cannot take events now; nothing is wrong with the events."""


class Sink(Protocol):
    """Connects when it first publishes. Used by one thread at a time."""

    def publish(self, events: Sequence[Event]) -> dict[str, str]:
        """Returns what is refused for good, by event id, with the reason, and what waits behind it (`WITHHELD`).

        Raises: SinkUnavailable, when some or all may not have arrived.
        """

    def close(self) -> None:
        """Let go of connections; `publish` makes new ones."""


def make_sinks() -> list[Sink]:
    """The sinks of this exchange, in the order in which they are told."""
    return [import_string(SINKS[name])() for name in settings.EVENT_SINKS]


class Parcel(NamedTuple):
    """An event ready for a broker."""

    event_id: str
    address: Address
    body: bytes


class Sorting:
    """Keeps order within a key while some of its events are refused: those behind a refused one are withheld."""

    def __init__(self) -> None:
        self.refused: dict[str, str] = {}
        self._held: set[str] = set()

    def parcels(self, events: Sequence[Event], *, largest_bytes: int) -> list[Parcel]:
        """Those that may go, in order. What is known beforehand to be refused is refused here."""
        ready = []
        held: set[str] = set()
        for event in events:
            try:
                parcel = Parcel(event.event_id, address_of(event), event.envelope())
                key, size = parcel.address.key, len(parcel.body)
                problem = f"too large: {size} bytes, at most {largest_bytes}" if size > largest_bytes else ""
            except (Unaddressed, TypeError) as error:  # TypeError: its payload cannot be written as JSON
                key, problem = event.stream, str(error)
            if key in held:
                self.refused[event.event_id] = WITHHELD
            elif problem:
                self.refused[event.event_id] = problem
                held.add(key)
            else:
                ready.append(parcel)
        return ready

    def refuse(self, parcel: Parcel, reason: str) -> None:
        self.refused[parcel.event_id] = reason
        self._held.add(parcel.address.key)

    def is_withheld(self, parcel: Parcel) -> bool:
        """Whether it must wait, which is noted."""
        if parcel.address.key not in self._held:
            return False
        self.refused[parcel.event_id] = WITHHELD
        return True
