"""The matching worker: owns a shard, takes its commands in order, drives the books, settles. One thread, one transaction at a time.

Crash-only. A worker that cannot commit, does not know whether it did, or finds its lease gone, ends; whoever starts next recovers
from PostgreSQL. Nothing in memory outlives a failed commit.
"""

import gc
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import psycopg
import structlog

from exchange_platform import metrics
from exchange_platform.db import array, connect_direct
from matching import moves, recovery, shards
from matching.engine import SymbolEngine
from matching.recovery import RecoveryRefused
from notifications.wakeups import INBOX, listen, wait
from orders import commands, settlement, switch
from orders.metrics import count_settlement
from orders.settlement import SymbolBatch

log = structlog.get_logger(__name__)

POLL_S: Final = 0.02
ROWS_PER_BATCH: Final = 40
RENEW_AFTER_S: Final = 1.0
LOOK_FOR_SYMBOLS_AFTER_S: Final = 1.0
FIRE_SWITCHES_AFTER_S: Final = 0.1

# A stalled intake is ended by its own limit (exchange_platform.db) before the settlement that waits for its accounts gives up.
SETTLING_LIMITS_SQL: Final = "SET lock_timeout = '12s'; SET transaction_timeout = '60s'"

# DELETE … RETURNING, never `id > last`: identity values commit out of order.
TAKE_SQL: Final = """
    DELETE FROM orders_inbox WHERE id = ANY (ARRAY(
        SELECT id FROM orders_inbox WHERE symbol_id = ANY(%s::int[]) ORDER BY id LIMIT %s))
    RETURNING id, symbol_id, payload"""


@dataclass(slots=True)
class Duty:
    """What an owner does beside settling, between two settlements, at most once in `every_s`."""

    every_s: float
    work: Callable[[], object]
    due_at: float = 0.0


