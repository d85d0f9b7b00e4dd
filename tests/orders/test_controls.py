"""Cancel-all by an operator: in the worker's sequence, exact about money, audited."""

import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from uuid import UUID

import pytest
from django.db import connections

from exchange_platform.db import connect_direct
from institutions.models import AuditEntry
from institutions.services import create_institution
from markets.models import Symbol
from orders.controls import (
    LiveOrders,
    NoSuchScope,
    NoSuchSymbol,
    SecondPersonNeeded,
    cancel_all,
    live_orders,
    set_symbol_status,
)
from orders.inbox import COMMANDS_PER_ROW
from tests.matching_worker.exchange import Exchange, Trader, code_of, open_exchange, order
from tests.support.approvals import change_status


class Market:
    """A symbol, a seller of 100 base and a buyer of 10,000 quote, of two institutions."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.base, self.quote = exchange.asset(), exchange.asset()
        self.symbol: Symbol = exchange.symbol(self.base, self.quote)
        self.seller: Trader = exchange.trader((self.base, 100))
        self.buyer: Trader = exchange.trader((self.quote, 10_000))

    def rest(self) -> tuple[UUID, UUID]:
        """A bid and an ask that do not meet, settled."""
        ask = self.exchange.placed(self.seller, self.symbol, "SELL", "2", "11")
        bid = self.exchange.placed(self.buyer, self.symbol, "BUY", "3", "10")
        self.exchange.settle()
        return bid, ask


@pytest.fixture
def market(fresh_database: str) -> Iterator[Market]:
    """On a database of its own, reconciled at the end."""
    with open_exchange() as exchange:
        yield Market(exchange)


def _cancel(symbol: str | None = None, account: str | None = None, institution: str | None = None, reason: str = "a test") -> int:
    return cancel_all(symbol=symbol, account=account, institution=institution, actor="olga", reason=reason, request_id="r-1")


def _live(symbol: str | None = None, account: str | None = None, institution: str | None = None) -> list[LiveOrders]:
    return live_orders(symbol=symbol, account=account, institution=institution)


def test_everything_of_a_symbol_ends_with_its_reason_and_its_holds_come_back(market: Market) -> None:
    bid, ask = market.rest()
    name = market.symbol.name
    assert _live(symbol=name) == [LiveOrders(name, 2, 1, 1, Decimal(2), Decimal(30))]
    assert _cancel(symbol=name) == 2
    assert market.exchange.order(bid)["status"] == "OPEN"  # it takes effect in the worker's sequence
    market.exchange.settle()
    for order_id in (bid, ask):
        ended = market.exchange.order(order_id)
        assert (ended["status"], ended["reason"], ended["held"]) == ("CANCELLED", "ADMIN_CANCEL", 0)
        assert market.exchange.transitions(order_id)[-1] == ("OPEN", "CANCELLED", "ADMIN_CANCEL")
    assert market.exchange.balance(market.seller, market.base) == (100, 0)
    assert market.exchange.balance(market.buyer, market.quote) == (10_000, 0)
    assert _live(symbol=name) == []


def test_the_history_of_the_order_and_the_audit_trail_name_who_did_it_and_why(market: Market) -> None:
    bid, _ = market.rest()
    _cancel(symbol=market.symbol.name, reason="a fat finger")
    market.exchange.settle()
    said = market.exchange.row("SELECT actor, request_id FROM orders_transition WHERE order_id = %s AND to_status = 'CANCELLED'", bid)
    assert said == ("olga", "r-1")
    [entry] = AuditEntry.objects.filter(action="orders.cancel_all")
    assert (entry.actor, entry.subject, entry.reason) == ("olga", f"symbol:{market.symbol.name}", "a fat finger")
    assert entry.after == {"symbol": market.symbol.name, "account": None, "institution": None, "orders": 2}


def test_what_waits_to_be_matched_matches_first_and_only_the_rest_is_cancelled(market: Market) -> None:
    _, ask = market.rest()
    taker = market.exchange.placed(market.buyer, market.symbol, "BUY", "5", "11")  # taken by intake, not matched yet
    assert _cancel(symbol=market.symbol.name) == 3
    market.exchange.settle()
    assert market.exchange.order(ask)["status"] == "FILLED"
    ended = market.exchange.order(taker)
    assert (ended["status"], ended["filled_quantity"], ended["reason"], ended["held"]) == ("CANCELLED", 2, "ADMIN_CANCEL", 0)
    assert market.exchange.balance(market.buyer, market.quote) == (10_000 - 22, 0)


def test_an_order_placed_after_it_lives(market: Market) -> None:
    market.rest()
    _cancel(symbol=market.symbol.name)
    later = market.exchange.placed(market.buyer, market.symbol, "BUY", "1", "10")
    market.exchange.settle()
    assert market.exchange.order(later)["status"] == "OPEN"
    assert [live.orders for live in _live(symbol=market.symbol.name)] == [1]


def test_halted_first_nothing_is_left_and_nothing_comes(market: Market) -> None:
    bid, ask = market.rest()
    change_status(symbol=market.symbol.name, status="HALTED", actor="olga", reason="a test")
    assert _cancel(symbol=market.symbol.name) == 2
    assert code_of(market.exchange.place(market.buyer, market.symbol, "BUY", "1", "10")) == "SYMBOL_HALTED"
    market.exchange.settle()
    assert {market.exchange.order(order_id)["reason"] for order_id in (bid, ask)} == {"ADMIN_CANCEL"}
    assert _live() == []


def test_an_account_an_institution_and_where_they_meet_a_symbol(market: Market) -> None:
    bid, ask = market.rest()
    other = market.exchange.symbol(market.base, market.exchange.asset())
    elsewhere = market.exchange.placed(market.seller, other, "SELL", "1", "5")
    market.exchange.settle()
    seller = market.seller.account
    code = seller.institution.code
    assert [live.orders for live in _live(account=seller.name)] == [1, 1]
    assert _cancel(account=seller.name, symbol=other.name) == 1
    market.exchange.settle()
    assert market.exchange.order(elsewhere)["reason"] == "ADMIN_CANCEL"
    assert market.exchange.order(ask)["status"] == "OPEN"
    assert _cancel(institution=code) == 1
    market.exchange.settle()
    assert market.exchange.order(ask)["reason"] == "ADMIN_CANCEL"
    assert market.exchange.order(bid)["status"] == "OPEN"
    assert _cancel() == 1
    market.exchange.settle()
    assert market.exchange.order(bid)["reason"] == "ADMIN_CANCEL"


def test_a_thousand_orders_are_asked_in_parts_and_all_end(market: Market) -> None:
    many = COMMANDS_PER_ROW * 2 + 1
    requests = [order(market.buyer, market.symbol, "BUY", "1", "0.01") for _ in range(many)]
    market.exchange.take(*requests)
    market.exchange.settle()
    assert _cancel(symbol=market.symbol.name) == many
    parts = [row[0] for row in market.exchange.rows("SELECT commands FROM orders_inbox ORDER BY id")]
    assert parts == [COMMANDS_PER_ROW, COMMANDS_PER_ROW, 1]
    market.exchange.settle()
    assert _live() == []
    assert market.exchange.balance(market.buyer, market.quote) == (10_000, 0)


def test_what_does_not_exist_is_refused_and_nothing_is_written(market: Market) -> None:
    market.rest()
    stranger = create_institution(code="stranger", name="Stranger", actor="tests").code
    with pytest.raises(NoSuchSymbol):
        _cancel(symbol="NO/SUCH")
    with pytest.raises(NoSuchScope):
        _cancel(account="nobody")
    with pytest.raises(NoSuchScope):
        _cancel(institution="nowhere")
    with pytest.raises(NoSuchScope):  # its account is another institution's
        _cancel(account=market.seller.account.name, institution=stranger)
    with pytest.raises(ValueError, match="reason"):
        _cancel(reason="  ")
    assert market.exchange.row("SELECT count(*) FROM orders_inbox") == (0,)
    assert not AuditEntry.objects.filter(action="orders.cancel_all").exists()


def test_a_name_that_is_longer_than_a_transition_keeps_does_not_stop_the_worker(market: Market) -> None:
    bid, _ = market.rest()
    cancel_all(symbol=None, account=None, institution=None, actor="x" * 150, reason="a test", request_id="y" * 60)
    change_status(symbol=market.symbol.name, status="CANCEL_ONLY", actor="x" * 150, reason="a test", request_id="y" * 60)
    market.exchange.settle()
    assert market.exchange.order(bid)["reason"] == "ADMIN_CANCEL"


SCOPES: list[tuple[str, Callable[[Market], dict[str, str]]]] = [
    ("symbol", lambda market: {"symbol": market.symbol.name}),
    ("institution", lambda market: {"institution": market.buyer.account.institution.code}),
    ("account", lambda market: {"account": market.buyer.account.name}),
]


@pytest.mark.parametrize(("name", "scope"), SCOPES, ids=[name for name, _ in SCOPES])
def test_it_waits_for_intake_that_is_under_way_and_takes_its_orders_along(
    market: Market, name: str, scope: Callable[[Market], dict[str, str]]
) -> None:
    held, go = threading.Event(), threading.Event()
    exchange = market.exchange
    plain = exchange.connect

    class Slow:
        """Its commit waits for the test."""

        def __init__(self) -> None:
            self.real = plain()

        def commit(self) -> None:
            held.set()
            assert go.wait(10)
            self.real.commit()

        def __getattr__(self, attribute: str) -> object:
            return getattr(self.real, attribute)

    exchange.connect = Slow  # type: ignore[assignment]
    outcomes: list[object] = []
    intake = threading.Thread(target=lambda: outcomes.append(exchange.placed(market.buyer, market.symbol, "BUY", "1", "10")))
    intake.start()
    assert held.wait(10)
    asked: list[int] = []

    def operate() -> None:
        asked.append(_cancel(**scope(market)))
        connections.close_all()

    operator = threading.Thread(target=operate)
    operator.start()
    _wait_until_somebody_waits_for_a_lock()
    assert asked == []
    go.set()
    intake.join(10)
    operator.join(10)
    assert asked == [1]
    exchange.intake._drop_connection()
    exchange.connect = plain
    exchange.settle()
    [placed] = outcomes
    assert isinstance(placed, UUID)
    assert exchange.order(placed)["reason"] == "ADMIN_CANCEL"


def _wait_until_somebody_waits_for_a_lock() -> None:
    with connect_direct(name="test", autocommit=True) as connection:
        for _ in range(200):
            found = connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
            if found and found[0]:
                return
            threading.Event().wait(0.02)
    raise AssertionError("nobody waited")


@pytest.mark.parametrize("status", ["TRADING", "AUCTION", "POST_ONLY", "CANCEL_ONLY"])
def test_no_way_out_of_a_halt_is_one_persons(market: Market, status: str) -> None:
    market.exchange.halt(market.symbol)
    with pytest.raises(SecondPersonNeeded):
        set_symbol_status(symbol=market.symbol.name, status=status, actor="olga", reason="a test")
    market.exchange.settle()
    assert Symbol.objects.get(pk=market.symbol.pk).status == "HALTED"
