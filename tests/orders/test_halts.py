"""A symbol that halts by itself raises one alert, however often somebody looks."""

import time
from collections.abc import Iterator
from decimal import Decimal

import pytest

from notifications.outbox import unpack
from orders import halts
from orders.feeds import market_words
from orders.tasks import raise_halt_alerts
from risk.models import Alert, AlertAccount, AlertEvidence
from tests.matching_worker.exchange import Exchange, open_exchange
from tests.matching_worker.test_stops import Stage
from tests.support.approvals import change_status

SECOND = 1_000_000_000


@pytest.fixture
def stage(fresh_database: str) -> Iterator[Stage]:
    with open_exchange() as exchange:
        exchange.worker_clock.at_ns = time.time_ns() // SECOND * SECOND
        yield Stage(exchange, dynamic_band=Decimal("0.05"), halt_s=30, auction_s=40)


def halt_by_itself(stage: Stage) -> None:
    stage.trade_at("100")
    for seller, price in ((stage.bob, "104"), (stage.bob, "106")):
        stage.exchange.placed(seller, stage.symbol, "SELL", "1", price)
    stage.exchange.placed(stage.ann, stage.symbol, "BUY", "3", "107")
    stage.exchange.settle()


def test_it_is_raised_once_with_the_trades_before_it(stage: Stage) -> None:
    halt_by_itself(stage)
    assert [raise_halt_alerts(symbol_id=str(stage.symbol.pk)), raise_halt_alerts(), raise_halt_alerts()] == [1, 0, 0]
    alert = Alert.objects.get()
    assert (alert.severity, alert.kind, alert.symbol_id, alert.details["cause"]) == (
        "HIGH",
        "AUTOMATIC_HALT",
        stage.symbol.pk,
        "PRICE_BAND",
    )
    assert stage.symbol.name in alert.title
    assert Decimal(alert.details["last_price"]) == 104
    trades = {str(row[0]) for row in stage.exchange.rows("SELECT id FROM orders_trade")}
    assert set(AlertEvidence.objects.values_list("kind", "reference")) == {
        ("symbol", str(stage.symbol.pk)),
        *(("trade", trade) for trade in trades),
    }
    parties = stage.exchange.rows("SELECT maker_account_id FROM orders_trade UNION SELECT taker_account_id FROM orders_trade")
    assert set(AlertAccount.objects.values_list("account_id", flat=True)) == {row[0] for row in parties} >= {stage.ann.id, stage.bob.id}


def test_a_task_that_is_killed_on_the_way_raises_it_the_next_time(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    halt_by_itself(stage)
    with monkeypatch.context() as patched:
        patched.setattr(halts, "_raise", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            raise_halt_alerts()
    assert raise_halt_alerts() == 1
    assert Alert.objects.count() == 1


def test_a_halt_that_a_person_commanded_raises_none(stage: Stage) -> None:
    stage.exchange.halt(stage.symbol)
    assert raise_halt_alerts() == 0


def test_the_next_halt_is_another_alert(stage: Stage) -> None:
    halt_by_itself(stage)
    assert raise_halt_alerts() == 1
    change_status(symbol=stage.symbol.name, status="TRADING")
    stage.exchange.settle()
    stage.exchange.placed(stage.bob, stage.symbol, "SELL", "1", "120")
    stage.exchange.placed(stage.ann, stage.symbol, "BUY", "1", "120")
    stage.exchange.settle()
    halted = stage.exchange.row("SELECT count(*) FROM orders_symbolstatus WHERE status = 'HALTED' AND cause = 'PRICE_BAND'")[0]
    assert halted == 2
    assert raise_halt_alerts() == 1
    assert Alert.objects.count() == 2


def test_its_news_wakes_the_task_and_a_commanded_one_does_not(stage: Stage) -> None:
    halt_by_itself(stage)
    assert reactions(stage.exchange) == {("halts", str(stage.symbol.pk))}
    with stage.exchange.connection(autocommit=True) as connection:
        connection.execute("DELETE FROM notifications_outbox")
    stage.exchange.halt(stage.symbol)
    assert reactions(stage.exchange) == set()


def reactions(exchange: Exchange) -> set[tuple[str, str]]:
    payloads = [
        unpack(bytes(row[0])) for row in exchange.rows("SELECT payload FROM notifications_outbox WHERE topic = 'market' ORDER BY id")
    ]
    told = [words for words in market_words(payloads) if not isinstance(words, Exception)]
    assert len(told) == len(payloads)
    return {reaction for words in told for reaction in words.reactions if reaction[0] == "halts"}
