"""What the ledger, accounts and keys do not take."""

import pytest
from psycopg import errors

from tests.database.rows import (
    ALICE,
    BOB,
    BTC,
    ENGINE,
    FEES,
    HOUSE,
    MARKET,
    NORTH,
    OUTSIDE,
    SOUTH,
    USD,
    Connection,
    insert,
    one,
    order_id,
    refused,
    trade_id,
)

NOBODY = 999_999
BASE_LEG = {
    "id": trade_id(1),
    "leg": 0,
    "kind": "TRADE",
    "asset_id": BTC,
    "debit_account_id": BOB,
    "credit_account_id": ALICE,
}
QUOTE_LEG = {
    "id": trade_id(1),
    "leg": 1,
    "kind": "TRADE",
    "asset_id": USD,
    "debit_account_id": ALICE,
    "credit_account_id": BOB,
}


def test_a_trade_has_two_legs_that_go_opposite_ways(ground: Connection) -> None:
    insert(ground, "wallet_transfer", BASE_LEG, QUOTE_LEG)
    assert one(ground, "SELECT count(*) FROM wallet_transfer") == 2


@pytest.mark.parametrize(
    "legs",
    [
        [BASE_LEG],
        [QUOTE_LEG],
        [BASE_LEG, {**QUOTE_LEG, "debit_account_id": BOB, "credit_account_id": ALICE}],
        [BASE_LEG, {**QUOTE_LEG, "credit_account_id": FEES}],
        [BASE_LEG, {**QUOTE_LEG, "debit_account_id": OUTSIDE}],
        [BASE_LEG, {**QUOTE_LEG, "id": trade_id(2)}],
        [BASE_LEG, {**QUOTE_LEG, "asset_id": BTC}],
    ],
    ids=["no quote", "no base", "same way", "other taker", "other payer", "other trade", "one asset"],
)
@pytest.mark.parametrize("role", [None, ENGINE])
def test_a_trade_without_its_opposite_leg_is_refused(ground: Connection, legs: list[dict[str, object]], role: str | None) -> None:
    with refused(ground, errors.CheckViolation, saying="its two legs must go opposite ways between two accounts, in two assets", role=role):
        insert(ground, "wallet_transfer", *legs)


@pytest.mark.parametrize("legs", [[BASE_LEG, {**QUOTE_LEG, "leg": 2}], [BASE_LEG, QUOTE_LEG, {**QUOTE_LEG, "leg": 2}]])
def test_a_trade_has_no_third_leg_of_its_kind(ground: Connection, legs: list[dict[str, object]]) -> None:
    with pytest.raises(errors.CheckViolation), ground.transaction():
        insert(ground, "wallet_transfer", *legs)


@pytest.mark.parametrize("change", [{"debit_account_id": NOBODY}, {"credit_account_id": NOBODY}, {"asset_id": 999}])
@pytest.mark.parametrize("role", [None, ENGINE])
def test_a_transfer_needs_accounts_and_an_asset_that_exist(ground: Connection, change: dict[str, int], role: str | None) -> None:
    with refused(ground, errors.ForeignKeyViolation, saying="leg 0: unknown account or asset", role=role):
        insert(ground, "wallet_transfer", {"id": order_id(1)}, {"id": order_id(2), **change})


def test_a_transfer_happens_once(ground: Connection) -> None:
    insert(ground, "wallet_transfer", id=order_id(1))
    with refused(ground, errors.UniqueViolation, constraint=f"{partition_name(ground)}_pkey", role=ENGINE):
        insert(ground, "wallet_transfer", id=order_id(1))


def partition_name(connection: Connection) -> str:
    return str(one(connection, "SELECT tableoid::regclass::text FROM wallet_transfer"))


def test_a_movement_that_somebody_caused_happens_once(ground: Connection) -> None:
    insert(ground, "wallet_transferkey", key="deposit-1", transfer_id=order_id(1))
    with refused(ground, errors.UniqueViolation, constraint="wallet_transferkey_pkey", role=ENGINE):
        insert(ground, "wallet_transferkey", key="deposit-1", transfer_id=order_id(2))


@pytest.mark.parametrize("account", [FEES, OUTSIDE, NOBODY])
@pytest.mark.parametrize("role", [None, ENGINE])
def test_only_a_customer_has_orders(ground: Connection, account: int, role: str | None) -> None:
    with refused(ground, errors.ForeignKeyViolation, saying="unknown account or symbol", role=role):
        insert(ground, "orders_order", id=order_id(1), account_id=account)


def test_an_order_needs_a_symbol_that_exists(ground: Connection) -> None:
    with refused(ground, errors.ForeignKeyViolation, saying="unknown account or symbol", role=ENGINE):
        insert(ground, "orders_order", id=order_id(1), symbol_id=MARKET + 1)


def test_there_is_one_house(ground: Connection) -> None:
    with refused(ground, errors.UniqueViolation, constraint="institution_one_house", role=ENGINE):
        insert(ground, "institutions_institution", id=NORTH + 100, code="another-house", name="Another", is_house=True)


@pytest.mark.parametrize(("institution", "value"), [(NORTH, "true"), (HOUSE, "false")])
@pytest.mark.parametrize("role", [None, ENGINE])
def test_a_tenant_never_becomes_the_house_nor_the_house_a_tenant(
    ground: Connection, institution: int, value: str, role: str | None
) -> None:
    with refused(ground, errors.RestrictViolation, saying="it stays what it is, the house or a tenant", role=role):
        ground.execute(f"UPDATE institutions_institution SET is_house = {value} WHERE id = {institution}".encode())
    ground.execute(f"UPDATE institutions_institution SET is_frozen = true, is_house = is_house WHERE id = {institution}".encode())


