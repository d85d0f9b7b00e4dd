"""What the doors count: additions on the event loop, written once a second (`exchange_platform.telemetry.buffers`).

REST and WebSocket both call these, so that a figure means the same whichever door was used.
"""

import time
from collections.abc import Iterable
from typing import Final

from exchange_platform import metrics
from exchange_platform.telemetry.buffers import Counts, Observations, Tally

cache_hits: Final = Tally(metrics.cache_hits)
cache_misses: Final = Tally(metrics.cache_misses)
_responses: Final = Counts(metrics.http_responses)
_refusals: Final = Counts(metrics.validation_failures)
_rate_limits: Final = Counts(metrics.rate_limit_reached)
_placements: Final = Observations(metrics.order_placement_duration_seconds)


def count_response(status: int) -> None:
    _responses.add(status)


def count_refusal(code: str) -> None:
    """A request or an item of a batch that is not one of the contract. Refusals by a symbol's rules are counted by intake."""
    _refusals.add(code)


def count_rate_limit(kind: str) -> None:
    """`kind`: what was counted (key, user, address, login, connection)."""
    _rate_limits.add(kind)


def count_placements(began_at: float, symbols: Iterable[str]) -> None:
    """Orders of one request, answered now. `began_at`: `time.perf_counter` when it arrived."""
    took_s = time.perf_counter() - began_at
    for symbol in symbols:
        _placements.add(took_s, symbol)
