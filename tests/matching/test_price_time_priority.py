"""Best price first, oldest first, at the maker's price."""

import pytest

from matching.core.messages import BUY, SELL, BookLike
from tests.matching.tables import Case

CASES = [
    Case(
        "an order that meets nothing rests",
        when="place b1 ann buys 5 @ 100",
        then=["b1 rests: buys 5 @ 100"],
        after=["b1 ann buys 5 @ 100"],
    ),
    Case(
        "prices that do not meet leave both orders standing",
        before=["s1 ann sells 5 @ 101"],
        when="place b1 bob buys 5 @ 100",
        then=["b1 rests: buys 5 @ 100"],
        after=["b1 bob buys 5 @ 100", "s1 ann sells 5 @ 101"],
    ),
    Case(
        "equal prices trade and both orders are filled",
        before=["s1 ann sells 5 @ 100"],
        when="place b1 bob buys 5 @ 100",
        then=["b1 takes 5 @ 100 from s1, s1 has 0 left, b1 0"],
    ),
    Case(
        "a buyer who offers more pays the maker's price",
        before=["s1 ann sells 5 @ 100"],
        when="place b1 bob buys 5 @ 120",
        then=["b1 takes 5 @ 100 from s1, s1 has 0 left, b1 0"],
    ),
    Case(
        "a seller who asks less gets the maker's price",
        before=["b1 ann buys 5 @ 100"],
        when="place s1 bob sells 5 @ 1",
        then=["s1 takes 5 @ 100 from b1, b1 has 0 left, s1 0"],
    ),
    Case(
        "a larger maker stays with what is left and keeps its total",
        before=["s1 ann sells 5 @ 100", "s2 cid sells 1 @ 100"],
        when="place b1 bob buys 3 @ 100",
        then=["b1 takes 3 @ 100 from s1, s1 has 2 left, b1 0"],
        after=["s1 ann sells 2/5 @ 100", "s2 cid sells 1 @ 100"],
    ),
    Case(
        "what is left of a larger taker rests at its own price",
        before=["s1 ann sells 5 @ 100"],
        when="place b1 bob buys 8 @ 102",
        then=["b1 takes 5 @ 100 from s1, s1 has 0 left, b1 3", "b1 rests: buys 3 @ 102"],
        after=["b1 bob buys 3/8 @ 102"],
    ),
    Case(
        "a buy takes the cheapest offer first and stops at its price",
        before=["s1 ann sells 2 @ 100", "s2 bob sells 2 @ 101", "s3 cid sells 2 @ 103"],
        when="place b1 dan buys 9 @ 102",
        then=[
            "b1 takes 2 @ 100 from s1, s1 has 0 left, b1 7",
            "b1 takes 2 @ 101 from s2, s2 has 0 left, b1 5",
            "b1 rests: buys 5 @ 102",
        ],
        after=["b1 dan buys 5/9 @ 102", "s3 cid sells 2 @ 103"],
    ),
    Case(
        "a sell takes the highest bid first and stops at its price",
        before=["b1 ann buys 2 @ 103", "b2 bob buys 2 @ 102", "b3 cid buys 2 @ 100"],
        when="place s1 dan sells 9 @ 101",
        then=[
            "s1 takes 2 @ 103 from b1, b1 has 0 left, s1 7",
            "s1 takes 2 @ 102 from b2, b2 has 0 left, s1 5",
            "s1 rests: sells 5 @ 101",
        ],
        after=["b3 cid buys 2 @ 100", "s1 dan sells 5/9 @ 101"],
    ),
    Case(
        "orders at one price are taken in order of arrival, whoever owns them",
        before=["s1 ann sells 2 @ 100", "s2 bob sells 2 @ 100", "s3 ann sells 2 @ 100"],
        when="place b1 cid buys 5 @ 100",
        then=[
            "b1 takes 2 @ 100 from s1, s1 has 0 left, b1 3",
            "b1 takes 2 @ 100 from s2, s2 has 0 left, b1 1",
            "b1 takes 1 @ 100 from s3, s3 has 1 left, b1 0",
        ],
        after=["s3 ann sells 1/2 @ 100"],
    ),
    Case(
        "a later order at a better price goes first",
        before=["b1 ann buys 2 @ 100"],
        when=["place b2 bob buys 2 @ 101", "place s1 cid sells 3 @ 100"],
        then=[
            "b2 rests: buys 2 @ 101",
            "s1 takes 2 @ 101 from b2, b2 has 0 left, s1 1",
            "s1 takes 1 @ 100 from b1, b1 has 1 left, s1 0",
        ],
        after=["b1 ann buys 1/2 @ 100"],
    ),
    Case(
        "a new order queues behind its own account's and others' orders at its price",
        before=["b1 ann buys 2 @ 100", "b2 bob buys 2 @ 100"],
        when="place b3 ann buys 2 @ 100",
        then=["b3 rests: buys 2 @ 100"],
        after=["b1 ann buys 2 @ 100", "b2 bob buys 2 @ 100", "b3 ann buys 2 @ 100"],
    ),
    Case(
        "a price that was emptied can be queued at again",
        before=["s1 ann sells 2 @ 100"],
        when=["place b1 bob buys 2 @ 100", "place s2 cid sells 3 @ 100", "place b2 bob buys 1 @ 100"],
        then=[
            "b1 takes 2 @ 100 from s1, s1 has 0 left, b1 0",
            "s2 rests: sells 3 @ 100",
            "b2 takes 1 @ 100 from s2, s2 has 2 left, b2 0",
        ],
        after=["s2 cid sells 2/3 @ 100"],
    ),
    Case(
        "the id of an order that ended may be used again",
        before=["s1 ann sells 2 @ 100"],
        when=["place b1 bob buys 2 @ 100", "place s1 bob sells 1 @ 90"],
        then=["b1 takes 2 @ 100 from s1, s1 has 0 left, b1 0", "s1 rests: sells 1 @ 90"],
        after=["s1 bob sells 1 @ 90"],
    ),
    Case(
        "the largest prices and quantities trade exactly",
        when=[f"place s1 ann sells {2**62} @ {2**62}", f"place b1 bob buys {2**62 - 1} @ {2**62}"],
        then=[
            f"s1 rests: sells {2**62} @ {2**62}",
            f"b1 takes {2**62 - 1} @ {2**62} from s1, s1 has 1 left, b1 0",
        ],
        after=[f"s1 ann sells 1/{2**62} @ {2**62}"],
    ),
    Case(
        "a cancelled order is gone and those behind it move up",
        before=["b1 ann buys 2/5 @ 100", "b2 bob buys 2 @ 100"],
        when=["cancel b1 DEAD_MAN_SWITCH", "place s1 cid sells 1 @ 100"],
        then=["b1 is cancelled with 2 left: DEAD_MAN_SWITCH", "s1 takes 1 @ 100 from b2, b2 has 1 left, s1 0"],
        after=["b2 bob buys 1/2 @ 100"],
    ),
    Case(
        "an order cancelled out of the middle of its queue leaves the others in their places",
        before=["s1 ann sells 1 @ 100", "s2 bob sells 2 @ 100", "s3 cid sells 3 @ 100"],
        when=["cancel s2 USER_CANCEL", "place b1 dan buys 2 @ 100"],
        then=[
            "s2 is cancelled with 2 left: USER_CANCEL",
            "b1 takes 1 @ 100 from s1, s1 has 0 left, b1 1",
            "b1 takes 1 @ 100 from s3, s3 has 2 left, b1 0",
        ],
        after=["s3 cid sells 2/3 @ 100"],
    ),
    Case(
        "the last order of the best price cancelled uncovers the next price",
        before=["s1 ann sells 1 @ 100", "s2 bob sells 2 @ 105"],
        when=["cancel s1 USER_CANCEL", "place b1 dan buys 1 @ 110"],
        then=["s1 is cancelled with 1 left: USER_CANCEL", "b1 takes 1 @ 105 from s2, s2 has 1 left, b1 0"],
        after=["s2 bob sells 1/2 @ 105"],
    ),
    Case(
        "cancelling an order that is not open is refused",
        before=["b1 ann buys 2 @ 100"],
        when=["cancel b9 USER_CANCEL", "cancel b1 USER_CANCEL", "cancel b1 USER_CANCEL"],
        then=["b9 is refused: ORDER_NOT_OPEN", "b1 is cancelled with 2 left: USER_CANCEL", "b1 is refused: ORDER_NOT_OPEN"],
    ),
    Case(
        "cancelling a filled order is refused",
        before=["b1 ann buys 2 @ 100"],
        when=["place s1 bob sells 2 @ 100", "cancel b1 USER_CANCEL", "cancel s1 USER_CANCEL"],
        then=[
            "s1 takes 2 @ 100 from b1, b1 has 0 left, s1 0",
            "b1 is refused: ORDER_NOT_OPEN",
            "s1 is refused: ORDER_NOT_OPEN",
        ],
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_orders_match_by_price_then_time(book: BookLike, case: Case) -> None:
    case.holds_in(book)


def test_restored_orders_stand_in_the_order_of_their_restoration_and_nothing_is_told(book: BookLike) -> None:
    book.restore("b1", "ann", BUY, 100, 5, 3, 0, 0)
    book.restore("b2", "bob", BUY, 100, 5, 5, 3, 1)
    book.restore("b3", "ann", BUY, 101, 2, 1, 0, 2)
    book.restore("s1", "ann", SELL, 102, 2, 1, 0, 3)
    assert book.events == []
    assert list(book.queue(BUY)) == [("b3", "ann", 101, 2, 1), ("b1", "ann", 100, 5, 3), ("b2", "bob", 100, 5, 5)]
    assert list(book.queue(SELL)) == [("s1", "ann", 102, 2, 1)]
    assert list(book.levels(BUY)) == [(101, 1), (100, 8)]
    book.check()


def test_restoring_works_whatever_the_status_is(book: BookLike) -> None:
    for number, status in enumerate(("POST_ONLY", "CANCEL_ONLY", "HALTED")):
        book.set_status(status)
        book.restore(number, "ann", BUY, 100, 5, 3, 0, 0)
    assert len(book) == 3
    assert book.status == "HALTED"


def test_an_empty_book_has_no_levels_and_is_trading(book: BookLike) -> None:
    assert (book.status, len(book), book.events) == ("TRADING", 0, [])
    assert [*book.levels(BUY), *book.levels(SELL), *book.queue(BUY), *book.queue(SELL)] == []
    assert book.level(BUY, 100) == book.level(SELL, 100) == 0
    assert "b1" not in book
    book.check()


def test_levels_away_from_any_order_are_empty(book: BookLike) -> None:
    book.restore("b1", "ann", BUY, 100, 5, 3, 0, 0)
    assert book.level(BUY, 100) == 3
    assert book.level(SELL, 100) == book.level(BUY, 99) == book.level(BUY, 101) == 0


def test_ids_and_accounts_may_be_any_hashable(book: BookLike) -> None:
    book.place(7, ("tenant", 1), BUY, 100, 5, 0, 0)
    book.place((7, "x"), frozenset({"tenant"}), SELL, 100, 2, 0, 0)
    book.place(8, ("tenant", 1), SELL, 100, 2, 0, 0)
    assert book.events[-1] == ("CANCELLED", 8, 2, "SELF_TRADE_PREVENTED")
    assert list(book.queue(BUY)) == [(7, ("tenant", 1), 100, 5, 3)]
