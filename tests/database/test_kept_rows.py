"""Rows on which others hang without a foreign key stay, with their numbers; progress never goes back; checks cannot be fooled."""

import pytest
from psycopg import errors

from tests.database.rows import (
    ALICE,
    BOB,
    BTC,
    ENGINE,
    MARKET,
    TENANT,
    USD,
    Connection,
    acting_as,
    column,
    insert,
    order_id,
    refused,
)

KEPT = {
    "institutions_account": ("id",),
    "institutions_changerequest": ("id",),
    "institutions_platform": ("id",),
    "markets_asset": ("id",),
    "markets_marketfeed": ("symbol_id",),
    "markets_symbol": ("id",),
    "notifications_deadletter": ("id", "outbox_id", "events", "attempts"),
    "notifications_feed": ("account_id",),
    "orders_break": ("id", "asset_id"),
    "orders_symbolmove": ("id",),
    "risk_dayresult": ("account_id", "day"),
    "risk_exposure": ("account_id", "symbol_id"),
    "risk_alert": ("id",),
    "risk_position": ("account_id", "symbol_id"),
    "wallet_address": ("id",),
    "risk_accountlink": ("id", "account_id", "other_id"),
    "risk_watchedmark": ("id",),
    "risk_watermark": (),
    "wallet_balance": ("account_id", "asset_id"),
    "wallet_supply": ("asset_id",),
    "wallet_withdrawal": ("id",),
    "wallet_withdrawallimit": ("asset_id",),
}
KNOWN_BY_UUID = {"wallet_address", "wallet_withdrawal"}


@pytest.fixture
def kept(ground: Connection) -> Connection:
    insert(ground, "wallet_balance", account_id=ALICE, asset_id=USD, posted=5)
    insert(ground, "institutions_changerequest")
    for table in ("risk_position", "risk_exposure", "risk_dayresult"):
        insert(ground, table, account_id=ALICE)
    insert(ground, "risk_watermark")
    insert(ground, "risk_accountlink")
    insert(ground, "risk_watchedmark")
    ground.execute("INSERT INTO notifications_feed VALUES (%s, 1, 1, 1)", [ALICE])
    ground.execute("INSERT INTO markets_marketfeed VALUES (%s, NULL, 0, '{}')", [MARKET])
    insert(ground, "notifications_deadletter")
    insert(ground, "orders_symbolmove")
    insert(ground, "orders_break")
    insert(ground, "risk_alert")
    insert(ground, "risk_alerthistory")
    insert(ground, "wallet_supply")
    insert(ground, "wallet_withdrawallimit")
    insert(ground, "wallet_withdrawal", id=order_id(1))
    return ground


@pytest.mark.parametrize("table", KEPT)
@pytest.mark.parametrize("role", [None, ENGINE])
def test_a_row_that_others_hang_on_is_never_deleted(kept: Connection, table: str, role: str | None) -> None:
    with refused(kept, errors.RestrictViolation, saying=f"DELETE on {table} refused", role=role):
        kept.execute(f"DELETE FROM {table}".encode())


@pytest.mark.parametrize("table", KEPT)
def test_nor_are_all_of_them_at_once(kept: Connection, table: str) -> None:
    kept.execute("SET CONSTRAINTS ALL IMMEDIATE")  # nothing is pending that a TRUNCATE would have to wait for
    with refused(kept, errors.RestrictViolation, saying="TRUNCATE on "):
        kept.execute(f"TRUNCATE {table} CASCADE".encode())
    with refused(kept, errors.InsufficientPrivilege, saying="permission denied for table", role=ENGINE):
        kept.execute(f"TRUNCATE {table} CASCADE".encode())


@pytest.mark.parametrize(("table", "number"), [(table, number) for table, numbers in KEPT.items() for number in numbers])
@pytest.mark.parametrize("role", [None, ENGINE])
def test_its_number_never_changes(kept: Connection, table: str, number: str, role: str | None) -> None:
    with refused(kept, errors.RestrictViolation, saying=f"UPDATE on {table} refused", role=role):
        other = "gen_random_uuid()" if table in KNOWN_BY_UUID else f"{number} + 5000"
        kept.execute(f"UPDATE {table} SET {number} = {other}".encode())
    kept.execute(f"UPDATE {table} SET {number} = {number}".encode())


def test_a_balance_cannot_be_given_to_another_account(kept: Connection) -> None:
    with refused(kept, errors.RestrictViolation, saying="UPDATE on wallet_balance refused", role=ENGINE):
        kept.execute("UPDATE wallet_balance SET account_id = %s, posted = posted", [BOB])
    kept.execute("UPDATE wallet_balance SET posted = posted + 1, held = held + 1")


