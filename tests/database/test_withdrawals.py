"""What the database itself refuses about withdrawals, addresses, limits and movements, whoever asks."""

from typing import Any

import pytest
from psycopg import errors

from tests.database.rows import (
    ALICE,
    BOB,
    BTC,
    ENGINE,
    FEES,
    HOUSE,
    NORTH,
    OUTSIDE,
    USD,
    Connection,
    column,
    insert,
    one,
    order_id,
    refused,
    without_triggers,
)
from wallet.lifecycle import MOVES
from wallet.models import WithdrawalState

STATES = list(WithdrawalState)
HOUSE_ADJUSTMENT, CAROL = 913, 922
ROLES = pytest.mark.parametrize("role", [None, ENGINE])
MOVE = "UPDATE wallet_withdrawal SET state = %s, changed_by = 'test', transfer_id = %s, reference = %s WHERE id = %s"


@pytest.fixture
def desk(ground: Connection) -> Connection:
    """Alice asks for 1 USD; nobody has allowed anything."""
    insert(ground, "institutions_account", id=HOUSE_ADJUSTMENT, institution_id=HOUSE, name="adjust", kind="ADJUSTMENT")
    insert(ground, "institutions_account", id=CAROL, institution_id=NORTH, name="carol")
    insert(ground, "wallet_withdrawal", id=order_id(1))
    return ground


def move(connection: Connection, to: str) -> None:
    sent = to == "COMPLETED"
    connection.execute(MOVE, [to, order_id(5) if sent else None, "chain" if sent else None, order_id(1)])


def put(connection: Connection, state: str) -> None:
    """The withdrawal in that state, as if it had come there."""
    with without_triggers(connection):
        move(connection, state)


def allow(connection: Connection, amount: int) -> None:
    """An automatic limit, as if two people had agreed to it."""
    with without_triggers(connection):
        insert(connection, "wallet_withdrawallimit", automatic=amount)


@pytest.mark.parametrize("after", STATES)
@pytest.mark.parametrize("before", STATES)
@ROLES
def test_it_moves_as_the_table_says_and_no_other_way(desk: Connection, before: str, after: str, role: str | None) -> None:
    allow(desk, 100)
    put(desk, before)
    if after in MOVES[before]:
        move(desk, after)
    elif after != before:
        with refused(desk, errors.RestrictViolation, saying=f"{before} does not become {after}", role=role):
            move(desk, after)


def test_every_move_leaves_a_step_and_nobody_else_does(desk: Connection) -> None:
    allow(desk, 100)
    move(desk, "APPROVED")
    move(desk, "FAILED")
    assert column(desk, "SELECT to_state FROM wallet_withdrawalstep ORDER BY id") == ["REQUESTED", "APPROVED", "FAILED"]
    for role in (None, ENGINE):
        with refused(desk, errors.InsufficientPrivilege, saying="is written by its move", role=role):
            desk.execute(
                "INSERT INTO wallet_withdrawalstep (withdrawal_id, to_state, actor, note, at) VALUES (%s, 'APPROVED', 'me', '', now())",
                [order_id(1)],
            )


@pytest.mark.parametrize("change", ["amount = 2", f"account_id = {BOB}", f"asset_id = {BTC}", "address_id = gen_random_uuid()"])
@ROLES
def test_what_was_asked_stays(desk: Connection, change: str, role: str | None) -> None:
    with refused(desk, errors.RestrictViolation, saying="what was asked stays as it was asked", role=role):
        desk.execute(f"UPDATE wallet_withdrawal SET {change}, state = 'CANCELLED'".encode())


@pytest.mark.parametrize(
    "wrong",
    [
        {"state": "APPROVED"},
        {"is_automatic": True},
        {"state": "COMPLETED", "transfer_id": order_id(5), "reference": "x"},
        {"address_id": order_id(BOB)},
        {"account_id": BOB},
        {"asset_id": BTC},
        {"address_id": order_id(77)},
    ],
)
@ROLES
def test_it_begins_asked_for_and_to_a_listed_address(desk: Connection, wrong: dict[str, Any], role: str | None) -> None:
    with refused(desk, errors.CheckViolation, saying="withdrawal ", role=role):
        insert(desk, "wallet_withdrawal", id=order_id(2), **wrong)


@pytest.mark.parametrize("account", [OUTSIDE, FEES, 999_999])
def test_only_a_customer_withdraws(desk: Connection, account: int) -> None:
    with refused(desk, errors.ForeignKeyViolation, saying="unknown account or asset", role=ENGINE):
        insert(desk, "wallet_withdrawal", id=order_id(2), account_id=account)


def test_an_address_waits_is_denied_or_is_removed(desk: Connection) -> None:
    listed = """INSERT INTO wallet_address (id, account_id, asset_id, address, label, added_by, added_at, usable_at)
                VALUES (%s, %s, %s, 'new', '', 'test', %s, now() + interval '1 s')"""
    desk.execute(listed, [order_id(60), ALICE, USD, "2001-01-01"])
    assert one(desk, "SELECT added_at = now() FROM wallet_address WHERE address = 'new'")  # nobody dates it back
    with refused(desk, errors.CheckViolation, saying="waits still", role=ENGINE):
        insert(desk, "wallet_withdrawal", id=order_id(2), address_id=order_id(60))
    with refused(desk, errors.RestrictViolation, saying="it stays as it is until it is removed", role=ENGINE):
        desk.execute("UPDATE wallet_address SET usable_at = now() WHERE address = 'new'")
    with refused(desk, errors.CheckViolation, constraint="address_usable_after_added", role=ENGINE):
        desk.execute(listed.replace("now() +", "now() -"), [order_id(61), BOB, USD, "2001-01-01"])
    desk.execute("INSERT INTO wallet_deniedaddress VALUES ('somewhere', 'x', 'test', now())")
    with refused(desk, errors.CheckViolation, saying="is denied", role=ENGINE):
        insert(desk, "wallet_withdrawal", id=order_id(2))
    desk.execute("DELETE FROM wallet_deniedaddress")
    insert(desk, "wallet_withdrawal", id=order_id(2))
    desk.execute("UPDATE wallet_address SET removed_at = now(), removed_by = 'test'")
    with refused(desk, errors.CheckViolation, saying="not listed", role=ENGINE):
        insert(desk, "wallet_withdrawal", id=order_id(3))
    with refused(desk, errors.RestrictViolation, saying="stays as it is", role=ENGINE):
        desk.execute("UPDATE wallet_address SET removed_at = NULL, removed_by = NULL")


