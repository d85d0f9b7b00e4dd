"""Dead man's switches: durable deadlines that a worker fires, whoever set them and whoever has died since."""

from uuid import UUID

import pytest

from orders import switch
from orders.requests import SetSwitch, SwitchSet
from tests.matching_worker.exchange import Exchange, Trader
from tests.matching_worker.test_stops import Stage


@pytest.fixture
def stage(exchange: Exchange) -> Stage:
    return Stage(exchange)


def arm(stage: Stage, trader: Trader, timeout_ms: int, holder: str = "", reason: str = "DEAD_MAN_SWITCH") -> SwitchSet:
    [outcome] = stage.exchange.take(SetSwitch(trader.principal, (trader.id,), timeout_ms, holder, reason))
    assert isinstance(outcome, SwitchSet)
    return outcome


def due_now(stage: Stage, holder: str = "") -> None:
    with stage.exchange.connection() as connection:
        connection.execute("UPDATE orders_switch SET deadline = clock_timestamp() WHERE holder = %s", [holder])


def fire(stage: Stage) -> int:
    asked = switch.fire_due(stage.exchange.settling)
    stage.exchange.settle()
    return asked


def rest(stage: Stage, trader: Trader) -> UUID:
    made = stage.exchange.placed(trader, stage.symbol, "BUY", "1", "90")
    stage.exchange.settle()
    return made


def test_it_cancels_what_is_open_of_its_account_once_and_nothing_else(stage: Stage) -> None:
    mine, waiting, other = rest(stage, stage.ann), stage.stop(stage.ann, "SELL", "80"), rest(stage, stage.bob)
    armed = arm(stage, stage.ann, 60_000)
    assert armed.timeout_ms == 60_000
    assert armed.deadline is not None
    assert fire(stage) == 0
    due_now(stage)
    assert fire(stage) == 2
    assert stage.state(mine) == stage.state(waiting) == ("CANCELLED", "DEAD_MAN_SWITCH")
    assert stage.state(other) == ("OPEN", None)
    later = rest(stage, stage.ann)
    assert fire(stage) == 0
    assert stage.state(later) == ("OPEN", None)
    actor = stage.exchange.row("SELECT actor FROM orders_transition WHERE order_id = %s AND to_status = 'CANCELLED'", mine)
    assert actor == ("key:test",)


def test_it_is_set_anew_and_taken_off(stage: Stage) -> None:
    order = rest(stage, stage.ann)
    first = arm(stage, stage.ann, 1_000).deadline
    second = arm(stage, stage.ann, 60_000).deadline
    assert first is not None and second is not None and second > first
    assert arm(stage, stage.ann, 0).deadline is None
    due_now(stage)
    assert fire(stage) == 0
    assert stage.state(order) == ("OPEN", None)


def test_it_outlives_whoever_set_it_and_the_worker(stage: Stage) -> None:
    order = rest(stage, stage.ann)
    arm(stage, stage.ann, 60_000)
    due_now(stage)
    stage.exchange.restart_worker()
    assert fire(stage) == 1
    assert stage.state(order)[1] == "DEAD_MAN_SWITCH"


def test_a_connections_switch_is_another_one_and_moves_on_while_its_process_lives(stage: Stage) -> None:
    order = rest(stage, stage.ann)
    arm(stage, stage.ann, 60_000)
    arm(stage, stage.ann, 60_000, "stream:one", "DISCONNECT")
    arm(stage, stage.ann, 60_000, "stream:two", "DISCONNECT")
    due_now(stage, "stream:one")
    switch.move_on(holders=["stream:one", "stream:two"], seconds=20)
    assert fire(stage) == 0
    due_now(stage, "stream:two")
    assert fire(stage) == 1
    assert stage.state(order) == ("CANCELLED", "DISCONNECT")
    assert stage.exchange.rows("SELECT holder FROM orders_switch ORDER BY holder") == [("",), ("stream:one",)]


def test_an_account_that_somebody_holds_is_left_for_the_next_look(stage: Stage) -> None:
    order = rest(stage, stage.ann)
    arm(stage, stage.ann, 60_000)
    due_now(stage)
    holder = stage.exchange.connection()
    holder.execute("SELECT 1 FROM institutions_account WHERE id = %s FOR NO KEY UPDATE", [stage.ann.id])
    assert fire(stage) == 0
    holder.rollback()
    assert fire(stage) == 1
    assert stage.state(order)[0] == "CANCELLED"


def test_two_workers_fire_it_once(stage: Stage) -> None:
    order = rest(stage, stage.ann)
    arm(stage, stage.ann, 60_000)
    due_now(stage)
    other = stage.exchange.connection()
    assert sorted([switch.fire_due(stage.exchange.settling), switch.fire_due(other)]) == [0, 1]
    stage.exchange.settle()
    assert stage.state(order)[0] == "CANCELLED"
