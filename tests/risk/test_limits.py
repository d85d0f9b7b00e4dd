"""Every pre-trade limit at its bound, a step below and a step above, through intake and settlement, with the code that clients see."""

import time
from decimal import Decimal

import pytest
from django.db import transaction

from orders.requests import AmendTaken
from orders.results import see_results
from risk.models import DayResult
from risk.scores import set_score
from risk.symbol_rules import remove_symbol_rule, set_symbol_rule
from tests.matching_worker.exchange import order
from tests.risk.conftest import DAY_NS, Floor, answer, limit
from tests.support.approvals import no_limits

TODAY = time.time_ns() // DAY_NS


# MAX_POSITION


def test_position_and_open_buys_stay_within_the_limit(floor: Floor) -> None:
    limit("MAX_POSITION", "10")
    assert floor.ask("BUY", "10.001", "50", symbol=floor.btc_usdt) == "RISK_MAX_POSITION"
    assert floor.ask("BUY", "9.999", "50", symbol=floor.btc_usdt) == "taken"
    assert floor.ask("BUY", "0.002", "50", symbol=floor.btc_usdt) == "RISK_MAX_POSITION"
    assert floor.ask("BUY", "0.001", "50", symbol=floor.btc_usdt) == "taken"
    floor.exchange.settle()
    floor.cancel_all()
    floor.buys("10", "50", symbol=floor.btc_usdt)
    assert floor.ask("BUY", "0.001", "50", symbol=floor.btc_usdt) == "RISK_MAX_POSITION"
    assert floor.ask("BUY", "1", "50") == "taken", "another symbol is another position"
    assert floor.ask("SELL", "15", "51", symbol=floor.btc_usdt) == "taken", "a sale can only make it smaller"
    floor.exchange.settle()
    assert floor.ask("BUY", "0.001", "50", symbol=floor.btc_usdt) == "RISK_MAX_POSITION", "what is offered is not sold yet"
    floor.cancel_all()
    floor.sells("4", "50", symbol=floor.btc_usdt)
    assert floor.ask("BUY", "4.001", "50", symbol=floor.btc_usdt) == "RISK_MAX_POSITION"
    assert floor.ask("BUY", "4", "50", symbol=floor.btc_usdt) == "taken"


def test_other_coins_count_in_bitcoin_by_the_last_prices(floor: Floor) -> None:
    limit("MAX_POSITION", "10")
    assert floor.ask("BUY", "500", "100") == "taken", "nobody knows yet what a bitcoin is worth"
    floor.cancel_all()
    floor.deal("40", symbol=floor.btc_usdt)
    floor.deal("2")
    assert floor.ask("BUY", "200.001", "2") == "RISK_MAX_POSITION"
    assert floor.ask("BUY", "200", "1") == "taken", "valued at the symbol's price, not at its own"
    assert floor.ask("BUY", "0.001", "2") == "RISK_MAX_POSITION"
    floor.deal("41", symbol=floor.btc_usdt)
    assert floor.ask("BUY", "5.001", "2") == "RISK_MAX_POSITION"
    assert floor.ask("BUY", "5", "2") == "taken"


def test_coins_that_were_deposited_may_be_sold_and_bought_back(floor: Floor) -> None:
    limit("MAX_POSITION", "10")
    assert floor.ask("SELL", "500", "60", symbol=floor.btc_usdt) == "taken"
    floor.cancel_all()
    floor.sells("500", "50", symbol=floor.btc_usdt)
    assert floor.ask("BUY", "510.001", "50", symbol=floor.btc_usdt) == "RISK_MAX_POSITION"
    assert floor.ask("BUY", "510", "50", symbol=floor.btc_usdt) == "taken"


def test_a_buy_by_amount_counts_as_what_it_pays_for(floor: Floor) -> None:
    limit("MAX_POSITION", "10")
    floor.deal("50", symbol=floor.btc_usdt)
    by_amount = {"quantity": None, "price": None, "symbol": floor.btc_usdt}
    assert floor.ask("BUY", **by_amount, quote_quantity=Decimal("500.01")) == "RISK_MAX_POSITION"
    assert floor.ask("BUY", **by_amount, quote_quantity=Decimal("400")) == "taken"
    assert floor.ask("BUY", "2.001", "50", symbol=floor.btc_usdt) == "RISK_MAX_POSITION", "it waits for the engine"
    assert floor.ask("BUY", "2", "50", symbol=floor.btc_usdt) == "taken"
    floor.exchange.settle()  # nobody sells, so nothing of the amount was spent
    assert floor.ask("BUY", "8", "50", symbol=floor.btc_usdt) == "taken"