def test_these_are_all_and_they_carry_all_three_guards(owner: Connection) -> None:
    guarded = column(
        owner,
        """SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgenabled = 'O' AND tgfoid = 'exchange_refuse_removal'::regproc
           GROUP BY tgrelid HAVING array_agg(tgname::text ORDER BY tgname) = ARRAY['refuse_delete', 'refuse_renumber', 'refuse_truncate']
           ORDER BY 1""",
    )
    assert guarded == sorted(KEPT)


@pytest.mark.parametrize("progress", ["epoch", "sequence", "trade_number", "book_sequence"])
@pytest.mark.parametrize("role", [None, ENGINE])
def test_a_checkpoint_never_goes_back(ground: Connection, progress: str, role: str | None) -> None:
    insert(ground, "orders_checkpoint", epoch=3, sequence=3, trade_number=3, book_sequence=3)
    with refused(ground, errors.RestrictViolation, saying="orders_checkpoint never goes back", role=role):
        ground.execute(f"UPDATE orders_checkpoint SET {progress} = 2".encode())
    for value in (3, 4):
        ground.execute(f"UPDATE orders_checkpoint SET {progress} = {value}, status = 'HALTED'".encode())


@pytest.mark.parametrize("role", [None, ENGINE])
def test_the_epoch_of_a_shard_never_goes_back(ground: Connection, role: str | None) -> None:
    ground.execute("INSERT INTO orders_shard (id, owner, epoch, expires_at) VALUES (77, 'one', 5, now())")
    with refused(ground, errors.RestrictViolation, saying="orders_shard never goes back", role=role):
        ground.execute("UPDATE orders_shard SET epoch = 4 WHERE id = 77")
    for epoch in (5, 6):
        ground.execute("UPDATE orders_shard SET epoch = %s, owner = 'two', expires_at = now() WHERE id = 77", [epoch])


def test_every_trigger_function_looks_in_the_real_schema_first(owner: Connection) -> None:
    astray = column(
        owner,
        """SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prorettype = 'trigger'::regtype
           AND NOT coalesce('search_path=public, pg_temp' = ANY (proconfig), false)""",
    )
    assert astray == []


def test_a_temporary_table_does_not_stand_in_for_the_real_one(ground: Connection) -> None:
    """The engine's role may make temporary tables, and without the functions' own search_path they would be found first."""
    with acting_as(ground, ENGINE):
        ground.execute("CREATE TEMPORARY TABLE institutions_account (id bigint, kind text, institution_id bigint) ON COMMIT DROP")
        ground.execute("INSERT INTO pg_temp.institutions_account VALUES (777777, 'CUSTOMER', 902), (888888, 'FEES', 901)")
        ground.execute("CREATE TEMPORARY TABLE markets_symbol (id int) ON COMMIT DROP")
    with refused(ground, errors.ForeignKeyViolation, saying="unknown account or symbol", role=ENGINE):
        insert(ground, "public.orders_order", id=order_id(1), account_id=777777, symbol_id=MARKET)
    with refused(ground, errors.ForeignKeyViolation, saying="unknown account or asset", role=ENGINE):
        insert(ground, "public.wallet_transfer", id=order_id(1), asset_id=BTC, credit_account_id=777777)
    with refused(ground, errors.ForeignKeyViolation, saying="its fee account must be one of the house", role=ENGINE):
        insert(ground, "public.markets_symbol", id=MARKET + 1, name="ANOTHER/ONE", fee_account_id=888888)


@pytest.mark.parametrize("role", [ENGINE, TENANT])
def test_neither_role_rewrites_which_migrations_there_are(owner: Connection, role: str) -> None:
    for statement in (
        "INSERT INTO django_migrations (app, name, applied) VALUES ('orders', '0003', now())",
        "UPDATE django_migrations SET name = name",
        "DELETE FROM django_migrations",
        "TRUNCATE django_migrations",
    ):
        with refused(owner, errors.InsufficientPrivilege, saying="permission denied for table django_migrations", role=role):
            owner.execute(statement.encode())
    with refused(owner, errors.InsufficientPrivilege, saying="permission denied for sequence django_migrations_id_seq", role=role):
        owner.execute("SELECT nextval('django_migrations_id_seq')")
    with acting_as(owner, ENGINE):
        assert "orders" in column(owner, "SELECT DISTINCT app FROM django_migrations")
    with refused(owner, errors.InsufficientPrivilege, saying="permission denied for table django_migrations", role=TENANT):
        owner.execute("SELECT FROM django_migrations")
