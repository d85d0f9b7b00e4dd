"""What transactions write into the outbox is whole: no gap, nothing left out, and what it adds up to is what the tables say."""

import random
from dataclasses import replace
from decimal import Decimal
from uuid import UUID

from markets.models import Symbol
from orders import market_data
from orders.presentation import ORDER_COLUMNS, ORDER_FROM, order_view
from orders.requests import CancelOrder
from tests.matching_worker.exchange import Exchange, Trader, order
from tests.notifications.listener import Listener, words_of


def listen(exchange: Exchange) -> Listener:
    """Everything that was ever written, heard in the order of the outbox."""
    listener = Listener()
    for words in words_of(
        [(topic, bytes(payload)) for topic, payload in exchange.rows("SELECT topic, payload FROM notifications_outbox ORDER BY id")]
    ):
        assert words.group is not None
        listener.hear(words.group, words.messages)
    return listener


def trade_at_random(exchange: Exchange, symbols: list[Symbol], traders: list[Trader], steps: int, seed: int) -> None:
    rng = random.Random(seed)
    orders: list[tuple[Trader, UUID]] = []
    for step in range(steps):
        trader = rng.choice(traders)
        draw = rng.random()
        if draw < 0.65 or not orders:
            price, quantity = f"{rng.randint(95, 105)}", f"{rng.randint(1, 9)}"
            mode = rng.choice(["CANCEL_NEWEST", "CANCEL_OLDEST", "CANCEL_BOTH", "DECREMENT"])
            kind = rng.choice([{}, {}, {}, {"time_in_force": "IOC"}, {"time_in_force": "FOK"}, {"time_in_force": "GTX"}])
            outcome = exchange.place(
                trader, rng.choice(symbols), rng.choice(["BUY", "SELL"]), quantity, price, self_trade_prevention=mode, **kind
            )
            if getattr(outcome, "refusal", True) is None:
                orders.append((trader, outcome.order_id))
        elif draw < 0.85:
            exchange.cancel(*rng.choice(orders))
        else:
            exchange.amend(*rng.choice(orders), price=f"{rng.randint(95, 105)}", quantity=f"{rng.randint(1, 12)}")
        if rng.random() < 0.4:
            exchange.settle()
        if step == steps // 2:
            exchange.restart_worker()
    exchange.settle()


def test_what_is_told_adds_up_to_what_is_stored(exchange: Exchange) -> None:
    base, quote = exchange.asset(), exchange.asset()
    symbols = [exchange.symbol(base, quote, tick_size=Decimal(1), lot_size=Decimal(1)) for _ in range(1)]
    symbols.append(exchange.symbol(exchange.asset(), quote, tick_size=Decimal(1), lot_size=Decimal(1)))
    traders = [exchange.trader((base, 300), (symbols[1].base, 300), (quote, 30_000)) for _ in range(4)]

    trade_at_random(exchange, symbols, traders, steps=250, seed=7)
    listener = listen(exchange)

    for trader in traders:
        group = f"account.{trader.id}"
        rows = exchange.rows(f"SELECT {ORDER_COLUMNS} FROM {ORDER_FROM} WHERE o.account_id = %s", trader.id)
        last = {message["data"]["order_id"]: message["data"] for message in listener.heard[group, "user.orders"]}
        assert last == {str(row[0]): order_view(row) | {"updated_at": last[str(row[0])]["updated_at"]} for row in rows}
        first = {message["data"]["order_id"]: message["data"] for message in reversed(listener.heard[group, "user.orders"])}
        assert {data["status"] for data in first.values()} <= {"PENDING", "REJECTED"}

        balances = {message["data"]["asset"]: message["data"] for message in listener.heard[group, "user.balances"]}
        for asset in (base, quote, symbols[1].base):
            if asset.code in balances:
                told = balances[asset.code]
                assert (Decimal(told["posted"]), Decimal(told["held"])) == exchange.balance(trader, asset)
                assert Decimal(told["available"]) == Decimal(told["posted"]) - Decimal(told["held"])

        own = exchange.row(
            "SELECT count(*) FILTER (WHERE maker_account_id = %s) + count(*) FILTER (WHERE taker_account_id = %s) FROM orders_trade",
            trader.id, trader.id,
        )  # fmt: skip
        assert own == (len(listener.heard[group, "user.trades"]),)
        assert exchange.row("SELECT orders, trades, balances FROM notifications_feed WHERE account_id = %s", trader.id) == tuple(
            listener.last[group, channel] for channel in ("user.orders", "user.trades", "user.balances")
        )

    for symbol in symbols:
        group = f"market.{symbol.pk}"
        book = market_data.book(symbol=symbol.name)
        sides = listener.book(group, f"orderbook.{symbol.name}")
        assert sides == {name: dict(map(tuple, book[name])) for name in ("bids", "asks")}
        assert listener.last[group, f"orderbook.{symbol.name}"] == book["sequence"]
        assert exchange.row("SELECT count(*) FROM orders_trade WHERE symbol_id = %s", symbol.pk) == (
            len(listener.heard[group, f"trades.{symbol.name}"]),
        )


