"""What intake and settlement count is what the database says happened."""

import time
from decimal import Decimal
from pathlib import Path

import pytest

from exchange_platform.db import connect_direct
from orders import metrics as order_metrics
from orders.batch import IntakeBatch
from orders.metrics import count_intake
from orders.requests import Request, Submission
from tests.matching_worker.exchange import Exchange, order
from tests.matching_worker.test_stops import Stage
from tests.telemetry.conftest import home
from tests.telemetry.figures import figure, shown

__all__ = ["home"]


def take(exchange: Exchange, *requests: Request) -> None:
    """Intake as its thread does it, the call after the commit included."""
    exchange.keep_lease()
    with connect_direct(name="intake") as connection:
        batch = IntakeBatch(connection, [Submission(requests)], now_ns=time.time_ns())
        batch.decide_and_write()
        connection.commit()
        count_intake(batch._writes.drafts)


@pytest.fixture
def counted(home: Path, exchange: Exchange) -> Exchange:
    return exchange


def test_orders_from_placing_to_their_ends(counted: Exchange) -> None:
    base, quote = counted.asset(), counted.asset()
    symbol = counted.symbol(base, quote, max_quantity=Decimal(50))
    seller, buyer = counted.trader((base, 100)), counted.trader((quote, 1_000))
    resting = order(seller, symbol, "SELL", "2", "10")
    take(counted, resting, order(seller, symbol, "SELL", "1", "11"), order(seller, symbol, "SELL", "51", "11"))
    counted.settle()
    take(
        counted,
        order(buyer, symbol, "BUY", "2.5", "11"),  # fills the first, half of the second, and itself
        order(buyer, symbol, "BUY", "1", "9", time_in_force="IOC"),  # finds nobody
        order(buyer, symbol, "BUY", "1", "11", time_in_force="GTX"),  # would take: the book refuses it
        order(buyer, symbol, "BUY", "40", "100"),  # more than the buyer has
        resting,  # a replay is no new order: another account's request, refused as a conflict or answered as it is
    )
    counted.settle()
    name = symbol.name
    sql = "SELECT status, side, reason, count(*) FROM orders_order GROUP BY 1, 2, 3"
    orders = {(status, side, reason): count for status, side, reason, count in counted.rows(sql)}
    assert orders == {
        ("FILLED", "SELL", None): 1,
        ("PARTIALLY_FILLED", "SELL", None): 1,
        ("FILLED", "BUY", None): 1,
        ("CANCELLED", "BUY", "IOC_UNFILLED"): 1,
        ("REJECTED", "BUY", "POST_ONLY_WOULD_TAKE"): 1,
        ("REJECTED", "BUY", "INSUFFICIENT_FUNDS"): 1,
        ("REJECTED", "SELL", "QUANTITY_TOO_LARGE"): 1,
    }
    assert figure("orders_placed_total", symbol=name, type="LIMIT", side="SELL") == 2
    assert figure("orders_placed_total", symbol=name, type="LIMIT", side="BUY") == 3
    assert figure("orders_filled_total", symbol=name, side="SELL") == 1
    assert figure("orders_filled_total", symbol=name, side="BUY") == 1
    assert figure("orders_canceled_total", symbol=name, reason="IOC_UNFILLED") == 1
    for reason in ("POST_ONLY_WOULD_TAKE", "INSUFFICIENT_FUNDS", "QUANTITY_TOO_LARGE"):
        assert figure("orders_rejected_total", symbol=name, reason=reason) == 1, reason
    assert figure("trades_executed_total", symbol=name) == counted.row("SELECT count(*) FROM orders_trade")[0] == 2
    assert figure("orders_matched_total", symbol=name) == 3
    assert figure("risk_checks_total", type="pre_trade", result="passed") == 5
    assert figure("risk_checks_total", type="pre_trade", result="refused") == 1
    assert figure("risk_violations_total", type="INSUFFICIENT_FUNDS") == 1
    assert figure("validation_failures_total", rule="QUANTITY_TOO_LARGE") == 1
    assert ("validation_failures_total", (("rule", "INSUFFICIENT_FUNDS"),)) not in shown()


def test_a_batch_says_how_large_it_was_and_how_long_it_took(counted: Exchange) -> None:
    base, quote = counted.asset(), counted.asset()
    symbol = counted.symbol(base, quote)
    seller = counted.trader((base, 100))
    take(counted, *(order(seller, symbol, "SELL", "1", "10") for _ in range(7)))
    counted.settle()
    assert figure("matching_batch_size_sum") == 7
    assert figure("matching_batch_size_count") == figure("matching_duration_seconds_count") == 1
    assert 0 < figure("matching_duration_seconds_sum") < 10
    assert 0 < figure("trade_creation_duration_seconds_sum") < 10


def test_a_settlement_that_does_not_commit_counts_nothing(counted: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    base, quote = counted.asset(), counted.asset()
    symbol = counted.symbol(base, quote)
    seller = counted.trader((base, 100))
    take(counted, order(seller, symbol, "SELL", "1", "10"))
    with monkeypatch.context() as patch:
        patch.setattr("orders.settlement.write", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("no")))
        with pytest.raises(RuntimeError):
            counted.settle()
    assert ("matching_batch_size_count", ()) not in shown()
    counted.settling.rollback()
    counted.restart_worker()
    counted.settle()


def test_what_is_read_from_the_database(counted: Exchange) -> None:
    base, quote = counted.asset(), counted.asset()
    symbol = counted.symbol(base, quote)
    seller = counted.trader((base, 100))
    take(counted, *(order(seller, symbol, "SELL", "1", price) for price in ("10", "10", "11")))
    with connect_direct(name="test", autocommit=True) as connection:
        waiting = order_metrics.read(connection)
        counted.settle()
        settled = order_metrics.read(connection)
    assert waiting["matching_inbox_pending"] == [(("0",), 3.0)]
    assert waiting["matching_lease_epoch"] == [(("0",), 1.0)]
    assert settled["matching_inbox_pending"] == [(("0",), 0.0)]
    assert settled["order_book_depth"] == [((symbol.name, "SELL"), 2.0)]


def test_figures_that_cannot_be_kept_stop_no_settlement(counted: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    base, quote = counted.asset(), counted.asset()
    symbol = counted.symbol(base, quote)
    seller = counted.trader((base, 100))
    placed = counted.placed(seller, symbol, "SELL", "1", "10")
    monkeypatch.setattr("matching.worker.count_settlement", lambda *_, **__: 1 / 0)
    assert counted.settle() == 1
    assert counted.order(placed)["status"] == "OPEN"


def test_stops_that_wait_and_how_far_they_slipped(counted: Exchange) -> None:
    stage = Stage(counted)
    stage.trade_at("100")
    stage.stop(stage.ann, "SELL", "90")
    stage.stop(stage.ann, "BUY", "110")
    name = stage.symbol.name
    assert figure("stop_orders_waiting", symbol=name) == 2
    counted.restart_worker()
    assert figure("stop_orders_waiting", symbol=name) == 2
    counted.placed(stage.bob, stage.symbol, "SELL", "1", "112.20")
    stage.trade_at("110")
    assert figure("stop_orders_waiting", symbol=name) == 1
    assert figure("stop_slippage_ratio_count", symbol=name) == 1
    assert figure("stop_slippage_ratio_sum", symbol=name) == pytest.approx(0.02)
