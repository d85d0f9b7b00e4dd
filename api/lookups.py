"""Memory for a few seconds of what every request needs and the database knows: keys, people, accounts, listed symbols.

A miss is loaded in a thread, once for all who wait for it, so the event loop never waits for the database. What is revoked
stops working within `LIFETIME_S`.
"""

import asyncio
import time
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

from api.counting import cache_hits, cache_misses
from api.threads import run_in_thread
from markets import queries as markets

LIFETIME_S: Final = 5.0
ABSENT_LIFETIME_S: Final = 1.0  # what has just been made works at once, or nearly
CAPACITY: Final = 10_000

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Lookup(Generic[K, V]):
    """`load(key)` with memory; what is absent is remembered too, more briefly. For one event loop."""

    def __init__(self, load: Callable[[K], V | None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._load = load
        self._clock = clock
        self._known: dict[K, tuple[float, V | None]] = {}
        self._loading: dict[K, asyncio.Task[V | None]] = {}

    async def get(self, key: K, *, max_age_s: float = LIFETIME_S) -> V | None:
        """The value, at most so old. Raises what `load` raises; then nothing is kept."""
        found = self._known.get(key)
        if found is not None:
            loaded_at, value = found
            if self._clock() - loaded_at < (max_age_s if value is not None else min(max_age_s, ABSENT_LIFETIME_S)):
                cache_hits.count += 1
                return value
        cache_misses.count += 1
        loading = self._loading.get(key)
        if loading is None or loading.get_loop() is not asyncio.get_running_loop():
            loading = self._loading[key] = asyncio.create_task(self._fetch(key))
        return await asyncio.shield(loading)

    async def _fetch(self, key: K) -> V | None:
        try:
            asked_at = self._clock()
            value = await run_in_thread(self._load, key)
            if len(self._known) >= CAPACITY:
                self._known.clear()
            self._known[key] = (asked_at, value)
            return value
        finally:
            self._loading.pop(key, None)

    def forget(self) -> None:
        """Drop everything; for tests."""
        self._known.clear()
        self._loading.clear()


_listed: Lookup[None, frozenset[str]] = Lookup(lambda _: frozenset(row["symbol"] for row in markets.symbols()))


async def listed_symbols(*wanted: object) -> frozenset[str]:
    """The names of the listed symbols. When one that is wanted is not among them they are read again, at most twice a second."""
    known = await _listed.get(None) or frozenset()
    if not all(name in known for name in wanted if type(name) is str):
        known = await _listed.get(None, max_age_s=0.5) or frozenset()
    return known


def forget_symbols() -> None:
    """For tests."""
    _listed.forget()
