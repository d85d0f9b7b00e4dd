"""The order desk of a process: intake, and waiting for what the engine decides. Doors hand it submissions and await futures.

`Watch` is one thread with one connection: woken once per settlement, it looks up everything that is being waited for in one
query. A wake-up that gets lost costs one poll.
"""

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final
from uuid import UUID

import psycopg
import structlog

from exchange_platform.db import array, connect_direct
from exchange_platform.errors import ExchangeError
from notifications.wakeups import SETTLED, listen, wait
from orders.batch_reads import ORDERS_SQL
from orders.intake import Intake, Job
from orders.lifecycle import TERMINAL
from orders.presentation import FILL_COLUMNS, fills_by_order, order_view
from orders.refusals import AmendRefused, OrderNotOpen, refusal_of
from orders.requests import (
    AmendOrder,
    AmendTaken,
    CancelAll,
    CancelAllTaken,
    CancelledAll,
    CancelOrder,
    CancelTaken,
    Decided,
    Outcome,
    Placed,
    Result,
    Submission,
    SwitchSet,
)

log = structlog.get_logger(__name__)

DECISION_WAIT_S: Final = 2.0
POLL_S: Final = 0.02
IDLE_S: Final = 0.2

FILLS_SQL: Final = f"""
    SELECT {FILL_COLUMNS} FROM orders_trade t WHERE t.taker_order_id = ANY(%(ids)s::uuid[])
    UNION
    SELECT {FILL_COLUMNS} FROM orders_trade t WHERE t.maker_order_id = ANY(%(ids)s::uuid[])
    ORDER BY 1"""


@dataclass(slots=True)
class Waiting:
    """A submission whose decisions are awaited: `placed`, `ending` and `amends` are still undecided.

    It is registered before the commit, so that no decision is missed, and answered after it: `deadline` is set by the commit, and
    until then nothing is told that intake itself does not know to be committed.
    """

    outcomes: list[Outcome]
    future: "Future[list[Result]]"
    deadline: float = math.inf
    placed: set[UUID] = field(default_factory=set)
    ending: set[UUID] = field(default_factory=set)
    amends: dict[UUID, UUID] = field(default_factory=dict)  # amend → order
    codes: dict[UUID, str | None] = field(default_factory=dict)  # amend → code of its refusal, None when applied

    @property
    def is_decided(self) -> bool:
        return not (self.placed or self.ending or self.amends)

    def is_ready(self, now: float) -> bool:
        """Committed, and decided or out of time."""
        return now > self.deadline or (self.is_decided and self.deadline != math.inf)

    def answer(self, results: list[Result]) -> None:
        """The client may have gone away meanwhile."""
        with suppress(InvalidStateError):
            self.future.set_result(results)

    def wanted(self) -> set[UUID]:
        """Orders whose rows the answer needs."""
        found: set[UUID] = set()
        for outcome in self.outcomes:
            match outcome:
                case Placed(replay=False, refusal=None):
                    found.add(outcome.order_id)
                case CancelTaken() | AmendTaken():
                    found.add(outcome.order_id)
                case CancelAllTaken():
                    found.update(outcome.order_ids)
        return found


