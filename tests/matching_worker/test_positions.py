"""Positions follow the trades, and orders that may only reduce never do more."""

from decimal import Decimal
from uuid import UUID

import pytest

from matching import worker
from orders.reconcile import reconcile
from tests.matching_worker.exchange import Exchange, Trader, code_of
from tests.matching_worker.test_stops import Stage


@pytest.fixture
def stage(exchange: Exchange) -> Stage:
    return Stage(exchange)


def position(stage: Stage, trader: Trader) -> tuple[Decimal, Decimal, Decimal]:
    found = stage.exchange.rows(
        "SELECT quantity, cost, realised FROM risk_position WHERE account_id = %s AND symbol_id = %s", trader.id, stage.symbol.pk
    )
    return found[0] if found else (Decimal(0), Decimal(0), Decimal(0))  # type: ignore[return-value]


def deal(stage: Stage, buyer: Trader, seller: Trader, quantity: str, price: str) -> None:
    stage.exchange.placed(seller, stage.symbol, "SELL", quantity, price)
    stage.exchange.placed(buyer, stage.symbol, "BUY", quantity, price)
    stage.exchange.settle()


def test_a_position_has_its_average_cost_and_what_was_realised(stage: Stage) -> None:
    ann, bob = stage.ann, stage.bob
    deal(stage, ann, bob, "2", "100")
    deal(stage, ann, bob, "1", "130")
    assert position(stage, ann) == (3, 330, 0)
    deal(stage, bob, ann, "2", "120")
    assert position(stage, ann) == (1, 110, 20)
    assert position(stage, bob) == (-1, Decimal("110"), -20)
    stage.exchange.restart_worker()
    deal(stage, bob, ann, "3", "100")  # turns both
    assert position(stage, ann) == (-2, 200, 10)
    assert position(stage, bob) == (2, 200, -10)
    assert reconcile().is_clean


def test_what_does_not_divide_stays_in_the_cost_of_what_is_left(stage: Stage) -> None:
    deal(stage, stage.ann, stage.bob, "0.003", "0.01")
    deal(stage, stage.bob, stage.ann, "0.001", "0.01")
    deal(stage, stage.bob, stage.ann, "0.002", "0.01")
    assert position(stage, stage.ann) == (0, 0, 0)


def reducing(stage: Stage, quantity: str, price: str | None, **change: object) -> UUID:
    made = stage.exchange.placed(stage.ann, stage.symbol, "SELL", quantity, price, reduce_only=True, **change)
    stage.exchange.settle()
    return made


def test_reduce_only_is_cut_to_the_position_or_refused(stage: Stage) -> None:
    exchange = stage.exchange
    buying = exchange.place(stage.ann, stage.symbol, "BUY", "1", "100", reduce_only=True)
    assert code_of(buying) == "REDUCE_ONLY_REJECTED"
    nothing = reducing(stage, "1", "100")
    assert stage.state(nothing) == ("REJECTED", "REDUCE_ONLY_REJECTED")
    deal(stage, stage.ann, stage.bob, "3", "100")
    cut = reducing(stage, "5", "110")
    order = exchange.order(cut)
    assert (order["status"], order["quantity"], order["held"], order["price"]) == ("OPEN", 3, 3, 110)
    more = reducing(stage, "1", "111")
    assert stage.state(more) == ("REJECTED", "REDUCE_ONLY_REJECTED")
    assert exchange.balance(stage.ann, stage.base)[1] == 3


def test_a_market_order_that_reduces_has_no_price_after_it_was_cut(stage: Stage) -> None:
    deal(stage, stage.ann, stage.bob, "3", "100")
    stage.exchange.placed(stage.bob, stage.symbol, "BUY", "9", "100")
    sold = reducing(stage, "5", None)
    order = stage.exchange.order(sold)
    assert (order["status"], order["quantity"], order["filled_quantity"], order["price"]) == ("FILLED", 3, 3, None)


