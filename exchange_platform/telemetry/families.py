"""Counters, gauges and histograms of one process, as cheap as a hot path needs: a dictionary look-up and one write to memory.

`family.labels(a, b).inc()` by position, or by name. Whoever handles many at a time adds them up first and calls once.
Thread-safe; a figure never raises for want of a place to be written to.
"""

import threading
import time
from bisect import bisect_left
from collections.abc import Iterable
from typing import Final, Generic, Literal, TypeVar

from prometheus_client.mmap_dict import mmap_key
from prometheus_client.utils import INF, floatToGoString

from exchange_platform.telemetry import files

Mode = Literal["livesum", "livemostrecent", "mostrecent"]

# Seconds; finer around the promises (p50 20 ms, p99 100 ms, alert at 200 ms).
LATENCY_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.2, 0.35, 0.5, 1.0, 2.5, 5.0)
STAGE_BUCKETS: Final = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
SIZE_BUCKETS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
MICROSECOND_BUCKETS: Final = (10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 50_000, 250_000)
RATIO_BUCKETS: Final = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05)


class Cell:
    """One number of this process."""

    __slots__ = ("_generation", "_key", "_place", "_prefix", "_value")

    def __init__(self, prefix: str, key: str) -> None:
        self._prefix = prefix
        self._key = key
        self._generation = 0
        self._value = 0.0
        self._place: files.Place | None = None

    def add(self, amount: float) -> None:
        with files.lock:
            if self._generation != files.slot.generation:
                self._attach()
            self._value += amount
            if self._place is not None:
                self._place.write(self._value, 0.0)

    def set(self, value: float, stamp: float) -> None:
        with files.lock:
            if self._generation != files.slot.generation:
                self._attach()
            self._value = value
            if self._place is not None:
                self._place.write(value, stamp)

    def _attach(self) -> None:
        self._place = place = files.slot.attach(self._prefix, self._key)
        self._value = 0.0 if place is None else place.value
        self._generation = files.slot.generation


C = TypeVar("C")


class Family(Generic[C]):
    """A named figure with labels. `kind` is Prometheus's word for it."""

    kind = ""

    def __init__(self, name: str, told: str, labels: Iterable[str] = ()) -> None:
        self.name = name
        self.told = told
        self.label_names = tuple(labels)
        self._children: dict[tuple[object, ...], C] = {}
        self._making = threading.Lock()

    @property
    def base_name(self) -> str:
        """The name as Prometheus's own library knows it: counters without `_total`."""
        return self.name.removesuffix("_total") if self.kind == "counter" else self.name

    def labels(self, *values: object, **named: object) -> C:
        """The figure under these labels. Raises: ValueError when they are not the family's."""
        if named:
            if values or named.keys() != set(self.label_names):
                raise ValueError(f"{self.name} has the labels {self.label_names}, not {tuple(named)}")
            values = tuple(named[name] for name in self.label_names)
        found = self._children.get(values)
        return found if found is not None else self._child(values)

    def _child(self, values: tuple[object, ...]) -> C:
        if len(values) != len(self.label_names):
            raise ValueError(f"{self.name} has the labels {self.label_names}, not {len(values)} of them")
        text = tuple(map(str, values))
        with self._making:
            child = self._children.get(text)
            if child is None:
                child = self._children[text] = self._make(text)
            self._children[values] = child
            return child

    def _make(self, values: tuple[str, ...]) -> C:
        raise NotImplementedError

    def _cell(self, prefix: str, suffix: str, values: tuple[str, ...], *more: tuple[str, str]) -> Cell:
        names = [*self.label_names, *(name for name, _ in more)]
        key = mmap_key(self.base_name, self.base_name + suffix, names, [*values, *(value for _, value in more)], self.told)
        return Cell(prefix, key)


class Count:
    """One counter."""

    __slots__ = ("_cell",)

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    def inc(self, amount: float = 1) -> None:
        self._cell.add(amount)


