"""The tenants' role sees its own institution's rows and no others, whatever SQL it runs, and changes nothing."""

import pytest
from psycopg import errors, sql

from tests.database.rows import (
    ALICE,
    BOB,
    BTC,
    ENGINE,
    FEES,
    NORTH,
    OUTSIDE,
    SOUTH,
    TENANT,
    USD,
    Connection,
    acting_as,
    column,
    insert,
    one,
    order_id,
    refused,
    trade_id,
)

BALANCE = "account_id || ' ' || asset_id"
TRANSFER = "lower(right(id::text, 1)) || ' ' || leg"
ORDER = "right({}::text, 1)"

# What each institution sees of each table, by a short name of the row. A trade and its two legs belong to both sides.
SEEN = {
    "institutions_institution": ("id::text", {NORTH: {f"{NORTH}"}, SOUTH: {f"{SOUTH}"}}),
    "institutions_account": ("id::text", {NORTH: {f"{ALICE}"}, SOUTH: {f"{BOB}"}}),
    "institutions_changerequest": ("subject", {NORTH: {"account:alice"}, SOUTH: {"account:bob"}}),
    "wallet_balance": (BALANCE, {NORTH: {f"{ALICE} {USD}"}, SOUTH: {f"{BOB} {BTC}"}}),
    "wallet_address": ("account_id::text", {NORTH: {f"{ALICE}"}, SOUTH: {f"{BOB}"}}),
    "wallet_withdrawal": (ORDER.format("id"), {NORTH: {"1"}, SOUTH: {"2"}}),
    "wallet_withdrawalstep": (ORDER.format("withdrawal_id"), {NORTH: {"1"}, SOUTH: {"2"}}),
    "wallet_transfer": (TRANSFER, {NORTH: {"1 0", "9 0", "9 1", "9 2"}, SOUTH: {"2 0", "9 0", "9 1"}}),
    "orders_order": (ORDER.format("id"), {NORTH: {"1"}, SOUTH: {"2"}}),
    "orders_openorder": (ORDER.format("order_id"), {NORTH: {"1"}, SOUTH: {"2"}}),
    "orders_orderkey": (ORDER.format("order_id"), {NORTH: {"1"}, SOUTH: {"2"}}),
    "notifications_feed": ("account_id::text", {NORTH: {f"{ALICE}"}, SOUTH: {f"{BOB}"}}),
    "orders_amend": (ORDER.format("order_id"), {NORTH: {"1"}, SOUTH: {"2"}}),
    "orders_transition": (ORDER.format("order_id"), {NORTH: {"1"}, SOUTH: {"2"}}),
    "orders_switch": ("account_id::text", {NORTH: {f"{ALICE}"}, SOUTH: {f"{BOB}"}}),
    "risk_position": ("account_id::text", {NORTH: {f"{ALICE}"}, SOUTH: {f"{BOB}"}}),
    "risk_exposure": ("account_id::text", {NORTH: {f"{ALICE}"}, SOUTH: {f"{BOB}"}}),
    "risk_dayresult": ("account_id::text", {NORTH: {f"{ALICE}"}, SOUTH: {f"{BOB}"}}),
    "orders_trade": (ORDER.format("id"), {NORTH: {"9", "7"}, SOUTH: {"9", "8"}}),
}


@pytest.fixture
def two_tenants(ground: Connection) -> Connection:
    """Alice of NORTH and Bob of SOUTH: money, an order each with its history, a trade between them and one with others each."""
    insert(ground, "wallet_balance", {"account_id": ALICE, "asset_id": USD}, {"account_id": BOB, "asset_id": BTC})
    insert(ground, "wallet_transfer", id=order_id(1), debit_account_id=OUTSIDE, credit_account_id=ALICE)
    insert(ground, "wallet_transfer", id=order_id(2), debit_account_id=OUTSIDE, credit_account_id=BOB)
    insert(
        ground,
        "wallet_transfer",
        {"id": trade_id(9), "leg": 0, "kind": "TRADE", "asset_id": BTC, "debit_account_id": BOB, "credit_account_id": ALICE},
        {"id": trade_id(9), "leg": 1, "kind": "TRADE", "asset_id": USD, "debit_account_id": ALICE, "credit_account_id": BOB},
        {"id": trade_id(9), "leg": 2, "kind": "TAKER_FEE", "asset_id": BTC, "debit_account_id": ALICE, "credit_account_id": FEES},
    )
    insert(ground, "institutions_changerequest", institution_id=NORTH)
    insert(ground, "institutions_changerequest", institution_id=SOUTH, subject="account:bob")
    insert(ground, "wallet_withdrawal", id=order_id(1))
    insert(ground, "wallet_withdrawal", id=order_id(2), account_id=BOB, asset_id=BTC, address_id=order_id(BOB))
    for account, number in ((ALICE, 1), (BOB, 2)):
        ground.execute("INSERT INTO notifications_feed VALUES (%s, 1, 1, 1)", [account])
        for table in ("risk_position", "risk_exposure", "risk_dayresult"):
            insert(ground, table, account_id=account)
        insert(ground, "orders_switch", account_id=account)
        insert(ground, "orders_order", id=order_id(number), account_id=account)
        insert(ground, "orders_openorder", order_id=order_id(number), account_id=account)
        insert(ground, "orders_orderkey", order_id=order_id(number), account_id=account, client_order_id="one")
        insert(ground, "orders_amend", id=order_id(number), order_id=order_id(number), account_id=account)
        insert(ground, "orders_transition", order_id=order_id(number), to_status="PENDING")
    insert(ground, "orders_trade", id=trade_id(9))
    insert(ground, "orders_trade", id=trade_id(7), number=2, maker_account_id=OUTSIDE)
    insert(ground, "orders_trade", id=trade_id(8), number=3, taker_account_id=OUTSIDE)
    return ground


