"""What an auction collects and at which price it would uncross.

The price tables show how they were reckoned: of each price, what would buy / what would sell at it.
"""

import pytest

from matching.core.book import Book
from matching.core.messages import AUCTION, BUY, GTC, MAX_TICKS, SELL, BookLike
from tests.matching.tables import Case

COLLECTING = [
    Case(
        "an auction lets orders rest without matching, so the book may be crossed",
        status="AUCTION",
        before=["s1 ann sells 5 @ 100"],
        when=["place b1 bob buys 5 @ 102", "place b2 ann buys 5 @ 101", "place s2 bob sells 1 @ 90"],
        then=["b1 rests: buys 5 @ 102", "b2 rests: buys 5 @ 101", "s2 rests: sells 1 @ 90"],
        after=["b1 bob buys 5 @ 102", "b2 ann buys 5 @ 101", "s2 bob sells 1 @ 90", "s1 ann sells 5 @ 100"],
        last=99,
    ),
    Case(
        "an auction rejects immediate, fill-or-kill, post-only and budget orders, whether they would take or not",
        status="AUCTION",
        before=["s1 ann sells 5 @ 100"],
        when=[
            "place b1 bob buys 5 @ 100 IOC",
            "place b2 bob buys 5 @ 100 FOK",
            "place b3 bob buys 5 @ 100 GTX",
            "place b4 bob buys 5 @ 99 GTX",
            "spend 900 for b5 bob up to 100",
        ],
        then=[f"b{n} is rejected: ORDER_TYPE_NOT_ALLOWED" for n in range(1, 6)],
        after=["s1 ann sells 5 @ 100"],
    ),
    Case(
        "an auction lets cancels and amends be as ever, but nothing trades",
        status="AUCTION",
        before=["b1 ann buys 3/5 @ 100", "b2 bob buys 4 @ 100", "s1 cid sells 2 @ 102", "s2 cid sells 2 @ 103"],
        when=[
            "amend b1 to 4 @ 100",
            "amend b2 to 4 @ 103",
            "amend b1 to 6 @ 102",
            "amend s1 to 0 @ 102",
            "cancel s2 USER_CANCEL",
            "amend s2 to 1 @ 103",
        ],
        then=[
            "b1 is amended to 2/4 @ 100 and keeps its place",
            "b2 is amended to 4/4 @ 103 and goes to the back",
            "b2 rests: buys 4 @ 103",
            "b1 is amended to 4/6 @ 102 and goes to the back",
            "b1 rests: buys 4 @ 102",
            "s1 is cancelled with 2 left: USER_CANCEL",
            "s2 is cancelled with 2 left: USER_CANCEL",
            "s2 is refused: ORDER_NOT_OPEN",
        ],
        after=["b2 bob buys 4 @ 103", "b1 ann buys 4/6 @ 102"],
    ),
    Case(
        "a post-only order may not be amended into what rests opposite, its own account's and market orders included",
        status="AUCTION",
        before=[
            "b1 ann buys 5 @ 98 GTX",
            "b2 ann buys 5 @ 97 GTX",
            "b3 ann buys 5 @ 96 GTX",
            "m1 bob sells 1 @ 99 MARKET",
            "s1 ann sells 2 @ 101",
        ],
        when=["amend b1 to 5 @ 101", "amend b2 to 5 @ 99", "amend b3 to 5 @ 98"],
        then=[
            "b1 is refused: AMEND_REFUSED",
            "b2 is refused: AMEND_REFUSED",
            "b3 is amended to 5/5 @ 98 and goes to the back",
            "b3 rests: buys 5 @ 98",
        ],
        after=[
            "b1 ann buys 5 @ 98",
            "b3 ann buys 5 @ 98",
            "b2 ann buys 5 @ 97",
            "m1 bob sells 1 @ 99 MARKET",
            "s1 ann sells 2 @ 101",
        ],
    ),
    Case(
        "a post-only order that another's order crosses may be made smaller where it stands but not larger",
        status="AUCTION",
        before=["b1 ann buys 5 @ 100 GTX", "s1 bob sells 2 @ 99"],
        when=["amend b1 to 6 @ 100", "amend b1 to 4 @ 100", "amend b1 to 6 @ 98"],
        then=[
            "b1 is refused: AMEND_REFUSED",
            "b1 is amended to 4/4 @ 100 and keeps its place",
            "b1 is amended to 6/6 @ 98 and goes to the back",
            "b1 rests: buys 6 @ 98",
        ],
        after=["b1 ann buys 6 @ 98", "s1 bob sells 2 @ 99"],
    ),
    Case(
        "the range halts no auction",
        status="AUCTION",
        range=(95, 105),
        before=["s1 ann sells 5 @ 110"],
        when=["place b1 bob buys 5 @ 112", "place m1 bob buys 5 @ 114 MARKET"],
        then=["b1 rests: buys 5 @ 112", "m1 rests: buys 5 @ 114"],
        after=["m1 bob buys 5 @ 114 MARKET", "b1 bob buys 5 @ 112", "s1 ann sells 5 @ 110"],
    ),
]

