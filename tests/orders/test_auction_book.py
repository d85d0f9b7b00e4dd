"""An auction as readers of the book see it: over REST, as the channel's beginning and in its messages."""

from collections.abc import Iterator
from typing import Any

import pytest

from markets.models import Symbol
from markets.units import market_by_id
from notifications.channels import symbol_group
from orders import feeds, market_data, snapshots
from tests.matching_worker.exchange import Exchange, Trader, open_exchange
from tests.notifications.listener import Listener, words_of
from tests.support.approvals import change_status

NOTHING = {"price": None, "quantity": None, "surplus": None, "surplus_side": None}


@pytest.fixture
def exchange(fresh_database: str) -> Iterator[Exchange]:
    with open_exchange() as made:
        yield made


@pytest.fixture
def symbol(exchange: Exchange) -> Symbol:
    return exchange.symbol(auction_s=3600)


@pytest.fixture
def traders(exchange: Exchange, symbol: Symbol) -> tuple[Trader, Trader]:
    return exchange.trader((symbol.quote, 10_000)), exchange.trader((symbol.base, 100))


def set_status(exchange: Exchange, symbol: Symbol, status: str) -> None:
    change_status(symbol=symbol.name, status=status, actor="olga", reason="a test")
    exchange.settle()


def messages(exchange: Exchange, symbol: Symbol) -> list[dict[str, Any]]:
    """Of the book's channel, as it tells them."""
    rows = exchange.rows("SELECT topic, payload FROM notifications_outbox WHERE topic = 'market' ORDER BY id")
    listener = Listener()
    for words in words_of([(topic, bytes(payload)) for topic, payload in rows]):
        assert words.group is not None
        listener.hear(words.group, words.messages)
    return [message["data"] for message in listener.heard[symbol_group(symbol.pk), f"orderbook.{symbol.name}"]]


def without_time(book: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in book.items() if name != "timestamp"}


def test_an_auction_is_told_by_the_book_its_depth_its_channel_and_no_more_when_it_is_over(
    exchange: Exchange, symbol: Symbol, traders: tuple[Trader, Trader]
) -> None:
    buyer, seller = traders
    exchange.placed(buyer, symbol, "BUY", "1", "90")
    exchange.settle()
    assert market_data.book(symbol=symbol.name)["auction"] is None
    assert messages(exchange, symbol)[-1]["auction"] is None

    set_status(exchange, symbol, "AUCTION")
    empty = market_data.book(symbol=symbol.name)["auction"]
    assert {name: empty[name] for name in NOTHING} == NOTHING
    [(ends_ms,)] = exchange.rows("SELECT (conditions->>'phase_ends_ms')::bigint FROM orders_checkpoint WHERE symbol_id = %s", symbol.pk)
    [(began_ms,)] = exchange.rows("SELECT stamp_ms FROM orders_checkpoint WHERE symbol_id = %s", symbol.pk)
    assert ends_ms == began_ms + 3_600_000
    assert empty == market_data.auction_view(market_by_id(symbol.pk), None, ends_ms)
    assert empty["ends_at"] is not None

    exchange.placed(buyer, symbol, "BUY", "3", "101")
    exchange.placed(seller, symbol, "SELL", "2", "99")
    exchange.settle()
    expected = {"price": "101.00", "quantity": "2.000", "surplus": "1.000", "surplus_side": "BUY", "ends_at": empty["ends_at"]}
    book = market_data.book(symbol=symbol.name)
    assert book["auction"] == expected
    assert market_data.cumulative_depth(symbol=symbol.name)["auction"] == expected
    assert without_time(snapshots.orderbook(symbol=symbol.name).data) == without_time(book)
    told = messages(exchange, symbol)[-1]
    assert (told["auction"], told["sequence"], told["checksum"]) == (expected, book["sequence"], book["checksum"])

    exchange.placed(seller, symbol, "SELL", "2", "99")
    exchange.settle()
    assert messages(exchange, symbol)[-1]["auction"] == market_data.book(symbol=symbol.name)["auction"]
    assert market_data.book(symbol=symbol.name)["auction"]["surplus_side"] == "SELL"

    set_status(exchange, symbol, "TRADING")
    assert market_data.book(symbol=symbol.name)["auction"] is None
    assert messages(exchange, symbol)[-1]["auction"] is None


def test_nothing_left_over_has_no_side(exchange: Exchange, symbol: Symbol, traders: tuple[Trader, Trader]) -> None:
    set_status(exchange, symbol, "AUCTION")
    exchange.placed(traders[0], symbol, "BUY", "2", "100")
    exchange.placed(traders[1], symbol, "SELL", "2", "100")
    exchange.settle()
    found = market_data.book(symbol=symbol.name)["auction"]
    assert (found["price"], found["quantity"], found["surplus"], found["surplus_side"]) == ("100.00", "2.000", "0.000", None)


def test_a_letter_from_before_auctions_were_told_is_still_put_into_words(symbol: Symbol) -> None:
    [words] = feeds.market_words([[symbol.pk, 1_700_000_000_000, [1, 0, [], []], [], []]])
    assert not isinstance(words, Exception), words
    listener = Listener()
    assert words.group is not None
    listener.hear(words.group, words.messages)
    [[message]] = listener.heard.values()
    assert (message["data"]["sequence"], message["data"]["auction"]) == (1, None)