class Counter(Family[Count]):
    kind = "counter"

    def inc(self, amount: float = 1) -> None:
        """Of a family without labels."""
        self.labels().inc(amount)

    def _make(self, values: tuple[str, ...]) -> Count:
        return Count(self._cell("counter", "_total", values))


class Level:
    """One gauge."""

    __slots__ = ("_cell", "_is_stamped")

    def __init__(self, cell: Cell, is_stamped: bool) -> None:
        self._cell = cell
        self._is_stamped = is_stamped

    def set(self, value: float) -> None:
        self._cell.set(value, time.time() if self._is_stamped else 0.0)

    def inc(self, amount: float = 1) -> None:
        """Only of gauges that are summed over processes."""
        self._cell.add(amount)


class Gauge(Family[Level]):
    """`mode` says what several processes come to. livesum: the sum of those that live; livemostrecent: the latest word of one that
    lives; mostrecent: the latest word, also of one that has ended (a fact about the exchange, not about the process)."""

    kind = "gauge"

    def __init__(self, name: str, told: str, labels: Iterable[str] = (), *, mode: Mode) -> None:
        super().__init__(name, told, labels)
        self.mode = mode

    def set(self, value: float) -> None:
        """Of a family without labels."""
        self.labels().set(value)

    def inc(self, amount: float = 1) -> None:
        """Of a family without labels."""
        self.labels().inc(amount)

    def dec(self, amount: float = 1) -> None:
        """Of a family without labels."""
        self.labels().inc(-amount)

    def _make(self, values: tuple[str, ...]) -> Level:
        return Level(self._cell(f"gauge_{self.mode}", "", values), self.mode.endswith("mostrecent"))


class Reading(Family[None]):
    """A gauge that no process keeps: it is read when somebody asks for the metrics."""

    kind = "gauge"

    def _make(self, values: tuple[str, ...]) -> None:
        raise TypeError(f"{self.name} is read at scrape time")


class Distribution:
    """One histogram. Each observation goes into its own bucket only; buckets are added up when they are shown."""

    __slots__ = ("_bounds", "_buckets", "_generation", "_sum")

    def __init__(self, bounds: tuple[float, ...], total: Cell, buckets: list[Cell]) -> None:
        self._bounds = bounds
        self._sum = total
        self._buckets = buckets
        self._generation = 0

    def _lay_out(self) -> None:
        """Every bucket is in the file, also those that are never hit."""
        self._generation = files.slot.generation
        for bucket in self._buckets:
            bucket.add(0)

    def observe(self, value: float) -> None:
        if self._generation != files.slot.generation:
            self._lay_out()
        self._sum.add(value)
        self._buckets[bisect_left(self._bounds, value)].add(1)

    def observe_all(self, values: Iterable[float]) -> None:
        """As `observe` for each, with one write per bucket."""
        counts: dict[int, int] = {}
        total = 0.0
        bounds = self._bounds
        for value in values:
            total += value
            bucket = bisect_left(bounds, value)
            counts[bucket] = counts.get(bucket, 0) + 1
        if counts:
            if self._generation != files.slot.generation:
                self._lay_out()
            self._sum.add(total)
            for bucket, count in counts.items():
                self._buckets[bucket].add(count)


class Histogram(Family[Distribution]):
    kind = "histogram"

    def __init__(self, name: str, told: str, labels: Iterable[str] = (), *, buckets: Iterable[float]) -> None:
        super().__init__(name, told, labels)
        self.bounds = (*map(float, buckets), INF)

    def observe(self, value: float) -> None:
        """Of a family without labels."""
        self.labels().observe(value)

    def _make(self, values: tuple[str, ...]) -> Distribution:
        total = self._cell("histogram", "_sum", values)
        return Distribution(
            self.bounds, total, [self._cell("histogram", "_bucket", values, ("le", floatToGoString(b))) for b in self.bounds]
        )
