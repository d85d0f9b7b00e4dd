"""Wake-ups between processes over PostgreSQL LISTEN/NOTIFY. One per batch, never one per order; whoever waits also polls,
so that a lost wake-up costs milliseconds and never correctness."""

from typing import Any, Final

import psycopg

INBOX: Final = "exchange_inbox"  # intake → matching workers: commands wait; → relay: there is news
SETTLED: Final = "exchange_settled"  # matching workers → web: results are there; → relay: there is news
OUTBOX: Final = "exchange_outbox"  # everybody else → relay: there is news (the relay listens to all three)

NOTIFY_SQL: Final = "SELECT pg_notify(%s, '')"


def listen(connection: psycopg.Connection[Any], channel: str) -> None:
    """Subscribe a direct autocommit connection."""
    connection.execute(f"LISTEN {channel}")


def wait(connection: psycopg.Connection[Any], timeout_s: float) -> bool:
    """Wait for a wake-up. Returns whether one came. Further ones that are already there are taken with it.

    Raises: psycopg.OperationalError when the connection is gone.
    """
    came = False
    for _ in connection.notifies(timeout=timeout_s, stop_after=1):
        came = True
    if came:
        for _ in connection.notifies(timeout=0):
            pass
    return came
