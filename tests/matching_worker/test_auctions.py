"""Price bands halt, auctions find a price, and the symbol goes on by itself where it may."""

import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from matching.core.conditions import EXTENSION_MS
from orders.reconcile import reconcile
from tests.matching_worker.exchange import Exchange, Trader, code_of
from tests.matching_worker.test_stops import Stage
from tests.support.approvals import change_status

SECOND = 1_000_000_000


@pytest.fixture
def stage(exchange: Exchange) -> Stage:
    exchange.worker_clock.at_ns = time.time_ns() // SECOND * SECOND
    return Stage(exchange, dynamic_band=Decimal("0.05"), halt_s=30, auction_s=40)


def later(stage: Stage, seconds: float) -> None:
    assert stage.exchange.worker_clock.at_ns is not None
    stage.exchange.worker_clock.at_ns += int(seconds * SECOND)
    stage.exchange.settle()


def order(stage: Stage, trader: Trader, side: str, quantity: str, price: str | None, **change: Any) -> UUID:
    made = stage.exchange.placed(trader, stage.symbol, side, quantity, price, **change)
    stage.exchange.settle()
    return made


def status(stage: Stage) -> tuple[str, str]:
    """What intake goes by, and what the engine does."""
    return stage.exchange.row(  # type: ignore[return-value]
        "SELECT s.status, c.status FROM markets_symbol s JOIN orders_checkpoint c ON c.symbol_id = s.id WHERE s.id = %s", stage.symbol.pk
    )


def history(stage: Stage) -> list[tuple[Any, ...]]:
    return stage.exchange.rows("SELECT status, cause, actor FROM orders_symbolstatus WHERE symbol_id = %s ORDER BY number", stage.symbol.pk)


def auction(stage: Stage) -> None:
    change_status(symbol=stage.symbol.name, status="AUCTION", actor="olga", reason="a test")
    stage.exchange.settle()


def test_a_trade_beyond_the_band_does_not_happen_the_symbol_halts_auctions_and_goes_on(stage: Stage) -> None:
    stage.trade_at("100")
    later(stage, 61)
    order(stage, stage.bob, "SELL", "1", "104")
    order(stage, stage.bob, "SELL", "1", "106")
    taker = order(stage, stage.ann, "BUY", "3", "107")
    assert status(stage) == ("HALTED", "HALTED")
    assert (stage.state(taker)[0], stage.exchange.order(taker)["filled_quantity"]) == ("PARTIALLY_FILLED", 1)
    refused = stage.exchange.place(stage.ann, stage.symbol, "BUY", "1", "90")
    assert code_of(refused) == "SYMBOL_HALTED"
    later(stage, 29)
    assert status(stage)[1] == "HALTED"
    later(stage, 1)
    assert status(stage) == ("AUCTION", "AUCTION")
    seller = order(stage, stage.cid, "SELL", "1", "105")
    later(stage, 40)
    assert status(stage) == ("TRADING", "TRADING")
    assert stage.exchange.order(taker)["filled_quantity"] == 3
    assert stage.state(seller)[0] == "FILLED"
    assert history(stage) == [
        ("HALTED", "PRICE_BAND", "engine"), ("AUCTION", "HALT_OVER", "engine"), ("TRADING", "AUCTION_OVER", "engine"),
    ]  # fmt: skip
    assert [row[0] for row in stage.exchange.rows("SELECT price FROM orders_trade WHERE in_auction")] == [106, 106]
    order(stage, stage.bob, "SELL", "1", "110")  # within the band of the price that the auction found
    assert stage.state(order(stage, stage.ann, "BUY", "1", "110"))[0] == "FILLED"


@pytest.mark.parametrize(("kind", "reason"), [("IOC", "SYMBOL_HALTED"), ("FOK", "SYMBOL_HALTED")])
def test_what_does_not_rest_ends_at_the_halt(stage: Stage, kind: str, reason: str) -> None:
    stage.trade_at("100")
    later(stage, 61)
    order(stage, stage.bob, "SELL", "1", "104")
    order(stage, stage.bob, "SELL", "2", "106")
    taker = order(stage, stage.ann, "BUY", "2", "107", time_in_force=kind)
    assert stage.state(taker) == ("CANCELLED", reason)
    assert stage.exchange.order(taker)["held"] == 0
    assert status(stage) == ("HALTED", "HALTED")


def test_the_band_is_around_the_price_of_a_minute_ago(stage: Stage) -> None:
    stage.trade_at("100")
    later(stage, 30)
    stage.trade_at("104")
    later(stage, 31)
    stage.trade_at("105")  # 100 is a minute ago
    later(stage, 30)
    stage.trade_at("109.20")  # 104 is: up to 109.20
    assert status(stage)[1] == "TRADING"
    stage.exchange.restart_worker()
    stage.trade_at("109.21")
    assert status(stage)[1] == "HALTED"


def test_the_first_second_is_bound_by_its_first_price_and_the_one_after_an_auction_by_the_auctions(stage: Stage) -> None:
    stage.trade_at("100")
    stage.trade_at("104")
    stage.trade_at("108")
    assert status(stage)[1] == "HALTED"
    for trader in (stage.bob, stage.cid):
        stage.exchange.cancel_all(trader)
    later(stage, 30)
    order(stage, stage.bob, "SELL", "1", "110")
    order(stage, stage.cid, "BUY", "1", "110")
    later(stage, 40)
    assert status(stage)[1] == "TRADING"
    stage.trade_at("115")
    stage.exchange.restart_worker()
    stage.trade_at("120")
    assert status(stage)[1] == "HALTED"


