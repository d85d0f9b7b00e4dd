"""Intake against PostgreSQL: every refusal recorded with its reason, exact holds and limits, replays, bad items, unknown commits."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
import pytest

from exchange_platform.db import connect_direct
from institutions.services import freeze_account, freeze_institution
from orders.refusals import IdempotencyConflict, NotFound, NotTaken, OrderNotOpen, ReplayedSignature, UnknownSymbol
from orders.requests import AmendOrder, AmendTaken, CancelOrder, CancelTaken, Nonce, Placed, PlaceOrder, Principal, Submission
from tests.factories import api_key
from tests.matching_worker.exchange import (
    Exchange,
    Meddled,
    Trader,
    accepted,
    code_of,
    first_commit,
    lost_after_commit,
    lost_before_commit,
    open_exchange,
    order,
)
from tests.support.approvals import set_limit

RULES: dict[str, Any] = {
    "min_quantity": Decimal("0.01"), "max_quantity": Decimal(50), "min_price": Decimal(1), "max_price": Decimal(500),
    "min_notional": Decimal(5), "static_band": Decimal("0.10"), "reference_price": Decimal(100), "max_open_orders": 40,
}  # fmt: skip


@pytest.fixture
def exchange(fresh_database: str) -> Iterator[Exchange]:
    with open_exchange() as made:
        yield made


def recorded(exchange: Exchange, outcome: object) -> tuple[str, str]:
    """(status, reason) of the order that a refusal left behind, after checking its history and that it holds nothing."""
    assert isinstance(outcome, Placed), outcome
    order_id = UUID(outcome.order["order_id"])
    row = exchange.order(order_id)
    assert exchange.transitions(order_id) == [(None, row["status"], row["reason"])]
    assert row["held"] == 0
    assert exchange.rows("SELECT 1 FROM orders_openorder WHERE order_id = %s", order_id) == []
    return row["status"], row["reason"]


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("OFF_TICK", {"price": "100.001"}),
    ("OFF_LOT", {"quantity": "1.0001"}),
    ("QUANTITY_TOO_SMALL", {"quantity": "0.009"}),
    ("QUANTITY_TOO_LARGE", {"quantity": "50.001"}),
    ("PRICE_OUT_OF_RANGE", {"price": "500.01"}),
    ("PRICE_OUT_OF_RANGE", {"price": "0.99"}),
    ("PRICE_OUTSIDE_BAND", {"price": "110.01"}),
    ("PRICE_OUTSIDE_BAND", {"price": "89.99"}),
    ("NOTIONAL_TOO_SMALL", {"quantity": "0.05", "price": "99.99"}),
    ("INSUFFICIENT_FUNDS", {"quantity": "11", "price": "100"}),
    ("INSUFFICIENT_FUNDS", {"side": "SELL", "quantity": "10.001"}),
    ("OFF_TICK", {"order_type": "STOP_LIMIT", "trigger_source": "LAST", "stop_price": Decimal("105.001")}),
    ("PRICE_OUTSIDE_BAND", {"order_type": "STOP_LIMIT", "trigger_source": "LAST", "stop_price": Decimal("110.01")}),
    ("PRICE_OUTSIDE_BAND", {"order_type": "TAKE_PROFIT", "price": None, "trigger_source": "LAST", "stop_price": Decimal("89.99")}),
    ("NOTIONAL_TOO_SMALL", {"order_type": "STOP", "price": None, "quantity": "0.05", "trigger_source": "LAST", "stop_price": Decimal(95)}),
    ("INSUFFICIENT_FUNDS", {"order_type": "STOP", "price": None, "quantity": "9.6", "trigger_source": "LAST", "stop_price": Decimal(100)}),
    ("REDUCE_ONLY_REJECTED", {"reduce_only": True}),
]  # fmt: skip
TAKEN: list[dict[str, Any]] = [
    {"price": "110"},
    {"price": "90"},
    {"quantity": "0.05", "price": "100"},
    {"quantity": "0.056", "price": "90"},
    {"quantity": "10", "price": "100"},
    {"side": "SELL", "quantity": "10"},
    {"order_type": "STOP", "price": None, "quantity": "9.5", "trigger_source": "LAST", "stop_price": Decimal(100)},
    {"order_type": "STOP_LIMIT", "quantity": "10", "trigger_source": "REFERENCE", "stop_price": Decimal(110)},
    {"time_in_force": "GTD", "expire_at": datetime(2100, 1, 1, tzinfo=UTC)},
    {"reduce_only": True, "side": "SELL"},
]


def test_every_refusal_is_recorded_with_its_reason_and_holds_nothing(exchange: Exchange) -> None:
    symbol = exchange.symbol(**RULES)
    for code, change in REFUSED:
        trader = exchange.trader((symbol.quote, 1000), (symbol.base, 10))
        asked = {"side": "BUY", "quantity": "1", "price": "100", **change}
        outcome = exchange.place(trader, symbol, **asked)
        assert recorded(exchange, outcome) == ("REJECTED", code), change
        assert code_of(outcome) == code
        assert (exchange.balance(trader, symbol.quote), exchange.balance(trader, symbol.base)) == ((1000, 0), (10, 0))


def test_what_is_just_within_the_rules_is_taken_and_holds_exactly_what_it_may_need(exchange: Exchange) -> None:
    symbol = exchange.symbol(**RULES)
    for change in TAKEN:
        trader = exchange.trader((symbol.quote, 1000), (symbol.base, 10))
        asked = {"side": "BUY", "quantity": "1", "price": "100", **change}
        row = exchange.order(exchange.placed(trader, symbol, **asked))
        if asked["side"] == "BUY":
            assert (
                exchange.balance(trader, symbol.quote)
                == (1000, row["held"])
                == (1000, Decimal(asked["quantity"]) * (row["price"] or row["protection_price"]))
            )
        else:
            assert exchange.balance(trader, symbol.base) == (10, row["held"]) == (10, Decimal(asked["quantity"]))


@pytest.mark.parametrize(
    ("status", "change", "code"),
    [
        ("HALTED", {}, "SYMBOL_HALTED"),
        ("CANCEL_ONLY", {}, "SYMBOL_CANCEL_ONLY"),
        ("POST_ONLY", {"time_in_force": "IOC"}, "SYMBOL_POST_ONLY"),
        ("POST_ONLY", {"price": None}, "SYMBOL_POST_ONLY"),
    ],
)
def test_a_restricted_symbol_refuses(exchange: Exchange, fresh_database: str, status: str, change: dict[str, Any], code: str) -> None:
    symbol = exchange.symbol(reference_price=Decimal(100))
    with psycopg.connect(fresh_database) as owner:
        owner.execute("UPDATE markets_symbol SET status = %s", [status])
    trader = exchange.trader((symbol.quote, 1000))
    outcome = exchange.place(trader, symbol, **{"side": "BUY", "quantity": "1", "price": "100", **change})
    assert recorded(exchange, outcome) == ("REJECTED", code)


def test_the_engine_refuses_post_only_that_would_take(exchange: Exchange) -> None:
    symbol = exchange.symbol()
    buyer, seller = exchange.trader((symbol.quote, 1000)), exchange.trader((symbol.base, 10))
    exchange.placed(seller, symbol, "SELL", "1", "100")
    order_id = exchange.placed(buyer, symbol, "BUY", "1", "100", time_in_force="GTX")
    exchange.settle()
    assert exchange.transitions(order_id) == [(None, "PENDING", "PLACE"), ("PENDING", "REJECTED", "POST_ONLY_WOULD_TAKE")]
    assert exchange.balance(buyer, symbol.quote) == (1000, 0)


def test_frozen_accounts_and_institutions_may_cancel_and_nothing_else(exchange: Exchange) -> None:
    symbol = exchange.symbol()
    for code in ("ACCOUNT_FROZEN", "INSTITUTION_FROZEN"):
        trader = exchange.trader((symbol.quote, 1000))
        resting = exchange.placed(trader, symbol, "BUY", "1", "10")
        exchange.settle()
        if code == "ACCOUNT_FROZEN":
            freeze_account(account_id=trader.id, actor="tests", reason="to see")
        else:
            freeze_institution(institution_id=trader.account.institution_id, actor="tests", reason="to see")
        assert recorded(exchange, exchange.place(trader, symbol, "BUY", "1", "10")) == ("REJECTED", code), "unlimited keys too"
        assert code_of(exchange.amend(trader, resting, quantity="2")) == code
        assert isinstance(exchange.cancel(trader, resting), CancelTaken)
        exchange.settle()
        assert exchange.order(resting)["status"] == "CANCELLED"


# -- market orders


def test_a_market_order_is_protected_around_the_best_opposite_quote(exchange: Exchange) -> None:
    symbol = exchange.symbol(reference_price=Decimal(90))
    buyer, seller = exchange.trader((symbol.quote, 10_000)), exchange.trader((symbol.base, 100))
    order_id = exchange.placed(buyer, symbol, "BUY", "1")
    assert exchange.order(order_id)["protection_price"] == Decimal("94.5")
    exchange.placed(seller, symbol, "SELL", "1", "100.01")
    exchange.settle()
    order_id = exchange.placed(buyer, symbol, "BUY", "3")
    row = exchange.order(order_id)
    assert (row["protection_price"], row["held"]) == (Decimal("105.01"), Decimal("315.03"))  # 105.0105, rounded towards the reference
    exchange.settle()
    row = exchange.order(order_id)
    assert (row["status"], row["reason"], row["filled_quantity"]) == ("CANCELLED", "IOC_UNFILLED", 1)
    assert exchange.balance(buyer, symbol.quote) == (Decimal("9899.99"), 0)


def test_a_market_order_without_any_reference_is_refused(exchange: Exchange) -> None:
    symbol = exchange.symbol()
    buyer = exchange.trader((symbol.quote, 10_000))
    assert recorded(exchange, exchange.place(buyer, symbol, "BUY", "1")) == ("REJECTED", "NO_REFERENCE_PRICE")


def test_a_market_buy_by_amount_holds_exactly_that(exchange: Exchange) -> None:
    symbol = exchange.symbol()
    buyer, seller = exchange.trader((symbol.quote, 1000)), exchange.trader((symbol.base, 100))
    exchange.placed(seller, symbol, "SELL", "10", "3")
    exchange.settle()
    order_id = exchange.placed(buyer, symbol, "BUY", quote_quantity=Decimal("10.00000001"))
    assert exchange.balance(buyer, symbol.quote) == (1000, Decimal("10.00000001"))
    exchange.settle()
    row = exchange.order(order_id)
    assert (row["status"], row["filled_quantity"], row["filled_quote"]) == ("FILLED", Decimal("3.333"), Decimal("9.999"))
    assert exchange.balance(buyer, symbol.quote) == (Decimal("990.001"), 0)
    for amount, code in (("0.000009", "NOTIONAL_TOO_SMALL"), ("1000.00000001", "INSUFFICIENT_FUNDS"), ("1.000000001", "OFF_TICK")):
        outcome = exchange.place(buyer, symbol, "BUY", quote_quantity=Decimal(amount))
        assert code_of(outcome) == code, amount


# -- limits: under, at, over


def limit(kind: str, value: str, trader: Trader) -> None:
    for other in ("ORDERS_PER_SECOND", "ORDERS_PER_MINUTE", "DAILY_ORDERS", "OPEN_ORDERS", "ORDER_VALUE"):
        set_limit(kind=other, value=Decimal(10**9), actor="tests", reason="not the one that is looked at")
    set_limit(kind=kind, value=Decimal(value), actor="tests", reason="the one that is looked at", account_id=trader.id)


def test_order_value_up_to_its_limit(exchange: Exchange) -> None:
    symbol = exchange.symbol()
    trader = exchange.trader((symbol.quote, 10_000))
    limit("ORDER_VALUE", "100", trader)
    for price, expected in (("99.99", None), ("100", None), ("100.01", "RISK_MAX_ORDER_VALUE")):
        outcome = exchange.place(trader, symbol, "BUY", "1", price, limited=True)
        assert (outcome.refusal.code if isinstance(outcome, Placed) and outcome.refusal else None) == expected
    accepted(exchange.place(trader, symbol, "BUY", "1", "100.01"))  # a key without limits


def test_open_orders_up_to_their_limit_and_again_when_one_has_ended(exchange: Exchange) -> None:
    symbol = exchange.symbol()
    trader = exchange.trader((symbol.quote, 10_000))
    limit("OPEN_ORDERS", "3", trader)
    outcomes = exchange.take(*(order(trader, symbol, "BUY", "1", "1", limited=True) for _ in range(4)))
    first, _, _ = [accepted(outcome) for outcome in outcomes[:3]]
    assert recorded(exchange, outcomes[3]) == ("REJECTED", "RISK_OPEN_ORDERS")
    exchange.cancel(trader, first)
    assert code_of(exchange.place(trader, symbol, "BUY", "1", "1", limited=True)) == "RISK_OPEN_ORDERS", "the cancel has not been settled"
    exchange.settle()
    accepted(exchange.place(trader, symbol, "BUY", "1", "1", limited=True))
    assert code_of(exchange.place(trader, symbol, "BUY", "1", "1", limited=True)) == "RISK_OPEN_ORDERS"


@pytest.mark.parametrize(
    ("kind", "code", "same", "next_window"),
    [
        ("ORDERS_PER_SECOND", "RISK_ORDER_RATE", 0.9, 1.0),
        ("ORDERS_PER_MINUTE", "RISK_ORDER_RATE", 59.9, 60.0),
        ("DAILY_ORDERS", "RISK_DAILY_ORDERS", 86_399.0, 86_400.0),
    ],
)
def test_rates_count_within_their_window(exchange: Exchange, kind: str, code: str, same: float, next_window: float) -> None:
    symbol = exchange.symbol()
    trader = exchange.trader((symbol.quote, 10_000))
    limit(kind, "3", trader)
    midnight_ns = time.time_ns() // 86_400_000_000_000 * 86_400_000_000_000

    def ask_at(seconds: float) -> str | None:
        exchange.clock.at_ns = midnight_ns + int(seconds * 1e9)
        outcome = exchange.place(trader, symbol, "BUY", "1", "1", limited=True)
        assert isinstance(outcome, Placed)
        return outcome.refusal.code if outcome.refusal else None

    assert [ask_at(0), ask_at(0), ask_at(same), ask_at(same)] == [None, None, None, code]
    assert ask_at(next_window) is None
    accepted(exchange.place(trader, symbol, "BUY", "1", "1"))  # a key without limits is not counted
    exchange.clock.at_ns = None


def test_an_intake_that_waited_past_the_second_does_not_start_the_count_anew(exchange: Exchange) -> None:
    symbol = exchange.symbol()
    trader = exchange.trader((symbol.quote, 10_000))
    limit("ORDERS_PER_SECOND", "2", trader)
    now = time.time_ns() // 1_000_000_000 * 1_000_000_000
    codes = []
    for late in (0, 0, 1_000_000_000, 0):  # the third was read before the second began, and waited for the account
        exchange.clock.at_ns = now - late
        outcome = exchange.place(trader, symbol, "BUY", "1", "1", limited=True)
        assert isinstance(outcome, Placed)
        codes.append(outcome.refusal.code if outcome.refusal else None)
    exchange.clock.at_ns = None
    assert codes == [None, None, "RISK_ORDER_RATE", "RISK_ORDER_RATE"]


# -- idempotency, reach, and what stores nothing


def test_a_replay_is_the_same_order_as_it_is_now_and_another_body_a_conflict(exchange: Exchange) -> None:
    symbol = exchange.symbol()
    trader = exchange.trader((symbol.quote, 1000))
    first = exchange.placed(trader, symbol, "BUY", "1.50", "10", client_order_id="mine")
    exchange.settle()
    again = exchange.place(trader, symbol, "BUY", "1.5", "10.0", client_order_id="mine")
    assert isinstance(again, Placed)
    assert (again.replay, again.order["order_id"], again.order["status"]) == (True, str(first), "OPEN")
    assert isinstance(exchange.place(trader, symbol, "BUY", "1.6", "10", client_order_id="mine"), IdempotencyConflict)
    refused = [exchange.place(trader, symbol, "BUY", "1000", "10", client_order_id="too-much") for _ in range(2)]
    assert [code_of(outcome) for outcome in refused] == ["INSUFFICIENT_FUNDS"] * 2
    assert [outcome.replay for outcome in refused if isinstance(outcome, Placed)] == [False, True]
    stranger = exchange.trader((symbol.quote, 1000))
    assert exchange.placed(stranger, symbol, "BUY", "1.6", "10", client_order_id="mine") != first
    assert exchange.balance(trader, symbol.quote) == (1000, 15)


def test_equal_items_of_one_batch_are_one_order(exchange: Exchange) -> None:
    symbol = exchange.symbol()
    trader = exchange.trader((symbol.quote, 1000))
    request = order(trader, symbol, "BUY", "1", "10")
    outcomes = exchange.take(request, request)
    assert len({outcome.order["order_id"] for outcome in outcomes if isinstance(outcome, Placed)}) == 1
    assert exchange.balance(trader, symbol.quote) == (1000, 10)


def test_what_is_out_of_reach_is_not_there(exchange: Exchange) -> None:
    symbol = exchange.symbol()
    trader, stranger = exchange.trader((symbol.quote, 1000)), exchange.trader((symbol.quote, 1000))
    mine = exchange.placed(trader, symbol, "BUY", "1", "10")
    assert isinstance(exchange.cancel(stranger, mine), NotFound)
    assert isinstance(exchange.amend(stranger, mine, quantity="2"), NotFound)
    staff = Principal("user:staff", None, None)
    assert isinstance(exchange.take(CancelOrder(staff, mine))[0], CancelTaken)
    exchange.settle()
    assert isinstance(exchange.cancel(trader, mine), OrderNotOpen)
    [unknown] = exchange.take(PlaceOrder(trader.principal, trader.id, "NO/SUCH", "c", "BUY", "LIMIT", "GTC", Decimal(1), None, Decimal(1)))
    assert isinstance(unknown, UnknownSymbol)


def nonce_of(exchange: Exchange, trader: Trader, number: int = 1) -> Nonce:
    key = api_key(trader.account)
    return Nonce(exchange.row("SELECT id FROM institutions_apikey WHERE key = %s", key.key)[0], bytes([number]) * 32)


def test_without_an_owner_nothing_is_taken_and_nothing_used_up(exchange: Exchange) -> None:
    symbol = exchange.symbol()
    trader = exchange.trader((symbol.quote, 1000))
    nonce, request = nonce_of(exchange, trader), order(trader, symbol, "BUY", "1", "10")
    assert exchange.worker is not None
    worker, exchange.worker = exchange.worker, None  # nobody renews the lease
    with exchange.connection(autocommit=True) as connection:
        connection.execute("UPDATE orders_shard SET expires_at = clock_timestamp()")
    [refused] = exchange.take(request, nonce=nonce)
    assert isinstance(refused, NotTaken)
    assert refused.code == "NO_MATCHING_OWNER"
    assert (
        exchange.rows("SELECT 1 FROM orders_order UNION ALL SELECT 1 FROM orders_orderkey UNION ALL SELECT 1 FROM institutions_spentnonce")
        == []
    )
    exchange.worker = worker
    assert accepted(exchange.take(request, nonce=nonce)[0])
    assert isinstance(exchange.take(request, nonce=nonce)[0], ReplayedSignature)


def test_a_full_inbox_is_overloaded(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    from orders import batch

    monkeypatch.setattr(batch, "MAX_WAITING_COMMANDS", 2)
    symbol = exchange.symbol()
    trader = exchange.trader((symbol.quote, 1000))
    outcomes = exchange.take(*(order(trader, symbol, "BUY", "1", "10") for _ in range(4)))
    assert [outcome.code if isinstance(outcome, NotTaken) else "taken" for outcome in outcomes] == ["taken", "taken", "taken", "OVERLOADED"]
    exchange.settle()
    assert accepted(exchange.place(trader, symbol, "BUY", "1", "10"))


# -- bad items


def bad(trader: Trader, symbol: Any) -> PlaceOrder:
    """What a door would never let through: the database refuses it."""
    return order(trader, symbol, "BUY", "1", "10", client_order_id="nul\0")


def test_a_bad_item_costs_only_itself(exchange: Exchange) -> None:
    symbol = exchange.symbol()
    one, two = exchange.trader((symbol.quote, 1000)), exchange.trader((symbol.quote, 1000))
    good = [order(trader, symbol, "BUY", "1", "10") for trader in (one, two, one)]
    answers = exchange.take_batch(
        [Submission((good[0], bad(one, symbol), good[1])), Submission((good[2],)), Submission((bad(two, symbol),))]
    )
    assert [code_of(outcome) for outcome in (answers[0][1], answers[2][0])] == ["INTERNAL"] * 2
    assert len({accepted(outcome) for outcome in (answers[0][0], answers[0][2], answers[1][0])}) == 3
    assert exchange.row("SELECT count(*) FROM orders_order") == (3,)
    assert exchange.balance(one, symbol.quote) == (1000, 20)


def test_one_signature_covers_a_batch_that_is_taken_one_by_one(exchange: Exchange) -> None:
    symbol = exchange.symbol()
    trader = exchange.trader((symbol.quote, 1000))
    nonce = nonce_of(exchange, trader)
    unknown = order(trader, symbol, "BUY", "1", "10")
    unknown = PlaceOrder(unknown.principal, trader.id, "NO/SUCH", "x", "BUY", "LIMIT", "GTC", Decimal(1), None, Decimal(1))
    outcomes = exchange.take(unknown, order(trader, symbol, "BUY", "1", "10"), bad(trader, symbol), nonce=nonce)
    assert [type(outcome).__name__ for outcome in outcomes] == ["UnknownSymbol", "Placed", "ExchangeError"]
    replayed = exchange.take(
        order(trader, symbol, "BUY", "1", "10"), bad(trader, symbol), order(trader, symbol, "BUY", "1", "10"), nonce=nonce
    )
    assert [type(outcome).__name__ for outcome in replayed] == ["ReplayedSignature"] * 3
    assert exchange.row("SELECT count(*) FROM orders_order") == (1,)


# -- the connection breaks around COMMIT


@pytest.mark.parametrize(("lost", "happened"), [(lost_before_commit, False), (lost_after_commit, True)])
@pytest.mark.parametrize("what", ["place", "amend", "cancel with a signature"])
def test_a_commit_whose_outcome_is_unknown_is_looked_up(
    exchange: Exchange, what: str, lost: Callable[[psycopg.Connection[Any]], None], happened: bool
) -> None:
    symbol = exchange.symbol()
    trader = exchange.trader((symbol.quote, 1000))
    resting = exchange.placed(trader, symbol, "BUY", "1", "10", client_order_id="resting")
    exchange.settle()
    nonce = nonce_of(exchange, trader)
    request, kind = {
        "place": (order(trader, symbol, "BUY", "1", "10", client_order_id="one"), Placed),
        "amend": (AmendOrder(trader.principal, resting, quantity=Decimal(2)), AmendTaken),
        "cancel with a signature": (CancelOrder(trader.principal, resting), CancelTaken),
    }[what]
    exchange.intake._drop_connection()
    exchange.connect = first_commit(lost)
    [outcome] = exchange.take(request, nonce=nonce)  # type: ignore[arg-type]
    assert isinstance(outcome, kind if happened else NotTaken), outcome
    [again] = exchange.take(request, nonce=nonce)  # type: ignore[arg-type]
    assert isinstance(again, ReplayedSignature if happened else kind), again
    exchange.settle()
    assert exchange.row("SELECT count(*) FROM orders_order WHERE client_order_id = 'one'") == (1 if what == "place" else 0,)
    assert exchange.balance(trader, symbol.quote) == (1000, {"place": 20, "amend": 20, "cancel with a signature": 0}[what])


def test_a_commit_that_ends_while_it_is_looked_up_has_happened(exchange: Exchange) -> None:
    """The connection breaks, the server is still committing: between the two questions of the look-up it is done."""
    symbol = exchange.symbol()
    trader = exchange.trader((symbol.quote, 1000))
    pending: list[psycopg.Connection[Any]] = []

    def cut(real: psycopg.Connection[Any]) -> None:
        pending.append(real)
        raise psycopg.OperationalError("connection lost")

    class Looking(Meddled):
        """Its second question comes when the commit has ended."""

        asked = 0

        def execute(self, *arguments: Any, **keywords: Any) -> Any:
            self.asked += 1
            if self.asked == 2 and pending:
                pending.pop().commit()
            return self.real.execute(*arguments, **keywords)

    connect = first_commit(cut, ends=False)

    def connect_and_watch() -> Any:
        made = connect()
        return made if isinstance(made, Meddled) else Looking(made, lambda real: real.commit())

    exchange.intake._drop_connection()
    exchange.connect = connect_and_watch
    order_id = accepted(exchange.place(trader, symbol, "BUY", "1", "10"))
    assert exchange.order(order_id)["status"] == "PENDING"


def test_a_database_that_is_away_takes_nothing_and_says_so(exchange: Exchange) -> None:
    symbol = exchange.symbol()
    trader = exchange.trader((symbol.quote, 1000))
    exchange.intake._drop_connection()

    def refuse() -> psycopg.Connection[Any]:
        raise psycopg.OperationalError("connection refused")

    exchange.connect = refuse
    refused = exchange.place(trader, symbol, "BUY", "1", "10")
    assert isinstance(refused, NotTaken)
    assert refused.code == "DATABASE_UNAVAILABLE"
    exchange.connect = lambda: connect_direct(name="intake")
    assert accepted(exchange.place(trader, symbol, "BUY", "1", "10"))
