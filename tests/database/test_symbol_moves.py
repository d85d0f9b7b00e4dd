"""A symbol changes its shard only with a higher epoch; a move takes its steps in order, once, and what was asked for stays."""

import pytest
from psycopg import errors

from tests.database.rows import ENGINE, MARKET, Connection, acting_as, insert, one, refused

STATES = ("REQUESTED", "DRAINED", "DONE", "UNDONE")
STEPS = {("REQUESTED", "DRAINED"), ("REQUESTED", "UNDONE"), ("DRAINED", "DONE"), ("DRAINED", "UNDONE")}
END = "ended_at = CASE WHEN '{0}' IN ('DONE', 'UNDONE') THEN now() END, note = CASE WHEN '{0}' = 'UNDONE' THEN 'why' ELSE '' END"


def a_move(connection: Connection, state: str) -> None:
    is_over = state in ("DONE", "UNDONE")
    note = "why" if state == "UNDONE" else ""
    insert(connection, "orders_symbolmove", state=state, note=note, ended_at="2026-01-01" if is_over else None)


@pytest.mark.parametrize("after", STATES)
@pytest.mark.parametrize("before", STATES)
def test_a_move_takes_its_steps_in_order(ground: Connection, before: str, after: str) -> None:
    a_move(ground, before)
    statement = f"UPDATE orders_symbolmove SET state = '{after}', {END.format(after)}".encode()
    if (before, after) in STEPS or (before == after and before in ("REQUESTED", "DRAINED")):
        with acting_as(ground, ENGINE):
            ground.execute(statement)
        assert one(ground, "SELECT state FROM orders_symbolmove") == after
    else:
        with refused(ground, errors.CheckViolation, saying="is not a step of a move", role=ENGINE):
            ground.execute(statement)


@pytest.mark.parametrize(
    "change",
    ["symbol_id = symbol_id + 1", "from_shard = 5", "to_shard = 5", "actor = 'another'", "reason = 'other'", "requested_at = now()",
     "overdue_at = now()"],
)  # fmt: skip
def test_what_was_asked_for_stays(ground: Connection, change: str) -> None:
    a_move(ground, "REQUESTED")
    with refused(ground, errors.CheckViolation, saying="what was asked for would change", role=ENGINE):
        ground.execute(f"UPDATE orders_symbolmove SET {change}".encode())


@pytest.mark.parametrize(
    ("row", "constraint"),
    [
        ({"state": "LOST"}, "symbolmove_state_known"),
        ({"state": "DONE"}, "symbolmove_state_known"),
        ({"ended_at": "2026-01-01"}, "symbolmove_state_known"),
        ({"from_shard": 1}, "symbolmove_goes_elsewhere"),
        ({"to_shard": -1}, "symbolmove_to_a_shard"),
        ({"reason": " "}, "symbolmove_has_a_reason"),
        ({"actor": ""}, "symbolmove_has_a_reason"),
        ({"state": "UNDONE", "ended_at": "2026-01-01"}, "symbolmove_undone_says_why"),
    ],
)
def test_a_move_makes_sense(ground: Connection, row: dict[str, object], constraint: str) -> None:
    with refused(ground, errors.CheckViolation, constraint=constraint, role=ENGINE):
        insert(ground, "orders_symbolmove", **row)


def test_a_symbol_moves_once_at_a_time(ground: Connection) -> None:
    for state in ("DONE", "UNDONE", "REQUESTED"):
        a_move(ground, state)
    with refused(ground, errors.UniqueViolation, constraint="symbolmove_one_at_a_time", role=ENGINE):
        a_move(ground, "DRAINED")


@pytest.mark.parametrize("role", [None, ENGINE])
def test_a_symbol_goes_to_another_shard_with_a_higher_epoch_only(ground: Connection, role: str | None) -> None:
    insert(ground, "orders_checkpoint", epoch=7)
    with refused(ground, errors.RestrictViolation, saying=f"symbol {MARKET}: goes to another shard only", role=role):
        ground.execute("UPDATE orders_checkpoint SET shard_id = 1")
    ground.execute("UPDATE orders_checkpoint SET shard_id = 1, epoch = 8")
    ground.execute("UPDATE orders_checkpoint SET sequence = 1")


def test_epochs_of_all_shards_are_of_one_sequence(ground: Connection) -> None:
    with acting_as(ground, ENGINE):
        assert one(ground, "SELECT nextval('orders_epoch')") < one(ground, "SELECT nextval('orders_epoch')")
