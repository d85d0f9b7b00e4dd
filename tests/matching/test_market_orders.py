"""Market orders with a quantity: immediate at their protection price, but collected while the status is AUCTION."""

import pytest

from matching.core.messages import BookLike
from tests.matching.tables import Case

OFFERS = ["s1 ann sells 2 @ 100", "s2 ann sells 2 @ 101", "s3 ann sells 2 @ 106"]

IMMEDIATE = [
    Case(
        "a market order takes what there is up to its protection price and the rest ends",
        before=OFFERS,
        when="place b1 bob buys 5 @ 105 MARKET",
        then=[
            "b1 takes 2 @ 100 from s1, s1 has 0 left, b1 3",
            "b1 takes 2 @ 101 from s2, s2 has 0 left, b1 1",
            "b1 is cancelled with 1 left: IOC_UNFILLED",
        ],
        after=["s3 ann sells 2 @ 106"],
        last=99,
    ),
    Case(
        "a market order that is filled whole says nothing more",
        before=["b1 ann buys 2 @ 100", "b2 ann buys 2 @ 99"],
        when="place s1 bob sells 3 @ 95 MARKET",
        then=["s1 takes 2 @ 100 from b1, b1 has 0 left, s1 1", "s1 takes 1 @ 99 from b2, b2 has 1 left, s1 0"],
        after=["b2 ann buys 1/2 @ 99"],
    ),
    Case(
        "a market order in an empty book ends",
        when="place b1 bob buys 5 @ 105 MARKET",
        then=["b1 is cancelled with 5 left: IOC_UNFILLED"],
    ),
    Case(
        "a market order that meets nothing within its protection price ends",
        before=OFFERS,
        when="place b1 bob buys 5 @ 99 MARKET",
        then=["b1 is cancelled with 5 left: IOC_UNFILLED"],
        after=OFFERS,
    ),
]

OWN_IN_THE_WAY = ["s1 ann sells 2 @ 100", "s2 bob sells 2 @ 101", "s3 ann sells 2 @ 102"]
FIRST_TRADE = "b1 takes 2 @ 100 from s1, s1 has 0 left, b1 3"

PREVENTION = [
    Case(
        "a market order under CANCEL_NEWEST ends at its own account's order",
        before=OWN_IN_THE_WAY,
        when="place b1 bob buys 5 @ 105 MARKET CANCEL_NEWEST",
        then=[FIRST_TRADE, "b1 is cancelled with 3 left: SELF_TRADE_PREVENTED"],
        after=OWN_IN_THE_WAY[1:],
    ),
    Case(
        "a market order under CANCEL_OLDEST goes through its own account's order, and its rest is unfilled",
        before=OWN_IN_THE_WAY,
        when="place b1 bob buys 5 @ 105 MARKET CANCEL_OLDEST",
        then=[
            FIRST_TRADE,
            "s2 is cancelled with 2 left: SELF_TRADE_PREVENTED",
            "b1 takes 2 @ 102 from s3, s3 has 0 left, b1 1",
            "b1 is cancelled with 1 left: IOC_UNFILLED",
        ],
    ),
    Case(
        "a market order under CANCEL_BOTH takes its own account's order with it",
        before=OWN_IN_THE_WAY,
        when="place b1 bob buys 5 @ 105 MARKET CANCEL_BOTH",
        then=[
            FIRST_TRADE,
            "s2 is cancelled with 2 left: SELF_TRADE_PREVENTED",
            "b1 is cancelled with 3 left: SELF_TRADE_PREVENTED",
        ],
        after=OWN_IN_THE_WAY[2:],
    ),
    Case(
        "a market order under DECREMENT loses the overlap and goes on",
        before=OWN_IN_THE_WAY,
        when="place b1 bob buys 5 @ 105 MARKET DECREMENT",
        then=[
            FIRST_TRADE,
            "b1 and s2 lose 2, s2 has 0 left, b1 1",
            "s2 is cancelled with 0 left: SELF_TRADE_PREVENTED",
            "b1 takes 1 @ 102 from s3, s3 has 1 left, b1 0",
        ],
        after=["s3 ann sells 1/2 @ 102"],
    ),
]

