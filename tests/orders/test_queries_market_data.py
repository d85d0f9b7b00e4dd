"""The public book and ticker, from rows as settlement leaves them."""

import time
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.db import connection

from markets import units
from markets.models import Symbol
from orders import market_data
from orders.checksum import checksum
from tests.factories import AccountFactory, AssetFactory, SymbolFactory, trade_row
from wallet import queries as wallet

pytestmark = pytest.mark.django_db


@pytest.fixture
def symbol() -> Iterator[Symbol]:
    for cache in (units, wallet, market_data):
        cache.forget()
    yield SymbolFactory(base=AssetFactory(code="COIN", scale=6), quote=AssetFactory(code="USD", scale=5))
    for cache in (units, wallet, market_data):
        cache.forget()


def rest(symbol: Symbol, side: str, *levels: tuple[str, str]) -> None:
    with connection.cursor() as cursor:
        for price, quantity in levels:
            cursor.execute("INSERT INTO orders_booklevel VALUES (%s, %s, %s, %s)", [symbol.pk, side, price, quantity])


def checkpoint(symbol: Symbol, book_sequence: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO orders_checkpoint (symbol_id, shard_id, epoch, sequence, trade_number, book_sequence, status, chain, state_hash,
                   stamp_ms, settled_at) VALUES (%s, 0, 1, 9, 0, %s, 'TRADING', '', 0, 0, now())""",
            [symbol.pk, book_sequence],
        )


def ms(hours_ago: float) -> int:
    return int(datetime.now(UTC).timestamp() * 1000 - hours_ago * 3_600_000)


class TestBook:
    def test_levels_are_best_first_as_strings_of_the_symbol(self, symbol):
        rest(symbol, "BUY", ("99", "1"), ("100.5", "2.5"), ("9", "1000"))
        rest(symbol, "SELL", ("101", "3"), ("1010.1", "0.001"), ("100.75", "4"))
        checkpoint(symbol, 17)

        book = market_data.book(symbol=symbol.name)
        assert book["symbol"] == "COIN/USD"
        assert book["sequence"] == 17
        assert book["bids"] == [["100.50", "2.500"], ["99.00", "1.000"], ["9.00", "1000.000"]]
        assert book["asks"] == [["100.75", "4.000"], ["101.00", "3.000"], ["1010.10", "0.001"]]
        assert book["checksum"] == zlib.crc32(b"100.50:2.500|99.00:1.000|9.00:1000.000|100.75:4.000|101.00:3.000|1010.10:0.001")
        assert book["timestamp"].endswith("Z")

    def test_depth_bounds_each_side_and_the_checksum_counts_ten_a_side(self, symbol):
        rest(symbol, "BUY", *((str(100 - n), "1") for n in range(15)))
        rest(symbol, "SELL", *((str(101 + n), "1") for n in range(15)))

        shallow, deep = market_data.book(symbol=symbol.name, depth=3), market_data.book(symbol=symbol.name, depth=12)
        assert (len(shallow["bids"]), len(shallow["asks"]), len(deep["bids"]), len(deep["asks"])) == (3, 3, 12, 12)
        assert shallow["bids"] == deep["bids"][:3]
        assert deep["checksum"] == market_data.book(symbol=symbol.name)["checksum"]
        lines = [f"{price}:{quantity}" for price, quantity in deep["bids"][:10] + deep["asks"][:10]]
        assert deep["checksum"] == zlib.crc32("|".join(lines).encode())
        assert shallow["checksum"] == checksum(shallow["bids"], shallow["asks"])

    def test_an_empty_book_is_empty(self, symbol):
        book = market_data.book(symbol=symbol.name)
        assert (book["sequence"], book["checksum"], book["bids"], book["asks"]) == (0, 0, [], [])

    def test_one_side_alone_is_no_trouble(self, symbol):
        rest(symbol, "SELL", ("101", "3"))
        book = market_data.book(symbol=symbol.name)
        assert (book["bids"], book["asks"]) == ([], [["101.00", "3.000"]])

    def test_another_symbols_levels_are_not_in_it(self, symbol):
        rest(SymbolFactory(), "BUY", ("99", "1"))
        assert market_data.book(symbol=symbol.name)["bids"] == []

    def test_depth_adds_up_from_the_best_price(self, symbol):
        rest(symbol, "BUY", ("99", "1.5"), ("100", "2.25"), ("98", "10"))
        rest(symbol, "SELL", ("101", "0.001"))
        depth = market_data.cumulative_depth(symbol=symbol.name)

        assert depth["bids"] == [["100.00", "2.250"], ["99.00", "3.750"], ["98.00", "13.750"]]
        assert depth["asks"] == [["101.00", "0.001"]]
        assert depth["checksum"] == market_data.book(symbol=symbol.name)["checksum"]


class TestTicker:
    def test_without_a_trade_prices_are_null_and_volumes_zero(self, symbol):
        ticker = market_data.ticker(symbol=symbol.name)
        del ticker["timestamp"]
        assert ticker == {
            "symbol": "COIN/USD",
            "last_price": None,
            "price_change": None,
            "price_change_percent": None,
            "open": None,
            "high": None,
            "low": None,
            "volume": "0.000",
            "quote_volume": "0.00000",
            "best_bid": None,
            "best_ask": None,
            "trade_count": 0,
            "status": "TRADING",
        }

    def test_it_tells_the_last_24_hours(self, symbol):
        maker, taker = AccountFactory(), AccountFactory()
        for hours, price, quantity in ((30, "50", "9"), (20, "100", "1"), (10, "120.5", "2"), (5, "90", "1.5"), (1, "99", "0.125")):
            trade_row(maker, taker, symbol, at_ms=ms(hours), price=price, quantity=quantity)
        rest(symbol, "BUY", ("98.5", "1"), ("98", "1"))
        rest(symbol, "SELL", ("99.5", "1"), ("100", "1"))

        ticker = market_data.ticker(symbol=symbol.name)
        assert (ticker["open"], ticker["high"], ticker["low"], ticker["last_price"]) == ("100.00", "120.50", "90.00", "99.00")
        assert (ticker["price_change"], ticker["price_change_percent"]) == ("-1.00", "-1.00")
        assert (ticker["volume"], ticker["quote_volume"], ticker["trade_count"]) == ("4.625", "488.37500", 4)
        assert (ticker["best_bid"], ticker["best_ask"]) == ("98.50", "99.50")

    def test_the_last_price_outlives_the_day(self, symbol):
        trade_row(AccountFactory(), AccountFactory(), symbol, at_ms=ms(30), price="50")
        ticker = market_data.ticker(symbol=symbol.name)
        assert (ticker["last_price"], ticker["open"], ticker["price_change"], ticker["trade_count"]) == ("50.00", None, None, 0)

    def test_no_change_has_no_sign(self, symbol):
        maker, taker = AccountFactory(), AccountFactory()
        for price in ("10000", "9999.99"):
            trade_row(maker, taker, symbol, price=price)
        ticker = market_data.ticker(symbol=symbol.name)
        assert (ticker["price_change"], ticker["price_change_percent"]) == ("-0.01", "0.00")

    def test_within_a_second_it_is_not_read_again(self, symbol, monkeypatch):
        first = market_data.ticker(symbol=symbol.name)
        trade_row(AccountFactory(), AccountFactory(), symbol)
        assert market_data.ticker(symbol=symbol.name) is first

        monkeypatch.setattr(market_data, "_tickers", {symbol.name: (time.monotonic() - 0.1, first)})  # the second is over
        assert market_data.ticker(symbol=symbol.name)["trade_count"] == 1

    def test_all_listed_symbols_have_one(self, symbol):
        SymbolFactory(base=AssetFactory(code="AAA"), quote=AssetFactory(code="BBB"))
        assert [ticker["symbol"] for ticker in market_data.tickers()] == ["AAA/BBB", "COIN/USD"]


def test_the_checksum_is_unsigned_and_counts_at_most_ten_levels_a_side():
    levels = [[f"{n}.00", "1.000"] for n in range(20)]
    assert checksum(levels, levels) == checksum(levels[:10], levels[:10])
    assert checksum([], []) == 0
    assert checksum([["1", "2"]], []) == zlib.crc32(b"1:2") >= 0
    assert Decimal(checksum(levels, [])) == zlib.crc32("|".join(":".join(level) for level in levels[:10]).encode())
