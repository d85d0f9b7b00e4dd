"""Partitions by month: made ahead, once, guarded, and a row lies where its id says."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import errors

from tests.database.rows import ENGINE, TENANT, Connection, column, insert, lay_the_ground, one, order_id, refused

PARENTS = ("orders_commandlog", "orders_order", "orders_trade", "orders_transition", "wallet_transfer")
THIS_MONTH = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def month(ahead: int) -> datetime:
    """The first moment of the month so many months from this one."""
    months = THIS_MONTH.year * 12 + THIS_MONTH.month - 1 + ahead
    return THIS_MONTH.replace(year=months // 12, month=months % 12 + 1)


def suffix(moment: datetime) -> str:
    return f"{moment:_%Y_%m}"


def test_migrate_leaves_partitions_from_last_month_to_two_ahead(owner: Connection) -> None:
    partitions = column(owner, "SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r' ORDER BY 1")
    assert set(partitions) >= {parent + suffix(month(ahead)) for parent in PARENTS for ahead in (-1, 0, 1, 2)}


def test_making_partitions_again_makes_none(owner: Connection) -> None:
    assert one(owner, "SELECT exchange_ensure_partitions(2)") == 0
    assert one(owner, "SELECT exchange_ensure_partitions(4)") == 2 * len(PARENTS)
    assert one(owner, "SELECT exchange_ensure_partitions(4)") == 0


def test_months_join_without_a_gap_or_overlap(owner: Connection) -> None:
    """Across a turn of the year, by their bounds: each begins where the one before ends."""
    owner.execute("SELECT exchange_ensure_partitions(14)")
    bounds = r"FROM \('([^']+)'\) TO \('([^']+)'\)"
    for parent in PARENTS:
        rows = owner.execute(
            """SELECT (regexp_match(pg_get_expr(c.relpartbound, c.oid), %s))[1], (regexp_match(pg_get_expr(c.relpartbound, c.oid), %s))[2]
               FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE inhparent = %s::regclass ORDER BY c.relname""",
            [bounds, bounds, parent],
        ).fetchall()
        assert len(rows) == 16
        assert [high for _, high in rows[:-1]] == [low for low, _ in rows[1:]]


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (month(0), suffix(month(0))),
        (month(1) - timedelta(milliseconds=1), suffix(month(0))),
        (month(1), suffix(month(1))),
        (month(2) - timedelta(milliseconds=1), suffix(month(1))),
        (month(2), suffix(month(2))),
        (month(0) - timedelta(milliseconds=1), suffix(month(-1))),
    ],
)
def test_a_row_lands_in_the_partition_of_its_ids_month(ground: Connection, moment: datetime, expected: str) -> None:
    identifier = order_id(5, at=moment)
    insert(ground, "wallet_transfer", id=identifier)
    insert(ground, "orders_order", id=identifier)
    insert(ground, "orders_transition", order_id=identifier, to_status="PENDING")
    insert(ground, "orders_trade", id=identifier)
    insert(ground, "orders_commandlog", settled_at=moment)
    for parent in PARENTS:
        assert one(ground, f"SELECT tableoid::regclass::text FROM {parent}") == parent + expected


def test_a_row_for_which_there_is_no_partition_is_refused_not_lost(ground: Connection) -> None:
    with pytest.raises(errors.CheckViolation, match="no partition of relation"), ground.transaction():
        insert(ground, "wallet_transfer", id=order_id(5, at=month(12)))


def test_a_new_partition_is_guarded_from_the_start(ground: Connection) -> None:
    ground.execute("SELECT exchange_ensure_partitions(6)")
    late = month(6) + timedelta(days=3)
    insert(ground, "wallet_transfer", id=order_id(5, at=late))
    partition = "wallet_transfer" + suffix(late)
    for verb, statement in (
        ("UPDATE", f"UPDATE {partition} SET amount = 2"),
        ("DELETE", f"DELETE FROM {partition}"),
        ("TRUNCATE", f"TRUNCATE {partition}"),
    ):
        with refused(ground, errors.RestrictViolation, saying=f"{verb} on {partition} refused"):
            ground.execute(statement.encode())
    with refused(ground, errors.InsufficientPrivilege, saying=f"permission denied for table {partition}", role=ENGINE):
        ground.execute(f"SELECT FROM {partition}".encode())


def test_neither_role_has_any_right_on_any_partition(owner: Connection) -> None:
    owner.execute("SELECT exchange_ensure_partitions(6)")
    owner.execute("SELECT exchange_grant()")
    rights = column(
        owner,
        """SELECT role || ' ' || relname || ' ' || privilege
           FROM pg_class CROSS JOIN unnest(%s::text[]) AS role
           CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) AS privilege
           WHERE relispartition AND relkind = 'r' AND has_table_privilege(role, oid, privilege)""",
        [ENGINE, TENANT],
    )
    assert rights == []


def test_the_engine_has_exactly_the_rights_that_follow_from_the_catalog(owner: Connection) -> None:
    append_only = set(column(owner, "SELECT relname FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid WHERE tgname = 'append_only'"))
    for table in column(
        owner,
        """SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition""",
    ):
        rights = set(
            column(
                owner,
                """SELECT p FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS p
                   WHERE has_table_privilege(%s, %s::regclass, p)""",
                ENGINE,
                table,
            )
        )
        if table == "django_migrations":
            expected = {"SELECT"}
        else:
            expected = {"SELECT", "INSERT"} if table in append_only else {"SELECT", "INSERT", "UPDATE", "DELETE"}
        assert rights == expected, table


def test_a_partition_takes_its_storage_from_its_parent(owner: Connection) -> None:
    options = column(owner, "SELECT reloptions::text FROM pg_class WHERE relname LIKE 'orders\\_order\\_2%%' AND relkind = 'r'")
    assert set(options) == {"{fillfactor=50}"}


def anatomy(connection: Connection, table: str) -> dict[str, list[Any]]:
    """What a table is made of, apart from its own name."""
    parts = {
        "columns": """SELECT format('%%s %%s %%s %%s', attname, format_type(atttypid, atttypmod), attnotnull, attstorage)
            FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum""",
        "keys and checks": """SELECT pg_get_constraintdef(oid) FROM pg_constraint
            WHERE conrelid = %s::regclass AND contype <> 'n' ORDER BY 1""",
        "names of checks": "SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'c' ORDER BY 1",
        "indexes": """SELECT regexp_replace(pg_get_indexdef(indexrelid), '^(CREATE.* INDEX) .* USING', '\\1 USING') FROM pg_index
            WHERE indrelid = %s::regclass AND indisvalid ORDER BY 1""",
        "row triggers": """SELECT regexp_replace(pg_get_triggerdef(oid), ' ON [^ ]+ ', ' ')
            FROM pg_trigger WHERE tgrelid = %s::regclass AND tgtype & 1 = 1 AND tgenabled = 'O' ORDER BY 1""",
    }
    return {what: column(connection, statement, table) for what, statement in parts.items()}


@pytest.mark.parametrize("parent", PARENTS)
def test_a_partition_made_later_is_made_like_its_parent(owner: Connection, parent: str) -> None:
    owner.execute("SELECT exchange_ensure_partitions(4)")
    owner.execute("SELECT exchange_grant()")
    made = parent + suffix(month(4))
    like = anatomy(owner, parent)
    assert anatomy(owner, made) == like
    assert like["indexes"]
    assert any(key.startswith("PRIMARY KEY") for key in like["keys and checks"])
    assert like["row triggers"]
    attached = """SELECT count(*) FROM pg_index i JOIN pg_inherits h ON h.inhrelid = i.indexrelid
                  WHERE i.indrelid = %s::regclass"""
    assert one(owner, attached, made) == len(like["indexes"])
    inherited = "SELECT bool_and(coninhcount = 1 AND NOT conislocal) FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'c'"
    assert one(owner, inherited, made) is (True if like["names of checks"] else None)
    assert column(owner, "SELECT tgname FROM pg_trigger WHERE tgrelid = %s::regclass AND tgtype & 1 = 0 AND tgenabled = 'O'", made) == [
        "refuse_truncate"
    ]
    assert one(owner, "SELECT reloptions FROM pg_class WHERE oid = %s::regclass", made) == (
        ["fillfactor=50"] if parent == "orders_order" else None
    )
    assert one(owner, "SELECT relacl FROM pg_class WHERE oid = %s::regclass", made) is None  # nobody but its owner


@pytest.fixture
def reader_and_writer(fresh_database: str) -> Iterator[tuple[Connection, Connection]]:
    """Two sessions with open transactions: one has read every partitioned table, one as the engine has written an order."""
    with psycopg.connect(fresh_database) as connection:
        lay_the_ground(connection)
    with psycopg.connect(fresh_database) as reader, psycopg.connect(fresh_database) as writer:
        for parent in PARENTS:
            reader.execute(f"SELECT count(*) FROM {parent}".encode())
        writer.execute(f"SET LOCAL ROLE {ENGINE}".encode())
        writer.execute("SET LOCAL lock_timeout = '1s'")
        insert(writer, "orders_order", id=order_id(1))
        yield reader, writer
        reader.rollback()
        writer.rollback()


def test_a_partition_is_made_beside_open_transactions_that_read_and_write(
    fresh_database: str, reader_and_writer: tuple[Connection, Connection]
) -> None:
    """Neither does it wait for them, nor they for it while it has not committed yet."""
    reader, writer = reader_and_writer
    with psycopg.connect(fresh_database) as maintenance:
        maintenance.execute("SET lock_timeout = '5s'")  # to fail, not to hang
        assert one(maintenance, "SELECT exchange_ensure_partitions(3)") == len(PARENTS)
        writer.execute("UPDATE orders_order SET status = 'OPEN', sequence = 1")
        insert(writer, "orders_order", id=order_id(2))
        insert(writer, "wallet_transfer", id=order_id(2))
        writer.commit()
        reader.execute("SET LOCAL lock_timeout = '1s'")
        assert one(reader, "SELECT count(*) FROM orders_order") == 2
        maintenance.commit()
    with psycopg.connect(fresh_database) as later:
        insert(later, "orders_order", id=order_id(3, at=month(3) + timedelta(days=1)))
        assert one(later, "SELECT count(*) FROM orders_order") == 3


def test_where_the_table_itself_is_locked_it_gives_up_after_two_seconds_and_leaves_nothing(fresh_database: str) -> None:
    with psycopg.connect(fresh_database) as other, psycopg.connect(fresh_database) as maintenance:
        other.execute("LOCK TABLE orders_trade IN SHARE UPDATE EXCLUSIVE MODE")
        began = time.monotonic()
        with pytest.raises(errors.LockNotAvailable):
            maintenance.execute("SELECT exchange_ensure_partitions(3)")
        assert 1.9 < time.monotonic() - began < 20
        maintenance.rollback()
        assert one(maintenance, "SELECT count(*) FROM pg_class WHERE relname LIKE %s", "%" + suffix(month(3))) == 0
        other.rollback()
        assert one(maintenance, "SELECT exchange_ensure_partitions(3)") == len(PARENTS)
        assert one(maintenance, "SELECT current_setting('lock_timeout')") == "0"


def test_the_engine_makes_no_partitions(owner: Connection) -> None:
    with refused(owner, errors.InsufficientPrivilege, role=ENGINE):
        owner.execute("SELECT exchange_ensure_partitions(9)")
