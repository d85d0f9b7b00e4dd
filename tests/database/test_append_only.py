"""What was written into history stays: UPDATE, DELETE and TRUNCATE are refused to every role, on partitions too."""

import psycopg
import pytest
from psycopg import errors, sql

from tests.database.rows import (
    ALICE,
    BOB,
    BTC,
    ENGINE,
    OUTSIDE,
    TENANT,
    USD,
    Connection,
    column,
    insert,
    one,
    order_id,
    refused,
)

APPEND_ONLY = (
    "wallet_transfer",
    "wallet_transferkey",
    "orders_trade",
    "orders_transition",
    "orders_commandlog",
    "orders_orderkey",
    "orders_symbolstatus",
    "institutions_auditentry",
    "wallet_carriedsum",
    "orders_anchor",
    "orders_archivedpartition",
    "orders_carriedposition",
    "orders_carriedtrade",
    "orders_closedmonth",
    "risk_alertaccount",
    "risk_alertevidence",
    "risk_alerthistory",
    "risk_alertnote",
    "wallet_withdrawalstep",
    "risk_signal",
    "risk_portfoliosnapshot",
)
PARTITIONED = ("wallet_transfer", "orders_trade", "orders_transition", "orders_commandlog", "orders_order")
CHANGES = {
    "UPDATE": "UPDATE {table} SET {column} = {column}",
    "DELETE": "DELETE FROM {table}",
    "TRUNCATE": "TRUNCATE {table}",
}
SOME_COLUMN = {
    "wallet_transfer": "amount",
    "wallet_transferkey": "key",
    "orders_trade": "price",
    "orders_transition": "cause",
    "orders_commandlog": "chain",
    "orders_orderkey": "order_id",
    "orders_symbolstatus": "cause",
    "institutions_auditentry": "actor",
    "orders_order": "price",
    "wallet_carriedsum": "amount",
    "orders_anchor": "chain",
    "orders_archivedpartition": "rows",
    "orders_carriedposition": "cash",
    "orders_carriedtrade": "number",
    "orders_closedmonth": "orders",
    "risk_alertaccount": "alert_id",
    "risk_alertevidence": "reference",
    "risk_alerthistory": "state",
    "risk_alertnote": "text",
    "wallet_withdrawalstep": "actor",
    "risk_signal": "score",
    "risk_portfoliosnapshot": "equity",
}


@pytest.fixture
def history(ground: Connection) -> Connection:
    """One row in each of the tables: a row trigger has nothing to refuse where there is none."""
    insert(ground, "wallet_transfer", id=order_id(1))
    insert(ground, "wallet_transferkey", key="deposit-1")
    insert(ground, "orders_order", id=order_id(1))
    insert(ground, "orders_orderkey", order_id=order_id(1), client_order_id="client-1")
    insert(ground, "orders_transition", order_id=order_id(1), to_status="PENDING")
    insert(ground, "orders_trade", id=order_id(1))
    insert(ground, "orders_commandlog", chain=bytes(32))
    insert(ground, "orders_symbolstatus")
    insert(ground, "institutions_auditentry")
    insert(ground, "risk_signal")
    insert(ground, "risk_portfoliosnapshot")
    month = {"month": "2020-01-01"}
    insert(
        ground,
        "wallet_carriedsum",
        *({**month, "account_id": account, "amount": amount} for account, amount in ((ALICE, 1), (OUTSIDE, -1))),
    )
    insert(ground, "wallet_withdrawal", id=order_id(1))  # and its first step
    insert(ground, "orders_anchor")
    insert(ground, "orders_carriedtrade", **month)
    insert(ground, "orders_carriedposition", **month)
    insert(ground, "orders_closedmonth", **month)
    insert(ground, "orders_archivedpartition", name="orders_trade_2020_01")
    insert(ground, "risk_alert")
    for part in ("risk_alerthistory", "risk_alertaccount", "risk_alertevidence", "risk_alertnote"):
        insert(ground, part)
    ground.execute("SET CONSTRAINTS ALL IMMEDIATE")  # nothing is pending that a TRUNCATE would have to wait for
    return ground


def change(connection: Connection, verb: str, table: str, of: str) -> None:
    statement = sql.SQL(CHANGES[verb]).format(table=sql.Identifier(table), column=sql.Identifier(SOME_COLUMN[of]))
    connection.execute(statement)


def partition_of(connection: Connection, table: str) -> str:
    """The partition in which the table's one row lies."""
    return str(one(connection, f"SELECT tableoid::regclass::text FROM {table}"))


@pytest.mark.parametrize("verb", CHANGES)
@pytest.mark.parametrize("table", APPEND_ONLY)
def test_not_even_the_owner_changes_what_was_written(history: Connection, table: str, verb: str) -> None:
    with refused(history, errors.RestrictViolation, saying=f"{verb} on "):
        change(history, verb, table, table)


