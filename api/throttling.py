"""How many requests a key, a person, an address may make: moving windows in this process's memory, by the `limits` library.

Each web process counts for itself. Keys marked unlimited are not counted; their answers carry the headers all the same.
Defaults are below; `settings.API_RATE_LIMITS` overrides any of them.
"""

import math
import time
from functools import lru_cache
from typing import Final, NamedTuple

from django.conf import settings
from limits import RateLimitItem, parse_many
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from api.counting import count_rate_limit
from api.errors import RateLimited

# What is counted, and how much of it. "address" counts requests without a log-in and failed log-ins; "login" is tighter,
# because each attempt costs a password hash. "connection" counts the messages of a WebSocket without a log-in.
DEFAULTS: Final[dict[str, str]] = {
    "key": "20/second;1200/minute",
    "user": "20/second;1200/minute",
    "address": "100/second;3000/minute",
    "login": "10/second;100/minute",
    "connection": "100/second;3000/minute",
}


class Allowance(NamedTuple):
    """What the X-RateLimit headers tell: the tightest window's limit, what is left of it, when it is free again (Unix seconds)."""

    limit: int
    remaining: int
    reset_at: int

    def headers(self) -> list[tuple[bytes, bytes]]:
        return [
            (b"x-ratelimit-limit", b"%d" % self.limit),
            (b"x-ratelimit-remaining", b"%d" % self.remaining),
            (b"x-ratelimit-reset", b"%d" % self.reset_at),
        ]


@lru_cache(maxsize=1)
def _limiter() -> MovingWindowRateLimiter:
    return MovingWindowRateLimiter(MemoryStorage())


@lru_cache(maxsize=16)
def _windows(kind: str) -> tuple[RateLimitItem, ...]:
    """Shortest first."""
    rule = getattr(settings, "API_RATE_LIMITS", {}).get(kind) or DEFAULTS[kind]
    return tuple(sorted(parse_many(rule), key=lambda item: item.get_expiry()))


def take(kind: str, identity: str) -> Allowance:
    """Counts one request. Raises: RateLimited."""
    limiter = _limiter()
    tightest: Allowance | None = None
    for window in _windows(kind):
        admitted = limiter.hit(window, kind, identity)
        reset, left = limiter.get_window_stats(window, kind, identity)
        allowance = Allowance(window.amount, left if admitted else 0, math.ceil(reset))
        if not admitted:
            count_rate_limit(kind)
            wait = max(1, math.ceil(reset - time.time()))
            raise RateLimited(f"More than {window.amount} requests in {window.get_expiry()} s.", retry_after_s=wait, allowance=allowance)
        if tightest is None or allowance.remaining < tightest.remaining:
            tightest = allowance
    assert tightest is not None
    return tightest


def unlimited(kind: str = "key") -> Allowance:
    """What an unlimited key is told: the limit of others, untouched."""
    amount = _windows(kind)[0].amount
    return Allowance(amount, amount, int(time.time()))


def untouched(kind: str = "address") -> Allowance:
    """For answers that count for nobody."""
    return unlimited(kind)


def forget() -> None:
    """Start counting anew; for tests."""
    _limiter().storage.reset()
    _windows.cache_clear()
