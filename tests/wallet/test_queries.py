"""What each institution sees of balances and transfers, as the tenants' role."""

from collections.abc import Iterator
from decimal import Decimal
from types import SimpleNamespace

import pytest

from tests.factories import AccountFactory, AssetFactory, InstitutionFactory, SymbolFactory, fund, trade_row
from wallet import queries as wallet


@pytest.fixture(scope="module")
def world(module_database: str) -> Iterator[SimpleNamespace]:
    """North with two accounts, South with one; a trade between north-1 (seller, maker) and south-1."""
    wallet.forget()
    north, south = InstitutionFactory(code="north"), InstitutionFactory(code="south")
    usd, coin = AssetFactory(code="USD", scale=2), AssetFactory(code="COIN", scale=4)
    symbol = SymbolFactory(base=coin, quote=usd, lot_size=Decimal(1))
    one, two, foreign = (AccountFactory(name=name, institution=i) for name, i in (("n-1", north), ("n-2", north), ("s-1", south)))
    fund(one, usd, 100)
    fund(one, coin, 7)
    fund(two, usd, 50)
    fund(foreign, usd, 25)
    trade = trade_row(one, foreign, symbol)
    yield SimpleNamespace(north=north, south=south, one=one, two=two, foreign=foreign, usd=usd, coin=coin, trade=trade)
    wallet.forget()


def seen(**scope) -> list[tuple[str, str, str]]:
    return [(row["account"], row["asset"], row["posted"]) for row in wallet.balances(**scope)]


def test_an_institution_sees_its_own_balances_by_account_and_asset(world):
    assert seen(institution_id=world.north.pk) == [("n-1", "COIN", "7.0000"), ("n-1", "USD", "100.00"), ("n-2", "USD", "50.00")]


def test_an_accounts_key_sees_that_account(world):
    assert seen(institution_id=world.north.pk, account_ids=[world.two.pk]) == [("n-2", "USD", "50.00")]


def test_another_institutions_account_shows_nothing_even_when_asked_for_by_id(world):
    assert seen(institution_id=world.north.pk, account_ids=[world.foreign.pk]) == []


def test_staff_see_all_customers(world):
    assert [name for name, _, _ in seen(institution_id=None)] == ["n-1", "n-1", "n-2", "s-1"]


def test_no_account_is_no_balance(world):
    assert seen(institution_id=world.north.pk, account_ids=[]) == []


def test_movements_come_newest_first_and_without_trades(world):
    rows = wallet.movements(institution_id=world.north.pk, account_ids=[world.one.pk])

    assert [(row.kind, row.asset_id) for row in rows] == [("DEPOSIT", world.coin.pk), ("DEPOSIT", world.usd.pk)]
    assert wallet.movements(institution_id=world.north.pk, account_ids=[world.one.pk], before=rows[0].id) == rows[1:]
    assert wallet.movements(institution_id=world.north.pk, account_ids=[world.one.pk], limit=1) == rows[:1]


def test_another_institutions_movements_are_not_there(world):
    assert wallet.movements(institution_id=world.north.pk, account_ids=[world.foreign.pk]) == []


def test_of_a_trade_an_institution_sees_the_legs_it_takes_part_in(world):
    def legs(institution_id):
        return [row.leg for row in wallet.transfers_by_ids(institution_id=institution_id, ids=[world.trade])]

    assert legs(world.north.pk) == [0, 1, 3]  # the fee of the buyer is the buyer's matter
    assert legs(world.south.pk) == [0, 1, 2]
    assert legs(None) == [0, 1, 2, 3]


def test_no_ids_are_no_transfers(world):
    assert wallet.transfers_by_ids(institution_id=None, ids=[]) == []
