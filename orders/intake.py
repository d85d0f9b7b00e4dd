"""Intake: every request that waits in this process becomes one transaction.

While one commit is in flight the next batch collects; nobody waits for more to come. The transaction locks the platform and
institution rows (shared) and the accounts' rows (sorted), decides with `orders.acceptance` on what it reads under those locks,
and writes orders, holds, keys, transitions and one packed inbox row per symbol. When it has committed the order is durable and
its funds are reserved. Matching happens elsewhere; nothing here knows the book.

A failed batch is retried submission by submission, then request by request, so that one bad item costs only itself.
"""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
import structlog
from psycopg import errors as pg

from exchange_platform.db import connect_direct
from exchange_platform.errors import ExchangeError
from orders.batch import IntakeBatch
from orders.batch_reads import KeptMarks
from orders.metrics import count_intake
from orders.refusals import NotTaken, OutcomeUnknown, ReplayedSignature
from orders.requests import Outcome, Submission

log = structlog.get_logger(__name__)

MAX_REQUESTS_PER_BATCH: Final = 500
UNKNOWN_COMMIT_PATIENCE_S: Final = 8.0
UNEXPECTED: Final = "INTERNAL"

Connect = Callable[[], psycopg.Connection[Any]]


@dataclass(slots=True)
class Job:
    """A submission under way. `before_commit` is called with the outcomes just before the commit, so that whoever waits for the
    engine's answer listens before it can come."""

    submission: Submission
    future: "Future[list[Outcome]]" = field(default_factory=Future)
    before_commit: Callable[[list[Outcome]], None] | None = None