def test_an_amend_counts_from_the_moment_it_is_taken(floor: Floor) -> None:
    limit("MAX_POSITION", "10")
    resting = floor.exchange.placed(floor.ann, floor.btc_usdt, "BUY", "4", "50")
    floor.exchange.settle()
    assert answer(floor.exchange.amend(floor.ann, resting, quantity="10.001")) == "RISK_MAX_POSITION"
    assert isinstance(floor.exchange.amend(floor.ann, resting, quantity="9", price="40"), AmendTaken)
    assert floor.ask("BUY", "1.001", "50", symbol=floor.btc_usdt) == "RISK_MAX_POSITION", "before the engine has decided it"
    floor.exchange.settle()
    assert floor.ask("BUY", "1.001", "50", symbol=floor.btc_usdt) == "RISK_MAX_POSITION", "and afterwards"
    assert floor.ask("BUY", "1", "50", symbol=floor.btc_usdt) == "taken"
    assert isinstance(floor.exchange.amend(floor.ann, resting, quantity="1"), AmendTaken), "smaller is always allowed"
    floor.exchange.settle()
    assert floor.ask("BUY", "8", "50", symbol=floor.btc_usdt) == "taken"


# DAILY_NOTIONAL


def test_what_was_traded_today_and_what_is_open_stay_within_the_limit(floor: Floor) -> None:
    limit("DAILY_NOTIONAL", "1000")
    floor.at_day(TODAY)
    floor.buys("4", "100")
    assert floor.ask("SELL", "6.001", "100") == "RISK_DAILY_NOTIONAL"
    assert floor.ask("SELL", "3", "100") == "taken"
    assert floor.ask("BUY", "3.001", "100") == "RISK_DAILY_NOTIONAL"
    assert floor.ask("BUY", "1", "99.99") == "taken"
    floor.exchange.settle()
    assert floor.ask("BUY", "2.01", "100") == "RISK_DAILY_NOTIONAL"
    assert floor.ask("BUY", "2", "100", symbol=floor.btc_usdt) == "taken", "all symbols together"
    floor.cancel_all()
    resting = floor.exchange.placed(floor.ann, floor.test_usdt, "BUY", "1", "100")
    floor.exchange.settle()
    assert answer(floor.exchange.amend(floor.ann, resting, price="100.01", quantity="6")) == "RISK_DAILY_NOTIONAL"
    assert isinstance(floor.exchange.amend(floor.ann, resting, quantity="6"), AmendTaken)
    floor.exchange.settle()
    assert floor.ask("SELL", "0.001", "1") == "RISK_DAILY_NOTIONAL"
    floor.at_day(TODAY + 1)
    assert floor.ask("BUY", "4.001", "100") == "RISK_DAILY_NOTIONAL", "yesterday's order is still open"
    assert floor.ask("BUY", "4", "100") == "taken", "but what was traded yesterday is not counted"


# DAILY_LOSS


def test_after_too_great_a_loss_only_sales_are_taken_until_midnight(floor: Floor) -> None:
    limit("DAILY_LOSS", "5000")
    floor.at_day(TODAY)
    floor.buys("1000", "100")
    floor.deal("95")
    assert floor.may("BUY", "1", "95") == "taken", "exactly 5000 are lost"
    floor.deal("94.99")
    assert floor.may("BUY", "1", "94") == "RISK_DAILY_LOSS"
    assert floor.may("BUY", "1", "50", symbol=floor.btc_usdt) == "RISK_DAILY_LOSS", "whatever it would buy"
    assert floor.may("SELL", "1500", "200") == "taken"
    floor.sells("500", "94.99")
    assert floor.may("BUY", "1", "94") == "RISK_DAILY_LOSS", "realised or not"
    floor.at_day(TODAY + 1)
    assert floor.may("BUY", "1", "94") == "taken"
    floor.deal("84.99")  # another 10 on each of 500, since midnight
    assert floor.may("BUY", "1", "84") == "taken"
    floor.deal("84.98")
    assert floor.may("BUY", "1", "84") == "RISK_DAILY_LOSS"


