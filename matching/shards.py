"""Who owns a shard: a lease row with a growing epoch (fencing), and a session lock that tells a dead owner from a slow one.

Every settlement renews the lease and checks its epoch in its own transaction, so an owner that was stalled past its lease
commits nothing. The advisory lock only shortens the wait after a crash: when the owner's session is gone its lock is free, and
its lease may be taken at once. Times are the database's clock.
"""

import time
from typing import Any, Final

from psycopg import Connection

from orders.settlement import FENCE_SQL, LEASE_S, Fenced

LOCK_CLASS: Final = 7_202_600

TAKE_SQL: Final = f"""
    INSERT INTO orders_shard AS s (id, owner, epoch, expires_at) VALUES (%s, %s, 1, clock_timestamp() + interval '{LEASE_S} s')
    ON CONFLICT (id) DO UPDATE SET owner = excluded.owner, epoch = s.epoch + 1, expires_at = excluded.expires_at
    WHERE %s OR s.expires_at < clock_timestamp()
    RETURNING epoch"""


def try_acquire(connection: Connection[Any], *, shard: int, owner: str) -> int | None:
    """Take the lease when it has expired, or when its owner's session is gone. Returns the new epoch, or None.

    `connection`: direct, autocommit; it must live as long as the owner does, since it carries the session lock.
    """
    row = connection.execute("SELECT pg_try_advisory_lock(%s, %s)", [LOCK_CLASS, shard]).fetchone()
    owner_is_gone = bool(row and row[0])
    taken = connection.execute(TAKE_SQL, [shard, owner, owner_is_gone]).fetchone()
    if taken is None:
        if owner_is_gone:
            connection.execute("SELECT pg_advisory_unlock(%s, %s)", [LOCK_CLASS, shard])
        return None
    return int(taken[0])


def acquire(connection: Connection[Any], *, shard: int, owner: str, stop: Any, poll_s: float = 0.1) -> int | None:
    """Wait for the lease. Returns the epoch, or None when `stop` (an Event) was set first."""
    while not stop.is_set():
        epoch = try_acquire(connection, shard=shard, owner=owner)
        if epoch is not None:
            return epoch
        time.sleep(poll_s)
    return None


def settling_name(shard: int) -> str:
    """The application name of a shard's settling connection."""
    return f"matching-{shard}-settle"


def end_predecessor(connection: Connection[Any], *, settling: Connection[Any], shard: int) -> None:
    """End the settling sessions of earlier owners: one that was stalled in the middle of a settlement still holds row locks, and
    the fence lets it commit nothing anyway."""
    connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s AND datname = current_database() AND pid <> %s",
        [settling_name(shard), settling.info.backend_pid],
    )


def renew(connection: Connection[Any], *, shard: int, epoch: int) -> None:
    """Extend the lease between settlements, and take the session lock when a slow predecessor still had it at the start: without
    it our own death would cost a whole lease. Raises: Fenced."""
    if connection.execute(FENCE_SQL, [shard, epoch]).rowcount != 1:
        raise Fenced(f"shard {shard}: epoch {epoch} is over")
    connection.execute(
        """SELECT pg_try_advisory_lock(%(class)s, %(shard)s) WHERE NOT EXISTS (
               SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND classid = %(class)s AND objid = %(shard)s AND pid = pg_backend_pid()
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))""",
        {"class": LOCK_CLASS, "shard": shard},
    )


def release(connection: Connection[Any], *, shard: int, epoch: int) -> None:
    """Give the lease back at a clean stop, so that nobody waits for it to expire."""
    connection.execute("UPDATE orders_shard SET expires_at = clock_timestamp() WHERE id = %s AND epoch = %s", [shard, epoch])