@ROLES
def test_nobody_approves_alone_what_is_above_the_limit(desk: Connection, role: str | None) -> None:
    with refused(desk, errors.CheckViolation, saying="takes an approved request", role=role):
        move(desk, "APPROVED")
    insert(desk, "institutions_changerequest", kind="withdrawal.approve", subject=f"withdrawal:{order_id(1)}", institution_id=NORTH)
    with refused(desk, errors.CheckViolation, saying="takes an approved request", role=role):  # asked for is not agreed to
        move(desk, "APPROVED")


def test_the_limit_counts_what_went_without_a_person(desk: Connection) -> None:
    allow(desk, 3)
    insert(desk, "wallet_withdrawal", {"id": order_id(2), "amount": 2}, {"id": order_id(3), "amount": "0.000001"})
    move(desk, "APPROVED")
    assert one(desk, "SELECT is_automatic FROM wallet_withdrawal WHERE id = %s", order_id(1))
    desk.execute(MOVE, ["APPROVED", None, None, order_id(2)])
    with refused(desk, errors.CheckViolation, saying="more than the automatic limit", role=ENGINE):
        desk.execute(MOVE, ["APPROVED", None, None, order_id(3)])


@ROLES
def test_a_limit_is_not_raised_alone(desk: Connection, role: str | None) -> None:
    with refused(desk, errors.CheckViolation, saying="a higher limit takes an approved request", role=role):
        insert(desk, "wallet_withdrawallimit", automatic=1)
    allow(desk, 5)
    with refused(desk, errors.CheckViolation, saying="a higher limit takes an approved request", role=role):
        desk.execute("UPDATE wallet_withdrawallimit SET automatic = 6")
    desk.execute("UPDATE wallet_withdrawallimit SET automatic = 4")


def test_completed_without_its_transfer_is_not_committed(desk: Connection) -> None:
    put(desk, "APPROVED")
    move(desk, "COMPLETED")
    with refused(desk, errors.CheckViolation, saying="COMPLETED without its transfer"):
        desk.execute("SET CONSTRAINTS ALL IMMEDIATE")
    sent = {"kind": "WITHDRAWAL", "debit_account_id": ALICE, "credit_account_id": OUTSIDE}
    for wrong in ({"id": order_id(6)}, {"amount": 2}, {"debit_account_id": BOB}, {"credit_account_id": FEES}, {"asset_id": BTC}):
        with refused(desk, errors.CheckViolation, saying="nobody has agreed", role=ENGINE):
            insert(desk, "wallet_transfer", **{"id": order_id(5), **sent, **wrong})
    insert(desk, "wallet_transfer", id=order_id(5), **sent)
    desk.execute("SET CONSTRAINTS ALL IMMEDIATE")


MOVEMENTS = [
    ("DEPOSIT", ALICE, OUTSIDE),
    ("DEPOSIT", BOB, ALICE),
    ("DEPOSIT", HOUSE_ADJUSTMENT, ALICE),
    ("DEPOSIT", OUTSIDE, FEES),
    ("TRANSFER", ALICE, BOB),
    ("TRANSFER", OUTSIDE, ALICE),
    ("TRANSFER", ALICE, FEES),
    ("WITHDRAWAL", ALICE, OUTSIDE),
    ("ADJUSTMENT", HOUSE_ADJUSTMENT, ALICE),
    ("ADJUSTMENT", ALICE, CAROL),
]


@pytest.mark.parametrize(("kind", "debit", "credit"), MOVEMENTS)
@ROLES
def test_money_moves_between_such_accounts_only_by_what_allows_it(
    desk: Connection, kind: str, debit: int, credit: int, role: str | None
) -> None:
    for reference in (None, "request:1", "request:99999999999999999999", "request:x"):
        with refused(desk, errors.CheckViolation, saying=f"no {kind} between such accounts", role=role):
            insert(
                desk, "wallet_transfer", id=order_id(9), kind=kind, debit_account_id=debit, credit_account_id=credit, reference=reference
            )


def test_the_supply_follows_what_comes_in(desk: Connection) -> None:
    insert(desk, "wallet_transfer", id=order_id(9), amount=7)
    insert(desk, "wallet_transfer", id=order_id(10), kind="TRANSFER", debit_account_id=ALICE, credit_account_id=CAROL)
    assert one(desk, "SELECT amount FROM wallet_supply WHERE asset_id = %s", USD) == 7
    with refused(desk, errors.CheckViolation, constraint="supply_sane", role=ENGINE):
        insert(desk, "wallet_transfer", id=order_id(11), amount="9e19")


def test_an_address_is_a_customers(desk: Connection) -> None:
    with refused(desk, errors.ForeignKeyViolation, saying="unknown account or asset", role=ENGINE):
        desk.execute(
            """INSERT INTO wallet_address (id, account_id, asset_id, address, label, added_by, added_at, usable_at)
               VALUES (gen_random_uuid(), %s, %s, 'x', '', 'test', now(), now())""",
            [OUTSIDE, USD],
        )
