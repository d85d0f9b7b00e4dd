"""A copy of every book in Redis, a second old at most while it changes: what readers are told while PostgreSQL is away.

The book that counts is orders_booklevel, written by the settlement that changed it (decision 0009). Losing a copy loses nothing.
"""

import threading
import time
from typing import Any, Final

import orjson
import redis
import structlog
from django.conf import settings

from orders import market_data

log = structlog.get_logger(__name__)

DEPTH: Final = 1_000
EVERY_S: Final = 1.0
KEPT_S: Final = 3_600  # a market that was quiet for longer is told by the database alone

_taken: dict[str, float] = {}
_lock = threading.Lock()
_client: redis.Redis | None = None


def keep(*, symbol: str) -> bool:
    """Copy the symbol's book, unless this process did within the last second. Returns whether it did. Redis away: nothing happens."""
    now = time.monotonic()
    with _lock:
        if now - _taken.get(symbol, -EVERY_S) < EVERY_S:
            return False
        _taken[symbol] = now
    content = orjson.dumps(market_data.book(symbol=symbol, depth=DEPTH))
    try:
        _redis().set(_key(symbol), content, ex=KEPT_S)
    except redis.RedisError as error:
        log.warning("book_not_copied", symbol=symbol, error=str(error))
        return False
    return True


def kept(*, symbol: str, depth: int) -> dict[str, Any] | None:
    """The last copy as `orders.market_data.book` gave it, cut to `depth`; its `timestamp` says how old it is. None: there is none."""
    try:
        content = _redis().get(_key(symbol))
    except redis.RedisError:
        return None
    if not isinstance(content, bytes):
        return None
    book: dict[str, Any] = orjson.loads(content)
    return {**book, "bids": book["bids"][:depth], "asks": book["asks"][:depth]}


def _key(symbol: str) -> str:
    return f"market:{symbol}"


def _redis() -> redis.Redis:
    global _client
    if _client is None:
        _client = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=1)
    return _client