class Worker:
    """A shard's owner. `run` returns at a clean stop and raises on everything that only a new start can mend."""

    def __init__(self, *, shard: int, shards_in_all: int, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self.shard = shard
        self.shards_in_all = shards_in_all
        self.owner = f"{socket.gethostname()}:{os.getpid()}"
        self.engines: dict[int, SymbolEngine] = {}
        self.epoch = 0
        self._clock_ns = clock_ns
        self._stop = threading.Event()
        self._renewed_at = 0.0
        self._symbols = "{}"
        self._rules: dict[int, list[commands.Command]] = {}  # by symbol: what its next batch begins with

    def stop(self) -> None:
        """End after the batch under way; may be called from a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Raises: Fenced, RecoveryRefused, psycopg.Error."""
        with (
            connect_direct(name=shards.session_name(self.shard), autocommit=True) as session,
            connect_direct(name=shards.settling_name(self.shard)) as connection,
        ):
            connection.execute(SETTLING_LIMITS_SQL)
            connection.commit()
            listen(session, INBOX)
            epoch = shards.acquire(session, shard=self.shard, owner=self.owner, stop=self._stop)
            if epoch is None:
                return
            self.epoch = epoch
            self._take_orphans(session, connection)
            self.recover(connection, renew=lambda: shards.renew(session, shard=self.shard, epoch=self.epoch))
            try:
                self._loop(session, connection)
            finally:
                if not session.closed and self._stop.is_set():
                    shards.release(session, shard=self.shard, epoch=self.epoch)

    def recover(self, connection: psycopg.Connection[Any], *, renew: Callable[[], None] = lambda: None) -> None:
        """Rebuild every book of the shard; `renew` keeps the lease between symbols. Raises: RecoveryRefused."""
        started = time.perf_counter()
        recovery.add_symbols(connection, shard=self.shard, shards=self.shards_in_all)
        connection.commit()
        self.engines = recovery.load_shard(connection, shard=self.shard, renew=renew)
        connection.rollback()
        self._symbols = array(self.engines)
        self._adopt_rules(connection)
        _tell_stops(self.engines.values())
        _rest_memory()
        orders = sum(len(engine.records) for engine in self.engines.values())
        log.warning(
            "matching_recovered", shard=self.shard, epoch=self.epoch, symbols=len(self.engines), orders=orders,
            seconds=round(time.perf_counter() - started, 3),
        )  # fmt: skip

    def _duties(self, session: psycopg.Connection[Any], connection: psycopg.Connection[Any]) -> list[Duty]:
        """In their order. Each leaves no transaction open; what it raises ends the worker."""
        return [
            Duty(FIRE_SWITCHES_AFTER_S, lambda: switch.fire_due(connection)),
            Duty(moves.LOOK_AFTER_S, lambda: self._attend_to_moves(session, connection)),
            Duty(LOOK_FOR_SYMBOLS_AFTER_S, lambda: self._look_for_symbols(session, connection)),
            Duty(LOOK_FOR_SYMBOLS_AFTER_S, lambda: gc.collect(1)),
        ]

    def _loop(self, session: psycopg.Connection[Any], connection: psycopg.Connection[Any]) -> None:
        duties = self._duties(session, connection)
        while not self._stop.is_set():
            settled = self.settle_once(connection)
            now = time.monotonic()
            if settled:
                self._renewed_at = now
            elif now - self._renewed_at > RENEW_AFTER_S:
                self._renew(session)
            for duty in duties:
                if now >= duty.due_at:
                    duty.work()
                    duty.due_at = now + duty.every_s
            if not settled:
                wait(session, POLL_S)

    def _renew(self, session: psycopg.Connection[Any]) -> None:
        shards.renew(session, shard=self.shard, epoch=self.epoch)
        self._renewed_at = time.monotonic()

    def settle_once(self, connection: psycopg.Connection[Any]) -> int:
        """Take what waits, match it, settle it, commit. Returns the number of commands. Raises: Fenced, psycopg.Error."""
        rows = connection.execute(TAKE_SQL, [self._symbols, ROWS_PER_BATCH], prepare=True).fetchall()
        stamp_ms = self._clock_ns() // 1_000_000
        due = [symbol_id for symbol_id, engine in self.engines.items() if engine.is_due(stamp_ms)]
        if not (rows or due or self._rules):
            connection.commit()  # never rollback here: psycopg would throw away every prepared statement with it
            return 0
        rows.sort()
        began_at = time.perf_counter()
        batches: dict[int, SymbolBatch] = {}
        for symbol_id in {*due, *self._rules, *(symbol_id for _, symbol_id, _ in rows)}:
            batches[symbol_id] = self.engines[symbol_id].begin(stamp_ms)
            self.engines[symbol_id].catch_up(batches[symbol_id])
            for command in self._rules.pop(symbol_id, ()):
                self.engines[symbol_id].apply(command, batches[symbol_id])
        for _, symbol_id, payload in rows:
            engine, batch = self.engines[symbol_id], batches[symbol_id]
            for command in commands.unpack(payload):
                engine.apply(command, batch)
        for symbol_id in batches:
            self.engines[symbol_id].finish()
        count = sum(len(batch.log) for batch in batches.values())
        matched_at = time.perf_counter()
        written = [(batch, self.engines[symbol_id].book) for symbol_id, batch in batches.items()]
        settlement.write(connection, written, shard=self.shard, epoch=self.epoch)
        connection.commit()
        settled_at = time.perf_counter()
        try:
            _tell_stops(self.engines[symbol_id] for symbol_id in batches)
            count_settlement(batches.values(), commands=count, matching_s=matched_at - began_at, settling_s=settled_at - matched_at)
        except Exception:
            log.exception("settlement_not_counted")  # committed all the same: a worker that ended here would end again and again
        return count

    def _adopt_rules(self, connection: psycopg.Connection[Any]) -> None:
        """Rules that have been changed since take effect with the next batch, as commands, so that replay knows of them."""
        self._rules = recovery.adoptions(connection, self.engines)
        connection.commit()

    def _look_for_symbols(self, session: psycopg.Connection[Any], connection: psycopg.Connection[Any]) -> None:
        self._take_orphans(session, connection)
        self._adopt_new_symbols(connection, renew=lambda: self._renew(session))

    def _take_orphans(self, session: psycopg.Connection[Any], connection: psycopg.Connection[Any]) -> None:
        self.epoch = moves.take_orphans(
            session, connection, shard=self.shard, shards_in_all=self.shards_in_all, epoch=self.epoch, owner=self.owner
        )

    def _adopt_new_symbols(self, connection: psycopg.Connection[Any], *, renew: Callable[[], None] = lambda: None) -> None:
        """Symbols that are the shard's and were not at the start join it: new ones, and those that came from elsewhere."""
        recovery.add_symbols(connection, shard=self.shard, shards=self.shards_in_all)
        connection.commit()
        for row in connection.execute(recovery.CHECKPOINTS_SQL, [self.shard]).fetchall():
            if row[0] not in self.engines:
                renew()
                self.engines[row[0]] = recovery.load_symbol(connection, row, renew)
        connection.commit()
        self._symbols = array(self.engines)
        self._adopt_rules(connection)

    # -- symbols that move (matching.moves)

    def _attend_to_moves(self, session: psycopg.Connection[Any], connection: psycopg.Connection[Any]) -> None:
        """The next step of each move under way that is this worker's."""
        for move in moves.live(session, shard=self.shard):
            if move.is_overdue:
                self._undo(session, move, move.why_overdue)
                self._adopt_new_symbols(connection, renew=lambda: self._renew(session))
            elif move.state == moves.REQUESTED and move.source == self.shard:
                if moves.drain(connection, move, epoch=self.epoch):
                    self._let_go(move)
            elif move.state == moves.REQUESTED:
                moves.drain_for_absent_owner(session, move, owner=self.owner)
            elif move.target == self.shard:
                self._take_over(session, connection, move)

    def _let_go(self, move: moves.Move) -> None:
        self._rules.pop(move.symbol_id, None)
        if self.engines.pop(move.symbol_id, None) is not None:
            self._symbols = array(self.engines)
            _rest_memory()
        log.warning("matching_symbol_let_go", shard=self.shard, epoch=self.epoch, symbol=move.symbol_id, to=move.target, move=move.id)

    def _take_over(self, session: psycopg.Connection[Any], connection: psycopg.Connection[Any], move: moves.Move) -> None:
        """Load the book first, which takes time and changes nothing, then flip."""
        started = time.perf_counter()
        row = connection.execute(recovery.CHECKPOINT_SQL, [move.symbol_id, move.source]).fetchone()
        if row is None:
            connection.commit()
            self._undo(session, move, f"it is not shard {move.source}'s any more")
            return
        self._renew(session)
        try:
            engine = recovery.load_symbol(connection, row)
        except RecoveryRefused as error:
            connection.rollback()
            self._undo(session, move, str(error))
            return
        connection.commit()
        self._renew(session)
        epoch = moves.take_over(connection, move, epoch=self.epoch)
        if epoch is None:
            return
        self.epoch = epoch
        self.engines[move.symbol_id] = engine
        self._symbols = array(self.engines)
        self._adopt_rules(connection)
        log.warning(
            "matching_symbol_taken_over", shard=self.shard, epoch=epoch, symbol=move.symbol_id, source=move.source, move=move.id,
            orders=len(engine.records), seconds=round(time.perf_counter() - started, 3),
        )  # fmt: skip

    def _undo(self, session: psycopg.Connection[Any], move: moves.Move, why: str) -> None:
        if moves.undo(session, move, why=why):
            log.error("matching_move_undone", shard=self.shard, symbol=move.symbol_id, move=move.id, reason=why)


def _tell_stops(engines: Iterable[SymbolEngine]) -> None:
    for engine in engines:
        metrics.stop_orders_waiting.labels(engine.progress.market.name).set(engine.book.stops)


def _rest_memory() -> None:
    """Books unlink what ends; a full collection over them would stall matching, so what lives now is left out of all later ones."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.disable()