def test_an_auction_in_which_all_was_prevented_found_no_price(stage: Stage) -> None:
    stage.trade_at("100")
    auction(stage)
    order(stage, stage.ann, "SELL", "1", "120")
    mine = order(stage, stage.ann, "BUY", "1", "120")
    later(stage, 40)
    assert stage.state(mine) == ("CANCELLED", "SELF_TRADE_PREVENTED")
    stage.trade_at("118")
    assert status(stage)[1] == "HALTED"


def test_an_auction_collects_ranks_market_orders_first_and_charges_both_sides_the_takers_fee(stage: Stage) -> None:
    exchange = stage.exchange
    stage.trade_at("100")
    auction(stage)
    limit = order(stage, stage.ann, "BUY", "2", "102")
    sell = order(stage, stage.bob, "SELL", "3", "99")
    market = order(stage, stage.cid, "BUY", "2", None)
    assert [stage.state(o)[0] for o in (limit, sell, market)] == ["OPEN"] * 3
    for change in ({"time_in_force": "IOC"}, {"time_in_force": "FOK"}, {"time_in_force": "GTX"}):
        assert code_of(exchange.place(stage.ann, stage.symbol, "BUY", "1", "100", **change)) == "ORDER_TYPE_NOT_ALLOWED"
    assert exchange.rows("SELECT side, price, quantity FROM orders_booklevel ORDER BY side") == [("BUY", 102, 2), ("SELL", 99, 3)]
    conditions = exchange.row("SELECT conditions FROM orders_checkpoint WHERE symbol_id = %s", stage.symbol.pk)[0]
    assert conditions["indicative"] == [10000, 3000, 1000]
    exchange.restart_worker()
    later(stage, 40)
    assert exchange.order(market)["filled_quantity"] == 2
    assert exchange.order(limit)["filled_quantity"] == 1
    assert stage.state(limit)[0] == "PARTIALLY_FILLED"
    trades = exchange.rows("SELECT price, quantity FROM orders_trade WHERE in_auction ORDER BY number")
    assert trades == [(100, 2), (100, 1)]
    kinds = exchange.rows("SELECT DISTINCT kind FROM wallet_transfer WHERE id IN (SELECT id FROM orders_trade WHERE in_auction)")
    assert {kind for (kind,) in kinds} == {"TRADE", "TAKER_FEE"}
    assert reconcile().is_clean


def test_what_is_left_of_a_market_order_ends_with_the_auction(stage: Stage) -> None:
    stage.trade_at("100")
    auction(stage)
    market = order(stage, stage.cid, "BUY", "2", None)
    later(stage, 40)
    assert stage.state(market) == ("CANCELLED", "IOC_UNFILLED")
    assert stage.exchange.balance(stage.cid, stage.quote)[1] == 0


def test_an_auction_beyond_the_static_band_is_extended_three_times_and_then_halted(exchange: Exchange) -> None:
    exchange.worker_clock.at_ns = time.time_ns() // SECOND * SECOND
    stage = Stage(exchange, static_band=Decimal("0.10"), auction_s=40)
    stage.trade_at("100")
    auction(stage)
    order(stage, stage.ann, "BUY", "1", "109")
    order(stage, stage.bob, "SELL", "1", "91")
    engine = exchange.worker.engines[stage.symbol.pk]  # type: ignore[union-attr]
    engine.book.last = 50_00  # nothing that intake lets through comes to a price outside: the reference must move
    later(stage, 40)
    for _ in range(3):
        assert status(stage)[1] == "AUCTION"
        later(stage, EXTENSION_MS / 1000)
    assert status(stage) == ("HALTED", "HALTED")
    assert history(stage)[-1] == ("HALTED", "AUCTION_BAND", "engine")
    later(stage, 3600)
    assert status(stage)[1] == "HALTED"  # only people end this
    assert exchange.rows("SELECT * FROM orders_trade WHERE in_auction") == []


def test_an_operators_resumption_goes_through_an_auction_if_the_symbol_says_so(stage: Stage) -> None:
    stage.symbol.resumes_by_auction = True
    stage.symbol.save(update_fields=["resumes_by_auction"])
    stage.exchange.halt(stage.symbol)
    assert change_status(symbol=stage.symbol.name, status="TRADING", actor="olga", reason="a test") == "AUCTION"
    stage.exchange.settle()
    later(stage, 40)
    assert status(stage) == ("TRADING", "TRADING")


def test_a_symbol_is_listed_with_its_status(exchange: Exchange) -> None:
    symbol = exchange.symbol()
    exchange.settle()
    assert exchange.row("SELECT status FROM orders_checkpoint WHERE symbol_id = %s", symbol.pk) == ("TRADING",)


def test_what_an_auction_comes_to_is_told_when_no_level_changes(stage: Stage) -> None:
    def told() -> int:
        [(sequence,)] = stage.exchange.rows("SELECT book_sequence FROM orders_checkpoint WHERE symbol_id = %s", stage.symbol.pk)
        return int(sequence)

    stage.trade_at("100")
    before = told()
    auction(stage)
    assert told() == before + 1
    order(stage, stage.bob, "SELL", "3", "99")
    order(stage, stage.cid, "BUY", "2", None)  # stands at no level
    assert told() == before + 3
    order(stage, stage.ann, "BUY", "1", "1", time_in_force="GTD", expire_at=datetime(2100, 1, 1, tzinfo=UTC))
    later(stage, 40)
    assert told() == before + 5
