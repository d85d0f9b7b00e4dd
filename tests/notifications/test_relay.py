"""The relay: at least once, in order per stream, whatever dies; and once where it counts."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
import pytest
from channels.layers import get_channel_layer
from django.conf import settings
from django.db import connections

from notifications import relay as relay_module
from notifications.channels import account_group, symbol_group
from notifications.relay import TRIES, Relay, Unavailable, drain_once
from notifications.sinks.redis_streams import RedisStreams
from orders import candles
from tests.matching_worker.exchange import Exchange, Trader
from tests.notifications.listener import Collecting, Listener


@pytest.fixture
def market(exchange: Exchange) -> tuple[Any, Trader, Trader]:
    """A symbol, one who sells, one who buys."""
    base, quote = exchange.asset(), exchange.asset()
    symbol = exchange.symbol(base, quote, tick_size=Decimal(1), lot_size=Decimal(1))
    return symbol, exchange.trader((base, 1000)), exchange.trader((quote, 1_000_000))


def trade(exchange: Exchange, market: tuple[Any, Trader, Trader], times: int = 1) -> None:
    symbol, seller, buyer = market
    for _ in range(times):
        exchange.placed(seller, symbol, "SELL", "1", "100")
        exchange.placed(buyer, symbol, "BUY", "1", "100")
        exchange.settle()


def make_relay(*sinks: Any) -> Relay:
    return Relay(sinks=sinks, send_task=lambda task, key: None)


def drain(relay: Relay, exchange: Exchange, runner: asyncio.Runner) -> int:
    published = 0
    connection = exchange.connection(name="relay")
    while some := relay.drain(connection, runner):
        published += some
    connection.close()
    return published


def waiting(exchange: Exchange) -> int:
    return int(exchange.row("SELECT count(*) FROM notifications_outbox")[0])


def sequences(sink: Collecting, stream: str) -> list[int]:
    return [event.sequence for event in sink.events if event.stream == stream]


@contextmanager
def listening(runner: asyncio.Runner, *groups: str) -> Iterator[Any]:
    """Calling the result hears what has arrived by now."""
    layer = get_channel_layer()
    listener = Listener()

    async def join() -> str:
        name: str = await layer.new_channel()
        for group in groups:
            await layer.group_add(group, name)
        return name

    name = runner.run(join())

    async def take() -> None:
        while True:
            try:
                message = await asyncio.wait_for(layer.receive(name), 0.3)
            except TimeoutError:
                return
            by_group = "market" if "/" in message["messages"][0][0] else "account"
            group = next(group for group in groups if group.startswith(by_group))
            listener.hear(group, message["messages"])

    def hear() -> Listener:
        runner.run(take())
        return listener

    yield hear


def test_what_is_published_leaves_the_outbox(exchange: Exchange, market: Any, runner: asyncio.Runner) -> None:
    symbol, seller, _ = market
    sink = Collecting()
    groups = (symbol_group(symbol.pk), account_group(seller.id))
    with listening(runner, *groups) as hear:
        trade(exchange, market, times=3)
        assert drain(make_relay(sink), exchange, runner) > 0
        listener = hear()
    assert waiting(exchange) == 0
    assert sequences(sink, f"trades.{symbol.name}") == [1, 2, 3]
    assert listener.last[groups[0], f"trades.{symbol.name}"] == 3
    assert listener.last[groups[1], "user.trades"] == 3
    assert listener.last[groups[1], "user.orders"] == 3 * 2  # taken by intake, filled (at once, within one settlement)


def test_killed_between_publishing_and_marking_it_publishes_again(exchange: Exchange, market: Any, runner: asyncio.Runner) -> None:
    symbol, seller, _ = market
    groups = (symbol_group(symbol.pk), account_group(seller.id))
    sink, streams = Collecting(), RedisStreams()
    streams._redis.flushdb()
    with listening(runner, *groups) as hear:
        trade(exchange, market, times=2)
        connection = exchange.connection(name="relay")
        commit, connection.commit = connection.commit, lambda: None  # type: ignore[method-assign]
        assert make_relay(sink, streams).drain(connection, runner) > 0
        connection.close()  # before the commit: as by kill -9
        assert commit is not None
        assert waiting(exchange) > 0
        trade(exchange, market)
        drain(make_relay(sink, streams), exchange, runner)
        listener = hear()
    assert listener.repeated > 0  # at least once ...
    assert listener.last[groups[0], f"trades.{symbol.name}"] == 3  # ... and nothing missing
    assert sequences(sink, f"trades.{symbol.name}") == [1, 2, 1, 2, 3]
    assert [int(entry[0].split(b"-")[0]) for entry in streams._redis.xrange(f"events:trades.{symbol.name}")] == [1, 2, 3]  # once


def test_a_poisoned_letter_holds_up_its_stream_only_and_is_put_aside_in_the_end(
    exchange: Exchange, market: Any, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    symbol, seller, buyer = market
    monkeypatch.setattr(relay_module, "FIRST_BACK_OFF_S", 0.001)
    trade(exchange, market)
    stream = f"account.{seller.id}"
    with psycopg.connect(settings.DATABASE_URL, autocommit=True) as administrator:
        # its first letter was of the deposit, the second is of its first order
        second = "(SELECT id FROM notifications_outbox WHERE stream = %s ORDER BY id OFFSET 1 LIMIT 1)"
        administrator.execute(f"UPDATE notifications_outbox SET payload = '\\xc1' WHERE id = {second}".encode(), [stream])
    trade(exchange, market)
    sink, relay = Collecting(), make_relay()
    relay._sinks = [sink]
    connection = exchange.connection(name="relay")
    relay.drain(connection, runner)
    assert sequences(sink, f"trades.{symbol.name}") == [1, 2]
    assert sequences(sink, f"user.orders.{buyer.id}") == [1, 2, 3, 4]
    assert sequences(sink, f"user.orders.{seller.id}") == []  # what follows the poison waits
    [(attempts, error)] = exchange.rows("SELECT attempts, error FROM notifications_outbox WHERE attempts > 0")
    assert attempts == 1
    assert "DecodeError" in error

    deadline = time.monotonic() + 20
    while waiting(exchange) and time.monotonic() < deadline:
        relay.drain(connection, runner)
        time.sleep(0.005)
    [(stream_of, tries, why, payload)] = exchange.rows("SELECT stream, attempts, error, payload FROM notifications_deadletter")
    assert (stream_of, tries, bytes(payload)) == (stream, TRIES, b"\xc1")
    assert "DecodeError" in why
    assert sequences(sink, f"user.orders.{seller.id}") == [2, 3, 4]  # the stream went on without it, in order


def test_what_a_sink_refuses_is_tried_again(
    exchange: Exchange, market: Any, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    symbol, *_ = market
    monkeypatch.setattr(relay_module, "FIRST_BACK_OFF_S", 0.001)
    sink = Collecting()
    sink.refuses = {f"trades.{symbol.name}:1"}
    trade(exchange, market)
    relay = make_relay(sink)
    drain(relay, exchange, runner)
    assert waiting(exchange) == 1
    sink.refuses.clear()
    time.sleep(0.01)
    drain(relay, exchange, runner)
    assert waiting(exchange) == 0
    assert sequences(sink, f"trades.{symbol.name}") == [1]


def test_a_sink_that_is_away_costs_no_letter_a_try(exchange: Exchange, market: Any, runner: asyncio.Runner) -> None:
    sink = Collecting()
    sink.is_away = True
    trade(exchange, market)
    before = waiting(exchange)
    connection = exchange.connection(name="relay")
    for _ in range(TRIES + 5):
        with pytest.raises(Unavailable):
            make_relay(sink).drain(connection, runner)
        connection.rollback()
    assert exchange.row("SELECT count(*), max(attempts) FROM notifications_outbox") == (before, 0)
    sink.is_away = False
    drain(make_relay(sink), exchange, runner)
    assert waiting(exchange) == 0


def test_of_two_relays_one_publishes(exchange: Exchange, market: Any, runner: asyncio.Runner) -> None:
    symbol, *_ = market
    sinks = [Collecting(), Collecting()]
    relays = [make_relay(sink) for sink in sinks]
    threads = [threading.Thread(target=relay.run) for relay in relays]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            trade(exchange, market, times=4)
        deadline = time.monotonic() + 20
        while waiting(exchange) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert drain_once(make_relay()) == 0  # the sweep has nothing to do either
        working = next(n for n, sink in enumerate(sinks) if sink.events)
        relays[working].stop()
        threads[working].join(10)
        trade(exchange, market, times=4)  # the other one takes over
        while waiting(exchange) and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        for relay, thread in zip(relays, threads, strict=True):
            relay.stop()
            thread.join(10)
    assert waiting(exchange) == 0
    assert sequences(sinks[working], f"trades.{symbol.name}") == list(range(1, 21))
    assert sequences(sinks[1 - working], f"trades.{symbol.name}") == list(range(21, 25))


def test_the_sweep_publishes_when_nobody_else_does(exchange: Exchange, market: Any) -> None:
    trade(exchange, market)
    sink = Collecting()
    assert drain_once(make_relay(sink)) > 0
    assert waiting(exchange) == 0
    assert sink.events


MARKET_DATA = "orders.tasks.update_market_data"


def test_reactions_are_called_for_the_last_change_too() -> None:
    called: list[tuple[str, str]] = []
    reactions = relay_module.Reactions(lambda task, key: called.append((task, key)) if task == MARKET_DATA else None)
    for at in (0.0, 0.01, 0.02):
        reactions.note("trades", "7", at)
        reactions.call(at)
    assert called == [(MARKET_DATA, "7")]
    reactions.call(1.0)
    assert called == [(MARKET_DATA, "7")] * 2
    reactions.call(2.0)
    assert len(called) == 2


def test_a_trade_is_not_kept_waiting_by_the_book() -> None:
    called: list[float] = []
    reactions = relay_module.Reactions(lambda task, key: called.append(now) if task == MARKET_DATA else None)
    now = 0.0
    reactions.note("book", "7", now)
    reactions.call(now)
    reactions.note("book", "7", 0.1)  # not before 1.0
    reactions.note("trades", "7", 0.1)  # not before 0.25
    for now in (0.2, 0.3, 1.1):
        reactions.call(now)
    assert called == [0.0, 0.3]


# -- candles, the consumer


def update_candles(symbol_id: int) -> None:
    candles.update(symbol_id=symbol_id)
    connections.close_all()


def test_every_trade_is_in_the_candles_once(exchange: Exchange, market: Any, runner: asyncio.Runner) -> None:
    symbol, seller, buyer = market
    ms = (int(time.time()) // 3600 + 1) * 3_600_000 - 60_000  # a minute before the next full hour
    exchange.worker_clock.at_ns = ms * 1_000_000
    told = []
    for n, price in enumerate(["100", "103", "99", "101", "102"]):
        exchange.placed(seller, symbol, "SELL", "2", price)
        exchange.placed(buyer, symbol, "BUY", "2", price)
        exchange.worker_clock.at_ns = (ms + n * 30_000) * 1_000_000
        exchange.settle()
        told.append(price)
        threads = [threading.Thread(target=update_candles, args=[symbol.pk]) for _ in range(2)]
        for thread in threads:  # two calls for one change, at once
            thread.start()
        for thread in threads:
            thread.join()
    count, volume, quote = exchange.row("SELECT count(*), sum(quantity), sum(price * quantity) FROM orders_trade")
    for kept in (60, 3600):
        assert exchange.row("SELECT sum(trade_count), sum(volume), sum(quote_volume) FROM markets_candle WHERE interval_s = %s", kept) == (
            count,
            volume,
            quote,
        )
    first, second = exchange.rows(
        "SELECT open, high, low, close, trade_count FROM markets_candle WHERE interval_s = 60 ORDER BY open_time"
    )[:2]
    assert (tuple(map(int, first)), tuple(map(int, second))) == ((100, 103, 100, 103, 2), (99, 101, 99, 101, 2))

    sink = Collecting()
    with listening(runner, symbol_group(symbol.pk), "account.0") as hear:
        drain(make_relay(sink), exchange, runner)
        listener = hear()
    for interval in candles.INTERVALS:
        messages = listener.heard[symbol_group(symbol.pk), f"candles.{symbol.name}.{interval}"]
        last = {message["data"][0]: message["data"] for message in messages}
        sequence, _ = candles.candle_snapshot(symbol=symbol.name, interval=interval)
        assert sequence == len(messages)
        assert sum(candle[7] for candle in last.values()) == count
        assert sum(Decimal(candle[5]) for candle in last.values()) == volume
    assert listener.last[symbol_group(symbol.pk), f"ticker.{symbol.name}"] == candles.ticker_snapshot(symbol=symbol.name)[0]


def test_candles_add_up_to_longer_ones(exchange: Exchange, market: Any) -> None:
    symbol, *_ = market
    trade(exchange, market, times=3)
    candles.update(symbol_id=symbol.pk)
    for interval in candles.INTERVALS:
        found = candles.candles(symbol=symbol.name, interval=interval)
        assert sum(candle[7] for candle in found) == 3
        assert {candle[1] for candle in found} == {"100"}


def test_the_ticker_counts_a_trade_before_and_after_it_is_in_a_candle(exchange: Exchange, market: Any) -> None:
    symbol, *_ = market
    trade(exchange, market, times=2)
    before = candles.ticker(symbol=symbol.name)
    candles.update(symbol_id=symbol.pk)
    after = candles.ticker(symbol=symbol.name)
    assert before["trade_count"] == after["trade_count"] == 2
    assert before["volume"] == after["volume"]


def test_an_order_nobody_remembers_is_read_from_the_database(exchange: Exchange, market: Any, runner: asyncio.Runner) -> None:
    from orders import feeds

    symbol, seller, _ = market
    order_id: UUID = exchange.placed(seller, symbol, "SELL", "5", "100")
    drain(make_relay(), exchange, runner)
    feeds._orders._rows.clear()  # as after a restart
    exchange.settle()
    sink = Collecting()
    drain(make_relay(sink), exchange, runner)
    [event] = [event for event in sink.events if event.event_type == "ORDER_STATUS_CHANGED"]
    assert event.payload["order"]["order_id"] == str(order_id)
    assert event.payload["order"]["status"] == "OPEN"
    assert event.payload["order"]["price"] == "100"