def test_orders_that_reduce_give_way_newest_first_when_the_position_gets_smaller(stage: Stage) -> None:
    exchange = stage.exchange
    deal(stage, stage.ann, stage.bob, "5", "100")
    old, new = reducing(stage, "3", "110"), reducing(stage, "2", "111")
    deal(stage, stage.bob, stage.ann, "3", "100")
    assert stage.state(new) == ("CANCELLED", "REDUCE_ONLY_REJECTED")
    assert (exchange.order(old)["quantity"], exchange.order(old)["held"]) == (2, 2)
    exchange.amend(stage.ann, old, quantity="4")
    exchange.settle()
    assert exchange.order(old)["quantity"] == 2
    exchange.restart_worker()
    deal(stage, stage.bob, stage.ann, "1", "100")
    assert exchange.order(old)["quantity"] == 1
    exchange.placed(stage.cid, stage.symbol, "BUY", "1", "110")
    exchange.settle()
    assert stage.state(old) == ("FILLED", None)
    assert position(stage, stage.ann)[0] == 0


def test_stops_that_reduce_are_cut_when_they_act(stage: Stage) -> None:
    exchange = stage.exchange
    deal(stage, stage.ann, stage.bob, "5", "100")
    first = stage.stop(stage.ann, "SELL", "95", "5", "90", reduce_only=True)
    second = stage.stop(stage.ann, "SELL", "95", "5", "90", reduce_only=True)
    exchange.placed(stage.cid, stage.symbol, "BUY", "2", "94")
    deal(stage, stage.cid, stage.bob, "1", "95")
    assert exchange.order(first)["filled_quantity"] == 2
    assert stage.state(first)[0] == "PARTIALLY_FILLED"
    assert stage.state(second) == ("REJECTED", "REDUCE_ONLY_REJECTED")
    assert position(stage, stage.ann)[0] == 3


def test_an_order_that_reduces_counts_once_however_often_it_was_amended(stage: Stage) -> None:
    exchange = stage.exchange
    deal(stage, stage.ann, stage.bob, "10", "100")
    old = reducing(stage, "6", "110")
    for price in ("111", "112"):
        exchange.amend(stage.ann, old, price=price)
        exchange.settle()
    new = reducing(stage, "4", "113")
    assert exchange.order(old)["quantity"] == 6
    assert exchange.order(new)["quantity"] == 4
    exchange.amend(stage.ann, old, price="114")  # at the back now: it is the one to give way
    exchange.settle()
    deal(stage, stage.bob, stage.ann, "5", "100")
    assert (exchange.order(old)["quantity"], exchange.order(new)["quantity"]) == (1, 4)


def test_an_order_that_was_cut_grows_by_an_amend_only_as_far_as_it_is_held_for(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The amend was taken when the order was whole and needed nothing more; what the cut released is spent before its turn."""
    exchange = stage.exchange
    eve = exchange.trader((stage.base, 6), (stage.quote, 10_000))
    deal(stage, eve, stage.bob, "10", "100")
    order = exchange.placed(eve, stage.symbol, "SELL", "10", "110", reduce_only=True)
    exchange.placed(stage.bob, stage.symbol, "BUY", "5", "100")
    exchange.placed(stage.bob, stage.symbol, "SELL", "5", "101")
    exchange.settle()
    exchange.placed(eve, stage.symbol, "SELL", "5", "100")
    exchange.placed(eve, stage.symbol, "BUY", "5", "101")
    exchange.amend(eve, order, quantity="10")
    monkeypatch.setattr(worker, "ROWS_PER_BATCH", 2)
    assert exchange.worker is not None
    exchange.worker.settle_once(exchange.settling)
    assert (exchange.order(order)["quantity"], position(stage, eve)[0]) == (5, 10)
    posted, held = exchange.balance(eve, stage.base)
    free = (posted - held).quantize(Decimal("0.001"), rounding="ROUND_DOWN")
    exchange.placed(eve, stage.symbol, "SELL", str(free), "120")
    exchange.settle()
    assert (exchange.order(order)["quantity"], exchange.order(order)["held"]) == (5, 5)