STATUSES = [
    *(
        Case(
            f"{status} rejects market orders, whether they would meet something or nothing",
            status=status,
            before=[] if status == "DELISTED" else OFFERS,
            when=["place b1 bob buys 1 @ 105 MARKET", "place b2 bob buys 1 @ 90 MARKET"],
            then=[f"b1 is rejected: {code}", f"b2 is rejected: {code}"],
            after=[] if status == "DELISTED" else OFFERS,
        )
        for status, code in (
            ("POST_ONLY", "SYMBOL_POST_ONLY"),
            ("CANCEL_ONLY", "SYMBOL_CANCEL_ONLY"),
            ("HALTED", "SYMBOL_HALTED"),
            ("DELISTED", "SYMBOL_HALTED"),
        )
    ),
    Case(
        "an auction collects market orders at their protection prices, oldest first, before all prices of their side",
        status="AUCTION",
        before=["b1 ann buys 5 @ 110", "s1 cid sells 2 @ 100"],
        when=["place m1 bob buys 5 @ 103 MARKET", "place m2 ann buys 1 @ 107 MARKET", "place m3 ann sells 9 @ 90 MARKET"],
        then=["m1 rests: buys 5 @ 103", "m2 rests: buys 1 @ 107", "m3 rests: sells 9 @ 90"],
        after=[
            "m1 bob buys 5 @ 103 MARKET",
            "m2 ann buys 1 @ 107 MARKET",
            "b1 ann buys 5 @ 110",
            "m3 ann sells 9 @ 90 MARKET",
            "s1 cid sells 2 @ 100",
        ],
    ),
]

COLLECTED = ["m1 bob buys 3/5 @ 103 MARKET", "b1 ann buys 5 @ 100"]
WAYS_OUT_OF_MATCHING = ("AUCTION", "HALTED", "CANCEL_ONLY")

AFTERWARDS = [
    *(
        Case(
            f"an amend of a collected market order is refused in {status}, whatever it asks",
            status=status,
            before=COLLECTED,
            when=["amend m1 to 5 @ 103", "amend m1 to 4 @ 103", "amend m1 to 9 @ 103", "amend m1 to 5 @ 99", "amend m1 to 0 @ 103"],
            then=["m1 is refused: AMEND_REFUSED"] * 5,
            after=COLLECTED,
        )
        for status in WAYS_OUT_OF_MATCHING
    ),
    *(
        Case(
            f"a collected market order can be cancelled in {status}",
            status=status,
            before=COLLECTED,
            when="cancel m1 USER_CANCEL",
            then=["m1 is cancelled with 3 left: USER_CANCEL"],
            after=COLLECTED[1:],
        )
        for status in WAYS_OUT_OF_MATCHING
    ),
    *(
        Case(
            f"collected market orders stay when the auction gives way to {status}",
            status="AUCTION",
            before=COLLECTED,
            when=f"status {status}",
            then=[f"status {status}"],
            after=COLLECTED,
        )
        for status in WAYS_OUT_OF_MATCHING
    ),
    Case(
        "delisting cancels collected market orders before all prices of their side, and waiting stops last",
        status="AUCTION",
        before=[
            "t1 ann buys 1 @ 100 when LAST >= 100",
            "s1 cid sells 2 @ 90",
            "b1 ann buys 5 @ 110",
            "m1 bob buys 5 @ 103 MARKET",
            "t2 bob sells 4 @ 80 when REFERENCE <= 85",
            "m2 ann sells 9 @ 95 MARKET",
            "m3 ann buys 1 @ 107 MARKET",
        ],
        when="status DELISTED",
        then=[
            "status DELISTED",
            "m1 is cancelled with 5 left: SYMBOL_DELISTED",
            "m3 is cancelled with 1 left: SYMBOL_DELISTED",
            "b1 is cancelled with 5 left: SYMBOL_DELISTED",
            "m2 is cancelled with 9 left: SYMBOL_DELISTED",
            "s1 is cancelled with 2 left: SYMBOL_DELISTED",
            "t1 is cancelled with 1 left: SYMBOL_DELISTED",
            "t2 is cancelled with 4 left: SYMBOL_DELISTED",
        ],
    ),
]


@pytest.mark.parametrize("case", [*IMMEDIATE, *PREVENTION], ids=str)
def test_a_market_order_is_immediate_at_its_protection_price(book: BookLike, case: Case) -> None:
    case.holds_in(book)


@pytest.mark.parametrize("case", [*STATUSES, *AFTERWARDS], ids=str)
def test_market_orders_are_collected_by_auctions_alone(book: BookLike, case: Case) -> None:
    case.holds_in(book)