# (sentence, orders, reference, last, indicative)
PRICES = [
    (
        "most lots",  # 98: 15/5, 99: 15/5, 100: 10/10, 101: 4/10, 102: 4/15, 103: 4/15
        [
            "b1 ann buys 4 @ 103",
            "b2 ann buys 6 @ 100",
            "b3 ann buys 5 @ 99",
            "s1 bob sells 5 @ 98",
            "s2 bob sells 5 @ 100",
            "s3 bob sells 5 @ 102",
        ],
        (103, 103),
        103,
        (100, 10, 0),
    ),
    (
        "most lots, though a price with fewer leaves a smaller surplus",  # 97: 9/4, 98, 99: 5/4, 100: 5/9
        ["b1 ann buys 5 @ 100", "b2 ann buys 4 @ 97", "s1 bob sells 4 @ 97", "s2 bob sells 5 @ 100"],
        None,
        98,
        (100, 5, -4),
    ),
    (
        "the smallest surplus among most lots, between two limits",  # 100: 8/5, 101: 5/5, 102: 5/7
        ["b1 ann buys 5 @ 102", "b2 ann buys 3 @ 100", "s1 bob sells 5 @ 100", "s2 bob sells 2 @ 102"],
        (100, 100),
        100,
        (101, 5, 0),
    ),
    (
        "a surplus of sellers is as small as one of buyers of the same size",  # 99 to 101: 7/5, 102 to 104: 5/7
        ["b1 ann buys 5 @ 104", "b2 ann buys 2 @ 101", "s1 bob sells 5 @ 99", "s2 bob sells 2 @ 102"],
        (100, 100),
        0,
        (100, 5, 2),
    ),
    (
        "a surplus of buyers is as small as one of sellers of the same size",  # 99 to 101: 7/5, 102 to 104: 5/7
        ["b1 ann buys 5 @ 104", "b2 ann buys 2 @ 101", "s1 bob sells 5 @ 99", "s2 bob sells 2 @ 102"],
        (103, 103),
        0,
        (103, 5, -2),
    ),
    *(
        (f"nearest to {named}", ["b1 ann buys 5 @ 104", "s1 bob sells 5 @ 100"], reference, last, (price, 5, 0))  # 100 to 104: 5/5
        for named, reference, last, price in (
            ("the reference, between two limits", (102, 102), 0, 102),
            ("the reference, below all limits", (90, 90), 0, 100),
            ("the reference, above all limits", (110, 111), 0, 104),
            ("the reference, though the last trade was elsewhere", (101, 101), 104, 101),
            ("the last trade without a reference", None, 103, 103),
            ("the last trade without a reference, below all limits", None, 1, 100),
            ("a reference between two ticks: the higher of them", (101, 102), 100, 102),
            ("a reference just above the highest limit", (104, 105), 0, 104),
            ("a reference just below the lowest limit", (99, 100), 0, 100),
            ("nothing: the higher", None, 0, 104),
        )
    ),
    (
        "nearest to the reference among equal surpluses of both signs, and as near: the higher",  # 99 to 101: 7/5, 102 to 104: 5/7
        ["b1 ann buys 5 @ 104", "b2 ann buys 2 @ 101", "s1 bob sells 5 @ 99", "s2 bob sells 2 @ 102"],
        (101, 102),
        0,
        (102, 5, -2),
    ),
    (
        "market orders count as limited by their protection price",  # 100 to 103: 8/4, 104 to 110: 5/4
        ["m1 cid buys 3 @ 103 MARKET", "b1 ann buys 5 @ 110", "s1 bob sells 4 @ 100"],
        (100, 100),
        0,
        (104, 4, 1),
    ),
    (
        "market orders of both sides alone",  # 97 to 103: 3/2
        ["m1 cid buys 3 @ 103 MARKET", "m2 bob sells 2 @ 97 MARKET"],
        (100, 100),
        0,
        (100, 2, 1),
    ),
    ("own orders' meetings are left aside", ["b1 ann buys 5 @ 101", "s1 ann sells 3 @ 101"], None, 0, (101, 3, 2)),
    ("open lots count, not totals", ["b1 ann buys 2/9 @ 101", "s1 ann sells 3/7 @ 101"], None, 0, (101, 2, -1)),
    ("the lowest and the highest price that may be", ["b1 ann buys 5 @ 2", "s1 bob sells 5 @ 1"], (1, 1), 0, (1, 5, 0)),
    ("nothing when limits do not meet", ["b1 ann buys 5 @ 100", "s1 bob sells 5 @ 101"], (100, 100), 100, None),
    ("nothing when protection prices do not meet", ["m1 ann buys 5 @ 100 MARKET", "m2 bob sells 5 @ 101 MARKET"], None, 0, None),
    ("nothing with one side alone", ["b1 ann buys 5 @ 100", "m1 ann buys 5 @ 120 MARKET"], (100, 100), 100, None),
    ("nothing in an empty book", [], (100, 100), 100, None),
]


