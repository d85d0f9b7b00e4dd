"""Every event that the exchange tells has a topic, a key and a subject."""

import pytest
from django.test import override_settings

from exchange_platform import subscriptions
from notifications.addresses import Address, Unaddressed, address_of
from notifications.events import Event
from notifications.sinks import make_sinks
from tests.matching_worker.exchange import Exchange
from tests.notifications.listener import words_of


def test_every_event_of_a_trade_has_an_address(exchange: Exchange) -> None:
    base, quote = exchange.asset(), exchange.asset()
    symbol = exchange.symbol(base, quote)
    maker, taker = exchange.trader((base, 10)), exchange.trader((quote, 10_000))
    exchange.placed(maker, symbol, "SELL", "1", "100")
    exchange.placed(taker, symbol, "BUY", "1", "100")
    exchange.settle()
    rows = [(topic, bytes(payload)) for topic, payload in exchange.rows("SELECT topic, payload FROM notifications_outbox ORDER BY id")]
    found = {event.event_type: set[Address]() for words in words_of(rows) for event in words.events}
    for words in words_of(rows):
        for event in words.events:
            found[event.event_type].add(address_of(event))
    dashed = symbol.name.replace("/", "-")
    assert found == {
        "TRADE_EXECUTED": {Address("trade.events", "trading.fills", symbol.name)},
        "ORDER_STATUS_CHANGED": {Address("order.events", f"orders.updates.{dashed}", str(trader.id)) for trader in (maker, taker)},
        "BALANCE_CHANGED": {Address("order.events", "trading.positions", str(trader.id)) for trader in (maker, taker)},
    }


def test_a_halt_is_told_with_the_trades_of_its_symbol() -> None:
    halt = Event("SYMBOL_STATUS_CHANGED", "status.BTC/USDT", 4, "", "", {"symbol": "BTC/USDT"})
    assert address_of(halt) == Address("trade.events", "market.status.BTC-USDT", "BTC/USDT")


@pytest.mark.parametrize(("stream", "payload"), [("weather.BTC/USDT", {}), ("user.orders.12", {"order": {}}), ("trades", {})])
def test_without_an_address_it_goes_nowhere(stream: str, payload: dict[str, object]) -> None:
    with pytest.raises(Unaddressed):
        address_of(Event("TEST", stream, 1, "", "", payload))


def test_every_sink_can_be_made() -> None:
    with override_settings(EVENT_SINKS=list(subscriptions.SINKS)):
        made = make_sinks()
    assert [type(sink).__name__ for sink in made] == ["RedisStreams", "JetStream", "Kafka"]
    for sink in made:
        sink.close()
