"""Which amends keep the place in the queue, and what each status of the symbol lets through."""

import pytest

from matching.core.messages import BUY, STATUSES, BookLike
from tests.matching.tables import Case

BIDS = ["b1 ann buys 3/5 @ 100", "b2 bob buys 4 @ 100"]

AMENDS = [
    Case(
        "a smaller quantity keeps the place",
        before=BIDS,
        when="amend b1 to 4 @ 100",
        then=["b1 is amended to 2/4 @ 100 and keeps its place"],
        after=["b1 ann buys 2/4 @ 100", "b2 bob buys 4 @ 100"],
    ),
    Case(
        "the same price and quantity keep the place",
        before=BIDS,
        when="amend b1 to 5 @ 100",
        then=["b1 is amended to 3/5 @ 100 and keeps its place"],
        after=BIDS,
    ),
    Case(
        "one lot more than is done keeps one lot open",
        before=BIDS,
        when="amend b1 to 3 @ 100",
        then=["b1 is amended to 1/3 @ 100 and keeps its place"],
        after=["b1 ann buys 1/3 @ 100", "b2 bob buys 4 @ 100"],
    ),
    Case(
        "a total that is done already ends the order",
        before=BIDS,
        when="amend b1 to 2 @ 100",
        then=["b1 is cancelled with 3 left: USER_CANCEL"],
        after=["b2 bob buys 4 @ 100"],
    ),
    Case(
        "a total below what is done ends the order, whatever the new price",
        before=[*BIDS, "s1 cid sells 1 @ 101"],
        when="amend b1 to 1 @ 105",
        then=["b1 is cancelled with 3 left: USER_CANCEL"],
        after=["b2 bob buys 4 @ 100", "s1 cid sells 1 @ 101"],
    ),
    Case(
        "a total below what was prevented ends the order",
        before=["s1 bob sells 5 @ 100"],
        when=["place b1 bob buys 3 @ 100 DECREMENT", "amend s1 to 3 @ 100"],
        then=[
            "b1 and s1 lose 3, s1 has 2 left, b1 0",
            "b1 is cancelled with 0 left: SELF_TRADE_PREVENTED",
            "s1 is cancelled with 2 left: USER_CANCEL",
        ],
    ),
    Case(
        "a smaller quantity counts what was prevented as done",
        before=["s1 bob sells 5 @ 100"],
        when=["place b1 bob buys 3 @ 100 DECREMENT", "amend s1 to 4 @ 100"],
        then=[
            "b1 and s1 lose 3, s1 has 2 left, b1 0",
            "b1 is cancelled with 0 left: SELF_TRADE_PREVENTED",
            "s1 is amended to 1/4 @ 100 and keeps its place",
        ],
        after=["s1 bob sells 1/4 @ 100"],
    ),
    Case(
        "a larger quantity goes to the back",
        before=BIDS,
        when="amend b1 to 6 @ 100",
        then=["b1 is amended to 4/6 @ 100 and goes to the back", "b1 rests: buys 4 @ 100"],
        after=["b2 bob buys 4 @ 100", "b1 ann buys 4/6 @ 100"],
    ),
    Case(
        "a larger quantity of the only order at its price goes to the back of nothing",
        before=["b1 ann buys 3 @ 100", "b2 bob buys 4 @ 99"],
        when="amend b1 to 4 @ 100",
        then=["b1 is amended to 4/4 @ 100 and goes to the back", "b1 rests: buys 4 @ 100"],
        after=["b1 ann buys 4 @ 100", "b2 bob buys 4 @ 99"],
    ),
    Case(
        "a new price goes to the back of that price, even with a smaller quantity",
        before=["b2 bob buys 4 @ 101", "b1 ann buys 3/5 @ 100"],
        when="amend b1 to 4 @ 101",
        then=["b1 is amended to 2/4 @ 101 and goes to the back", "b1 rests: buys 2 @ 101"],
        after=["b2 bob buys 4 @ 101", "b1 ann buys 2/4 @ 101"],
    ),
    Case(
        "a price there and back loses the place",
        before=BIDS,
        when=["amend b1 to 5 @ 99", "amend b1 to 5 @ 100"],
        then=[
            "b1 is amended to 3/5 @ 99 and goes to the back",
            "b1 rests: buys 3 @ 99",
            "b1 is amended to 3/5 @ 100 and goes to the back",
            "b1 rests: buys 3 @ 100",
        ],
        after=["b2 bob buys 4 @ 100", "b1 ann buys 3/5 @ 100"],
    ),
    Case(
        "a new price that meets the other side trades at once and the rest queues",
        before=["b1 ann buys 3/5 @ 100", "s1 bob sells 2 @ 102", "s2 bob sells 2 @ 104"],
        when="amend b1 to 6 @ 103",
        then=[
            "b1 is amended to 4/6 @ 103 and goes to the back",
            "b1 takes 2 @ 102 from s1, s1 has 0 left, b1 2",
            "b1 rests: buys 2 @ 103",
        ],
        after=["b1 ann buys 2/6 @ 103", "s2 bob sells 2 @ 104"],
    ),
    Case(
        "an amended order that is filled whole is gone",
        before=["b1 ann buys 3/5 @ 100", "s1 bob sells 4 @ 102"],
        when=["amend b1 to 5 @ 102", "cancel b1 USER_CANCEL"],
        then=[
            "b1 is amended to 3/5 @ 102 and goes to the back",
            "b1 takes 3 @ 102 from s1, s1 has 1 left, b1 0",
            "b1 is refused: ORDER_NOT_OPEN",
        ],
        after=["s1 bob sells 1/4 @ 102"],
    ),
    Case(
        "an amended sell trades down through the bids",
        before=["b1 ann buys 1 @ 100", "b2 ann buys 1 @ 99", "s1 bob sells 3 @ 105"],
        when="amend s1 to 3 @ 99",
        then=[
            "s1 is amended to 3/3 @ 99 and goes to the back",
            "s1 takes 1 @ 100 from b1, b1 has 0 left, s1 2",
            "s1 takes 1 @ 99 from b2, b2 has 0 left, s1 1",
            "s1 rests: sells 1 @ 99",
        ],
        after=["s1 bob sells 1/3 @ 99"],
    ),
    Case(
        "a post-only order amended to a price that would take is refused and stays as it was",
        before=["b1 ann buys 3/5 @ 100 GTX", "b2 bob buys 4 @ 100", "s1 cid sells 2 @ 102"],
        when="amend b1 to 9 @ 102",
        then=["b1 is refused: AMEND_REFUSED"],
        after=["b1 ann buys 3/5 @ 100", "b2 bob buys 4 @ 100", "s1 cid sells 2 @ 102"],
    ),
    Case(
        "a post-only order that would meet only its own account's order is refused too",
        before=["b1 ann buys 3 @ 100 GTX CANCEL_OLDEST", "s1 ann sells 2 @ 102"],
        when="amend b1 to 3 @ 102",
        then=["b1 is refused: AMEND_REFUSED"],
        after=["b1 ann buys 3 @ 100", "s1 ann sells 2 @ 102"],
    ),
    Case(
        "a post-only order amended to a price that rests moves and stays post-only",
        before=["b1 ann buys 3 @ 100 GTX", "s1 cid sells 2 @ 102"],
        when=["amend b1 to 4 @ 101", "amend b1 to 4 @ 102"],
        then=[
            "b1 is amended to 4/4 @ 101 and goes to the back",
            "b1 rests: buys 4 @ 101",
            "b1 is refused: AMEND_REFUSED",
        ],
        after=["b1 ann buys 4 @ 101", "s1 cid sells 2 @ 102"],
    ),
    Case(
        "a post-only order amended to a total that is done already ends, even at a price that would take",
        before=["b1 ann buys 3/5 @ 100 GTX", "s1 cid sells 2 @ 102"],
        when="amend b1 to 2 @ 102",
        then=["b1 is cancelled with 3 left: USER_CANCEL"],
        after=["s1 cid sells 2 @ 102"],
    ),
    Case(
        "amending an order that is not open is refused",
        before=BIDS,
        when="amend b9 to 5 @ 100",
        then=["b9 is refused: ORDER_NOT_OPEN"],
        after=BIDS,
    ),
    Case(
        "an order can be amended after it was filled in part",
        before=["b1 ann buys 5 @ 100"],
        when=["place s1 bob sells 2 @ 100", "amend b1 to 4 @ 100", "place s2 bob sells 5 @ 100"],
        then=[
            "s1 takes 2 @ 100 from b1, b1 has 3 left, s1 0",
            "b1 is amended to 2/4 @ 100 and keeps its place",
            "s2 takes 2 @ 100 from b1, b1 has 0 left, s2 3",
            "s2 rests: sells 3 @ 100",
        ],
        after=["s2 bob sells 3/5 @ 100"],
    ),
]

