"""Figures of the event loop, where even a write to memory per request counts: kept in plain Python and written once a second.

What a kill -9 takes with it is one second of them. What must never be lost (orders, trades) is counted per batch instead, directly.
"""

import asyncio
from typing import Final

from exchange_platform.telemetry.families import Counter, Histogram

FLUSH_EVERY_S: Final = 1.0

_buffers: list["Tally | Counts | Observations"] = []


class Tally:
    """A counter without labels that is written later: `tally.count += 1`. For one thread."""

    def __init__(self, family: Counter) -> None:
        self._family = family
        self._written = 0
        self.count = 0
        _buffers.append(self)

    def flush(self) -> None:
        count = self.count
        if count != self._written:
            self._family.inc(count - self._written)
            self._written = count


class Counts:
    """A counter that is written later: `counts.add(label values)`. For one thread."""

    def __init__(self, family: Counter) -> None:
        self._family = family
        self._kept: dict[tuple[object, ...], int] = {}
        _buffers.append(self)

    def add(self, *labels: object) -> None:
        self._kept[labels] = self._kept.get(labels, 0) + 1

    def flush(self) -> None:
        kept, self._kept = self._kept, {}
        for labels, count in kept.items():
            self._family.labels(*labels).inc(count)


class Observations:
    """A histogram that is written later: `observations.add(value, label values)`. Any thread may add."""

    def __init__(self, family: Histogram) -> None:
        self._family = family
        self._kept: list[tuple[tuple[object, ...], float]] = []
        _buffers.append(self)

    def add(self, value: float, *labels: object) -> None:
        self._kept.append((labels, value))

    def flush(self) -> None:
        kept, self._kept = self._kept, []
        by_labels: dict[tuple[object, ...], list[float]] = {}
        for labels, value in kept:
            by_labels.setdefault(labels, []).append(value)
        for labels, values in by_labels.items():
            self._family.labels(*labels).observe_all(values)


def flush() -> None:
    """Write everything that is kept; on the thread that adds."""
    for buffer in _buffers:
        buffer.flush()


async def flush_for_ever() -> None:
    """Once a second, until cancelled; then once more."""
    try:
        while True:
            await asyncio.sleep(FLUSH_EVERY_S)
            flush()
    finally:
        flush()
