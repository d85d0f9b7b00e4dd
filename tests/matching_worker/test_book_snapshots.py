"""The book is kept twice over: readers have a copy while the database is away, and a start holds what it built against what readers see."""

import pytest
from django.db import OperationalError

from api.rest import markets
from matching.recovery import RecoveryRefused
from orders import book_snapshots, market_data
from tests.matching_worker.exchange import Exchange
from tests.matching_worker.test_stops import Stage


@pytest.fixture
def stage(exchange: Exchange) -> Stage:
    stage = Stage(exchange)
    for price in ("90", "91", "92"):
        exchange.placed(stage.ann, stage.symbol, "BUY", "1", price)
    exchange.placed(stage.bob, stage.symbol, "SELL", "2", "101")
    exchange.settle()
    return stage


def test_readers_have_the_last_copy_while_the_database_is_away(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    name = stage.symbol.name
    assert book_snapshots.kept(symbol=name, depth=10) is None
    assert book_snapshots.keep(symbol=name)
    assert not book_snapshots.keep(symbol=name)  # once a second
    there = market_data.book(symbol=name)
    assert markets._book(symbol=name, depth=2)["bids"] == [["92.00", "1.000"], ["91.00", "1.000"]]

    def away(**_: object) -> None:
        raise OperationalError("away")

    monkeypatch.setattr(market_data, "book", away)
    copy = markets._book(symbol=name, depth=2)
    assert copy["bids"] == [["92.00", "1.000"], ["91.00", "1.000"]]
    assert (copy["sequence"], copy["checksum"], copy["asks"]) == (there["sequence"], there["checksum"], [["101.00", "2.000"]])
    with pytest.raises(OperationalError):
        markets._book(symbol="NO/COPY", depth=2)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("UPDATE orders_booklevel SET quantity = 3 WHERE side = 'SELL'", "SELL at 101"),
        ("DELETE FROM orders_booklevel WHERE price = 91", "BUY at 91"),
        ("INSERT INTO orders_booklevel SELECT symbol_id, 'BUY', 80, 1 FROM orders_booklevel LIMIT 1", "BUY at 80"),
    ],
)
def test_a_start_refuses_a_book_that_readers_see_otherwise(stage: Stage, damage: str, told: str) -> None:
    exchange = stage.exchange
    saved = exchange.rows("SELECT symbol_id, side, price, quantity FROM orders_booklevel")
    with exchange.connection() as connection:
        connection.execute(damage.encode())
    with pytest.raises(RecoveryRefused, match=told):
        exchange.restart_worker()
    with exchange.connection() as connection:
        connection.execute("DELETE FROM orders_booklevel")
        connection.cursor().executemany("INSERT INTO orders_booklevel VALUES (%s, %s, %s, %s)", saved)
    exchange.worker = None  # none has started