class Watch:
    """Answers submissions when the engine has decided, or when their time is up."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._waiting: dict[int, Waiting] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End, and tell whoever still waits what is known."""
        self._stop.set()
        self._thread.join(5)
        self._expire(math.inf)

    def add(self, waiting: Waiting) -> None:
        with self._lock:
            self._waiting[id(waiting)] = waiting

    def discard(self, waiting: Waiting) -> None:
        with self._lock:
            self._waiting.pop(id(waiting), None)

    def _run(self) -> None:
        connection: psycopg.Connection[Any] | None = None
        while not self._stop.is_set():
            try:
                if connection is None or connection.closed:
                    connection = self._connect()
                    listen(connection, SETTLED)
                wait(connection, POLL_S if self._waiting else IDLE_S)
                with self._lock:
                    waiting = list(self._waiting.values())
                if waiting:
                    self._look(connection, waiting)
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                log.warning("watch_database_unavailable", error=str(error).splitlines()[0] if str(error) else type(error).__name__)
                if connection is not None:
                    connection.close()
                connection = None
                self._expire(time.monotonic())
                time.sleep(0.1)
            except Exception:
                log.exception("watch_failed")
                self._expire(time.monotonic())
                time.sleep(0.1)
        if connection is not None:
            connection.close()

    def _look(self, connection: psycopg.Connection[Any], waiting: list[Waiting]) -> None:
        """Find out what has been decided, and answer what is decided whole or late."""
        orders = {order_id for one in waiting for order_id in one.placed | one.ending}
        amends = {amend_id for one in waiting for amend_id in one.amends}
        decided: dict[UUID, str] = {}
        if orders:
            sql = "SELECT id, status FROM orders_order WHERE id = ANY(%s::uuid[]) AND id >= %s AND id <= %s AND status <> 'PENDING'"
            decided = dict(connection.execute(sql, [array(orders), min(orders), max(orders)], prepare=True).fetchall())
        codes: dict[UUID, str | None] = {}
        if amends:
            sql = "SELECT id, code FROM orders_amend WHERE id = ANY(%s::uuid[]) AND status <> 'PENDING'"
            codes = dict(connection.execute(sql, [array(amends)], prepare=True).fetchall())
        now = time.monotonic()
        ready: list[Waiting] = []
        for one in waiting:
            one.placed -= decided.keys()
            one.ending = {order_id for order_id in one.ending if decided.get(order_id) not in TERMINAL}
            for amend_id in one.amends.keys() & codes.keys():
                one.codes[amend_id] = codes[amend_id]
                del one.amends[amend_id]
            if one.is_ready(now):
                ready.append(one)
        if ready:
            self._answer(connection, ready)

    def _answer(self, connection: psycopg.Connection[Any], ready: list[Waiting]) -> None:
        wanted = {order_id for one in ready for order_id in one.wanted()}
        rows: dict[UUID, tuple[Any, ...]] = {}
        fills: dict[UUID, list[dict[str, Any]]] = {}
        if wanted:
            rows = {row[0]: row for row in connection.execute(ORDERS_SQL, [array(wanted), min(wanted), max(wanted)], prepare=True)}
            filled = {order_id for order_id, row in rows.items() if row[11]}
            if filled:
                trades = connection.execute(FILLS_SQL, {"ids": array(filled)}, prepare=True)
                fills = fills_by_order(trades, filled)
        for one in ready:
            self.discard(one)
            one.answer([_result(outcome, one, rows, fills) for outcome in one.outcomes])

    def _expire(self, now: float) -> None:
        """Answer what is late with what is known."""
        with self._lock:
            late = [one for one in self._waiting.values() if now > one.deadline]
        for one in late:
            self.discard(one)
            one.answer([_as_taken(outcome) for outcome in one.outcomes])


def _result(outcome: Outcome, waiting: Waiting, rows: dict[UUID, tuple[Any, ...]], fills: dict[UUID, list[dict[str, Any]]]) -> Result:
    """What a client is told of one request, from the orders as they now are."""
    match outcome:
        case Placed(replay=False, refusal=None):
            row = rows.get(outcome.order_id)
            if row is None:
                return outcome
            return Placed(outcome.order_id, partial(order_view, row, fills.get(outcome.order_id)), refusal=refusal_of(row))
        case CancelTaken():
            row = rows.get(outcome.order_id, outcome.row)
            order = order_view(row, fills.get(outcome.order_id))
            if outcome.order_id in waiting.ending:
                return Decided(order, decided=False)
            if (row[8], row[17]) != ("CANCELLED", outcome.reason):
                return OrderNotOpen(f"The order had ended: {row[8]}.", details={"status": row[8]})
            return Decided(order)
        case AmendTaken():
            order = order_view(rows.get(outcome.order_id, outcome.row), fills.get(outcome.order_id))
            if outcome.amend_id in waiting.amends:
                return Decided(order, decided=False)
            return _amend_result(order, waiting.codes.get(outcome.amend_id))
        case CancelAllTaken():
            ended = sum(1 for order_id in outcome.order_ids if (row := rows.get(order_id)) and row[8] == "CANCELLED")
            return CancelledAll(requested=len(outcome.order_ids), cancelled=ended)
        case Placed() | SwitchSet() | ExchangeError():
            return outcome


