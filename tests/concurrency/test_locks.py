"""The account's lock is what keeps funds and limits exact: first the race without it, then that it is gone with it."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from orders import batch_reads
from orders.batch_writes import BatchWrites
from orders.intake import Intake, Job
from orders.requests import AmendOrder, CancelOrder, Outcome, Placed, Submission
from tests.concurrency.test_one_order_per_client_id import put_all
from tests.factories import AssetFactory, fund
from tests.matching_worker.exchange import Exchange, accepted, code_of, order
from tests.support.approvals import set_limit

Intakes = Callable[[int], list[Intake]]

LOCK = "FOR NO KEY UPDATE OF a, s"


@pytest.fixture
def without_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intake as it would be had somebody forgotten the lock."""
    assert LOCK in batch_reads.ACCOUNTS_SQL
    monkeypatch.setattr(batch_reads, "ACCOUNTS_SQL", batch_reads.ACCOUNTS_SQL.replace(LOCK, ""))


@pytest.fixture
def decided_together(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Two intakes that have decided wait for each other before they write, at most a second: with the lock the second one has not
    even read. Returns the list to which each adds how many orders it accepted."""
    together, accepted_by_each = threading.Barrier(2), []
    write = BatchWrites.write

    def waiting_write(self: BatchWrites, *arguments: Any) -> None:
        accepted_by_each.append(sum(draft.accepted is not None for draft in self.drafts))
        try:
            together.wait(timeout=1)
        except threading.BrokenBarrierError:
            pass
        write(self, *arguments)

    monkeypatch.setattr(BatchWrites, "write", waiting_write)
    return accepted_by_each


def spend_twice(exchange: Exchange, intakes: Intakes, *, limited: bool = False, funds: int = 100) -> list[Outcome]:
    """One account buys for 100 in two web processes at once. Returns both outcomes."""
    symbol = exchange.symbol()
    buyer = exchange.trader((symbol.quote, funds))
    return put_all(intakes(2), [Submission((order(buyer, symbol, "BUY", "1", "100", limited=limited),)) for _ in range(2)])


def held_against_posted(exchange: Exchange) -> tuple[Decimal, Decimal]:
    return exchange.row("SELECT sum(held), sum(posted) FROM wallet_balance WHERE held > 0")  # type: ignore[return-value]


@pytest.mark.usefixtures("without_lock")
def test_without_the_lock_both_spend_the_same_money_and_only_the_database_stops_one(
    exchange: Exchange, intakes: Intakes, decided_together: list[int]
) -> None:
    outcomes = spend_twice(exchange, intakes)
    assert decided_together[:2] == [1, 1], "both decided that the money is there"
    assert Counter(isinstance(o, Placed) and o.refusal is None for o in outcomes) == {True: 1, False: 1}
    assert held_against_posted(exchange) == (100, 100)


@pytest.mark.usefixtures("without_lock", "decided_together")
def test_without_the_lock_and_the_databases_check_money_is_spent_twice(fresh_database: str, intakes: Intakes, exchange: Exchange) -> None:
    with psycopg.connect(fresh_database, autocommit=True) as owner:
        checks = owner.execute(
            "SELECT conname FROM pg_constraint WHERE conname IN ('balance_covers_hold', 'balance_held_not_negative')"
        ).fetchall()
        assert len(checks) == 2
        for (name,) in checks:
            owner.execute(f"ALTER TABLE wallet_balance DROP CONSTRAINT {name}".encode())
    outcomes = spend_twice(exchange, intakes)
    assert [accepted(outcome) for outcome in outcomes]
    assert held_against_posted(exchange) == (200, 100)


def test_with_the_lock_one_spends_and_the_other_is_refused(exchange: Exchange, intakes: Intakes, decided_together: list[int]) -> None:
    outcomes = spend_twice(exchange, intakes)
    assert sorted(decided_together) == [0, 1], "the second one saw what the first had taken"
    assert Counter(code_of(o) if isinstance(o, Placed) and o.refusal else "taken" for o in outcomes) == {
        "taken": 1,
        "INSUFFICIENT_FUNDS": 1,
    }
    assert held_against_posted(exchange) == (100, 100)


def one_open_order_at_most() -> None:
    set_limit(kind="OPEN_ORDERS", value=Decimal(1), actor="tests", reason="to see whether it holds")


@pytest.mark.usefixtures("without_lock", "decided_together")
def test_without_the_lock_a_limit_is_passed_and_nothing_stops_it(exchange: Exchange, intakes: Intakes) -> None:
    one_open_order_at_most()
    assert len([accepted(outcome) for outcome in spend_twice(exchange, intakes, limited=True, funds=500)]) == 2


@pytest.mark.usefixtures("decided_together")
def test_with_the_lock_a_limit_holds(exchange: Exchange, intakes: Intakes) -> None:
    one_open_order_at_most()
    outcomes = spend_twice(exchange, intakes, limited=True, funds=500)
    refused = [outcome for outcome in outcomes if isinstance(outcome, Placed) and outcome.refusal]
    assert [code_of(outcome) for outcome in refused] == ["RISK_OPEN_ORDERS"]


def test_of_a_hundred_parallel_spends_as_many_are_taken_as_fit(exchange: Exchange, intakes: Intakes) -> None:
    symbol = exchange.symbol()
    buyer = exchange.trader((symbol.quote, "999.99"))
    outcomes = put_all(intakes(8), [Submission((order(buyer, symbol, "BUY", "1", "27"),)) for _ in range(100)])
    assert Counter(code_of(o) if isinstance(o, Placed) and o.refusal else "taken" for o in outcomes) == {
        "taken": 37,
        "INSUFFICIENT_FUNDS": 63,
    }
    assert exchange.balance(buyer, symbol.quote) == (Decimal("999.99"), 999)


def test_a_request_rate_is_exact_however_many_web_processes_count(exchange: Exchange, intakes: Intakes) -> None:
    symbol = exchange.symbol()
    buyer = exchange.trader((symbol.quote, 1000))
    set_limit(kind="ORDERS_PER_SECOND", value=Decimal(1000), actor="tests", reason="not the one that is looked at")
    set_limit(kind="DAILY_ORDERS", value=Decimal(23), actor="tests", reason="to see whether it holds")
    outcomes = put_all(intakes(8), [Submission((order(buyer, symbol, "BUY", "1", "1", limited=True),)) for _ in range(80)])
    assert Counter(code_of(o) if isinstance(o, Placed) and o.refusal else "taken" for o in outcomes) == {
        "taken": 23,
        "RISK_DAILY_ORDERS": 57,
    }


def deadlocks(exchange: Exchange) -> int:
    exchange.rows("SELECT pg_stat_clear_snapshot()")
    return int(exchange.row("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")[0])


def test_crossing_accounts_symbols_settlements_and_deposits_never_deadlock(exchange: Exchange, intakes: Intakes) -> None:
    """Four intakes take the same accounts in every order, two symbols settle meanwhile, and money comes in."""
    quote = exchange.asset()
    symbols = [exchange.symbol(quote=quote) for _ in range(2)]
    traders = [exchange.trader((quote, 100_000), *((symbol.base, 1000) for symbol in symbols)) for _ in range(6)]
    busy = threading.Event()
    busy.set()

    def settle() -> None:
        while busy.is_set():
            exchange.settle()

    def deposit() -> None:
        from django.db import connection

        for number in range(60):
            fund(traders[-1 - number % 6].account, quote, 1)
        connection.close()

    def trade(number: int, intake: Intake) -> Counter[str]:
        told: Counter[str] = Counter()
        for turn in range(25):
            order_of_accounts = traders[:: 1 if number % 2 else -1][turn % 6 :] + traders[:: 1 if number % 2 else -1][: turn % 6]
            requests = [
                order(trader, symbols[(place + turn) % 2], "BUY" if (place + number) % 2 else "SELL", "1", str(100 + place % 3 - 1))
                for place, trader in enumerate(order_of_accounts)
            ]
            job = Job(Submission(tuple(requests)))
            intake.put(job)
            for outcome in job.future.result(timeout=60):
                told["taken" if isinstance(outcome, Placed) and outcome.refusal is None else code_of(outcome)] += 1
        return told

    with ThreadPoolExecutor(6) as pool:
        settled, paid = pool.submit(settle), pool.submit(deposit)
        told = sum((part for part in pool.map(trade, range(4), intakes(4))), Counter())
        paid.result(timeout=60)
        busy.clear()
        settled.result(timeout=60)
    assert told == {"taken": 4 * 25 * 6}
    assert deadlocks(exchange) == 0


def test_raising_an_order_while_it_is_being_filled_never_needs_more_than_is_held(exchange: Exchange, intakes: Intakes) -> None:
    symbol = exchange.symbol()
    buyer, seller = exchange.trader((symbol.quote, 100_000)), exchange.trader((symbol.base, 1000))
    amending, filling = intakes(2)
    stop = threading.Event()
    failures: list[BaseException] = []

    def settle() -> None:
        try:
            while not stop.is_set():
                exchange.settle()
                time.sleep(0.002)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=settle)
    thread.start()
    try:
        for _ in range(12):
            resting = exchange.placed(buyer, symbol, "BUY", "2", "100")
            jobs = []
            for step in range(1, 7):
                amend = AmendOrder(buyer.principal, resting, Decimal(100 + step % 3), Decimal(2 + step))
                for intake, request in ((amending, amend), (filling, order(seller, symbol, "SELL", "0.7", "99"))):
                    jobs.append(Job(Submission((request,))))
                    intake.put(jobs[-1])
            for job in jobs:
                job.future.result(timeout=30)
            assert code_of_cancel(exchange, buyer.unlimited, resting) in ("taken", "ORDER_NOT_OPEN")
    finally:
        stop.set()
        thread.join()
    assert failures == []
    exchange.settle()
    exchange.cancel_all(buyer)
    exchange.cancel_all(seller)
    exchange.settle()
    assert exchange.row("SELECT sum(held) FROM wallet_balance") == (0,)


def code_of_cancel(exchange: Exchange, principal: object, order_id: object) -> str:
    outcome = exchange.take(CancelOrder(principal, order_id))[0]  # type: ignore[arg-type]
    return code_of(outcome) if isinstance(outcome, Exception) else "taken"


def test_a_cancel_that_races_with_a_fill_ends_the_order_once(exchange: Exchange, intakes: Intakes) -> None:
    symbol = exchange.symbol()
    buyer, seller = exchange.trader((symbol.quote, 100_000)), exchange.trader((symbol.base, 1000))
    cancelling, filling = intakes(2)
    ids = []
    for _ in range(40):
        resting = exchange.placed(buyer, symbol, "BUY", "1", "100")
        exchange.settle()
        jobs = [
            Job(Submission((CancelOrder(buyer.principal, resting),))),
            Job(Submission((order(seller, symbol, "SELL", "1", "100", time_in_force="IOC"),))),
        ]
        for intake, job in zip((cancelling, filling), jobs, strict=True):
            intake.put(job)
        for job in jobs:
            job.future.result(timeout=30)
        exchange.settle()
        ids.append(resting)
    ends = Counter(exchange.order(order_id)["status"] for order_id in ids)
    assert sum(ends.values()) == 40
    assert set(ends) <= {"FILLED", "CANCELLED"}
    again = exchange.rows(
        "SELECT order_id FROM orders_transition WHERE to_status IN ('FILLED', 'CANCELLED') GROUP BY order_id HAVING count(*) > 1"
    )
    assert again == []


def exposed(exchange: Exchange) -> Decimal:
    return exchange.row("SELECT coalesce(sum(open_value + traded), 0) FROM risk_exposure")[0]  # type: ignore[no-any-return]


@pytest.mark.usefixtures("without_lock")
def test_without_the_lock_two_orders_pass_a_limit_that_has_room_for_one(
    exchange: Exchange, intakes: Intakes, decided_together: list[int]
) -> None:
    set_limit(kind="DAILY_NOTIONAL", value=Decimal(150), actor="tests", reason="room for one order of 100")
    outcomes = spend_twice(exchange, intakes, limited=True, funds=1000)
    assert decided_together[:2] == [1, 1], "both saw an account that had nothing open"
    assert [isinstance(outcome, Placed) and outcome.refusal is None for outcome in outcomes] == [True, True]
    assert exposed(exchange) == 200


@pytest.mark.parametrize(
    ("kind", "value", "code"), [("DAILY_NOTIONAL", "2300", "RISK_DAILY_NOTIONAL"), ("MAX_POSITION", "23", "RISK_MAX_POSITION")]
)
def test_a_hundred_orders_at_once_never_pass_a_limit(exchange: Exchange, intakes: Intakes, kind: str, value: str, code: str) -> None:
    """Through eight intakes, while the worker settles: what moves from open to traded is never counted twice, nor not at all."""
    symbol = exchange.symbol(base=AssetFactory(code="BTC"))
    buyer, seller = exchange.trader((symbol.quote, 100_000)), exchange.trader((symbol.base, 1000))
    set_limit(kind="ORDERS_PER_SECOND", value=Decimal(1000), actor="tests", reason="not the one that is looked at")
    for one, bound in {"MAX_POSITION": "10000", kind: value}.items():
        set_limit(kind=one, value=Decimal(bound), actor="tests", reason="to see whether it holds")
    exchange.placed(seller, symbol, "SELL", "11", "100")
    exchange.settle()
    stop = threading.Event()

    def settle() -> None:
        while not stop.is_set():
            exchange.settle()
            time.sleep(0.002)

    thread = threading.Thread(target=settle)
    thread.start()
    try:
        outcomes = put_all(intakes(8), [Submission((order(buyer, symbol, "BUY", "1", "100", limited=True),)) for _ in range(100)])
    finally:
        stop.set()
        thread.join()
    assert Counter(code_of(o) if isinstance(o, Placed) and o.refusal else "taken" for o in outcomes) == {"taken": 23, code: 77}
    exchange.settle()
    assert exchange.row("SELECT buying, open_value, traded FROM risk_exposure WHERE account_id = %s", buyer.id) == (12, 1200, 1100)
