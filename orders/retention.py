"""How history leaves: month by month, whole, and only when everything agrees without it.

Orders, transitions, trades and transfers leave together. First their month is closed, in one transaction: its sums are carried
forward and it no longer counts. Whether its partitions are still attached does not matter to any check from then on, so they are
detached afterwards, one by one, when nobody reads them. The command log leaves on its own, up to an anchor per symbol. What has left
is kept in the schema `archive` (decision 0019).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import psycopg
from django.conf import settings
from django.utils.module_loading import import_string
from psycopg import Connection, IsolationLevel, sql

from exchange_platform import partitions
from exchange_platform.errors import ExchangeError
from exchange_platform.ids import uuid_floor
from exchange_platform.partitions import Partition, StillRead, months_after, name_of, start_of
from exchange_platform.settings.database import ENGINE_ROLE, TENANT_ROLE
from exchange_platform.subscriptions import ENGINE_SNAPSHOT
from orders import command_log
from orders.chain import DETACHED
from orders.lifecycle import TERMINAL
from orders.reconcile import reconcile

ORDERS, TRANSITIONS, TRADES, TRANSFERS = HISTORY = ("orders_order", "orders_transition", "orders_trade", "wallet_transfer")
COUNTED_AS: Final = {ORDERS: "orders", TRANSITIONS: "transitions", TRADES: "trades", TRANSFERS: "transfers"}  # in orders_closedmonth
LOG: Final = "orders_commandlog"
ONE_AT_A_TIME: Final = 7_202_613  # advisory lock

OPEN_SQL: Final = "SELECT id, status FROM {table} WHERE status <> ALL (%s) ORDER BY id LIMIT 1"
# Where clocks disagreed at the turn of a month, a trade may lie before the month of its order; both then leave with the next.
LATE_ORDER_SQL: Final = "SELECT id FROM {table} WHERE maker_order_id >= %(end)s OR taker_order_id >= %(end)s ORDER BY id LIMIT 1"

CARRY_SUMS_SQL: Final = """
    INSERT INTO wallet_carriedsum (month, account_id, asset_id, amount, transfers)
    SELECT %(month)s, account_id, asset_id, sum(amount), count(*) FROM (
        SELECT credit_account_id AS account_id, asset_id, amount FROM {table}
        UNION ALL
        SELECT debit_account_id, asset_id, -amount FROM {table}) AS side
    GROUP BY account_id, asset_id"""

CARRY_TRADES_SQL: Final = """
    INSERT INTO orders_carriedtrade (month, symbol_id, number, sequence)
    SELECT %(month)s, symbol_id, max(number), max(sequence) FROM {table} GROUP BY symbol_id"""

CARRY_POSITIONS_SQL: Final = """
    INSERT INTO orders_carriedposition (month, account_id, symbol_id, quantity, cash)
    SELECT %(month)s, account_id, symbol_id, sum(quantity), sum(cash) FROM (
        SELECT CASE taker_side WHEN 'BUY' THEN taker_account_id ELSE maker_account_id END AS account_id, symbol_id, quantity,
               -price * quantity AS cash FROM {table}
        UNION ALL
        SELECT CASE taker_side WHEN 'BUY' THEN maker_account_id ELSE taker_account_id END, symbol_id, -quantity, price * quantity
        FROM {table}) AS side
    GROUP BY account_id, symbol_id"""

CLOSE_SQL: Final = """
    INSERT INTO orders_closedmonth (month, orders, transitions, trades, transfers, closed_at) VALUES (%s, %s, %s, %s, %s, now())"""

HORIZON_SQL: Final = "SELECT (max(month) + interval '1 month')::date FROM orders_closedmonth"

# The last entry of each symbol in a partition of the log, and whether the log's order by time is its order by sequence there.
LOG_ENDS_SQL: Final = """
    SELECT e.symbol_id, e.last_sequence, EXISTS (
        SELECT 1 FROM orders_commandlog l
        WHERE l.symbol_id = e.symbol_id AND l.first_sequence < e.last_sequence AND l.settled_at >= %(end)s)
    FROM (SELECT symbol_id, max(last_sequence) AS last_sequence FROM {table} GROUP BY symbol_id) AS e ORDER BY e.symbol_id"""

REGISTER_SQL: Final = """
    INSERT INTO orders_archivedpartition (name, parent, starts_at, ends_at, rows, detached_at) VALUES (%s, %s, %s, %s, %s, now())"""

CLOSED_COUNT_SQL: Final = "SELECT {} FROM orders_closedmonth WHERE month = %s"


class Waits(Exception):
    """It may not leave yet; the message says why, in words for an operator."""


class _Late(Waits):
    """Not without the next month."""


@dataclass(frozen=True, slots=True)
class Step:
    """What was done, or would be: `what` (close, anchor, detach) with which month or partition. `waits`: why not; else empty.

    A run that may not begin is one step that waits.
    """

    what: str
    subject: str
    waits: str = ""


def retire(*, now: datetime | None = None, dry_run: bool = False) -> list[Step]:
    """Close and detach whatever is old enough (`HISTORY_KEPT_MONTHS`, `COMMAND_LOG_KEPT_DAYS`). Returns the steps in their order.

    Goes on where an earlier run ended; what cannot leave now says why, and is tried again by the next run. One run at a time: a second
    one waits for another day. `dry_run`: only looks. Locks nothing that trading needs. Raises: psycopg.Error, ValueError (settings).
    """
    if settings.HISTORY_KEPT_MONTHS < 2 or settings.COMMAND_LOG_KEPT_DAYS < 1:
        raise ValueError("HISTORY_KEPT_MONTHS must be at least 2, COMMAND_LOG_KEPT_DAYS at least 1.")
    now = now or datetime.now(UTC)
    with partitions.maintenance(name="retention") as connection:
        row = connection.execute("SELECT pg_try_advisory_lock(%s)", [ONE_AT_A_TIME]).fetchone()
        if row != (True,):
            return [Step("run", "retention", "another run is under way")]
        run = _Run(connection, dry_run)
        run.close_months(before=months_after(now.date().replace(day=1), -settings.HISTORY_KEPT_MONTHS))
        run.anchor_log(before=now - timedelta(days=settings.COMMAND_LOG_KEPT_DAYS))
        run.detach()
        return run.steps


class _Run:
    def __init__(self, connection: Connection[Any], dry_run: bool) -> None:
        self._connection = connection
        self._dry_run = dry_run
        self.steps: list[Step] = []
        self._closing: set[str] = set()  # of a dry run: what would be closed by now

    # -- closing

    def close_months(self, *, before: date) -> None:
        """Every month that has partitions and begins before that one, the oldest first, until one must wait."""
        present = [p.month for p in partitions.partitions(self._connection) if p.parent in HISTORY and p.is_attached]
        month = self._horizon() or min(present, default=before)
        together: list[date] = []
        while month < before:
            together.append(month)
            month = months_after(month, 1)
            try:
                self._close(together)
            except _Late as reason:
                if month < before:
                    continue
                self._note("close", together, str(reason))
            except (Waits, psycopg.errors.LockNotAvailable) as reason:
                self._note("close", together, str(reason))
                return
            else:
                self._note("close", together)
                self._closing.update(name_of(parent, closed) for parent in HISTORY for closed in together)
            together = []

    def _close(self, months: Sequence[date]) -> None:
        """In one transaction. Raises: Waits, psycopg.errors.LockNotAvailable."""
        attached = {
            p.name: p for p in partitions.partitions(self._connection) if p.parent in HISTORY and p.is_attached and p.month in months
        }
        if self._dry_run:
            self._check_months(list(attached.values()), months)
            return
        with self._one_moment([p for p in attached.values() if p.parent != ORDERS]):
            self._check_months(list(attached.values()), months)
            self._check_books("before anything leaves")
            for month in months:
                for parent, statement in ((TRANSFERS, CARRY_SUMS_SQL), (TRADES, CARRY_TRADES_SQL), (TRADES, CARRY_POSITIONS_SQL)):
                    if name_of(parent, month) in attached:
                        table = sql.Identifier(name_of(parent, month))
                        self._connection.execute(sql.SQL(statement).format(table=table), {"month": month})
                names = [name_of(parent, month) for parent in HISTORY]
                self._connection.execute(CLOSE_SQL, [month, *(self._count(name) if name in attached else 0 for name in names)])
            self._check_books("without what would leave")

    def _check_months(self, leaving: Sequence[Partition], months: Sequence[date]) -> None:
        """Raises: Waits."""
        end = uuid_floor(start_of(months_after(months[-1], 1)))
        for partition in leaving:
            table = sql.Identifier(partition.name)
            if partition.parent == ORDERS:
                found = self._connection.execute(sql.SQL(OPEN_SQL).format(table=table), [sorted(TERMINAL)]).fetchone()
                if found:
                    raise Waits(f"order {found[0]} is still {found[1]}; until it has ended its month and all later ones stay")
            if partition.parent == TRADES:
                found = self._connection.execute(sql.SQL(LATE_ORDER_SQL).format(table=table), {"end": end}).fetchone()
                if found:
                    raise _Late(f"trade {found[0]} lies before the month of its order; they leave together")

    def _check_books(self, when: str) -> None:
        """Nothing leaves that does not agree: what has left cannot be compared any more. Raises: Waits."""
        report = reconcile(connection=self._connection)
        if not report.is_clean:
            raise Waits(f"the books do not agree {when}: {report.breaks[0].sentence} ({report.broken} breaks in all)")

    # -- the command log

    def anchor_log(self, *, before: datetime) -> None:
        """Every attached month of the log that ended before that moment, the oldest first, until one must wait."""
        for partition in partitions.partitions(self._connection):
            is_due = start_of(months_after(partition.month, 1)) <= before
            if partition.parent == LOG and partition.is_attached and not partition.is_closed and is_due:
                if not self._try("anchor", partition, self._anchor):
                    return
                self._closing.add(partition.name)

    def _anchor(self, partition: Partition) -> None:
        """In one transaction: nothing is added to it any more, and for each symbol the log begins after it. Raises: Waits."""
        with self._one_moment([] if self._dry_run else [partition]):
            parameters = {"end": start_of(months_after(partition.month, 1))}
            ends = self._connection.execute(sql.SQL(LOG_ENDS_SQL).format(table=sql.Identifier(partition.name)), parameters).fetchall()
            for symbol_id, last_sequence, is_mixed in ends:
                if is_mixed:
                    raise Waits(f"symbol {symbol_id} has earlier commands in a later month: the clock went back")
                verified = command_log.verify(self._connection, symbol_id=symbol_id, since_anchor=False, until=last_sequence)
                if verified.breaks:
                    raise Waits(verified.breaks[0].sentence)
                if not self._dry_run:
                    try:
                        payload = import_string(ENGINE_SNAPSHOT)(self._connection, symbol_id, last_sequence)
                    except ExchangeError as problem:
                        raise Waits(str(problem)) from problem
                    command_log.anchor(self._connection, verified, kind=DETACHED, payload=payload)

    # -- leaving

    def detach(self) -> None:
        """Every closed partition, and what an earlier run detached and did not put away."""
        horizon = self._horizon()
        for partition in partitions.partitions(self._connection):
            is_over = partition.parent in HISTORY and horizon is not None and partition.month < horizon
            if is_over or partition.is_closed or partition.name in self._closing or not partition.is_attached:
                self._try("detach", partition, self._detach)

    def _detach(self, partition: Partition) -> None:
        if self._dry_run:
            return
        if partition.is_attached:
            partitions.detach(self._connection, partition)
        with self._connection.transaction():
            self._connection.execute("SET LOCAL lock_timeout = '2s'")
            rows = partitions.put_away(self._connection, partition, roles=(ENGINE_ROLE, TENANT_ROLE))
            if partition.parent in HISTORY:
                self._compare_count(partition, rows)
            month = partition.month
            bounds = [start_of(month), start_of(months_after(month, 1))]
            self._connection.execute(REGISTER_SQL, [partition.name, partition.parent, *bounds, rows])

    def _compare_count(self, partition: Partition, rows: int) -> None:
        """Raises: Waits."""
        column = sql.Identifier(COUNTED_AS[partition.parent])
        closed = self._connection.execute(sql.SQL(CLOSED_COUNT_SQL).format(column), [partition.month]).fetchone()
        if closed is None or closed[0] != rows:
            raise Waits(f"it has {rows} rows, its month was closed with {closed[0] if closed else 'none'}")

    # -- words

    def _note(self, what: str, months: Sequence[date], waits: str = "") -> None:
        self.steps += [Step(what, f"{month:%Y-%m}", waits.partition("\n")[0]) for month in months]

    def _try(self, what: str, partition: Partition, act: Callable[[Partition], None]) -> bool:
        """Note the step; False when it must wait."""
        try:
            act(partition)
        except (Waits, StillRead, psycopg.errors.LockNotAvailable) as reason:
            self.steps.append(Step(what, partition.name, str(reason).partition("\n")[0]))
            return False
        self.steps.append(Step(what, partition.name))
        return True

    @contextmanager
    def _one_moment(self, leaving: Sequence[Partition]) -> Iterator[None]:
        """A transaction that sees one moment, in which nothing is added to these partitions any more. The locks come before the
        snapshot; nobody but a writer of years ago would wait for them."""
        connection = self._connection
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        try:
            with connection.transaction():
                connection.execute("SET LOCAL lock_timeout = '2s'")
                for partition in leaving:
                    connection.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(sql.Identifier(partition.name)))
                for partition in leaving:
                    connection.execute("SELECT exchange_close_partition(%s::regclass)", [f"public.{partition.name}"])
                yield
        finally:
            connection.isolation_level = None

    def _horizon(self) -> date | None:
        """The first month that is not closed; null: none is."""
        row = self._connection.execute(HORIZON_SQL).fetchone()
        return None if row is None else row[0]

    def _count(self, table: str) -> int:
        row = self._connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone()
        assert row is not None
        return int(row[0])