class Intake:
    """One thread, one direct connection, one transaction at a time."""

    def __init__(self, *, connect: Connect = lambda: connect_direct(name="intake"), clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._connect = connect
        self._clock_ns = clock_ns
        self.marks = KeptMarks()
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._connection: psycopg.Connection[Any] | None = None
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)
        self._stopped = False

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Take what already waits, then end. What came too late for that is told so."""
        self._stopped = True
        self._jobs.put(None)
        self._thread.join(timeout_s)
        while True:
            try:
                late = self._jobs.get_nowait()
            except queue.Empty:
                return
            if late is not None:
                late.future.set_result(_all(late, _stopping()))

    def put(self, job: Job) -> None:
        """Hand over a job; its future gets one outcome per request. Raises nothing: a refusal is an outcome."""
        if self._stopped:
            job.future.set_result(_all(job, _stopping()))
        else:
            self._jobs.put(job)

    # -- the thread

    def _run(self) -> None:
        while True:
            job = self._jobs.get()
            batch: list[Job] = []
            size = 0
            while job is not None:
                batch.append(job)
                size += len(job.submission.requests)
                if size >= MAX_REQUESTS_PER_BATCH:
                    break
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
            if batch:
                self._take(batch)
            if job is None:
                self._drop_connection()
                return

    def _take(self, batch: list[Job]) -> None:
        """Take a batch and answer every job in it, whatever happens."""
        try:
            answers = self._attempt(batch)
        except Exception as error:
            log.exception("intake_failed", jobs=len(batch))
            answers = [_all(job, _unexpected(error)) for job in batch]
        for job, outcomes in zip(batch, answers, strict=True):
            if not job.future.done():
                job.future.set_result(outcomes)

    def _attempt(self, batch: list[Job]) -> list[list[Outcome]]:
        try:
            return self._transaction(batch)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            self._drop_connection()
            if isinstance(error, pg.LockNotAvailable | pg.QueryCanceled | pg.DeadlockDetected):
                refusal = NotTaken("The system is busy; nothing was taken. Ask again.", code="OVERLOADED")
            else:
                log.warning("intake_database_unavailable", error=str(error).splitlines()[0] if str(error) else type(error).__name__)
                refusal = NotTaken("The database is not available; nothing was taken. Ask again.", code="DATABASE_UNAVAILABLE")
            return [_all(job, refusal) for job in batch]
        except Exception as error:
            if len(batch) == 1 and len(batch[0].submission.requests) == 1:
                log.exception("intake_request_failed")
                return [_all(batch[0], _unexpected(error))]
            log.warning("intake_batch_retried_one_by_one", error=repr(error))
            return [self._one_by_one(job, split=len(batch) == 1) for job in batch]

    def _one_by_one(self, job: Job, *, split: bool) -> list[Outcome]:
        """Take a job of a failed batch by itself; `split`: it failed by itself already, take its requests one by one.

        The first request that commits spends the signature for all. When it had been spent before, or nobody knows, none of the
        rest is taken.
        """
        if not split:
            return self._attempt([job])[0]
        outcomes: list[Outcome] = []
        requests, nonce = job.submission.requests, job.submission.nonce
        for request in requests:
            outcome = self._attempt([Job(Submission(requests=(request,), nonce=nonce))])[0][0]
            outcomes.append(outcome)
            if isinstance(outcome, ReplayedSignature | OutcomeUnknown):
                outcomes += [outcome] * (len(requests) - len(outcomes))
                break
            if not _took_nothing(outcome):
                nonce = None
        if job.before_commit is not None:
            job.before_commit(outcomes)
        return outcomes

    def _transaction(self, batch: list[Job]) -> list[list[Outcome]]:
        connection = self._connected()
        work = IntakeBatch(connection, [job.submission for job in batch], now_ns=self._clock_ns(), marks=self.marks)
        try:
            answers = work.decide_and_write()
            for job, outcomes in zip(batch, answers, strict=True):
                if job.before_commit is not None:
                    job.before_commit(outcomes)
        except BaseException:
            if not connection.closed:
                try:
                    connection.rollback()
                except psycopg.Error:
                    self._drop_connection()
            raise
        try:
            connection.commit()
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            self._drop_connection()
            return self._resolve_unknown(batch, work, answers, error)
        _count(work)
        return answers

    def _resolve_unknown(self, batch: list[Job], work: IntakeBatch, answers: list[list[Outcome]], error: Exception) -> list[list[Outcome]]:
        """The connection broke during COMMIT: look whether it happened. What the transaction wrote is found by its ids; when it is
        not there and the transaction is not still running, it did not happen."""
        log.warning("intake_commit_unknown", error=str(error).splitlines()[0] if str(error) else type(error).__name__)
        give_up_at = time.monotonic() + UNKNOWN_COMMIT_PATIENCE_S
        while time.monotonic() < give_up_at:
            try:
                happened = work.look_up(self._connected())
                self._connected().rollback()
            except (psycopg.OperationalError, psycopg.InterfaceError):
                self._drop_connection()
                time.sleep(0.1)
                continue
            if happened is True:
                return answers
            if happened is False:
                refusal = NotTaken("The database went away; nothing was taken. Ask again.", code="DATABASE_UNAVAILABLE")
                return [_all(job, refusal) for job in batch]
            time.sleep(0.05)
        return [_all(job, OutcomeUnknown("Whether this was taken is not known.")) for job in batch]

    def _connected(self) -> psycopg.Connection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
        return self._connection

    def _drop_connection(self) -> None:
        if self._connection is not None:
            try:
                self._connection.close()
            except psycopg.Error:
                pass
            self._connection = None


def _count(work: IntakeBatch) -> None:
    """The batch is committed: whatever is wrong with counting it must not become its answer."""
    try:
        count_intake(work.drafts)
    except Exception:
        log.exception("intake_not_counted")


def _all(job: Job, outcome: Outcome) -> list[Outcome]:
    return [outcome] * len(job.submission.requests)


def _stopping() -> NotTaken:
    return NotTaken("The server is stopping. Ask again.", code="OVERLOADED")


def _took_nothing(outcome: Outcome) -> bool:
    """Whether its transaction did not commit, or gave the signature back."""
    return isinstance(outcome, NotTaken) or (isinstance(outcome, ExchangeError) and outcome.code == UNEXPECTED)


def _unexpected(error: Exception) -> ExchangeError:
    return ExchangeError(f"Unexpected {type(error).__name__}; nothing was taken.", code=UNEXPECTED)
