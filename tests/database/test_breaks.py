"""A break is resolved once, when it is gone; what was found of it stays as it was found."""

from datetime import timedelta

import pytest
from psycopg import errors

from tests.database.rows import ENGINE, NOW, TENANT, Connection, insert, refused

GONE = "UPDATE orders_break SET gone_at = now()"
RESOLVED = "UPDATE orders_break SET state = 'RESOLVED', resolution = 'a test', resolved_by = 'olga', resolved_at = now()"


@pytest.fixture
def found(ground: Connection) -> Connection:
    insert(ground, "orders_break")
    return ground


@pytest.mark.parametrize("role", [None, ENGINE])
def test_what_is_gone_is_resolved_once_and_then_nothing_of_it_changes(found: Connection, role: str | None) -> None:
    with refused(found, errors.CheckViolation, constraint="break_resolved_is_gone", role=role):
        found.execute(RESOLVED.encode())
    found.execute(GONE.encode())
    for change in ("gone_at = NULL", "gone_at = now() + interval '1 s'", "last_seen_at = now()", "found = '1'", "sentence = 'nothing'"):
        with refused(found, errors.RestrictViolation, saying="what is gone does not come back", role=role):
            found.execute(f"UPDATE orders_break SET {change}".encode())
    found.execute(RESOLVED.encode())
    for change in ("state = 'OPEN', resolution = '', resolved_by = '', resolved_at = NULL", "resolution = 'x'", "owner_id = 1"):
        with refused(found, errors.RestrictViolation, saying="what was resolved stays so", role=role):
            found.execute(f"UPDATE orders_break SET {change}".encode())


@pytest.mark.parametrize("role", [None, ENGINE])
def test_what_it_is_about_never_changes(found: Connection, role: str | None) -> None:
    for change in ("check_name = 'x'", "row_key = 'x'", "touches_funds = false", "asset_id = NULL", "first_seen_at = now()"):
        with refused(found, errors.RestrictViolation, saying="UPDATE on orders_break refused", role=role):
            found.execute(f"UPDATE orders_break SET {change}, last_seen_at = now() + interval '1 day'".encode())


def test_it_is_not_seen_earlier_than_it_was(found: Connection) -> None:
    with refused(found, errors.RestrictViolation, saying="nobody unsees it", role=ENGINE):
        found.execute("UPDATE orders_break SET last_seen_at = last_seen_at - interval '1 s'")
    found.execute("UPDATE orders_break SET last_seen_at = last_seen_at + interval '1 s'")


def test_one_row_is_there_while_it_is_seen_and_another_when_it_comes_back(found: Connection) -> None:
    with refused(found, errors.UniqueViolation, constraint="break_once_while_seen"):
        insert(found, "orders_break")
    found.execute(GONE.encode())
    insert(found, "orders_break", first_seen_at=NOW + timedelta(seconds=1), last_seen_at=NOW + timedelta(seconds=1))


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("state = 'RESOLVED'", "break_resolved_says_how"),
        ("state = 'RESOLVED', resolved_at = now(), resolved_by = 'olga'", "break_resolved_says_how"),
        ("resolution = 'x'", "break_resolved_says_how"),
        ("state = 'CLOSED'", "break_resolved_says_how"),
    ],
)
def test_the_database_refuses(found: Connection, change: str, constraint: str) -> None:
    found.execute(GONE.encode())
    with refused(found, errors.CheckViolation, constraint=constraint):
        found.execute(f"UPDATE orders_break SET {change}".encode())


def test_it_begins_open(ground: Connection) -> None:
    with refused(ground, errors.RestrictViolation, saying="what was resolved stays so"):
        insert(ground, "orders_break", gone_at=NOW)


def test_institutions_read_nothing_of_it(found: Connection) -> None:
    with refused(found, errors.InsufficientPrivilege, saying="permission denied for table orders_break", role=TENANT):
        found.execute("SELECT FROM orders_break")
