"""Partitions by month: made ahead, once, guarded, and a row lies where its id says."""

from datetime import UTC, datetime, timedelta

import pytest
from psycopg import errors

from tests.database.rows import ENGINE, TENANT, Connection, column, insert, one, order_id, refused

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
        expected = {"SELECT", "INSERT"} if table in append_only else {"SELECT", "INSERT", "UPDATE", "DELETE"}
        assert rights == expected, table


def test_a_partition_takes_its_storage_from_its_parent(owner: Connection) -> None:
    options = column(owner, "SELECT reloptions::text FROM pg_class WHERE relname LIKE 'orders\\_order\\_2%%' AND relkind = 'r'")
    assert set(options) == {"{fillfactor=50}"}


def test_the_engine_makes_no_partitions(owner: Connection) -> None:
    with refused(owner, errors.InsufficientPrivilege, role=ENGINE):
        owner.execute("SELECT exchange_ensure_partitions(9)")
