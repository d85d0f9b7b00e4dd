"""Stops from intake to settlement: what they hold, when they act, what is kept of it, and that a new worker goes on with them."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from markets.models import Symbol
from markets.services import change_symbol
from orders.reference import publish_price
from tests.matching_worker.exchange import Exchange, Trader, code_of


class Stage:
    """A symbol with two traders, and a last price."""

    def __init__(self, exchange: Exchange, **rules: Any) -> None:
        self.exchange = exchange
        self.base, self.quote = exchange.asset(), exchange.asset()
        self.symbol: Symbol = exchange.symbol(self.base, self.quote, **rules)
        self.ann, self.bob, self.cid = (exchange.trader((self.base, 1_000), (self.quote, 1_000_000)) for _ in range(3))

    def trade_at(self, price: str, quantity: str = "1") -> None:
        self.exchange.placed(self.bob, self.symbol, "SELL", quantity, price)
        self.exchange.placed(self.cid, self.symbol, "BUY", quantity, price)
        self.exchange.settle()

    def stop(self, trader: Trader, side: str, stop: str, quantity: str = "1", price: str | None = None, **change: Any) -> UUID:
        kind = change.pop("order_type", "STOP" if price is None else "STOP_LIMIT")
        change = {"time_in_force": "GTC", "trigger_source": "LAST", **change}
        made = self.exchange.placed(trader, self.symbol, side, quantity, price, order_type=kind, stop_price=Decimal(stop), **change)
        self.exchange.settle()
        return made

    def state(self, order_id: UUID) -> tuple[str, str | None]:
        order = self.exchange.order(order_id)
        return order["status"], order["reason"]

    def trigger(self, order_id: UUID) -> tuple[Any, Any]:
        return self.exchange.row("SELECT trigger_price, triggered_at FROM orders_order WHERE id = %s", order_id)  # type: ignore[return-value]


@pytest.fixture
def stage(exchange: Exchange) -> Stage:
    return Stage(exchange)


def test_a_stop_holds_at_its_protection_waits_outside_the_book_and_fills_when_a_trade_reaches_it(stage: Stage) -> None:
    exchange = stage.exchange
    stage.trade_at("100")
    stop = stage.stop(stage.ann, "BUY", "110", "2")
    assert stage.state(stop) == ("PENDING_TRIGGER", None)
    assert exchange.order(stop)["held"] == Decimal("231")  # 110 × 1.05 × 2
    assert exchange.rows("SELECT * FROM orders_booklevel") == []
    exchange.placed(stage.bob, stage.symbol, "SELL", "3", "112")
    stage.trade_at("109.99")
    assert stage.state(stop) == ("PENDING_TRIGGER", None)
    stage.trade_at("110")
    filled = exchange.order(stop)
    assert (filled["status"], filled["filled_quote"], filled["held"], filled["price"]) == ("FILLED", Decimal(224), 0, None)
    price, at = stage.trigger(stop)
    assert price == 110
    assert at is not None
    assert [(after, cause) for _, after, cause in exchange.transitions(stop)] == [
        ("PENDING", "PLACE"), ("PENDING_TRIGGER", "WAITING"), ("TRIGGERED", "TRIGGER"), ("FILLED", "TRADE"),
    ]  # fmt: skip
    assert exchange.balance(stage.ann, stage.quote) == (Decimal(1_000_000 - 224), 0)


def test_a_triggered_stop_never_trades_beyond_what_it_held_for(stage: Stage) -> None:
    stage.trade_at("100")
    stop = stage.stop(stage.ann, "BUY", "110", "2")
    stage.exchange.placed(stage.bob, stage.symbol, "SELL", "1", "115.50")
    stage.exchange.placed(stage.bob, stage.symbol, "SELL", "1", "115.51")
    stage.trade_at("110")
    order = stage.exchange.order(stop)
    assert (order["status"], order["reason"], order["filled_quantity"], order["held"]) == ("CANCELLED", "IOC_UNFILLED", 1, 0)


@pytest.mark.parametrize(
    ("order_type", "side", "stop", "near", "reached"),
    [
        ("STOP", "BUY", "105", "104.99", "105"),
        ("STOP", "SELL", "95", "95.01", "95"),
        ("TAKE_PROFIT", "BUY", "95", "95.01", "94"),
        ("TAKE_PROFIT", "SELL", "105", "104.99", "106"),
    ],
)
def test_each_kind_waits_on_its_side_of_the_price(stage: Stage, order_type: str, side: str, stop: str, near: str, reached: str) -> None:
    stage.trade_at("100")
    waiting = stage.stop(stage.ann, side, stop, order_type=order_type)
    stage.trade_at(near)
    assert stage.state(waiting)[0] == "PENDING_TRIGGER"
    stage.trade_at(reached)
    assert stage.state(waiting) == ("CANCELLED", "IOC_UNFILLED")
    assert stage.trigger(waiting)[0] == Decimal(reached)
    again = stage.exchange.placed(
        stage.ann, stage.symbol, side, "1", order_type=order_type, stop_price=Decimal(stop), time_in_force="GTC", trigger_source="LAST"
    )
    stage.exchange.settle()
    assert stage.state(again) == ("REJECTED", "WOULD_TRIGGER_IMMEDIATELY")
    assert stage.exchange.order(again)["held"] == 0


def test_a_stop_limit_rests_at_its_limit_once_triggered(stage: Stage) -> None:
    stage.trade_at("100")
    waiting = stage.stop(stage.ann, "SELL", "95", "2", "94.50")
    stage.trade_at("94.80")
    assert stage.state(waiting)[0] == "OPEN"
    assert stage.exchange.rows("SELECT side, price, quantity FROM orders_booklevel") == [("SELL", Decimal("94.5"), 2)]


def test_a_waiting_stop_can_be_cancelled_and_amended_and_holds_what_it_then_needs(stage: Stage) -> None:
    exchange = stage.exchange
    stage.trade_at("100")
    first, second = stage.stop(stage.ann, "BUY", "105", "2", "106"), stage.stop(stage.ann, "BUY", "105", "2")
    exchange.amend(stage.ann, first, price="107", quantity="3")
    assert code_of(exchange.amend(stage.ann, second, price="107")) == "AMEND_REFUSED"
    exchange.amend(stage.ann, second, quantity="1")
    exchange.settle()
    assert (exchange.order(first)["held"], exchange.order(first)["price"]) == (321, 107)
    assert (exchange.order(second)["held"], exchange.order(second)["price"]) == (Decimal("110.25"), None)
    assert stage.state(first) == stage.state(second) == ("PENDING_TRIGGER", None)
    exchange.cancel(stage.ann, first)
    exchange.cancel_all(stage.ann)
    exchange.settle()
    assert stage.state(first) == ("CANCELLED", "USER_CANCEL")
    assert stage.state(second) == ("CANCELLED", "CANCEL_ALL")
    assert exchange.balance(stage.ann, stage.quote) == (1_000_000, 0)


def test_trades_of_triggered_stops_trigger_more_in_the_same_sequence(stage: Stage) -> None:
    exchange = stage.exchange
    stage.trade_at("100")
    exchange.placed(stage.bob, stage.symbol, "BUY", "1", "98")
    exchange.placed(stage.bob, stage.symbol, "BUY", "1", "96")
    exchange.placed(stage.bob, stage.symbol, "BUY", "5", "94")
    first, second = stage.stop(stage.ann, "SELL", "98", "1"), stage.stop(stage.ann, "SELL", "96", "1")
    exchange.placed(stage.cid, stage.symbol, "SELL", "1", "98")
    exchange.settle()
    assert [exchange.order(order)["filled_quote"] for order in (first, second)] == [96, 94]
    assert exchange.order(first)["sequence"] == exchange.order(second)["sequence"]


def test_a_stop_on_the_reference_price_heeds_the_feed_and_the_operator_and_no_trade(stage: Stage) -> None:
    exchange = stage.exchange
    stage.trade_at("100")
    fed = stage.stop(stage.ann, "SELL", "95", "1", "95", trigger_source="REFERENCE")
    told = stage.stop(stage.ann, "BUY", "105", "1", "94", trigger_source="REFERENCE")
    stage.trade_at("90")
    stage.trade_at("110")
    assert stage.state(fed)[0] == stage.state(told)[0] == "PENDING_TRIGGER"
    publish_price(symbol=stage.symbol.name, price=Decimal("95.004"), source="test")  # above 95, though less than a tick
    exchange.settle()
    assert stage.state(fed)[0] == "PENDING_TRIGGER"
    publish_price(symbol=stage.symbol.name, price=Decimal("94.9951"), source="test")
    exchange.settle()
    assert stage.state(fed)[0] == "OPEN"
    assert stage.trigger(fed)[0] == Decimal("94.9951")
    change_symbol(symbol_id=stage.symbol.pk, changes={"reference_price": Decimal("105")}, actor="olga", reason="a test")
    exchange.look_for_rules()
    exchange.settle()
    assert stage.state(told)[0] == "OPEN"


def test_a_new_worker_watches_on(stage: Stage) -> None:
    exchange = stage.exchange
    stage.trade_at("100")
    stops = [
        stage.stop(stage.ann, "SELL", "95", "1", "94", self_trade_prevention="DECREMENT"),
        stage.stop(stage.ann, "SELL", "95"),
        stage.stop(stage.ann, "BUY", "105", time_in_force="FOK"),
        stage.stop(stage.ann, "BUY", "105", "1", "105", trigger_source="REFERENCE"),
    ]
    publish_price(symbol=stage.symbol.name, price=Decimal("99"), source="test")
    exchange.settle()
    before = exchange.row("SELECT state_hash, place_number FROM orders_checkpoint WHERE symbol_id = %s", stage.symbol.pk)
    exchange.restart_worker()
    assert exchange.row("SELECT state_hash, place_number FROM orders_checkpoint WHERE symbol_id = %s", stage.symbol.pk) == before
    late = exchange.placed(
        stage.ann, stage.symbol, "SELL", "1", order_type="STOP", stop_price=Decimal("101"), time_in_force="GTC", trigger_source="LAST"
    )
    exchange.placed(stage.bob, stage.symbol, "BUY", "1", "94.90")
    exchange.placed(stage.cid, stage.symbol, "SELL", "1", "94.90")
    exchange.settle()
    assert stage.state(late) == ("REJECTED", "WOULD_TRIGGER_IMMEDIATELY")
    assert [stage.state(order)[0] for order in stops] == ["OPEN", "CANCELLED", "PENDING_TRIGGER", "PENDING_TRIGGER"]
    publish_price(symbol=stage.symbol.name, price=Decimal("105"), source="test")
    exchange.settle()
    assert stage.state(stops[3])[0] == "CANCELLED"  # it met the account's own sell at 94, and its mode is CANCEL_NEWEST
    assert stage.state(stops[3])[1] == "SELF_TRADE_PREVENTED"


def test_orders_end_when_their_time_has_come_in_halts_too_and_waiting_ones_as_well(stage: Stage) -> None:
    exchange = stage.exchange
    now = datetime.now(UTC)
    end = now + timedelta(seconds=30)
    resting = exchange.placed(stage.ann, stage.symbol, "BUY", "1", "90", time_in_force="GTD", expire_at=end)
    waiting = stage.stop(stage.ann, "SELL", "80", time_in_force="GTD", expire_at=end)
    exchange.settle()
    exchange.halt(stage.symbol)
    exchange.settle()
    assert stage.state(resting) == ("OPEN", None)
    exchange.worker_clock.at_ns = int((end - timedelta(milliseconds=1)).timestamp() * 1000) * 1_000_000
    assert exchange.settle() == 0
    exchange.worker_clock.at_ns += 1_000_000
    assert exchange.settle() == 1
    assert stage.state(resting) == stage.state(waiting) == ("EXPIRED", "EXPIRED")
    assert exchange.balance(stage.ann, stage.quote) == (1_000_000, 0)
    late = exchange.placed(stage.ann, exchange.resume(stage.symbol), "BUY", "1", "90", time_in_force="GTD", expire_at=end)
    exchange.settle()
    assert stage.state(late) == ("EXPIRED", "EXPIRED")
