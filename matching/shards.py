"""Who owns a shard: a lease row with a growing epoch (fencing), and a session lock that tells a dead owner from a slow one.

Every settlement renews the lease and checks its epoch in its own transaction, so an owner that was stalled past its lease
commits nothing. Epochs of all shards come from one sequence: whoever takes a shard, or a symbol from another shard, has a higher
one than anybody before. The advisory lock only shortens the wait after a crash: when the owner's session is gone its lock is free, and
its lease may be taken at once. Times are the database's clock.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from psycopg import Connection

from orders.settlement import FENCE_SQL, LEASE_S, Fenced

LOCK_CLASS: Final = 7_202_600

TAKE_SQL: Final = f"""
    INSERT INTO orders_shard AS s (id, owner, epoch, expires_at)
    VALUES (%s, %s, nextval('orders_epoch'), clock_timestamp() + interval '{LEASE_S} s')
    ON CONFLICT (id) DO UPDATE SET owner = excluded.owner, epoch = excluded.epoch, expires_at = excluded.expires_at
    RETURNING epoch"""

RAISE_SQL: Final = f"""
    UPDATE orders_shard SET epoch = nextval('orders_epoch'), expires_at = clock_timestamp() + interval '{LEASE_S} s'
    WHERE id = %s AND epoch = %s RETURNING epoch"""

# The holder of the session lock, and whoever is in the middle of a settlement: only the old owner is either. Another shard's owner
# who stands in for the length of a statement or two has the lock under its own name.
END_OWNER_SQL: Final = """
    SELECT pg_terminate_backend(pid, 2000) FROM (
        SELECT l.pid FROM pg_locks l JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()
        WHERE l.locktype = 'advisory' AND l.classid = %(class)s AND l.objid = %(shard)s AND l.objsubid = 2 AND l.granted
          AND EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = l.pid AND a.application_name = %(session)s)
        UNION
        SELECT a.pid FROM pg_stat_activity a
        WHERE a.datname = current_database() AND a.application_name = %(settling)s AND a.xact_start IS NOT NULL) AS old
    WHERE pid <> pg_backend_pid()"""


def session_name(shard: int) -> str:
    """What the connection that carries the lock of a shard's owner is called in pg_stat_activity."""
    return f"matching-{shard}"


def settling_name(shard: int) -> str:
    """What the connection on which a shard's owner settles is called in pg_stat_activity."""
    return f"matching-{shard}-settle"


def try_acquire(connection: Connection[Any], *, shard: int, owner: str) -> int | None:
    """Take the lease when it has expired, or when its owner's session is gone. Returns the new epoch, or None.

    `connection`: direct, autocommit; it must live as long as the owner does, since it carries the session lock. What a stalled
    owner left open is ended first: it may hold the rows that its successor needs, the lease's own included.
    """
    is_ours = _try_lock(connection, shard)
    if not is_ours and not _has_expired(connection, shard):
        return None
    names = {"session": session_name(shard), "settling": settling_name(shard)}
    connection.execute(END_OWNER_SQL, {"class": LOCK_CLASS, "shard": shard, **names})
    if not is_ours and not _try_lock(connection, shard):
        return None  # another successor was faster, or the old session takes its time to end
    taken = connection.execute(TAKE_SQL, [shard, owner]).fetchone()
    assert taken is not None
    return int(taken[0])


def _try_lock(connection: Connection[Any], shard: int) -> bool:
    row = connection.execute("SELECT pg_try_advisory_lock(%s, %s)", [LOCK_CLASS, shard]).fetchone()
    return bool(row and row[0])


def _has_expired(connection: Connection[Any], shard: int) -> bool:
    row = connection.execute("SELECT expires_at < clock_timestamp() FROM orders_shard WHERE id = %s", [shard]).fetchone()
    return row is not None and bool(row[0])


def acquire(connection: Connection[Any], *, shard: int, owner: str, stop: Any, poll_s: float = 0.1) -> int | None:
    """Wait for the lease. Returns the epoch, or None when `stop` (an Event) was set first."""
    while not stop.is_set():
        epoch = try_acquire(connection, shard=shard, owner=owner)
        if epoch is not None:
            return epoch
        time.sleep(poll_s)
    return None


def renew(connection: Connection[Any], *, shard: int, epoch: int) -> None:
    """Extend the lease between settlements. Raises: Fenced."""
    if connection.execute(FENCE_SQL, [shard, epoch]).rowcount != 1:
        raise Fenced(f"shard {shard}: epoch {epoch} is over")


def raise_epoch(connection: Connection[Any], *, shard: int, epoch: int) -> int:
    """Go on under a new epoch, higher than any before; the owner needs it for a symbol that another shard has had.

    Joins the caller's transaction, which commits it. Raises: Fenced.
    """
    raised = connection.execute(RAISE_SQL, [shard, epoch]).fetchone()
    if raised is None:
        raise Fenced(f"shard {shard}: epoch {epoch} is over")
    return int(raised[0])


@contextmanager
def stand_in(connection: Connection[Any], *, shard: int, owner: str) -> Iterator[int | None]:
    """Own a shard that nobody owns for the length of the block. Yields its new epoch, or None when somebody has it.

    `connection`: as for `try_acquire`.
    """
    epoch = try_acquire(connection, shard=shard, owner=owner)
    try:
        yield epoch
    finally:
        if epoch is not None and not connection.closed:
            connection.execute("SELECT pg_advisory_unlock(%s, %s)", [LOCK_CLASS, shard])
            release(connection, shard=shard, epoch=epoch)


def release(connection: Connection[Any], *, shard: int, epoch: int) -> None:
    """Give the lease back at a clean stop, so that nobody waits for it to expire."""
    connection.execute("UPDATE orders_shard SET expires_at = clock_timestamp() WHERE id = %s AND epoch = %s", [shard, epoch])
