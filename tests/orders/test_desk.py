"""What a client is told: after the engine's decision, or late, never before it is certain that the request was taken."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from orders import desk as desk_module
from orders.desk import OrderDesk
from orders.intake import Intake
from orders.refusals import NotTaken, OrderNotOpen
from orders.requests import AmendOrder, CancelAll, CancelledAll, CancelOrder, Decided, Placed, Request, Result, Submission
from tests.matching_worker.exchange import Exchange, accepted, first_commit, lost_before_commit, open_exchange, order, terminate

WAIT_S = 0.3  # instead of the two seconds a client waits for the engine


@pytest.fixture
def exchange(fresh_database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Exchange]:
    monkeypatch.setattr(desk_module, "DECISION_WAIT_S", WAIT_S)
    with open_exchange() as made:
        yield made


@contextmanager
def running_desk(
    exchange: Exchange, *before: tuple[Request, ...], blind: bool = False
) -> Iterator[tuple[OrderDesk, list["Future[list[Result]]"]]]:
    """A desk whose intake connects as the exchange's. Submissions given wait before it starts and so become one batch.
    `blind`: the database takes what intake writes, but the decisions cannot be looked up."""
    desk = OrderDesk()
    if blind:
        desk.watch._connect = refuse
    desk.intake = Intake(connect=lambda: exchange.connect())
    exchange.keep_lease()
    early = [desk.submit(Submission(requests), wait=True) for requests in before]
    desk.start()
    try:
        yield desk, early
    finally:
        desk.stop()


@contextmanager
def settling(exchange: Exchange) -> Iterator[None]:
    """The worker at work in a thread."""
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            exchange.settle()
            time.sleep(0.005)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def answers(future: "Future[list[Result]]") -> list[Result]:
    return future.result(timeout=20)


def test_an_order_is_shown_after_the_engine_with_its_fills(exchange: Exchange) -> None:
    symbol = exchange.symbol()
    seller, buyer = exchange.trader((symbol.base, 10)), exchange.trader((symbol.quote, 1000))
    exchange.placed(seller, symbol, "SELL", "1", "100")
    with running_desk(exchange) as (desk, _), settling(exchange):
        [placed] = answers(desk.submit(Submission((order(buyer, symbol, "BUY", "1", "100"),)), wait=True))
    assert isinstance(placed, Placed)
    assert placed.order["status"] == "FILLED"
    assert [fill["quantity"] for fill in placed.order["fills"]] == ["1.000"]


def test_fills_are_found_when_the_workers_clock_is_behind(exchange: Exchange) -> None:
    symbol = exchange.symbol()
    seller, buyer = exchange.trader((symbol.base, 10)), exchange.trader((symbol.quote, 1000))
    exchange.worker_clock.at_ns = time.time_ns() - 10_000_000_000
    exchange.placed(seller, symbol, "SELL", "1", "100")
    with running_desk(exchange) as (desk, _), settling(exchange):
        [placed] = answers(desk.submit(Submission((order(buyer, symbol, "BUY", "1", "100"),)), wait=True))
    assert isinstance(placed, Placed)
    assert len(placed.order["fills"]) == 1


def test_without_a_decision_in_time_an_order_is_pending_and_a_change_undecided(exchange: Exchange) -> None:
    symbol = exchange.symbol()
    buyer = exchange.trader((symbol.quote, 1000))
    resting = exchange.placed(buyer, symbol, "BUY", "1", "90")
    exchange.settle()
    with running_desk(exchange) as (desk, _):
        [placed] = answers(desk.submit(Submission((order(buyer, symbol, "BUY", "1", "90"),)), wait=True))
        [amended] = answers(
            desk.submit(Submission((AmendOrder(buyer.principal, resting, quantity=exchange.order(resting)["quantity"] * 2),)), wait=True)
        )
        [cancelled] = answers(desk.submit(Submission((CancelOrder(buyer.principal, resting),)), wait=True))
        [gone] = answers(desk.submit(Submission((CancelAll(buyer.principal, (buyer.id,)),)), wait=True))
    assert isinstance(placed, Placed)
    assert placed.order["status"] == "PENDING"
    assert isinstance(amended, Decided)
    assert not amended.decided
    assert isinstance(cancelled, Decided)
    assert not cancelled.decided
    assert gone == CancelledAll(requested=2, cancelled=0)


def test_a_cancel_that_came_too_late_says_so(exchange: Exchange) -> None:
    symbol = exchange.symbol()
    seller, buyer = exchange.trader((symbol.base, 10)), exchange.trader((symbol.quote, 1000))
    resting = exchange.placed(buyer, symbol, "BUY", "1", "100")
    exchange.settle()
    exchange.placed(seller, symbol, "SELL", "1", "100")  # waits before the cancel, so it fills first
    with running_desk(exchange) as (desk, _), settling(exchange):
        [told] = answers(desk.submit(Submission((CancelOrder(buyer.principal, resting),)), wait=True))
    assert isinstance(told, OrderNotOpen)
    assert told.details == {"status": "FILLED"}


def test_nobody_is_told_that_an_order_was_taken_while_its_commit_is_under_way(exchange: Exchange) -> None:
    """The commit takes longer than a client waits for the engine, and then fails: the order was never there."""

    def slow_and_lost(real: psycopg.Connection[Any]) -> None:
        time.sleep(4 * WAIT_S)
        lost_before_commit(real)

    symbol = exchange.symbol()
    buyer = exchange.trader((symbol.quote, 1000))
    exchange.connect = first_commit(slow_and_lost)
    with running_desk(exchange) as (desk, _):
        [told] = answers(desk.submit(Submission((order(buyer, symbol, "BUY", "1", "90"),)), wait=True))
    assert isinstance(told, NotTaken), told
    assert exchange.rows("SELECT id FROM orders_order") == []


def test_nobody_is_told_that_an_order_was_taken_while_the_database_is_away(exchange: Exchange) -> None:
    """PostgreSQL dies during the commit and comes back after the client's two seconds: what was not committed is not shown."""

    def down(real: psycopg.Connection[Any]) -> None:
        terminate(real)
        real.commit()

    symbol = exchange.symbol()
    buyer = exchange.trader((symbol.quote, 1000))
    connect, back_at = first_commit(down), time.monotonic() + 5 * WAIT_S
    connections = 0

    def connect_later() -> psycopg.Connection[Any]:
        nonlocal connections
        connections += 1
        if connections > 1 and time.monotonic() < back_at:
            raise psycopg.OperationalError("connection refused")
        return connect()

    exchange.connect = connect_later
    with running_desk(exchange, blind=True) as (desk, _):
        [told] = answers(desk.submit(Submission((order(buyer, symbol, "BUY", "1", "90"),)), wait=True))
    assert isinstance(told, NotTaken), told
    assert exchange.rows("SELECT id FROM orders_order") == []