@pytest.mark.parametrize(("institution", "kind"), [(HOUSE, "CUSTOMER"), (NORTH, "FEES"), (NORTH, "EXTERNAL"), (SOUTH, "ADJUSTMENT")])
@pytest.mark.parametrize("role", [None, ENGINE])
def test_house_accounts_belong_to_the_house_and_customers_do_not(ground: Connection, institution: int, kind: str, role: str | None) -> None:
    with refused(ground, errors.CheckViolation, saying="house accounts belong to the house, customers to a tenant", role=role):
        insert(ground, "institutions_account", id=990, institution_id=institution, name="astray", kind=kind)


@pytest.mark.parametrize("role", [None, ENGINE])
def test_a_key_is_for_an_account_of_its_own_institution(ground: Connection, role: str | None) -> None:
    with refused(ground, errors.CheckViolation, saying="its account belongs to another institution", role=role):
        insert(ground, "institutions_apikey", key="a-key", institution_id=NORTH, account_id=BOB)
    insert(ground, "institutions_apikey", key="a-key", institution_id=NORTH, account_id=ALICE)
    for change in (f"account_id = {BOB}", f"institution_id = {SOUTH}"):
        with refused(ground, errors.CheckViolation, saying="its account belongs to another institution", role=role):
            ground.execute(f"UPDATE institutions_apikey SET {change}".encode())
    ground.execute("UPDATE institutions_apikey SET account_id = NULL, is_active = false")
    ground.execute(f"UPDATE institutions_apikey SET account_id = {BOB}, institution_id = {SOUTH}".encode())


def test_there_is_one_platform(ground: Connection) -> None:
    with refused(ground, errors.CheckViolation, constraint="platform_is_one_row", role=ENGINE):
        ground.execute("INSERT INTO institutions_platform (id, is_frozen) VALUES (2, false)")


@pytest.mark.parametrize("change", [f"institution_id = {SOUTH}", "kind = 'EXTERNAL'"])
def test_an_account_keeps_its_institution_and_kind(ground: Connection, change: str) -> None:
    with refused(ground, errors.RestrictViolation, saying="keeps its institution and kind", role=ENGINE):
        ground.execute(f"UPDATE institutions_account SET {change} WHERE id = {ALICE}".encode())


def test_every_account_has_its_counters_from_the_start(ground: Connection) -> None:
    assert one(ground, "SELECT count(*) FROM risk_accountstate WHERE account_id = ANY (%s)", [ALICE, BOB, FEES, OUTSIDE]) == 4
    with refused(ground, errors.CheckViolation, constraint="accountstate_open_orders_not_negative", role=ENGINE):
        ground.execute("UPDATE risk_accountstate SET open_orders = open_orders - 1 WHERE account_id = %s", [ALICE])


def test_a_withdraw_key_needs_an_ip_allow_list(ground: Connection) -> None:
    key = {"key": "withdraw-key", "scopes": ["read", "withdraw"]}
    with refused(ground, errors.CheckViolation, constraint="apikey_withdraw_needs_ip_allow_list", role=ENGINE):
        insert(ground, "institutions_apikey", **key)
    insert(ground, "institutions_apikey", **key, ip_allow_list=["203.0.113.7"])
    with refused(ground, errors.CheckViolation, constraint="apikey_withdraw_needs_ip_allow_list", role=ENGINE):
        ground.execute("UPDATE institutions_apikey SET ip_allow_list = '{}' WHERE key = 'withdraw-key'")


@pytest.mark.parametrize(
    "values",
    [{"secret": None}, {"public_key": b"k"}, {"kind": "ed25519"}, {"kind": "ed25519", "secret": None}, {"kind": "rsa"}],
)
def test_a_key_has_the_one_secret_of_its_kind(ground: Connection, values: dict[str, object]) -> None:
    with refused(ground, errors.CheckViolation, constraint="apikey_secret_matches_kind"):
        insert(ground, "institutions_apikey", key="a-key", **values)


def test_a_key_has_known_scopes_only(ground: Connection) -> None:
    with refused(ground, errors.CheckViolation, constraint="apikey_scopes_known"):
        insert(ground, "institutions_apikey", key="a-key", scopes=["read", "everything"])


def test_a_trader_belongs_to_an_institution(ground: Connection) -> None:
    statement = """INSERT INTO institutions_user (password, is_superuser, username, first_name, last_name, email, is_staff, is_active,
                   date_joined, role) VALUES ('', false, %s, '', '', '', false, true, now(), %s)"""
    with refused(ground, errors.CheckViolation, constraint="user_without_institution_is_staff", role=ENGINE):
        ground.execute(statement, ["ann", "trader"])
    ground.execute(statement, ["ann", "compliance"])


def test_the_entries_of_accountants_are_two_per_transfer_and_sum_to_zero(ground: Connection) -> None:
    insert(ground, "wallet_transfer", id=order_id(1), amount="12.5")
    entries = ground.execute("SELECT account_id, amount, counterpart_id FROM wallet_entry ORDER BY account_id").fetchall()
    assert [(account, float(amount), other) for account, amount, other in entries] == [(OUTSIDE, -12.5, ALICE), (ALICE, 12.5, OUTSIDE)]