def seen(connection: Connection, table: str, scope: str | None) -> set[str]:
    """What the tenants' role reads of the table by plain SQL, bound to `scope`."""
    with acting_as(connection, TENANT):
        connection.execute("SELECT set_config('exchange.institution', %s, true)", [scope])
        return set(column(connection, f"SELECT {SEEN[table][0]} FROM {table}"))


@pytest.mark.parametrize("scope", [None, "", "0", f"{NORTH} OR true", "ALL", "%"])
@pytest.mark.parametrize("table", SEEN)
def test_without_its_institution_named_the_tenants_role_sees_nothing(two_tenants: Connection, table: str, scope: str | None) -> None:
    assert seen(two_tenants, table, scope) == set()


@pytest.mark.parametrize("institution", [NORTH, SOUTH])
@pytest.mark.parametrize("table", SEEN)
def test_with_its_institution_named_it_sees_exactly_its_own(two_tenants: Connection, table: str, institution: int) -> None:
    assert seen(two_tenants, table, str(institution)) == SEEN[table][1][institution]


@pytest.mark.parametrize("table", SEEN)
def test_staff_of_the_platform_see_everything(two_tenants: Connection, table: str) -> None:
    everything = set(column(two_tenants, f"SELECT {SEEN[table][0]} FROM {table}"))
    assert seen(two_tenants, table, "all") == everything
    assert everything > SEEN[table][1][NORTH]


@pytest.mark.parametrize("table", SEEN)
def test_the_engine_sees_all_tenants_without_a_setting(two_tenants: Connection, table: str) -> None:
    everything = set(column(two_tenants, f"SELECT {SEEN[table][0]} FROM {table}"))
    with acting_as(two_tenants, ENGINE):
        assert set(column(two_tenants, f"SELECT {SEEN[table][0]} FROM {table}")) == everything


def test_the_view_of_entries_is_bound_as_well(two_tenants: Connection) -> None:
    with acting_as(two_tenants, TENANT):
        assert column(two_tenants, "SELECT account_id FROM wallet_entry") == []
        two_tenants.execute("SELECT set_config('exchange.institution', %s, true)", [str(SOUTH)])
        assert one(two_tenants, "SELECT count(DISTINCT id) FROM wallet_entry") == 2
        assert one(two_tenants, "SELECT count(*) FROM wallet_entry WHERE id = %s", order_id(1)) == 0


def test_the_setting_ends_with_its_transaction(django_db_setup: None) -> None:
    """As `tenant_scope` sets it: the next one who gets this connection from a pool sees nothing."""
    import psycopg
    from django.conf import settings

    from exchange_platform.settings.database import role_url

    with psycopg.connect(role_url(settings.DATABASE_URL, TENANT), autocommit=True) as connection:
        with connection.transaction():
            connection.execute("SELECT set_config('exchange.institution', 'all', true)")
            assert one(connection, "SELECT current_setting('exchange.institution', true)") == "all"
        assert one(connection, "SELECT current_setting('exchange.institution', true)") in (None, "")


def test_every_table_that_the_tenants_role_may_read_is_bound_by_row_level_security(owner: Connection) -> None:
    readable = column(
        owner,
        """SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'm', 'f')
           AND has_table_privilege(%s, oid, 'SELECT') ORDER BY 1""",
        TENANT,
    )
    assert readable == sorted(SEEN)
    views = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'v'"
    assert column(owner, f"{views} AND has_table_privilege(%s, oid, 'SELECT')", TENANT) == ["wallet_entry"]
    assert column(owner, f"{views} AND NOT coalesce('security_invoker=true' = ANY (reloptions), false)") == []
    bound = column(owner, "SELECT relname FROM pg_class WHERE relrowsecurity AND relforcerowsecurity ORDER BY 1")
    assert bound == readable
    policies = owner.execute("SELECT DISTINCT polcmd, polpermissive FROM pg_policy WHERE polroles = ARRAY[%s::regrole::oid]", [TENANT])
    assert policies.fetchall() == [("r", True)]


def test_the_tenants_role_may_write_nothing_at_all(owner: Connection) -> None:
    writable = column(
        owner,
        """SELECT relname || ' ' || privilege FROM pg_class CROSS JOIN unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES',
               'TRIGGER']) AS privilege
           WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v') AND has_table_privilege(%s, oid, privilege)""",
        TENANT,
    )
    assert writable == []
    sequences = column(
        owner,
        """SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
           AND CASE relkind WHEN 'S' THEN has_sequence_privilege(%s, oid, 'USAGE, SELECT, UPDATE') ELSE false END""",
        TENANT,
    )
    assert sequences == []


@pytest.mark.parametrize("table", SEEN)
def test_the_tenants_role_is_refused_when_it_tries(two_tenants: Connection, table: str) -> None:
    two_tenants.execute("SELECT set_config('exchange.institution', 'all', true)")
    for statement in ("INSERT INTO {} DEFAULT VALUES", "DELETE FROM {}", "TRUNCATE {}"):
        with refused(two_tenants, errors.InsufficientPrivilege, saying=f"permission denied for table {table}", role=TENANT):
            two_tenants.execute(sql.SQL(statement).format(sql.Identifier(table)))


def test_the_tenants_role_makes_no_tables_and_no_functions(owner: Connection) -> None:
    for statement in ("CREATE TABLE mine (id int)", "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'"):
        for role in (TENANT, ENGINE):
            with refused(owner, errors.InsufficientPrivilege, saying="permission denied for schema public", role=role):
                owner.execute(statement.encode())