def refuse() -> psycopg.Connection[Any]:
    raise psycopg.OperationalError("connection refused")


def test_a_batch_that_was_retried_answers_with_orders_that_exist(exchange: Exchange) -> None:
    """One bad item, and an engine that is slow: nobody gets an order of the attempt that was rolled back."""
    symbol = exchange.symbol()
    buyer = exchange.trader((symbol.quote, 1000))
    good, bad = order(buyer, symbol, "BUY", "1", "90"), order(buyer, symbol, "BUY", "1", "90", client_order_id="a\0b")
    with running_desk(exchange, (good,), (bad,)) as (_, [first, second]):
        [taken], [refused] = answers(first), answers(second)
    order_id = accepted(taken)  # type: ignore[arg-type]
    assert exchange.rows("SELECT id FROM orders_order") == [(order_id,)]
    assert getattr(refused, "code", None) == "INTERNAL"


@pytest.mark.parametrize("what", ["cancel", "amend", "cancel-all"])
def test_a_committed_change_is_never_answered_as_not_committed(exchange: Exchange, what: str) -> None:
    """The database goes away after the commit: what became of the change cannot be told, and a 503 would be a lie."""
    symbol = exchange.symbol()
    buyer = exchange.trader((symbol.quote, 1000))
    resting = exchange.placed(buyer, symbol, "BUY", "1", "90")
    exchange.settle()
    request: Request = {
        "cancel": CancelOrder(buyer.principal, resting),
        "amend": AmendOrder(buyer.principal, resting, price=exchange.order(resting)["price"] - 1),
        "cancel-all": CancelAll(buyer.principal, (buyer.id,)),
    }[what]
    with running_desk(exchange, blind=True) as (desk, _):
        [told] = answers(desk.submit(Submission((request,)), wait=True))
    if what == "cancel-all":
        assert told == CancelledAll(requested=1, cancelled=0)
    else:
        assert isinstance(told, Decided), told
        assert not told.decided
        assert told.order["status"] == "OPEN"


def test_a_durable_order_is_shown_as_pending_when_its_decision_cannot_be_looked_up(exchange: Exchange) -> None:
    symbol = exchange.symbol()
    buyer = exchange.trader((symbol.quote, 1000))
    with running_desk(exchange, blind=True) as (desk, _):
        [told] = answers(desk.submit(Submission((order(buyer, symbol, "BUY", "1", "90"),)), wait=True))
    assert exchange.order(accepted(told))["status"] == "PENDING"  # type: ignore[arg-type]


def test_a_cancel_all_with_nothing_open_needs_no_engine(exchange: Exchange) -> None:
    symbol = exchange.symbol()
    buyer = exchange.trader((symbol.quote, 1000))
    with running_desk(exchange) as (desk, _):
        [told] = answers(desk.submit(Submission((CancelAll(buyer.principal, (buyer.id,)),)), wait=True))
    assert told == CancelledAll(requested=0, cancelled=0)
