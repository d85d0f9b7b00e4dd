"""Background work of the platform itself."""

from functools import lru_cache
from typing import Final

import redis
from celery import shared_task
from django.conf import settings

from exchange_platform import partitions

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
    """Make missing partitions as the maintenance login. Returns how many were made. Raises: as `partitions.ensure`."""
    with partitions.maintenance() as connection:
        return partitions.ensure(connection)
