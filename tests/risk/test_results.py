"""What accounts win and lose: intake and the task that looks every minute reckon it by two formulas, which must agree."""

import time
from decimal import Decimal

from orders.batch_reads import BatchReads
from orders.requests import Submission
from orders.results import see_results
from orders.tasks import see_results as see_results_task
from risk.models import DayResult, Exposure, Position
from tests.factories import AssetFactory, fund
from tests.matching_worker.exchange import order
from tests.risk.conftest import DAY_NS, Floor, limit


def assert_both_agree(floor: Floor) -> DayResult:
    see_results()
    row = DayResult.objects.get(account_id=floor.ann.id)
    asked = order(floor.ann, floor.test_usdt, "BUY", "1", "1", limited=True)
    with floor.exchange.connect() as connection:
        reads = BatchReads(connection, now_s=time.time())
        reads.read([Submission((asked,))])
        connection.rollback()
    standing = reads.accounts[floor.ann.id].risk.standing
    results = standing.results(reads.limits.marks, reads.limits.today)
    assert (results.now, results.opening, standing.equity(reads.limits.marks)) == (row.latest, row.opening, row.equity)
    assert standing.high == row.high
    return row


def test_both_formulas_agree_whatever_the_asset_and_whether_it_has_a_price(floor: Floor) -> None:
    exchange, ann = floor.exchange, floor.ann.account
    odd, eur = AssetFactory(code="ODD", scale=3), AssetFactory(code="EUR", scale=2)
    free = {"maker_fee": Decimal(0), "taker_fee": Decimal(0)}
    against_btc = exchange.symbol(floor.test, floor.btc, **free)
    against_odd = exchange.symbol(odd, floor.btc, tick_size=Decimal("0.01"), lot_size=Decimal("0.1"), **free)
    against_eur = exchange.symbol(floor.test, eur, tick_size=Decimal(1), lot_size=Decimal("0.1"), **free)
    for trader in (floor.ann, floor.maker, floor.taker):
        for asset in (odd, eur):
            fund(trader.account, asset, 10_000)
    see_results()
    assert not DayResult.objects.filter(account_id=ann.pk).exists(), "who has not traded has no result"
    floor.buys("3", "0.02", symbol=against_btc)  # BTC has no price yet
    assert_both_agree(floor)
    floor.deal("333.33", symbol=floor.btc_usdt)
    floor.buys("7", "0.01", symbol=against_odd)
    floor.buys("2.5", "9", symbol=against_eur)
    floor.sells("5", "11", symbol=against_eur)  # turned short
    floor.buys("1.5", "100")
    floor.sells("0.7", "101.01")
    row = assert_both_agree(floor)
    assert row.latest != 0
    floor.deal("90.09")
    floor.deal("0.03", symbol=against_btc)
    again = assert_both_agree(floor)
    assert again.latest not in (row.latest, 0)
    assert again.peak == max(row.peak, again.latest)
    assert see_results_task() == 0, "nothing has changed since"


def test_the_first_trade_of_a_day_leaves_what_was_before_it(floor: Floor) -> None:
    today = time.time_ns() // DAY_NS
    floor.at_day(today)
    floor.buys("4", "100")
    floor.buys("2", "130")
    floor.at_day(today + 1)
    floor.sells("3", "120")
    floor.sells("1", "125")
    position = Position.objects.get(account_id=floor.ann.id, symbol_id=floor.test_usdt.pk)
    assert (position.opening_quantity, position.opening_cost, position.opening_realised) == (6, 660, 0)
    assert (position.quantity, position.cost, position.realised) == (2, 220, 45)
    close = "SELECT previous_close, last_price FROM orders_checkpoint WHERE symbol_id = %s"
    assert floor.exchange.row(close, floor.test_usdt.pk) == (130, 125)
    exposure = Exposure.objects.get(account_id=floor.ann.id, symbol_id=floor.test_usdt.pk)
    assert (exposure.traded, (exposure.day - position.day).days) == (485, 0)
    floor.at_day(today + 9)
    floor.deal("99")
    assert floor.exchange.row(close, floor.test_usdt.pk) == (125, 99)


def test_a_position_against_bitcoin_is_in_bitcoin(floor: Floor) -> None:
    limit("MAX_POSITION", "10")
    symbol = floor.exchange.symbol(floor.test, floor.btc)
    assert floor.ask("BUY", "1000.001", "0.01", symbol=symbol) == "RISK_MAX_POSITION"
    assert floor.ask("BUY", "1000", "0.01", symbol=symbol) == "taken"


def test_a_stop_to_buy_counts_while_it_waits_and_a_rejected_one_no_more(floor: Floor) -> None:
    limit("MAX_POSITION", "10")
    floor.deal("100", symbol=floor.btc_usdt)
    stop = {"order_type": "STOP", "time_in_force": "GTC", "trigger_source": "LAST", "symbol": floor.btc_usdt}
    assert floor.ask("BUY", "6", None, stop_price=Decimal(90), **stop) == "taken"
    assert floor.ask("BUY", "4.001", "50", symbol=floor.btc_usdt) == "RISK_MAX_POSITION"
    floor.exchange.settle()  # it would trigger at once
    assert floor.ask("BUY", "4", None, stop_price=Decimal(150), **stop) == "taken"
    floor.exchange.settle()
    assert floor.ask("BUY", "6.001", "50", symbol=floor.btc_usdt) == "RISK_MAX_POSITION"
    assert floor.ask("BUY", "6", "50", symbol=floor.btc_usdt) == "taken"