@pytest.mark.parametrize("verb", CHANGES)
@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize("role", [ENGINE, TENANT])
def test_the_applications_roles_have_no_right_to_change_what_was_written(history: Connection, role: str, table: str, verb: str) -> None:
    with refused(history, errors.InsufficientPrivilege, saying=f"permission denied for table {table}", role=role):
        change(history, verb, table, table)


@pytest.mark.parametrize("verb", CHANGES)
@pytest.mark.parametrize("table", PARTITIONED)
def test_not_even_the_owner_gets_around_it_through_a_partition(history: Connection, table: str, verb: str) -> None:
    if (table, verb) == ("orders_order", "UPDATE"):
        pytest.skip("orders change; their moves are guarded elsewhere")
    with refused(history, errors.RestrictViolation, saying=f"{verb} on {table}_"):
        change(history, verb, partition_of(history, table), table)


@pytest.mark.parametrize("verb", CHANGES)
@pytest.mark.parametrize("table", PARTITIONED)
@pytest.mark.parametrize("role", [ENGINE, TENANT])
def test_the_applications_roles_have_no_right_on_a_partition(history: Connection, role: str, table: str, verb: str) -> None:
    partition = partition_of(history, table)
    with refused(history, errors.InsufficientPrivilege, saying=f"permission denied for table {partition}", role=role):
        change(history, verb, partition, table)


@pytest.mark.parametrize("role", [None, ENGINE])
def test_an_order_is_never_deleted(history: Connection, role: str | None) -> None:
    with refused(history, errors.RestrictViolation, saying="DELETE on orders_order_", role=role):
        history.execute("DELETE FROM orders_order")


def test_orders_are_never_truncated(history: Connection) -> None:
    with refused(history, errors.RestrictViolation, saying="TRUNCATE on orders_order"):
        history.execute("TRUNCATE orders_order")
    with refused(history, errors.InsufficientPrivilege, saying="permission denied for table orders_order", role=ENGINE):
        history.execute("TRUNCATE orders_order")


def test_an_insert_cannot_turn_into_an_update(history: Connection) -> None:
    with refused(history, errors.InsufficientPrivilege, saying="permission denied for table wallet_transfer", role=ENGINE):
        history.execute(
            """INSERT INTO wallet_transfer SELECT * FROM wallet_transfer
               ON CONFLICT (id, leg) DO UPDATE SET amount = excluded.amount + 1"""
        )


def test_the_engine_writes_history_and_reads_it(history: Connection) -> None:
    history.execute(f"SET LOCAL ROLE {ENGINE}")
    insert(
        history,
        "wallet_transfer",
        {"id": order_id(2), "leg": 0, "kind": "TRADE", "asset_id": BTC, "debit_account_id": BOB, "credit_account_id": ALICE},
        {"id": order_id(2), "leg": 1, "kind": "TRADE", "asset_id": USD, "debit_account_id": ALICE, "credit_account_id": BOB},
    )
    insert(history, "wallet_transfer", id=order_id(3), debit_account_id=OUTSIDE, credit_account_id=BOB)
    assert one(history, "SELECT count(*) FROM wallet_transfer") == 4


def test_every_append_only_table_carries_both_guards(owner: Connection) -> None:
    guarded = column(
        owner,
        """SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname IN ('append_only', 'append_only_truncate') AND tgparentid = 0
           GROUP BY tgrelid HAVING count(*) = 2 AND bool_and(tgenabled = 'O') ORDER BY 1""",
    )
    assert guarded == sorted(APPEND_ONLY)


@pytest.mark.parametrize("role", [ENGINE, TENANT])
def test_the_applications_roles_cannot_switch_triggers_off(history: Connection, role: str) -> None:
    with refused(history, errors.InsufficientPrivilege, saying="session_replication_role", role=role):
        history.execute("SET LOCAL session_replication_role = replica")
    for statement in (
        "ALTER TABLE wallet_transfer DISABLE TRIGGER ALL",
        "DROP TRIGGER append_only ON wallet_transfer",
        "DROP TABLE wallet_transfer",
        "ALTER TABLE wallet_transfer NO FORCE ROW LEVEL SECURITY",
    ):
        with refused(history, errors.InsufficientPrivilege, saying="must be owner of", role=role):
            history.execute(statement.encode())


def test_a_role_that_logs_in_is_what_it_says(owner: Connection) -> None:
    """The refusals above hold for the roles as the settings log them in: nothing about them is more than they are."""
    from django.conf import settings

    from exchange_platform.settings.database import role_url

    for role in (ENGINE, TENANT):
        with psycopg.connect(role_url(settings.DATABASE_URL, role)) as connection:
            assert connection.execute(
                """SELECT current_user, session_user, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb
                   FROM pg_roles WHERE rolname = current_user"""
            ).fetchone() == (role, role, False, False, False, False)
            assert column(connection, "SELECT roleid::regrole::text FROM pg_auth_members WHERE member = current_user::regrole") == []
