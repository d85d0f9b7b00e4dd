"""An exchange in one process on a database of its own: intake and worker as they are in earnest, no HTTP, no waiting.

The worker settles when a test says so, so a test decides what is pending and what has happened.
"""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from typing import Any
from uuid import UUID

import psycopg
from django.conf import settings

from exchange_platform.db import connect_direct
from institutions.models import Account
from markets import units
from markets.models import Asset, Symbol
from matching import shards
from matching import worker as worker_module
from matching.worker import Worker
from orders.intake import Intake, Job
from orders.requests import (
    AmendOrder,
    CancelAll,
    CancelOrder,
    Nonce,
    Outcome,
    Placed,
    PlaceOrder,
    Principal,
    Request,
    Submission,
)
from tests.factories import AccountFactory, AssetFactory, InstitutionFactory, SymbolFactory, fund
from tests.money import assert_money_conserved
from tests.support.approvals import change_status

ANSWER_WITHIN_S = 30.0
_names = count(1)


@dataclass
class Clock:
    """Nanoseconds; real time unless `at_ns` is set."""

    at_ns: int | None = None

    def __call__(self) -> int:
        return time.time_ns() if self.at_ns is None else self.at_ns


@dataclass
class Trader:
    """A funded account and on whose behalf it acts."""

    account: Account
    principal: Principal
    unlimited: Principal

    @property
    def id(self) -> int:
        return int(self.account.pk)


@dataclass
class Exchange:
    clock: Clock = field(default_factory=Clock)
    worker_clock: Clock = field(default_factory=Clock)
    connect: Callable[[], psycopg.Connection[Any]] = lambda: connect_direct(name="intake")

    def __post_init__(self) -> None:
        units.forget()
        self.intake = Intake(connect=lambda: self.connect(), clock_ns=self.clock)
        self.intake.marks.keep_s = 0  # a price counts from the next order on, not a second later
        self._open: list[psycopg.Connection[Any]] = []
        self.worker: Worker | None = None

    # Who and what

    def asset(self, scale: int = 8) -> Asset:
        asset: Asset = AssetFactory(code=f"A{next(_names)}", scale=scale)
        return asset

    def symbol(self, base: Asset | None = None, quote: Asset | None = None, **rules: Any) -> Symbol:
        """No band and no floor unless asked for, and a worker that knows it."""
        rules = {"static_band": None, "dynamic_band": None, **rules}
        symbol: Symbol = SymbolFactory(base=base or self.asset(), quote=quote or self.asset(), **rules)
        if self.worker is not None:
            self.worker._adopt_new_symbols(self.settling)
        return symbol

    def trader(self, *funds: tuple[Asset, Decimal | int | str], **account: Any) -> Trader:
        institution = account.pop("institution", None) or InstitutionFactory(code=f"i{next(_names)}")
        made: Account = AccountFactory(institution=institution, name=f"t{next(_names)}", **account)
        for asset, amount in funds:
            fund(made, asset, amount)
        principals = [Principal("key:test", made.institution_id, made.pk, unlimited) for unlimited in (False, True)]
        return Trader(made, *principals)

    # The worker

    def start_worker(self) -> Worker:
        """A worker that owns the shard and has recovered; `settle` drives it."""
        session = self.connection(autocommit=True, name=shards.session_name(0))
        self.settling = self.connection()
        self.settling.execute(getattr(worker_module, "SETTLING_LIMITS_SQL", "SELECT 1"))
        self.settling.commit()
        worker = Worker(shard=0, shards_in_all=1, clock_ns=self.worker_clock)
        epoch = shards.try_acquire(session, shard=0, owner="test")
        assert epoch is not None
        worker.epoch = epoch
        worker.recover(self.settling)
        gc.unfreeze()  # what a worker does to the collector is for a process of its own
        gc.enable()
        self.session = session
        self.worker = worker
        return worker

    def restart_worker(self) -> Worker:
        """The present worker dies as by kill -9: its sessions end, nothing is released. A new one recovers."""
        self.session.close()
        self.settling.close()
        return self.start_worker()

    def settle(self) -> int:
        """Everything that waits is decided and settled. Returns the number of commands."""
        assert self.worker is not None
        done = 0
        while taken := self.worker.settle_once(self.settling):
            done += taken
        return done

    def look_for_rules(self) -> None:
        """What the worker does every second."""
        assert self.worker is not None
        self.worker._adopt_rules(self.settling)

    def halt(self, symbol: Symbol) -> Symbol:
        change_status(symbol=symbol.name, status="HALTED", actor="olga", reason="a test")
        self.settle()
        return symbol

    def resume(self, symbol: Symbol) -> Symbol:
        change_status(symbol=symbol.name, status="TRADING", actor="olga", reason="a test")
        self.settle()
        return symbol

    def keep_lease(self) -> None:
        assert self.worker is not None
        shards.renew(self.session, shard=0, epoch=self.worker.epoch)

    # Intake

    def take(self, *requests: Request, nonce: Nonce | None = None) -> list[Outcome]:
        """One submission, in this thread."""
        return self.take_batch([Submission(requests, nonce)])[0]

    def take_batch(self, submissions: list[Submission]) -> list[list[Outcome]]:
        """Submissions that wait together become one batch."""
        if self.worker is not None:
            self.keep_lease()
        jobs = [Job(submission) for submission in submissions]
        self.intake._take(jobs)
        return [job.future.result(timeout=0) for job in jobs]

    def place(
        self, trader: Trader, symbol: Symbol, side: str, quantity: str | None = None, price: str | None = None, **change: Any
    ) -> Outcome:
        return self.take(order(trader, symbol, side, quantity, price, **change))[0]

    def placed(
        self, trader: Trader, symbol: Symbol, side: str, quantity: str | None = None, price: str | None = None, **change: Any
    ) -> UUID:
        """As `place`, of an order that must be taken; returns its id."""
        return accepted(self.place(trader, symbol, side, quantity, price, **change))

    def cancel(self, trader: Trader, order_id: UUID) -> Outcome:
        return self.take(CancelOrder(trader.principal, order_id))[0]

    def cancel_all(self, trader: Trader, symbol: Symbol | None = None) -> Outcome:
        return self.take(CancelAll(trader.principal, (trader.id,), symbol.name if symbol else None))[0]

    def amend(self, trader: Trader, order_id: UUID, *, price: str | None = None, quantity: str | None = None) -> Outcome:
        return self.take(
            AmendOrder(trader.principal, order_id, Decimal(price) if price else None, Decimal(quantity) if quantity else None)
        )[0]

    # What the database says

    def connection(self, *, autocommit: bool = False, name: str = "test") -> psycopg.Connection[Any]:
        """Of the engine's role; closed at the end."""
        made = connect_direct(name=name, autocommit=autocommit)
        self._open.append(made)
        return made

    def rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        with connect_direct(name="test", autocommit=True) as connection:
            return connection.execute(sql.encode(), parameters).fetchall()

    def row(self, sql: str, *parameters: object) -> tuple[Any, ...]:
        [row] = self.rows(sql, *parameters)
        return row

    def order(self, order_id: UUID) -> dict[str, Any]:
        names = "status reason quantity filled_quantity filled_quote prevented_quantity price held fee sequence protection_price".split()
        return dict(zip(names, self.row(f"SELECT {', '.join(names)} FROM orders_order WHERE id = %s", order_id), strict=True))

    def balance(self, trader: Trader, asset: Asset) -> tuple[Decimal, Decimal]:
        """(posted, held)."""
        found = self.rows("SELECT posted, held FROM wallet_balance WHERE account_id = %s AND asset_id = %s", trader.id, asset.pk)
        return (found[0][0], found[0][1]) if found else (Decimal(0), Decimal(0))

    def transitions(self, order_id: UUID) -> list[tuple[str | None, str, str]]:
        return [
            (before, after, cause)
            for before, after, cause in self.rows(
                "SELECT from_status, to_status, cause FROM orders_transition WHERE order_id = %s"
                " ORDER BY sequence, to_status <> 'TRIGGERED'",
                order_id,
            )
        ]

    def close(self) -> None:
        self.intake._drop_connection()
        for connection in self._open:
            connection.close()


