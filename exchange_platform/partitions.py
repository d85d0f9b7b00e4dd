"""Partitions by month as things of the database: which there are, making them ahead, and letting them go without anybody waiting.

Whether one may go is not decided here (`orders.retention`). Everything runs as the maintenance login.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

import psycopg
from django.conf import settings
from psycopg import Connection, sql

MONTHS_AHEAD: Final = 2
ARCHIVE: Final = "archive"
DETACH_WAITS_S: Final = 5

# Attached ones, and those that lost their parent but have not been put away yet.
PARTITIONS_SQL: Final = """
    SELECT p.relname, c.relname, h.inhrelid IS NOT NULL, coalesce(h.inhdetachpending, false),
           EXISTS (SELECT 1 FROM pg_trigger g WHERE g.tgrelid = c.oid AND g.tgname = 'closed'),
           pg_total_relation_size(c.oid), greatest(c.reltuples, 0)::bigint
    FROM pg_partitioned_table t JOIN pg_class p ON p.oid = t.partrelid AND p.relnamespace = 'public'::regnamespace
    JOIN pg_class c ON c.relnamespace = p.relnamespace AND c.relkind = 'r' AND c.relname ~ ('^' || p.relname || '_[0-9]{4}_[0-9]{2}$')
    LEFT JOIN pg_inherits h ON h.inhparent = p.oid AND h.inhrelid = c.oid
    ORDER BY p.relname, c.relname"""

# Until when every partitioned table has partitions. Anybody may ask.
MADE_UNTIL_SQL: Final = """
    SELECT CASE WHEN bool_and(made.until IS NOT NULL) THEN min(made.until) END FROM (
        SELECT p.partrelid, max(to_date(right(c.relname, 7), 'YYYY_MM')) + interval '1 month' AS until
        FROM pg_partitioned_table p JOIN pg_class t ON t.oid = p.partrelid AND t.relnamespace = 'public'::regnamespace
        LEFT JOIN pg_inherits h ON h.inhparent = p.partrelid LEFT JOIN pg_class c ON c.oid = h.inhrelid
        GROUP BY p.partrelid) AS made"""


# Waited long enough; or another partition of the table is still on its way out, and a table lets go of one at a time.
NOT_NOW: Final = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.QueryCanceled,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.ObjectNotInPrerequisiteState,
)


class StillRead(Exception):
    """Somebody still reads the partition, or works on its table: it goes another time."""


@dataclass(frozen=True, slots=True)
class Partition:
    """One month of a table. `is_closed`: nothing can be added to it any more; `is_pending`: its detachment has begun.

    `size` in bytes with indexes; `rows` as the database last estimated them.
    """

    parent: str
    name: str
    is_attached: bool
    is_pending: bool
    is_closed: bool
    size: int
    rows: int

    @property
    def month(self) -> date:
        return month_of(self.name)


def month_of(name: str) -> date:
    """The month in a partition's name. Raises: ValueError."""
    found = re.search(r"_(\d{4})_(\d{2})$", name)
    if found is None:
        raise ValueError(f"{name} is not named like a partition")
    return date(int(found[1]), int(found[2]), 1)


def months_after(month: date, count: int) -> date:
    """The first day of the month so many months later (or, negative, earlier)."""
    months = month.year * 12 + month.month - 1 + count
    return date(months // 12, months % 12 + 1, 1)


def start_of(month: date) -> datetime:
    """The month's first moment, UTC."""
    return datetime(month.year, month.month, 1, tzinfo=UTC)


def name_of(parent: str, month: date) -> str:
    return f"{parent}{month:_%Y_%m}"


@contextmanager
def maintenance(*, name: str = "partitions") -> Iterator[Connection[Any]]:
    """A connection of the maintenance login, autocommit, in UTC. Raises: psycopg.OperationalError."""
    with psycopg.connect(
        settings.DATABASE_URL, application_name=name, connect_timeout=5, autocommit=True, options="-c timezone=UTC -c jit=off"
    ) as connection:
        yield connection


def partitions(connection: Connection[Any]) -> list[Partition]:
    """All of them, by table and month."""
    return [Partition(*row) for row in connection.execute(PARTITIONS_SQL).fetchall()]


def ensure(connection: Connection[Any]) -> int:
    """Make what is missing up to MONTHS_AHEAD months ahead; owns a transaction. Returns how many were made.

    Raises: psycopg.errors.LockNotAvailable, when a table was locked for 2 s; nothing is made then, the next run tries again.
    """
    row = connection.execute("SELECT exchange_ensure_partitions(%s)", [MONTHS_AHEAD]).fetchone()
    assert row is not None
    return int(row[0])


def detach(connection: Connection[Any], partition: Partition) -> None:
    """Take the partition from its table, concurrently: whoever reads or writes the table goes on and waits for nothing.

    `connection`: autocommit. The detachment waits for transactions that began before it, at most DETACH_WAITS_S; when they last
    longer it stays begun (nobody sees the partition any more) and is finished by the next call.
    Raises: StillRead.
    """
    how = sql.SQL("FINALIZE" if partition.is_pending else "CONCURRENTLY")
    statement = sql.SQL("ALTER TABLE {} DETACH PARTITION {} {}").format(
        sql.Identifier(partition.parent), sql.Identifier(partition.name), how
    )
    connection.execute(f"SET lock_timeout = '{DETACH_WAITS_S}s'")
    connection.execute(f"SET statement_timeout = '{4 * DETACH_WAITS_S}s'")
    try:
        connection.execute(statement)
    except NOT_NOW as problem:
        raise StillRead(f"{partition.name}: {str(problem).partition(chr(10))[0]}") from problem
    finally:
        connection.execute("RESET statement_timeout")
        connection.execute("RESET lock_timeout")


def put_away(connection: Connection[Any], partition: Partition, *, roles: Sequence[str]) -> int:
    """Move a detached partition into the archive, where nothing can be changed in it. Returns its rows, counted.

    Joins the caller's transaction. Raises: psycopg.Error.
    """
    name = sql.Identifier("public", partition.name)
    row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(name)).fetchone()
    assert row is not None
    if not partition.is_closed:
        connection.execute("SELECT exchange_close_partition(%s::regclass)", [f"public.{partition.name}"])
    connection.execute(sql.SQL("REVOKE ALL ON {} FROM {}").format(name, sql.SQL(", ").join(map(sql.Identifier, roles))))
    connection.execute(sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(name, sql.Identifier(ARCHIVE)))
    return int(row[0])
