from datetime import time
from decimal import Decimal

import pytest
from django.db import IntegrityError, transaction

from institutions.models import Account, AuditEntry
from institutions.services import NotFound
from markets.models import Symbol
from markets.queries import symbols
from markets.services import InvalidRule, UnknownAsset, create_asset, create_symbol
from tests.factories import ACTOR, AssetFactory, SymbolFactory, house

pytestmark = pytest.mark.django_db


def listing(name: str) -> dict:
    (row,) = [row for row in symbols() if row["symbol"] == name]
    return row


def test_a_symbol_is_listed_with_its_numbers_at_its_own_decimals():
    SymbolFactory(
        base=AssetFactory(code="AAA", scale=8),
        quote=AssetFactory(code="BBB", scale=6),
        tick_size=Decimal("0.010"),
        lot_size=Decimal("0.001"),
        max_quantity=Decimal(1000),
        min_notional=Decimal(5),
        reference_price=Decimal(100),
        maker_fee=Decimal("-0.0002"),
        taker_fee=Decimal("0.00100"),
    )

    assert listing("AAA/BBB") == {
        "symbol": "AAA/BBB",
        "base": "AAA",
        "quote": "BBB",
        "status": "TRADING",
        "route": "INTERNAL",
        "reference_price": "100.00",
        "tick_size": "0.01",
        "lot_size": "0.001",
        "min_quantity": "0.001",
        "max_quantity": "1000.000",
        "min_price": None,
        "max_price": None,
        "min_notional": "5.000000",
        "maker_fee": "-0.0002",
        "taker_fee": "0.001",
        "order_types": ["MARKET", "LIMIT", "STOP", "STOP_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT"],
        "dynamic_band": "0.05",
        "halt_s": 60,
        "auction_s": 60,
        "resumes_by_auction": False,
        "opens_at": None,
    }


def test_the_phases_of_a_symbol_are_told():
    symbol = SymbolFactory(halt_s=30, auction_s=300, dynamic_band=None)
    Symbol.objects.filter(pk=symbol.pk).update(opens_at=time(8, 30), resumes_by_auction=True)
    row = listing(symbol.name)
    told = {name: row[name] for name in ("halt_s", "auction_s", "dynamic_band", "opens_at", "resumes_by_auction")}
    assert told == {"halt_s": 30, "auction_s": 300, "dynamic_band": None, "opens_at": "08:30:00", "resumes_by_auction": True}


def test_a_tick_of_ten_shows_no_decimals():
    symbol = SymbolFactory(tick_size=Decimal(10), lot_size=Decimal(1), reference_price=Decimal(1230))
    row = listing(symbol.name)
    assert (row["tick_size"], row["lot_size"], row["reference_price"]) == ("10", "1", "1230")


def test_an_unlisted_symbol_is_not_shown():
    symbol = SymbolFactory()
    Symbol.objects.filter(pk=symbol.pk).update(is_listed=False)
    assert symbols() == []


def test_each_symbol_has_a_fee_account_of_the_house():
    one, other = SymbolFactory(), SymbolFactory()

    account = Account.objects.get(pk=one.fee_account_id)
    assert (account.kind, account.institution, account.name) == ("FEES", house(), f"fees-{one.name.lower().replace('/', '-')}")
    assert other.fee_account_id != one.fee_account_id
    assert AuditEntry.objects.filter(action="symbol.create", subject=f"symbol:{one.name}").count() == 1


def test_a_symbol_needs_a_house():
    AssetFactory(code="AAA")
    AssetFactory(code="BBB")
    with pytest.raises(NotFound, match="house"):
        create_symbol(base="AAA", quote="BBB", tick_size=Decimal(1), lot_size=Decimal(1), actor=ACTOR)


@pytest.mark.parametrize(
    ("rules", "field"),
    [
        ({"lot_size": Decimal("0.000000001")}, "lot_size"),  # the base asset has 8 decimals
        ({"tick_size": Decimal("0.00001"), "lot_size": Decimal("0.0001")}, "tick_size"),  # nine decimals, the quote asset has 8
        ({"tick_size": Decimal(0)}, "tick_size"),
        ({"lot_size": Decimal("-1")}, "lot_size"),
        ({"tick_size": Decimal("NaN")}, "tick_size"),
        ({"lot_size": Decimal("Infinity")}, "lot_size"),
        ({"min_quantity": Decimal("0.0015")}, "min_quantity"),
        ({"max_quantity": Decimal("10.0005")}, "max_quantity"),
        ({"min_price": Decimal("0.015")}, "min_price"),
        ({"max_price": Decimal("100.001")}, "max_price"),
        ({"min_quantity": Decimal(2), "max_quantity": Decimal(1)}, "max_quantity"),
        ({"min_price": Decimal(2), "max_price": Decimal(1)}, "max_price"),
        ({"order_types": ["LIMIT", "ICEBERG"]}, "order_types"),
        ({"order_types": []}, "order_types"),
        ({"reference_price": Decimal(0)}, "reference_price"),
        ({"maker_fee": Decimal("0.123456789")}, "maker_fee"),
        ({"route": "MOON"}, "route"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_by_its_field(rules, field):
    with pytest.raises(InvalidRule) as refused:
        SymbolFactory(**rules)

    assert (refused.value.code, refused.value.field) == ("INVALID_FIELD", field)
    assert not Symbol.objects.exists()
    assert not Account.objects.filter(kind="FEES").exists()


@pytest.mark.parametrize("rules", [{"maker_fee": Decimal(1)}, {"taker_fee": Decimal(-1)}, {"min_notional": Decimal(-1)}])
def test_what_only_the_tables_constraints_know_is_refused_too(rules):
    with pytest.raises(InvalidRule):
        SymbolFactory(**rules)


def test_an_asset_is_not_traded_against_itself():
    asset = AssetFactory()
    with pytest.raises(InvalidRule, match="itself"):
        SymbolFactory(base=asset, quote=asset)


def test_a_symbol_is_listed_once():
    symbol = SymbolFactory()
    with pytest.raises(InvalidRule) as refused:
        SymbolFactory(base=symbol.base, quote=symbol.quote)
    assert refused.value.field == "name"


def test_a_symbol_of_an_unknown_asset_is_refused():
    house()
    with pytest.raises(UnknownAsset) as refused:
        create_symbol(base="GHOST", quote="GHOST2", tick_size=Decimal(1), lot_size=Decimal(1), actor=ACTOR)
    assert refused.value.field == "base"


@pytest.mark.parametrize(("code", "scale"), [("", 8), ("lower", 8), ("A/B", 8), ("TOOLONGACODE1", 8), ("AAA", 19), ("AAA", -1)])
def test_a_malformed_asset_is_refused(code, scale):
    with pytest.raises(InvalidRule):
        create_asset(code=code, scale=scale, actor=ACTOR)


def test_an_asset_is_made_once():
    AssetFactory(code="AAA")
    with pytest.raises(InvalidRule) as refused:
        AssetFactory(code="AAA")
    assert refused.value.field == "code"


def test_what_the_service_lets_through_the_database_still_refuses():
    symbol = SymbolFactory()
    with pytest.raises(IntegrityError, match="tick"), transaction.atomic():
        Symbol.objects.filter(pk=symbol.pk).update(tick_size=Decimal("0.02"))