def order(
    trader: Trader,
    symbol: Symbol,
    side: str,
    quantity: str | None = None,
    price: str | None = None,
    *,
    limited: bool = False,
    **change: Any,
) -> PlaceOrder:
    """LIMIT GTC, or MARKET IOC when no price is given, by a key without limits unless `limited`."""
    is_market = price is None
    return PlaceOrder(
        principal=trader.principal if limited else trader.unlimited,
        account_id=trader.id,
        symbol=symbol.name,
        side=side,
        quantity=None if quantity is None else Decimal(quantity),
        price=None if price is None else Decimal(price),
        **{
            "client_order_id": f"c-{next(_names)}",
            "order_type": "MARKET" if is_market else "LIMIT",
            "time_in_force": "IOC" if is_market else "GTC",
            **change,
        },
    )


def accepted(outcome: Outcome) -> UUID:
    assert isinstance(outcome, Placed), outcome
    assert outcome.refusal is None, outcome.refusal
    return UUID(outcome.order["order_id"])


def code_of(outcome: Outcome) -> str:
    """The code of a refusal, recorded or not."""
    refusal = outcome.refusal if isinstance(outcome, Placed) else outcome
    assert isinstance(refusal, Exception), outcome
    return str(refusal.code)  # type: ignore[attr-defined]


class Meddled:
    """A connection whose commit is what a test wants it to be. `ends` False: closing it is left to the test."""

    def __init__(self, real: psycopg.Connection[Any], commit: Callable[[psycopg.Connection[Any]], None], *, ends: bool = True) -> None:
        self.real = real
        self._commit = commit
        self._ends = ends

    def commit(self) -> None:
        self._commit(self.real)

    def close(self) -> None:
        if self._ends:
            self.real.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


def terminate(connection: psycopg.Connection[Any]) -> None:
    """The server ends this connection's session; returns when it is gone."""
    with psycopg.connect(settings.DATABASE_URL, autocommit=True) as administrator:
        administrator.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.info.backend_pid])


def lost_before_commit(real: psycopg.Connection[Any]) -> None:
    terminate(real)
    real.commit()


def lost_after_commit(real: psycopg.Connection[Any]) -> None:
    real.commit()
    terminate(real)
    real.execute("SELECT 1")


def first_commit(commit: Callable[[psycopg.Connection[Any]], None], *, ends: bool = True) -> Callable[[], psycopg.Connection[Any]]:
    """For `Exchange.connect`: the first connection's commit goes this way, later connections are left alone."""
    made: list[Meddled] = []

    def connect() -> psycopg.Connection[Any]:
        real = connect_direct(name="intake")
        if made:
            return real
        made.append(Meddled(real, commit, ends=ends))
        return made[0]  # type: ignore[return-value]

    return connect


@contextmanager
def open_exchange(**change: Any) -> Iterator[Exchange]:
    """With a worker. At the end everything pending is settled (by a worker that is still ours) and the books must agree."""
    exchange = Exchange(**change)
    try:
        exchange.start_worker()
        yield exchange
        if exchange.worker is not None:
            exchange.settle()
        assert_money_conserved()
    finally:
        exchange.close()
