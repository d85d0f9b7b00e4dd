"""Cross-checks of ledger, orders, trades, history and book: every disagreement is named to its row.

One snapshot for all checks, so trading goes on meanwhile and none of it counts as a break: nothing is locked or written.
"""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg
from psycopg.pq import TransactionStatus

from exchange_platform import metrics
from exchange_platform.db import connect_direct
from orders.guards import GUARDED
from orders.invariants import CHECKS, Check
from orders.lifecycle import LEGAL_MOVES, TERMINAL, Status

NAMED_AT_MOST: Final = 1000  # breaks of one check that are named; all are counted

# `life`: moves are closed under composition, so whoever has more of them left comes earlier in a life.
PARAMETERS: Final[dict[str, Any]] = {
    "terminal": sorted(TERMINAL),
    "life": sorted(Status, key=lambda status: len(LEGAL_MOVES[status]), reverse=True),
    "guards": [f"{table} {trigger}" for table, triggers in GUARDED.items() for trigger in triggers.split()],
}

# Hash joins whatever the statistics say (a table may have been filled a second ago), and no parallel workers: trading needs
# the cores.
PREPARATION: Final = """
    SELECT set_config('work_mem', '64MB', true), set_config('enable_nestloop', 'off', true), set_config('jit', 'off', true),
           set_config('max_parallel_workers_per_gather', '0', true), set_config('statement_timeout', '600s', true)
"""

HORIZON: Final = """
    SELECT coalesce(exchange_uuid_from((max(month) + interval '1 month') AT TIME ZONE 'UTC'), '00000000-0000-0000-0000-000000000000')
    FROM orders_closedmonth
"""

ROWS: Final = """
    SELECT (SELECT count(*) FROM wallet_transfer), (SELECT count(*) FROM wallet_balance), (SELECT count(*) FROM orders_order),
           (SELECT count(*) FROM orders_trade), (SELECT count(*) FROM orders_transition), (SELECT count(*) FROM orders_commandlog)
"""
ROW_NAMES: Final = ("transfers", "balances", "orders", "trades", "transitions", "log entries")


@dataclass(frozen=True, slots=True)
class Break:
    """One row that does not agree: `key` finds it in `table`; `sentence` says what is wrong to someone who has not read the check."""

    check: str
    table: str
    key: str
    expected: str
    found: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one check went. `breaks` counts all of them, also those beyond NAMED_AT_MOST."""

    name: str
    compares: str
    breaks: int
    duration: timedelta


@dataclass(frozen=True, slots=True)
class Report:
    """What a reconciliation found. `started_at` is the database's clock; `rows` how many rows of what lay in the snapshot."""

    started_at: datetime
    duration: timedelta
    rows: dict[str, int]
    checks: tuple[Outcome, ...]
    breaks: tuple[Break, ...]

    @property
    def broken(self) -> int:
        """How many breaks there are, named or not."""
        return sum(check.breaks for check in self.checks)

    @property
    def is_clean(self) -> bool:
        return self.broken == 0

    def as_json(self) -> dict[str, Any]:
        """Plain values: times in ISO 8601, durations in seconds, breaks as objects."""
        return {
            "started_at": self.started_at.isoformat(),
            "duration_s": round(self.duration.total_seconds(), 3),
            "is_clean": self.is_clean,
            "broken": self.broken,
            "rows": self.rows,
            "checks": [
                {"name": c.name, "compares": c.compares, "breaks": c.breaks, "duration_s": round(c.duration.total_seconds(), 3)}
                for c in self.checks
            ],
            "breaks": [asdict(b) for b in self.breaks],
        }


def reconcile(*, connection: psycopg.Connection[Any] | None = None) -> Report:
    """Run every check on one snapshot, breaks in the order of `orders.invariants.CHECKS`.

    Owns a repeatable-read, read-only transaction: of its own connection (the engine's role), or of an idle `connection`. When
    `connection` is in a transaction already, joins it and sees what that sees. Locks no row.
    Raises: psycopg.Error.
    """
    started = time.perf_counter()
    with _snapshot(connection) as cursor:
        cursor.execute(PREPARATION)
        started_at = _one_row(cursor, "SELECT clock_timestamp()")[0]
        rows = dict(zip(ROW_NAMES, _one_row(cursor, ROWS), strict=True))
        parameters = {**PARAMETERS, "horizon": _one_row(cursor, HORIZON)[0]}
        outcomes: list[Outcome] = []
        breaks: list[Break] = []
        for check in CHECKS:
            outcome, found = _run(cursor, check, parameters)
            outcomes.append(outcome)
            breaks += found
    report = Report(started_at, timedelta(seconds=time.perf_counter() - started), rows, tuple(outcomes), tuple(breaks))
    metrics.ledger_breaks_open.set(report.broken)
    return report


def _run(cursor: psycopg.Cursor[Any], check: Check, parameters: dict[str, Any]) -> tuple[Outcome, list[Break]]:
    started = time.perf_counter()
    cursor.execute(check.sql.encode(), parameters)
    breaks = [Break(check.name, *row) for row in cursor.fetchmany(NAMED_AT_MOST)]
    return Outcome(check.name, check.compares, cursor.rowcount, timedelta(seconds=time.perf_counter() - started)), breaks


@contextmanager
def _snapshot(connection: psycopg.Connection[Any] | None) -> Iterator[psycopg.Cursor[Any]]:
    if connection is None:
        with closing(connect_direct(name="reconcile", pinned=False)) as own, _snapshot(own) as cursor:
            yield cursor
        return
    if connection.info.transaction_status != TransactionStatus.IDLE:
        with connection.cursor() as cursor:
            yield cursor
        return
    before = connection.isolation_level, connection.read_only
    connection.isolation_level, connection.read_only = psycopg.IsolationLevel.REPEATABLE_READ, True
    try:
        with connection.transaction(), connection.cursor() as cursor:
            yield cursor
    finally:
        if not connection.closed:
            connection.isolation_level, connection.read_only = before


def _one_row(cursor: psycopg.Cursor[Any], sql: str) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = cursor.execute(sql.encode()).fetchone()
    assert row is not None
    return row