@pytest.mark.parametrize("case", COLLECTING, ids=str)
def test_an_auction_collects(book: BookLike, case: Case) -> None:
    case.holds_in(book)


@pytest.mark.parametrize("status", ["AUCTION", "HALTED"])
@pytest.mark.parametrize(("orders", "reference", "last", "expected"), [row[1:] for row in PRICES], ids=[row[0] for row in PRICES])
def test_an_uncross_has_the_price_of(
    book: BookLike, orders: list[str], reference: tuple[int, int] | None, last: int, expected: tuple[int, int, int] | None, status: str
) -> None:
    Case("", before=orders, when=[], then=[], status=status, reference=reference, last=last).prepare(book)
    assert book.indicative() == expected
    assert book.events == []
    if expected is not None and len({line.split()[1] for line in orders}) > 1:
        book.set_status("TRADING")
        assert book.events[0] == ("AUCTIONED", *expected[:2])
        assert sum(event[4] for event in book.events if event[0] == "TRADE" and event[3] == expected[0]) == expected[1]


def test_the_indicative_price_follows_orders_reference_and_preventions(book: BookLike) -> None:
    book.set_status("AUCTION")
    book.place("b1", "ann", BUY, 104, 5, 0, 0)
    assert book.indicative() is None
    book.place("s1", "ann", SELL, 100, 3, 0, 0)
    assert book.indicative() == (104, 3, 2)
    book.set_reference(101, 101)
    assert book.indicative() == (101, 3, 2)
    book.amend("s1", 102, 7)
    assert book.indicative() == (102, 5, -2)
    book.cancel("b1", "USER_CANCEL")
    assert book.indicative() is None


@pytest.mark.parametrize(
    ("reference", "price"), [((10**9, 10**9 + 1), 10**9 + 1), ((1, 1), 5), ((MAX_TICKS, MAX_TICKS), MAX_TICKS - 7), (None, MAX_TICKS - 7)]
)
def test_limits_may_lie_far_apart(reference: tuple[int, int] | None, price: int) -> None:
    """Not of the naive book, which tries every price."""
    book = Book()
    book.set_status(AUCTION)
    book.reference = reference
    book.place("b1", "ann", BUY, MAX_TICKS - 7, 5, GTC, 0)
    book.place("s1", "bob", SELL, 5, 5, GTC, 0)
    assert book.indicative() == (price, 5, 0)
