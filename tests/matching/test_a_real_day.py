"""A recorded day of a stock exchange, request by request, gives exactly the trades that price-time priority gives."""

import csv
import gzip
from decimal import Decimal
from pathlib import Path

import pytest

from matching.core.book import Book
from matching.core.messages import BUY, CANCEL_NEWEST, CANCELLED, GTC, SELL, TRADE, BookLike
from tests.matching.naive_book import NaiveBook

DATA = Path(__file__).resolve().parent.parent / "data"
FLOW = DATA / "order-flow-bme-ana-2019-05-23.csv.gz"
TRADES = DATA / "order-flow-bme-ana-2019-05-23-trades.csv"

Trade = tuple[int, int, int, int]  # taker, maker, price in ticks, lots


def ticks(price: str) -> int:
    """A price with at most two decimals as ticks of 0.01."""
    whole = Decimal(price) * 100
    assert whole == int(whole), price
    return int(whole)


def expected_trades() -> list[Trade]:
    with TRADES.open() as file:
        return [(int(r["taker_uid"]), int(r["maker_uid"]), ticks(r["price"]), int(r["qty"])) for r in csv.DictReader(file, delimiter=";")]


def play(book: BookLike) -> tuple[list[Trade], int]:
    """The whole day through this book: its trades, and how many requests were made."""
    trades: list[Trade] = []
    price_of: dict[int, int] = {}
    total_of: dict[int, int] = {}
    requests = 0
    with gzip.open(FLOW, "rt") as file:
        for row in csv.DictReader(file, delimiter=";"):
            uid = int(row["uid"])
            requests += 1
            if row["ordtype"] == "new":
                side = BUY if row["is_buy"] == "True" else SELL
                price_of[uid], total_of[uid] = ticks(row["price"]), int(row["qty"])
                book.place(uid, "buyers" if side == BUY else "sellers", side, price_of[uid], total_of[uid], GTC, CANCEL_NEWEST)
            elif row["ordtype"] == "modif":
                assert uid in book, f"request {requests} is about a dead order"
                total_of[uid] -= int(row["qty"])
                book.amend(uid, price_of[uid], total_of[uid])
                assert book.events[0][0] == CANCELLED or book.events[0][-1] is True, "a smaller order keeps its place"
            else:
                assert row["ordtype"] == "cancel"
                assert uid in book, f"request {requests} is about a dead order"
                book.cancel(uid, "USER_CANCEL")
            for event in book.events:
                if event[0] == TRADE:
                    _, maker, taker, price, lots, _, _ = event
                    trades.append((taker, maker, price, lots))
            book.events.clear()
    return trades, requests


@pytest.mark.parametrize("kind", [NaiveBook, Book], ids=["naive", "fast"])
def test_a_recorded_day_gives_exactly_the_expected_trades(kind: type[BookLike]) -> None:
    book = kind()
    trades, requests = play(book)
    assert requests == 27_056
    assert trades == expected_trades()
    assert (len(trades), sum(lots for *_, lots in trades)) == (996, 54_378)
    assert len(book) == 0
    assert [*book.levels(BUY), *book.levels(SELL)] == []
    book.check()
