"""Background work of the platform itself."""

from functools import lru_cache
from typing import Final

import psycopg
import redis
from celery import shared_task
from django.conf import settings

MONTHS_AHEAD = 2

# The mark of a heartbeat fades after three missed ones. Its presence needs no clock that two machines would have to share.
HEARTBEAT_KEY: Final = "exchange:workers:heartbeat"
HEARTBEAT_FADES_AFTER_S: Final = 35


@lru_cache(maxsize=1)
def _redis() -> redis.Redis:
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2)


@shared_task(name="exchange_platform.tasks.leave_heartbeat")
def leave_heartbeat() -> None:
    """Show that scheduled work gets done: `/health` looks for this mark. Raises: redis.RedisError."""
    _redis().set(HEARTBEAT_KEY, "1", ex=HEARTBEAT_FADES_AFTER_S)


@shared_task(name="exchange_platform.tasks.ensure_partitions")
def ensure_partitions() -> int:
    """Make missing partitions as the maintenance login. Returns how many were made.

    Raises: psycopg.errors.LockNotAvailable, when a table was locked for 2 s; nothing is made then, the next run tries again.
    """
    with psycopg.connect(settings.DATABASE_URL, application_name="partitions", connect_timeout=5) as connection:
        row = connection.execute("SELECT exchange_ensure_partitions(%s)", [MONTHS_AHEAD]).fetchone()
        assert row is not None
        return int(row[0])