def _amend_result(order: dict[str, Any], code: str | None) -> Result:
    if code is None:
        return Decided(order)
    if code == "ORDER_NOT_OPEN":
        return OrderNotOpen(f"The order had ended: {order['status']}.", details={"status": order["status"]})
    return AmendRefused("The amended order would have traded at once, or the symbol does not take it now. The order stays as it was.")


def _as_taken(outcome: Outcome) -> Result:
    """What is known of a request when the engine's decision cannot be looked up: it was taken."""
    match outcome:
        case Placed() | SwitchSet() | ExchangeError():
            return outcome
        case CancelAllTaken():
            return CancelledAll(requested=len(outcome.order_ids), cancelled=0)
        case CancelTaken() | AmendTaken():
            return Decided(order_view(outcome.row), decided=False)


class OrderDesk:
    """Intake and watch of this process."""

    def __init__(self) -> None:
        self.intake = Intake()
        self.watch = Watch(lambda: connect_direct(name="watch", autocommit=True))

    def start(self) -> None:
        self.watch.start()
        self.intake.start()

    def stop(self) -> None:
        """Take what waits, answer it, end."""
        self.intake.stop()
        self.watch.stop()

    def submit(self, submission: Submission, *, wait: bool) -> "Future[list[Result]]":
        """Hand over requests; the future has one result per request, in order.

        wait False: after intake's commit, when orders are durable and funded. wait True: after the engine's decision, or 2 s.
        Cancels and amends are always waited for, since their outcome is the engine's.
        """
        answer: Future[list[Result]] = Future()
        answer.set_running_or_notify_cancel()  # a client that goes away cancels nothing: what was taken is taken
        waits = wait or any(isinstance(request, CancelOrder | CancelAll | AmendOrder) for request in submission.requests)
        job = Job(submission)
        waiting: list[Waiting] = []

        def before_commit(outcomes: list[Outcome]) -> None:
            for earlier in waiting:  # of an attempt that failed
                self.watch.discard(earlier)
            waiting.clear()
            one = Waiting(outcomes, answer)
            for outcome in outcomes:
                match outcome:
                    case Placed(replay=False, refusal=None) if wait:
                        one.placed.add(outcome.order_id)
                    case CancelTaken():
                        one.ending.add(outcome.order_id)
                    case CancelAllTaken():
                        one.ending.update(outcome.order_ids)
                    case AmendTaken():
                        one.amends[outcome.amend_id] = outcome.order_id
            if not one.is_decided:
                waiting.append(one)
                self.watch.add(one)

        def committed(future: "Future[list[Outcome]]") -> None:
            outcomes = future.result()
            if waiting and outcomes is waiting[0].outcomes:
                waiting[0].deadline = time.monotonic() + DECISION_WAIT_S  # the watch answers
                return
            for one in waiting:
                self.watch.discard(one)
            answer.set_result([_as_taken(outcome) for outcome in outcomes])

        if waits:
            job.before_commit = before_commit
        job.future.add_done_callback(committed)
        self.intake.put(job)
        return answer


_desk: OrderDesk | None = None
_desk_lock = threading.Lock()


def desk() -> OrderDesk:
    """The process's desk, made at first use; whoever runs the process starts and stops it."""
    global _desk
    with _desk_lock:
        if _desk is None:
            _desk = OrderDesk()
        return _desk
