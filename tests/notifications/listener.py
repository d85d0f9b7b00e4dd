"""What a subscriber makes of live messages, and what must hold of them whatever happened."""

import json
import zlib
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from notifications import outbox
from notifications.events import Event, Words
from orders.feeds import account_words, market_words


class Listener:
    """Hears messages as they are published: repeated ones are dropped by sequence, a missing one is an error."""

    def __init__(self) -> None:
        self.last: dict[tuple[str, str], int] = {}
        self.heard: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        self.repeated = 0

    def hear(self, group: str, messages: Sequence[Sequence[Any]]) -> None:
        for channel, sequence, text in messages:
            key = (group, channel)
            message = json.loads(text)
            assert (message["channel"], message["sequence"]) == (channel, sequence)
            if sequence <= self.last.get(key, 0):
                self.repeated += 1
                assert message == self.heard[key][sequence - self.heard[key][0]["sequence"]], "told again, it is told the same"
                continue
            assert sequence == self.last.get(key, 0) + 1, f"{key}: {self.last.get(key, 0)} is followed by {sequence}"
            self.last[key] = sequence
            self.heard[key].append(message)

    def book(self, group: str, channel: str) -> dict[str, dict[str, str]]:
        """The book built from its changes alone; every checksum on the way must be right."""
        sides: dict[str, dict[str, str]] = {"bids": {}, "asks": {}}
        for message in self.heard[group, channel]:
            data = message["data"]
            for name, side in sides.items():
                for price, quantity in data[name]:
                    if Decimal(quantity) == 0:
                        side.pop(price, None)  # it may have come and gone within one settlement
                    else:
                        side[price] = quantity
            best = [
                f"{price}:{side[price]}"
                for side, backwards in ((sides["bids"], True), (sides["asks"], False))
                for price in sorted(side, key=Decimal, reverse=backwards)[:10]
            ]
            assert data["checksum"] == (zlib.crc32("|".join(best).encode()) if best else 0)
        return sides


class Collecting:
    """A sink that remembers, and refuses what it is told to refuse."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.refuses: set[str] = set()
        self.is_away = False

    def publish(self, events: Sequence[Event]) -> dict[str, str]:
        from notifications.sinks import SinkUnavailable

        if self.is_away:
            raise SinkUnavailable("away")
        refused = {event.event_id: "refused" for event in events if event.event_id in self.refuses}
        self.events += [event for event in events if event.event_id not in refused]
        return refused

    def close(self) -> None:
        """It has no connection."""


def words_of(rows: Sequence[tuple[str, bytes]]) -> list[Words]:
    """Letters (topic, payload) in words; none may fail."""
    found = []
    for topic, payload in rows:
        renderer = {"account": account_words, "market": market_words}[topic]
        [words] = renderer([outbox.unpack(payload)])
        assert isinstance(words, Words), words
        found.append(words)
    return found
