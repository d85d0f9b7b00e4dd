"""The database keeps the sequences of channels: they never go back, and nobody takes them away."""

import pytest
from psycopg import errors

from tests.database.rows import ENGINE, TENANT, Connection, acting_as, refused


@pytest.mark.parametrize(
    ("table", "key", "row", "back"),
    [
        ("notifications_feed", "account_id", "(1001, 5, 6, 7)", "orders = 4"),
        ("notifications_feed", "account_id", "(1001, 5, 6, 7)", "trades = 5"),
        ("notifications_feed", "account_id", "(1001, 5, 6, 7)", "balances = 0"),
        ("notifications_feed", "account_id", "(1001, 5, 6, 7)", "account_id = 1002"),
    ],
)
def test_a_feed_never_goes_back(ground: Connection, table: str, key: str, row: str, back: str) -> None:
    ground.execute(f"INSERT INTO {table} VALUES {row}".encode())
    with refused(ground, errors.RestrictViolation, role=ENGINE):
        ground.execute(f"UPDATE {table} SET {back} WHERE {key} = 1001".encode())
    with acting_as(ground, ENGINE):
        ground.execute(f"UPDATE {table} SET orders = orders + 1 WHERE {key} = 1001".encode())


@pytest.mark.parametrize("back", ["trade_id = '00000000-0000-7000-8000-000000000001'", "trade_id = NULL", "ticker = 2", "symbol_id = 5"])
def test_a_market_feed_never_goes_back(ground: Connection, back: str) -> None:
    ground.execute("INSERT INTO markets_marketfeed VALUES (4001, '00000000-0000-7000-8000-000000000002', 3, '{}')")
    with refused(ground, errors.RestrictViolation, role=ENGINE):
        ground.execute(f"UPDATE markets_marketfeed SET {back} WHERE symbol_id = 4001".encode())
    with acting_as(ground, ENGINE):
        ground.execute("UPDATE markets_marketfeed SET trade_id = '00000000-0000-7000-8000-000000000003', ticker = 4 WHERE symbol_id = 4001")


@pytest.mark.parametrize("table", ["notifications_feed", "markets_marketfeed"])
def test_a_feed_is_not_taken_away(ground: Connection, table: str) -> None:
    ground.execute("INSERT INTO notifications_feed VALUES (1001, 1, 1, 1)")
    ground.execute("INSERT INTO markets_marketfeed VALUES (4001, NULL, 0, '{}')")
    with refused(ground, errors.RestrictViolation, role=ENGINE):
        ground.execute(f"DELETE FROM {table}".encode())


@pytest.mark.parametrize("table", ["notifications_outbox", "notifications_deadletter", "markets_marketfeed"])
def test_a_tenant_does_not_see_what_is_told_to_others(ground: Connection, table: str) -> None:
    with refused(ground, errors.InsufficientPrivilege, role=TENANT):
        ground.execute(f"SELECT * FROM {table}".encode())