def test_a_price_that_rises_after_deposited_coins_were_sold_is_no_loss(floor: Floor) -> None:
    limit("DAILY_LOSS", "5000")
    floor.sells("1000", "100")
    floor.deal("200")
    assert floor.may("BUY", "1", "200") == "taken"
    floor.buys("51", "200")
    assert floor.may("BUY", "1", "200") == "RISK_DAILY_LOSS", "bought back dearer: 5100 are gone for good"


# DRAWDOWN


def test_a_drawdown_is_measured_from_the_peak_of_thirty_days(floor: Floor) -> None:
    limit("DRAWDOWN", "10")
    floor.ann = floor.exchange.trader((floor.usdt, 1000))
    floor.buys("5", "100")
    floor.deal("120")
    see_results()
    assert DayResult.objects.get(account_id=floor.ann.id).high == 100
    floor.deal("98")  # 110 below the peak of 1100
    assert floor.may("BUY", "0.001", "90") == "taken"
    floor.deal("97.99")
    assert floor.may("BUY", "0.001", "90") == "RISK_DRAWDOWN"
    assert floor.may("SELL", "4", "200") == "taken"
    floor.at_day(TODAY + 3)
    assert floor.may("BUY", "0.001", "90") == "RISK_DRAWDOWN", "days do not heal it"
    see_results()
    row = DayResult.objects.get(account_id=floor.ann.id)
    assert (row.latest, row.peak, row.equity) == (Decimal("-10.05"), 100, Decimal("989.95"))


def test_what_is_deposited_or_comes_from_deposits_is_no_profit(floor: Floor) -> None:
    limit("DRAWDOWN", "10")
    floor.deal("100")
    see_results()
    floor.deal("10")  # what ann brought has lost nine tenths of its worth, and she has traded nothing
    assert floor.may("BUY", "1", "10") == "taken"


# MIN_BALANCE


def test_a_buy_leaves_what_is_to_stay_available(floor: Floor) -> None:
    limit("MIN_BALANCE", "1000")
    floor.ann = floor.exchange.trader((floor.usdt, 2000), (floor.test, 50))
    assert floor.ask("BUY", "10.001", "100") == "RISK_MIN_BALANCE"
    assert floor.ask("BUY", "20.001", "100") == "INSUFFICIENT_FUNDS"
    assert floor.ask("BUY", "9.999", "100") == "taken"
    assert floor.ask("BUY", "0.002", "100") == "RISK_MIN_BALANCE"
    assert floor.ask("BUY", "0.001", "100") == "taken"
    assert floor.ask("SELL", "50", "100") == "taken", "a sale brings money in"
    floor.exchange.settle()
    floor.cancel_all()
    resting = floor.exchange.placed(floor.ann, floor.test_usdt, "BUY", "1", "100")
    floor.exchange.settle()
    assert answer(floor.exchange.amend(floor.ann, resting, quantity="10.001")) == "RISK_MIN_BALANCE"
    assert isinstance(floor.exchange.amend(floor.ann, resting, quantity="10"), AmendTaken)


# Symbols


