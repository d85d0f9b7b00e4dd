"""The life cycle in the database is the life cycle in `orders.lifecycle`: every legal move is taken, every other refused."""

import pytest
from psycopg import errors

from orders.lifecycle import BEGINNINGS, LEGAL_MOVES, TERMINAL, Status
from tests.database.rows import ENGINE, NOW, Connection, acting_as, insert, one, order_id, refused, without_triggers

PAIRS = [(before, after) for before in Status for after in Status]
LEGAL = [(before, after) for before, after in PAIRS if after in LEGAL_MOVES[before]]
ILLEGAL = [(before, after) for before, after in PAIRS if after not in LEGAL_MOVES[before]]


def an_order(connection: Connection, status: Status) -> None:
    """In this status, with all that any other status would ask of it, so that only the move itself can be refused."""
    with without_triggers(connection):
        insert(
            connection, "orders_order", id=order_id(1), status=status.value, held=0, filled_quantity=1, reason="USER_CANCEL",
            order_type="STOP_LIMIT", stop_price=100, trigger_source="LAST", trigger_price=100, triggered_at=NOW,
        )  # fmt: skip


def test_the_table_has_moves_of_both_kinds() -> None:
    assert len(LEGAL) + len(ILLEGAL) == 81
    assert len(LEGAL) == 28


@pytest.mark.parametrize(("before", "after"), LEGAL)
def test_a_legal_move_is_taken(ground: Connection, before: Status, after: Status) -> None:
    an_order(ground, before)
    with acting_as(ground, ENGINE):
        ground.execute("UPDATE orders_order SET status = %s", [after])
    assert one(ground, "SELECT status FROM orders_order") == after
    insert(ground, "orders_transition", order_id=order_id(1), sequence=1, from_status=before.value, to_status=after.value)


@pytest.mark.parametrize("role", [None, ENGINE])
@pytest.mark.parametrize(("before", "after"), [(before, after) for before, after in ILLEGAL if before != after])
def test_an_illegal_move_is_refused(ground: Connection, before: Status, after: Status, role: str | None) -> None:
    an_order(ground, before)
    with refused(ground, errors.CheckViolation, saying=f"{before} to {after} is not a legal move", role=role):
        ground.execute("UPDATE orders_order SET status = %s", [after])


@pytest.mark.parametrize(("before", "after"), ILLEGAL)
def test_history_takes_no_illegal_step(ground: Connection, before: Status, after: Status) -> None:
    with refused(ground, errors.CheckViolation, constraint="transition_is_legal", role=ENGINE):
        insert(ground, "orders_transition", order_id=order_id(1), sequence=1, from_status=before.value, to_status=after.value)


@pytest.mark.parametrize("status", Status)
def test_an_order_begins_as_pending_or_rejected_only(ground: Connection, status: Status) -> None:
    order = {"id": order_id(1), "status": status.value, "held": 0, "filled_quantity": 1, "reason": "USER_CANCEL"}
    step = {"order_id": order_id(1), "from_status": None, "to_status": status.value}
    if status in BEGINNINGS:
        insert(ground, "orders_order", **order)
        insert(ground, "orders_transition", **step)
    else:
        with refused(ground, errors.CheckViolation, saying=f"it cannot begin as {status}", role=ENGINE):
            insert(ground, "orders_order", **order)
        with refused(ground, errors.CheckViolation, constraint="transition_is_legal", role=ENGINE):
            insert(ground, "orders_transition", **step)


def test_an_unknown_status_is_refused(ground: Connection) -> None:
    with without_triggers(ground), refused(ground, errors.CheckViolation, constraint="order_status_known"):
        insert(ground, "orders_order", id=order_id(1), status="LOST")
    with refused(ground, errors.CheckViolation, constraint="transition_is_legal"):
        insert(ground, "orders_transition", order_id=order_id(1), sequence=1, from_status="PENDING", to_status="LOST")


@pytest.mark.parametrize("end", sorted(TERMINAL))
def test_an_end_is_an_end(ground: Connection, end: Status) -> None:
    an_order(ground, end)
    with refused(ground, errors.CheckViolation, saying=f"{end} to OPEN is not a legal move", role=ENGINE):
        ground.execute("UPDATE orders_order SET status = 'OPEN'")


@pytest.mark.parametrize(
    "change",
    [
        "account_id = account_id + 1",
        "symbol_id = symbol_id + 1",
        "side = 'SELL'",
        "client_order_id = 'other'",
        "created_at = created_at + interval '1 second'",
        "id = '{another}'",
    ],
)
def test_an_order_keeps_its_identity(ground: Connection, change: str) -> None:
    insert(ground, "orders_order", id=order_id(1))
    with refused(ground, errors.RestrictViolation, saying="its identity never changes", role=ENGINE):
        ground.execute(f"UPDATE orders_order SET {change}".format(another=order_id(2)).encode())


@pytest.mark.parametrize(
    "change",
    [
        "maker_fee_rate = 0.0005",
        "taker_fee_rate = taker_fee_rate + 0.00000001",
        "order_type = 'STOP_LIMIT'",
        "time_in_force = 'IOC'",
        "filled_quantity = filled_quantity - 0.000000000000000001",
        "filled_quote = 0",
        "sequence = sequence - 1",
    ],
)
@pytest.mark.parametrize("role", [None, ENGINE])
def test_what_is_frozen_stays_frozen_and_what_was_filled_stays_filled(ground: Connection, change: str, role: str | None) -> None:
    insert(ground, "orders_order", id=order_id(1), filled_quantity="0.5", filled_quote=50, sequence=7)
    with refused(ground, errors.RestrictViolation, saying="what was filled stays filled", role=role):
        ground.execute(f"UPDATE orders_order SET {change}".encode())
    ground.execute("UPDATE orders_order SET filled_quantity = 0.6, filled_quote = 60, sequence = 8, held = 40, price = 99, quantity = 0.9")


@pytest.mark.parametrize("beginning", sorted(BEGINNINGS))
def test_a_life_begins_at_intake_not_in_the_engine(ground: Connection, beginning: Status) -> None:
    with refused(ground, errors.CheckViolation, constraint="transition_begins_at_intake", role=ENGINE):
        insert(ground, "orders_transition", order_id=order_id(1), sequence=1, from_status=None, to_status=beginning.value)


def test_one_client_order_id_makes_one_order(ground: Connection) -> None:
    insert(ground, "orders_orderkey", order_id=order_id(1), client_order_id="once")
    with refused(ground, errors.UniqueViolation, constraint="orders_orderkey_pkey", role=ENGINE):
        insert(ground, "orders_orderkey", order_id=order_id(2), client_order_id="once")
