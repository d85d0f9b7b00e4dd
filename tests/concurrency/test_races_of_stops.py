"""Several web processes and a worker at once on waiting stops, amends and fills: whatever comes first, nothing is lost or held twice."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from uuid import UUID

from exchange_platform.db import connect_direct
from matching.replay import replay
from orders.intake import Intake, Job
from orders.requests import AmendOrder, CancelAll, CancelOrder, Outcome, Placed, Request, Submission
from tests.matching_worker.exchange import Exchange, Trader, accepted, code_of, order
from tests.matching_worker.test_stops import Stage

Intakes = Callable[[int], list[Intake]]
ENDED = {"FILLED", "CANCELLED", "REJECTED", "EXPIRED"}


@contextmanager
def settling(exchange: Exchange) -> Iterator[None]:
    """A worker that settles all the while; what ends it fails the test."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def settle() -> None:
        try:
            while not stop.is_set():
                exchange.settle()
                time.sleep(0.001)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=settle)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert failures == []
    exchange.settle()


def at_once(intakes: list[Intake], requests: list[Request]) -> list[Outcome]:
    """One request to each intake, by threads that start together."""
    ready = threading.Barrier(len(requests))
    jobs = [Job(Submission((request,))) for request in requests]

    def put(intake: Intake, job: Job) -> None:
        ready.wait()
        intake.put(job)

    threads = [threading.Thread(target=put, args=pair) for pair in zip(intakes, jobs, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [job.future.result(timeout=60)[0] for job in jobs]


def everything_ends(exchange: Exchange, *traders: Trader) -> None:
    """Every hold is somebody's: without orders there is none."""
    for trader in traders:
        exchange.cancel_all(trader)
    exchange.settle()
    assert exchange.rows("SELECT id, status FROM orders_order WHERE status <> ALL(%s)", list(ENDED)) == []
    assert exchange.row("SELECT sum(held) FROM wallet_balance") == (0,)
    assert exchange.rows("SELECT id FROM orders_amend WHERE status = 'PENDING' OR extra_held <> 0") == []
    assert ended_twice(exchange) == []


def ended_twice(exchange: Exchange) -> list[tuple[UUID]]:
    return exchange.rows(  # type: ignore[return-value]
        "SELECT order_id FROM orders_transition WHERE to_status = ANY(%s) GROUP BY order_id HAVING count(*) > 1", list(ENDED)
    )


def replays(stage: Stage) -> bool:
    assert stage.exchange.worker is not None
    engine = stage.exchange.worker.engines[stage.symbol.pk]
    with connect_direct(name="replay") as connection:
        again = replay(connection, market=engine.progress.market)
    return (again.sequence, again.state_hash) == (engine.progress.sequence, engine.progress.state_hash)


def stop_of(
    stage: Stage, trader: Trader, stop: str, quantity: str = "1", price: str | None = None, *, reduce_only: bool = False
) -> Request:
    return order(
        trader, stage.symbol, "SELL", quantity, price, order_type="STOP" if price is None else "STOP_LIMIT", time_in_force="GTC",
        stop_price=Decimal(stop), trigger_source="LAST", reduce_only=reduce_only,
    )  # fmt: skip


def test_a_cancel_that_races_with_the_trigger_ends_the_stop_once(exchange: Exchange, intakes: Intakes) -> None:
    stage = Stage(exchange)
    two = intakes(2)
    ends: Counter[tuple[str, str | None]] = Counter()
    with settling(exchange):
        for _ in range(30):
            exchange.placed(stage.cid, stage.symbol, "SELL", "1", "95")
            stop = accepted(exchange.take(stop_of(stage, stage.ann, "95"))[0])
            exchange.placed(stage.bob, stage.symbol, "BUY", "1", "94.9")
            trade = order(stage.bob, stage.symbol, "BUY", "1", "95", time_in_force="IOC")
            at_once(two, [CancelOrder(stage.ann.principal, stop), trade])
            exchange.cancel_all(stage.bob)
            exchange.cancel_all(stage.cid)
            deadline = time.monotonic() + 10
            while stage.state(stop)[0] not in ENDED and time.monotonic() < deadline:
                time.sleep(0.002)
            ends[stage.state(stop)] += 1
            exchange.placed(stage.cid, stage.symbol, "SELL", "1", "100")
            exchange.placed(stage.bob, stage.symbol, "BUY", "1", "100")
    assert sum(ends.values()) == 30
    assert set(ends) <= {("FILLED", None), ("CANCELLED", "USER_CANCEL"), ("CANCELLED", "IOC_UNFILLED")}
    everything_ends(exchange, stage.ann, stage.bob, stage.cid)
    assert replays(stage)


def test_cancel_all_that_races_with_placing_of_stops_misses_only_what_was_taken_after_it(exchange: Exchange, intakes: Intakes) -> None:
    stage = Stage(exchange)
    stage.trade_at("100")
    three = intakes(3)
    with settling(exchange):
        for _ in range(25):
            outcomes = at_once(
                three,
                [stop_of(stage, stage.ann, "95"), CancelAll(stage.ann.principal, (stage.ann.id,)), stop_of(stage, stage.ann, "90", "2")],
            )
            assert [type(outcome) for outcome in (outcomes[0], outcomes[2])] == [Placed, Placed]
    waiting = exchange.row(
        "SELECT coalesce(sum(held), 0), coalesce(sum(quantity), 0) FROM orders_order WHERE account_id = %s AND status = 'PENDING_TRIGGER'",
        stage.ann.id,
    )
    assert waiting[0] == waiting[1] == exchange.balance(stage.ann, stage.base)[1]
    counts = Counter(status for (status,) in exchange.rows("SELECT status FROM orders_order WHERE account_id = %s", stage.ann.id))
    assert sum(counts.values()) == 50
    assert set(counts) <= {"PENDING_TRIGGER", "CANCELLED"}
    everything_ends(exchange, stage.ann)
    assert replays(stage)


def test_amends_of_waiting_stops_race_with_triggers_and_fills(exchange: Exchange, intakes: Intakes) -> None:
    """Whether an amend finds the order waiting, resting, partly filled or gone: what it held in addition is released."""
    stage = Stage(exchange)
    three = intakes(3)
    decided: Counter[str] = Counter()
    with settling(exchange):
        for turn in range(30):
            exchange.placed(stage.cid, stage.symbol, "SELL", "1", "95")
            exchange.placed(stage.bob, stage.symbol, "BUY", "1", "94.5")
            stop = accepted(exchange.take(stop_of(stage, stage.ann, "95", "2", "94.5", reduce_only=turn % 3 == 0))[0])
            outcomes = at_once(
                three,
                [
                    AmendOrder(stage.ann.principal, stop, Decimal("94.4") if turn % 2 else None, Decimal(3 + turn % 2)),
                    order(stage.bob, stage.symbol, "BUY", "1", "95", time_in_force="IOC"),
                    AmendOrder(stage.ann.principal, stop, None, Decimal(1)),
                ],
            )
            for outcome in (outcomes[0], outcomes[2]):
                decided[code_of(outcome) if isinstance(outcome, Exception) else "taken"] += 1
            for trader in (stage.ann, stage.bob, stage.cid):
                exchange.cancel_all(trader)
            exchange.placed(stage.cid, stage.symbol, "SELL", "1", "100")
            exchange.placed(stage.bob, stage.symbol, "BUY", "1", "100")
    assert set(decided) <= {"taken", "ORDER_NOT_OPEN", "AMEND_REFUSED"}
    assert decided["taken"] > 10
    everything_ends(exchange, stage.ann, stage.bob, stage.cid)
    assert replays(stage)


def test_many_clients_at_once_with_everything_there_is(exchange: Exchange, intakes: Intakes) -> None:
    stage = Stage(exchange)
    stage.trade_at("100")
    traders = (stage.ann, stage.bob, stage.cid)
    told: list[UUID] = []

    def request(chance: random.Random, trader: Trader, mine: list[UUID]) -> Request:
        side, quantity, price = chance.choice(("BUY", "SELL")), str(chance.randint(1, 9)), str(100 + chance.randint(-4, 4))
        roll = chance.random()
        if mine and roll < 0.2:
            return AmendOrder(trader.unlimited, chance.choice(mine), chance.choice((None, Decimal(price))), Decimal(quantity))
        if mine and roll < 0.3:
            return CancelOrder(trader.unlimited, mine.pop(chance.randrange(len(mine))))
        if roll < 0.32:
            return CancelAll(trader.unlimited, (trader.id,))
        prevention = chance.choice(("CANCEL_NEWEST", "CANCEL_OLDEST", "CANCEL_BOTH", "DECREMENT"))
        only = side == "SELL" and chance.random() < 0.4
        if roll < 0.6:
            kind = chance.choice(("STOP", "STOP_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT"))
            return order(
                trader, stage.symbol, side, quantity, price if kind.endswith("LIMIT") else None, order_type=kind, time_in_force="GTC",
                stop_price=Decimal(100 + chance.randint(-4, 4)), trigger_source=chance.choice(("LAST", "REFERENCE")), reduce_only=only,
                self_trade_prevention=prevention,
            )  # fmt: skip
        return order(trader, stage.symbol, side, quantity, price, reduce_only=only, self_trade_prevention=prevention)

    def client(number: int, intake: Intake) -> None:
        chance, mine = random.Random(number), list[UUID]()
        trader = traders[number % 3]
        for _ in range(25):
            job = Job(Submission(tuple(request(chance, trader, mine) for _ in range(chance.randint(1, 4)))))
            intake.put(job)
            placed = [o for o in job.future.result(timeout=60) if isinstance(o, Placed) and o.refusal is None]
            mine += [outcome.order_id for outcome in placed]
            told.extend(outcome.order_id for outcome in placed)

    with settling(exchange):
        threads = [threading.Thread(target=client, args=pair) for pair in enumerate(intakes(6))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(told) > 150
    assert {row[0] for row in exchange.rows("SELECT id FROM orders_order")} >= set(told)
    assert replays(stage)
    exchange.restart_worker()
    everything_ends(exchange, *traders)
    assert replays(stage)