BOTH_SIDES = ["b1 ann buys 3/5 @ 100", "b2 bob buys 4 @ 100", "s1 cid sells 2 @ 102", "s2 ann sells 2 @ 103"]

STATUS_CASES = [
    Case(
        "post-only status lets orders rest",
        status="POST_ONLY",
        before=BOTH_SIDES,
        when=["place b3 dan buys 1 @ 101", "place s3 dan sells 1 @ 102 GTX"],
        then=["b3 rests: buys 1 @ 101", "s3 rests: sells 1 @ 102"],
        after=["b3 dan buys 1 @ 101", *BOTH_SIDES[:3], "s3 dan sells 1 @ 102", BOTH_SIDES[3]],
    ),
    Case(
        "post-only status rejects orders that would take",
        status="POST_ONLY",
        before=BOTH_SIDES,
        when="place b3 dan buys 1 @ 102",
        then=["b3 is rejected: SYMBOL_POST_ONLY"],
        after=BOTH_SIDES,
    ),
    Case(
        "post-only status tells a post-only order that it would take",
        status="POST_ONLY",
        before=BOTH_SIDES,
        when="place b3 dan buys 1 @ 102 GTX",
        then=["b3 is rejected: POST_ONLY_WOULD_TAKE"],
        after=BOTH_SIDES,
    ),
    Case(
        "post-only status rejects orders that would only meet their own account",
        status="POST_ONLY",
        before=BOTH_SIDES,
        when="place b3 cid buys 1 @ 102 CANCEL_OLDEST",
        then=["b3 is rejected: SYMBOL_POST_ONLY"],
        after=BOTH_SIDES,
    ),
    Case(
        "post-only status rejects immediate, fill-or-kill and budget orders, even those that would meet nothing",
        status="POST_ONLY",
        before=BOTH_SIDES,
        when=["place b3 dan buys 1 @ 99 IOC", "place b4 dan buys 1 @ 99 FOK", "spend 500 for b5 dan up to 99"],
        then=[
            "b3 is rejected: SYMBOL_POST_ONLY",
            "b4 is rejected: SYMBOL_POST_ONLY",
            "b5 is rejected: SYMBOL_POST_ONLY",
        ],
        after=BOTH_SIDES,
    ),
    Case(
        "post-only status refuses amends that would take",
        status="POST_ONLY",
        before=BOTH_SIDES,
        when="amend b1 to 5 @ 102",
        then=["b1 is refused: AMEND_REFUSED"],
        after=BOTH_SIDES,
    ),
    Case(
        "post-only status lets amends that rest, keep the place or end the order",
        status="POST_ONLY",
        before=BOTH_SIDES,
        when=["amend b1 to 6 @ 101", "amend b2 to 3 @ 100", "amend s1 to 0 @ 102", "cancel s2 USER_CANCEL"],
        then=[
            "b1 is amended to 4/6 @ 101 and goes to the back",
            "b1 rests: buys 4 @ 101",
            "b2 is amended to 3/3 @ 100 and keeps its place",
            "s1 is cancelled with 2 left: USER_CANCEL",
            "s2 is cancelled with 2 left: USER_CANCEL",
        ],
        after=["b1 ann buys 4/6 @ 101", "b2 bob buys 3 @ 100"],
    ),
    *(
        Case(
            f"{status} rejects every new order, whether it would rest, take or end",
            status=status,
            before=[] if status == "DELISTED" else BOTH_SIDES,
            when=[
                "place b3 dan buys 1 @ 90",
                "place b4 dan buys 1 @ 102",
                "place b5 dan buys 1 @ 90 GTX",
                "place b6 dan buys 1 @ 102 GTX",
                "place b7 dan buys 1 @ 102 IOC",
                "place b8 dan buys 99 @ 102 FOK",
                "spend 500 for b9 dan up to 102",
            ],
            then=[f"b{number} is rejected: {code}" for number in range(3, 10)],
            after=[] if status == "DELISTED" else BOTH_SIDES,
        )
        for status, code in (("CANCEL_ONLY", "SYMBOL_CANCEL_ONLY"), ("HALTED", "SYMBOL_HALTED"), ("DELISTED", "SYMBOL_HALTED"))
    ),
    *(
        Case(
            f"{status} lets cancels and amends that keep the place or end the order",
            status=status,
            before=BOTH_SIDES,
            when=["amend b1 to 4 @ 100", "amend b2 to 4 @ 100", "amend s1 to 0 @ 110", "cancel s2 USER_CANCEL", "cancel s2 USER_CANCEL"],
            then=[
                "b1 is amended to 2/4 @ 100 and keeps its place",
                "b2 is amended to 4/4 @ 100 and keeps its place",
                "s1 is cancelled with 2 left: USER_CANCEL",
                "s2 is cancelled with 2 left: USER_CANCEL",
                "s2 is refused: ORDER_NOT_OPEN",
            ],
            after=["b1 ann buys 2/4 @ 100", "b2 bob buys 4 @ 100"],
        )
        for status in ("CANCEL_ONLY", "HALTED")
    ),
    *(
        Case(
            f"{status} refuses amends that lose the place, whether they would rest or take",
            status=status,
            before=BOTH_SIDES,
            when=["amend b1 to 6 @ 100", "amend b1 to 4 @ 99", "amend b1 to 5 @ 102", "amend b9 to 5 @ 102"],
            then=[*["b1 is refused: AMEND_REFUSED"] * 3, "b9 is refused: ORDER_NOT_OPEN"],
            after=BOTH_SIDES,
        )
        for status in ("CANCEL_ONLY", "HALTED")
    ),
    Case(
        "delisting cancels bids best price first, oldest first, then asks likewise",
        before=["b1 ann buys 3/5 @ 100", "b2 bob buys 4 @ 100", "b3 ann buys 1 @ 90", "s1 cid sells 2 @ 102", "s2 cid sells 2 @ 103"],
        when="status DELISTED",
        then=[
            "status DELISTED",
            "b1 is cancelled with 3 left: SYMBOL_DELISTED",
            "b2 is cancelled with 4 left: SYMBOL_DELISTED",
            "b3 is cancelled with 1 left: SYMBOL_DELISTED",
            "s1 is cancelled with 2 left: SYMBOL_DELISTED",
            "s2 is cancelled with 2 left: SYMBOL_DELISTED",
        ],
    ),
    Case(
        "a delisted symbol refuses cancels and amends because nothing is open",
        status="DELISTED",
        before=[],
        when=["cancel b1 USER_CANCEL", "amend b1 to 5 @ 100"],
        then=["b1 is refused: ORDER_NOT_OPEN", "b1 is refused: ORDER_NOT_OPEN"],
    ),
    Case(
        "the status is told even when it stays the same",
        status="HALTED",
        before=BOTH_SIDES,
        when=["status HALTED", "status TRADING", "place b3 dan buys 1 @ 102"],
        then=["status HALTED", "status TRADING", "b3 takes 1 @ 102 from s1, s1 has 1 left, b3 0"],
        after=[*BOTH_SIDES[:2], "s1 cid sells 1/2 @ 102", BOTH_SIDES[3]],
    ),
]


@pytest.mark.parametrize("case", AMENDS, ids=str)
def test_an_amend_keeps_or_loses_the_place(book: BookLike, case: Case) -> None:
    case.holds_in(book)


@pytest.mark.parametrize("case", STATUS_CASES, ids=str)
def test_the_status_decides_what_is_let_through(book: BookLike, case: Case) -> None:
    case.holds_in(book)


@pytest.mark.parametrize("status", STATUSES)
def test_the_status_is_kept_and_told(book: BookLike, status: str) -> None:
    book.set_status(status)
    assert book.status == status
    assert book.events == [("STATUS", status, "COMMAND")]


@pytest.mark.parametrize("status", [status for status in STATUSES if status != "DELISTED"])
def test_no_status_but_delisted_touches_open_orders(book: BookLike, status: str) -> None:
    book.restore("b1", "ann", BUY, 100, 5, 3, 0, 0)
    book.set_status(status)
    assert book.events == [("STATUS", status, "COMMAND")]
    assert list(book.queue(BUY)) == [("b1", "ann", 100, 5, 3)]
