"""A symbol's grid must be expressible in its assets, and neither changes once something is counted in it."""

from typing import Any

import pytest
from psycopg import errors

from tests.database.rows import ALICE, BTC, ENGINE, FEES, MARKET, USD, Connection, insert, refused

ANOTHER = {"id": MARKET + 1, "name": "ANOTHER/ONE"}


@pytest.mark.parametrize(
    ("values", "saying"),
    [
        ({"tick_size": "0.01", "lot_size": "0.00001"}, "tick × lot = 0.0000001 needs more decimals than the quote asset has (6)"),
        ({"tick_size": "0.0001", "lot_size": "0.001"}, "tick × lot = 0.0000001 needs more decimals than the quote asset has (6)"),
        ({"tick_size": "100", "lot_size": "0.000000001", "min_quantity": "1"}, "needs more decimals than the base asset has (8)"),
        ({"min_quantity": "0.0015"}, "min and max quantity must be whole lots"),
        ({"max_quantity": "10.0001"}, "min and max quantity must be whole lots"),
        ({"min_price": "0.005"}, "min and max price must be whole ticks"),
        ({"max_price": "99.999"}, "min and max price must be whole ticks"),
    ],
)
@pytest.mark.parametrize("role", [None, ENGINE])
def test_a_grid_that_its_assets_cannot_express_is_refused(
    ground: Connection, values: dict[str, str], saying: str, role: str | None
) -> None:
    with refused(ground, errors.CheckViolation, saying=saying, role=role):
        insert(ground, "markets_symbol", **ANOTHER, **values)


@pytest.mark.parametrize(
    "values",
    [
        {"tick_size": "0.01", "lot_size": "0.0001"},
        {"tick_size": "0.010000", "lot_size": "0.0001000"},
        {"tick_size": "100", "lot_size": "0.00000001", "min_quantity": "0.00000001"},
        {"tick_size": "25", "lot_size": "10", "min_quantity": "10"},
    ],
)
def test_a_grid_at_the_limit_is_taken(ground: Connection, values: dict[str, str]) -> None:
    insert(ground, "markets_symbol", **{"min_quantity": "0.001", **ANOTHER, **values})


@pytest.mark.parametrize(
    "change",
    ["tick_size = 0.1", "lot_size = 0.01, min_quantity = 0.01", f"base_id = {USD}, quote_id = {BTC}", f"fee_account_id = {FEES + 1}"],
)
@pytest.mark.parametrize("role", [None, ENGINE])
def test_assets_grid_and_fee_account_of_a_symbol_never_change(ground: Connection, change: str, role: str | None) -> None:
    with refused(ground, errors.RestrictViolation, saying="assets, tick, lot and fee account never change", role=role):
        ground.execute(f"UPDATE markets_symbol SET {change} WHERE id = {MARKET}".encode())


def test_the_rest_of_a_symbol_changes(ground: Connection) -> None:
    ground.execute("UPDATE markets_symbol SET status = 'HALTED', min_notional = 3, tick_size = 0.0100 WHERE id = %s", [MARKET])


@pytest.mark.parametrize("role", [None, ENGINE])
def test_the_scale_of_an_asset_never_changes(ground: Connection, role: str | None) -> None:
    with refused(ground, errors.RestrictViolation, saying="its scale never changes", role=role):
        ground.execute("UPDATE markets_asset SET scale = 9 WHERE id = %s", [BTC])


@pytest.mark.parametrize(
    ("table", "values", "constraint"),
    [
        ("markets_asset", {"id": 999, "code": "FINE", "scale": 19}, "asset_scale_at_most_18"),
        ("markets_symbol", {**ANOTHER, "quote_id": BTC}, "symbol_two_assets"),
        ("markets_symbol", {**ANOTHER, "status": "SLEEPING"}, "symbol_status_known"),
        ("markets_symbol", {**ANOTHER, "maker_fee": "1"}, "symbol_maker_fee_sane"),
        ("markets_symbol", {**ANOTHER, "taker_fee": "NaN"}, "symbol_taker_fee_sane"),
        ("markets_symbol", {**ANOTHER, "tick_size": "-0.01"}, "symbol_tick_positive"),
        ("markets_symbol", {**ANOTHER, "tick_size": "0"}, "symbol_tick_positive"),
        ("markets_symbol", {**ANOTHER, "tick_size": "NaN"}, "symbol_tick_positive"),
        ("markets_symbol", {**ANOTHER, "lot_size": "0"}, "symbol_lot_positive"),
        ("markets_symbol", {**ANOTHER, "lot_size": "-0.001"}, "symbol_lot_positive"),
        ("markets_symbol", {**ANOTHER, "lot_size": "NaN"}, "symbol_lot_positive"),
        ("markets_symbol", {**ANOTHER, "static_band": "NaN"}, "symbol_bands_sane"),
        ("markets_symbol", {**ANOTHER, "dynamic_band": "-0.01"}, "symbol_bands_sane"),
        ("markets_symbol", {**ANOTHER, "market_protection": "NaN"}, "symbol_bands_sane"),
        ("markets_symbol", {**ANOTHER, "min_price": "-0.01"}, "symbol_min_price_sane"),
        ("markets_symbol", {**ANOTHER, "max_price": "0"}, "symbol_max_price_sane"),
        ("markets_symbol", {**ANOTHER, "min_price": "2", "max_price": "1"}, "symbol_max_price_sane"),
        ("markets_symbol", {**ANOTHER, "min_quantity": "2", "max_quantity": "1"}, "symbol_max_quantity_sane"),
    ],
)
def test_the_constraint_that_refuses_is_the_one_meant(ground: Connection, table: str, values: dict[str, Any], constraint: str) -> None:
    with refused(ground, errors.CheckViolation, constraint=constraint):
        insert(ground, table, **values)


@pytest.mark.parametrize("values", [{}, {"min_price": 1}, {"max_price": 2}, {"min_price": 2, "max_price": 2}, {"static_band": None}])
def test_a_symbol_may_do_without_a_bound(ground: Connection, values: dict[str, Any]) -> None:
    insert(ground, "markets_symbol", **ANOTHER, **values)


@pytest.mark.parametrize("change", ["tick_size = 0", "lot_size = 0"])
def test_not_even_a_change_divides_by_zero(ground: Connection, change: str) -> None:
    with pytest.raises(errors.CheckViolation, match=r"symbol_(tick|lot)_positive"), ground.transaction():
        ground.execute(f"UPDATE markets_symbol SET {change}".encode())


@pytest.mark.parametrize("account", [ALICE, 999_999])
@pytest.mark.parametrize("role", [None, ENGINE])
def test_fees_go_to_an_account_of_the_house(ground: Connection, account: int, role: str | None) -> None:
    with refused(ground, errors.ForeignKeyViolation, saying="its fee account must be one of the house", role=role):
        insert(ground, "markets_symbol", **ANOTHER, fee_account_id=account)


def test_a_symbol_needs_assets_that_exist(ground: Connection) -> None:
    ground.execute("SET CONSTRAINTS ALL IMMEDIATE")
    with pytest.raises(errors.ForeignKeyViolation, match="markets_asset"), ground.transaction():
        insert(ground, "markets_symbol", **ANOTHER, base_id=998)