def test_symbols_are_blocked_or_allowed_by_everybody_who_may_say_so(floor: Floor) -> None:
    ann = floor.ann.account
    said = {"actor": "olga", "reason": "a test"}
    asked = [("BUY", "1", "10"), ("SELL", "1", "1000")]

    def answers() -> tuple[set[str], set[str]]:
        found = tuple({floor.ask(*one, symbol=symbol) for one in asked} for symbol in (floor.btc_usdt, floor.test_usdt))
        floor.exchange.settle()
        return found  # type: ignore[return-value]

    free, blocked = {"taken"}, {"RISK_SYMBOL_BLOCKED"}
    resting = floor.exchange.placed(floor.ann, floor.btc_usdt, "BUY", "2", "10")
    floor.exchange.settle()
    assert answers() == (free, free)
    for scope in ({}, {"institution_id": ann.institution_id}, {"account_id": ann.pk}):
        set_symbol_rule(rule="BLOCKED", symbol_id=floor.btc_usdt.pk, **scope, **said)
        assert answers() == (blocked, free)
        assert answer(floor.exchange.amend(floor.ann, resting, price="11")) == "RISK_SYMBOL_BLOCKED"
        set_symbol_rule(rule="ALLOWED", symbol_id=floor.btc_usdt.pk, **scope, **said)
        assert answers() == (free, blocked)
        set_symbol_rule(rule="ALLOWED", symbol_id=floor.test_usdt.pk, **scope, **said)
        assert answers() == (free, free)
        for symbol in (floor.btc_usdt, floor.test_usdt):
            remove_symbol_rule(symbol_id=symbol.pk, **scope, **said)
    set_symbol_rule(rule="ALLOWED", symbol_id=floor.btc_usdt.pk, institution_id=ann.institution_id, **said)
    set_symbol_rule(rule="ALLOWED", symbol_id=floor.test_usdt.pk, account_id=ann.pk, **said)
    assert answers() == (blocked, blocked), "each must allow it"
    other = floor.trader("1000")
    set_symbol_rule(rule="BLOCKED", symbol_id=floor.test_usdt.pk, account_id=other.id, **said)
    floor.ann = floor.trader("1000")
    assert answers() == (free, free), "what is said of others is not said of her"
    assert isinstance(floor.exchange.amend(other, resting, quantity="1"), Exception)


# Score


def test_a_score_above_the_limit_stops_new_orders(floor: Floor) -> None:
    limit("MAX_SCORE", "0.7")
    for score, expected in (("0.699", "taken"), ("0.7", "taken"), ("0.701", "RISK_SCORE"), ("0", "taken")):
        with transaction.atomic():
            set_score(floor.ann.id, Decimal(score))
        assert floor.ask("BUY", "1", "1") == expected
        assert floor.ask("SELL", "1", "1000") == expected


# All of them


LIMITED = [
    ("MAX_POSITION", "0", "RISK_MAX_POSITION"),
    ("DAILY_NOTIONAL", "1", "RISK_DAILY_NOTIONAL"),
    ("DAILY_LOSS", "1", "RISK_DAILY_LOSS"),
    ("DRAWDOWN", "0.001", "RISK_DRAWDOWN"),
    ("MIN_BALANCE", "900_000_000", "RISK_MIN_BALANCE"),
    ("MAX_SCORE", "0.1", "RISK_SCORE"),
    ("ORDER_VALUE", "1", "RISK_MAX_ORDER_VALUE"),
]
LOOSE = {"MIN_BALANCE": "0", "MAX_SCORE": "1"}


@pytest.fixture
def worn(floor: Floor) -> Floor:
    """Ann has lost, and has a score."""
    floor.deal("1000", symbol=floor.btc_usdt)
    floor.buys("1000", "100")
    floor.deal("90")
    with transaction.atomic():
        set_score(floor.ann.id, Decimal("0.5"))
    return floor


def test_each_limit_binds_by_every_scope_the_strictest_wins_and_keys_without_limits_pass(worn: Floor) -> None:
    ann, symbol = worn.ann.account, worn.test_usdt
    scopes = [{}, {"institution_id": ann.institution_id}, {"account_id": ann.pk}, {"symbol_id": symbol.pk}]

    for kind, strict, code in LIMITED:
        for scope in scopes:
            for other in scopes:
                limit(kind, strict if other == scope else LOOSE.get(kind, "99999999"), **other)
            asked = order(worn.ann, symbol, "BUY", "1", "90", limited=True)
            outcome = worn.exchange.take(asked)[0]
            assert answer(outcome) == code, (kind, scope)
            refusal = outcome.refusal  # type: ignore[union-attr]
            assert kind in str(refusal), refusal
            assert Decimal(refusal.details["limit"]) == Decimal(strict)
            assert answer(worn.exchange.place(worn.ann, symbol, "BUY", "1", "90")) == "taken", "a key without limits"
            stranger = worn.trader("1000")
            if "account_id" in scope and kind != "MIN_BALANCE":
                assert answer(worn.exchange.take(order(stranger, symbol, "BUY", "1", "90", limited=True))[0]) == "taken"
            worn.cancel_all()
        no_limits()
        assert worn.ask("BUY", "1", "90") == "taken", f"{kind} is lifted"
        worn.exchange.settle()
        worn.cancel_all()
