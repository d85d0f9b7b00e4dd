"""A symbol's status takes effect in the worker's sequence, whatever intake had accepted before."""

import pytest

from institutions.models import AuditEntry
from markets.models import Symbol
from orders import commands
from orders.controls import Delisted, NoSuchSymbol, UnknownStatus
from orders.requests import Placed
from tests.matching_worker.exchange import Exchange, Trader
from tests.support.approvals import change_status


def _market(exchange: Exchange) -> tuple[Symbol, Trader, Trader]:
    base, quote = exchange.asset(), exchange.asset()
    symbol = exchange.symbol(base, quote)
    return symbol, exchange.trader((base, 100), (quote, 10_000)), exchange.trader((base, 100), (quote, 10_000))


def _set(symbol: Symbol, status: str) -> None:
    change_status(symbol=symbol.name, status=status, actor="olga", reason="a test")


def test_an_order_sequenced_after_the_halt_is_rejected_and_its_hold_released(exchange: Exchange) -> None:
    symbol, seller, buyer = _market(exchange)
    resting = exchange.placed(seller, symbol, "SELL", "2", "10")
    exchange.settle()
    _set(symbol, "HALTED")
    refused = exchange.place(buyer, symbol, "BUY", "1", "10")
    assert isinstance(refused, Placed)
    assert refused.refusal is not None
    assert refused.refusal.code == "SYMBOL_HALTED"
    exchange.settle()
    assert exchange.order(resting)["status"] == "OPEN"


def test_an_order_that_intake_took_is_rejected_when_the_halt_came_first_in_the_sequence(exchange: Exchange) -> None:
    symbol, seller, buyer = _market(exchange)
    resting = exchange.placed(seller, symbol, "SELL", "2", "10")
    exchange.settle()
    halt = commands.pack([[commands.SET_STATUS, "HALTED", "olga", ""]])  # on its way while intake still reads TRADING
    with exchange.connection() as connection:
        connection.execute("INSERT INTO orders_inbox (symbol_id, commands, payload) VALUES (%s, 1, %s)", [symbol.pk, halt])
    late = exchange.placed(buyer, symbol, "BUY", "1", "10")
    exchange.settle()
    order = exchange.order(late)
    assert (order["status"], order["reason"], order["held"]) == ("REJECTED", "SYMBOL_HALTED", 0)
    assert exchange.order(resting)["filled_quantity"] == 0


def test_cancels_work_in_a_halt_and_trading_goes_on_after_it(exchange: Exchange) -> None:
    symbol, seller, buyer = _market(exchange)
    resting = exchange.placed(seller, symbol, "SELL", "2", "10")
    exchange.settle()
    _set(symbol, "HALTED")
    exchange.settle()
    exchange.cancel(seller, resting)
    exchange.settle()
    assert exchange.order(resting)["reason"] == "USER_CANCEL"
    _set(symbol, "TRADING")
    exchange.settle()
    again = exchange.placed(seller, symbol, "SELL", "1", "10")
    taken = exchange.placed(buyer, symbol, "BUY", "1", "10")
    exchange.settle()
    assert (exchange.order(again)["status"], exchange.order(taken)["status"]) == ("FILLED", "FILLED")


def test_delisting_cancels_everything_and_is_final(exchange: Exchange) -> None:
    symbol, seller, _ = _market(exchange)
    resting = exchange.placed(seller, symbol, "SELL", "2", "10")
    exchange.settle()
    _set(symbol, "DELISTED")
    exchange.settle()
    order = exchange.order(resting)
    assert (order["status"], order["reason"], order["held"]) == ("CANCELLED", "SYMBOL_DELISTED", 0)
    with pytest.raises(Delisted):
        _set(symbol, "TRADING")


def test_a_change_is_audited_and_needs_a_reason_a_symbol_and_a_status_that_exists(exchange: Exchange) -> None:
    symbol, _, _ = _market(exchange)
    with pytest.raises(ValueError, match="reason"):
        change_status(symbol=symbol.name, status="HALTED", actor="olga", reason=" ")
    with pytest.raises(NoSuchSymbol):
        change_status(symbol="NO/SUCH", status="HALTED", actor="olga", reason="a test")
    with pytest.raises(UnknownStatus):
        change_status(symbol=symbol.name, status="OPEN", actor="olga", reason="a test")
    assert not AuditEntry.objects.filter(action="symbol.status").exists()
    _set(symbol, "HALTED")
    [entry] = AuditEntry.objects.filter(action="symbol.status")
    assert (entry.actor, entry.before, entry.after) == ("olga", {"status": "TRADING"}, {"status": "HALTED"})