def test_a_request_can_be_followed_to_its_trade(exchange: Exchange) -> None:
    base, quote = exchange.asset(), exchange.asset()
    symbol = exchange.symbol(base, quote)
    maker, taker = exchange.trader((base, 10)), exchange.trader((quote, 10_000))
    resting = exchange.placed(maker, symbol, "SELL", "1", "100", request_id="request-maker")
    exchange.settle()
    taking = exchange.placed(taker, symbol, "BUY", "1", "100", request_id="request-taker")
    exchange.settle()

    rows = [(topic, bytes(payload)) for topic, payload in exchange.rows("SELECT topic, payload FROM notifications_outbox ORDER BY id")]
    events = [event for words in words_of(rows) for event in words.events]

    [trade] = [event for event in events if event.event_type == "TRADE_EXECUTED"]
    assert trade.trace_id == "request-taker"
    traces = {
        (event.payload["order"]["order_id"], event.payload["order"]["status"]): event.trace_id
        for event in events
        if event.event_type == "ORDER_STATUS_CHANGED"
    }
    assert traces == {
        (str(resting), "PENDING"): "request-maker",
        (str(resting), "OPEN"): "request-maker",
        (str(taking), "PENDING"): "request-taker",
        (str(taking), "FILLED"): "request-taker",
        (str(resting), "FILLED"): "",  # the maker is not told who took
    }
    asked = exchange.rows("SELECT order_id, to_status, request_id FROM orders_transition WHERE sequence > 0 ORDER BY sequence, order_id")
    assert sorted(asked) == sorted([(resting, "OPEN", "request-maker"), (taking, "FILLED", "request-taker"), (resting, "FILLED", None)])
    # ... and from the trade to the transfers: they have its id.
    assert exchange.row("SELECT count(*) FROM wallet_transfer WHERE id = %s", UUID(trade.payload["trade_id"])) == (4,)


def test_a_transaction_that_fails_has_told_nothing(exchange: Exchange) -> None:
    base, quote = exchange.asset(), exchange.asset()
    symbol = exchange.symbol(base, quote)
    trader = exchange.trader((quote, 100))
    before = exchange.rows("SELECT id FROM notifications_outbox")
    exchange.take(CancelOrder(trader.principal, UUID(int=1)))
    exchange.take(replace(order(trader, symbol, "BUY", "1", "1"), symbol="NO/SUCH"))
    assert exchange.rows("SELECT id FROM notifications_outbox") == before


def test_a_refused_order_is_told_once(exchange: Exchange) -> None:
    symbol = exchange.symbol()
    trader = exchange.trader()
    exchange.place(trader, symbol, "BUY", "1", "1", client_order_id="poor")
    exchange.place(trader, symbol, "BUY", "1", "1", client_order_id="poor")
    listener = listen(exchange)
    [message] = listener.heard[f"account.{trader.id}", "user.orders"]
    assert (message["data"]["status"], message["data"]["reason"]) == ("REJECTED", "INSUFFICIENT_FUNDS")


def test_a_deposit_is_told(exchange: Exchange) -> None:
    asset = exchange.asset(scale=2)
    trader = exchange.trader((asset, "12.30"))
    listener = listen(exchange)
    [message] = listener.heard[f"account.{trader.id}", "user.balances"]
    assert message["data"] == {"asset": asset.code, "posted": "12.30", "held": "0.00", "available": "12.30"}


def test_a_balance_is_told_to_its_last_digit(exchange: Exchange) -> None:
    base, quote = exchange.asset(scale=18), exchange.asset(scale=18)
    trader = exchange.trader((base, "12345678901234567890.123456789012345678"))
    symbol = exchange.symbol(base, quote, tick_size=Decimal(1), lot_size=Decimal("0.000000000000000001"), min_quantity=Decimal("1e-18"))
    exchange.placed(trader, symbol, "SELL", "0.000000000000000001", "1")
    listener = listen(exchange)
    *_, message = listener.heard[f"account.{trader.id}", "user.balances"]
    assert message["data"]["held"] == "0.000000000000000001"
    assert message["data"]["available"] == "12345678901234567890.123456789012345677"
