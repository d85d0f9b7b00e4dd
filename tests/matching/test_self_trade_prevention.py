"""Two orders of one account never trade with each other; the incoming order's mode says which of them yields."""

import pytest

from matching.core.messages import BookLike
from tests.matching.tables import Case

MODES = ("CANCEL_NEWEST", "CANCEL_OLDEST", "CANCEL_BOTH", "DECREMENT")

CASES = [
    Case(
        "CANCEL_NEWEST ends the incoming order where it meets its own account",
        before=["s1 ann sells 2 @ 100", "s2 bob sells 2 @ 100", "s3 ann sells 2 @ 100"],
        when="place b1 bob buys 9 @ 101 CANCEL_NEWEST",
        then=["b1 takes 2 @ 100 from s1, s1 has 0 left, b1 7", "b1 is cancelled with 7 left: SELF_TRADE_PREVENTED"],
        after=["s2 bob sells 2 @ 100", "s3 ann sells 2 @ 100"],
    ),
    Case(
        "CANCEL_OLDEST cancels the resting order and goes on",
        before=["s1 bob sells 2 @ 100", "s2 ann sells 2 @ 100", "s3 bob sells 2/4 @ 101"],
        when="place b1 bob buys 9 @ 101 CANCEL_OLDEST",
        then=[
            "s1 is cancelled with 2 left: SELF_TRADE_PREVENTED",
            "b1 takes 2 @ 100 from s2, s2 has 0 left, b1 7",
            "s3 is cancelled with 2 left: SELF_TRADE_PREVENTED",
            "b1 rests: buys 7 @ 101",
        ],
        after=["b1 bob buys 7/9 @ 101"],
    ),
    Case(
        "CANCEL_BOTH cancels the resting order, then the incoming one",
        before=["s1 ann sells 2 @ 100", "s2 bob sells 2 @ 100", "s3 bob sells 2 @ 100"],
        when="place b1 bob buys 9 @ 101 CANCEL_BOTH",
        then=[
            "b1 takes 2 @ 100 from s1, s1 has 0 left, b1 7",
            "s2 is cancelled with 2 left: SELF_TRADE_PREVENTED",
            "b1 is cancelled with 7 left: SELF_TRADE_PREVENTED",
        ],
        after=["s3 bob sells 2 @ 100"],
    ),
    Case(
        "DECREMENT takes the overlap from both and the smaller resting order ends",
        before=["s1 bob sells 2 @ 100", "s2 ann sells 2 @ 100"],
        when="place b1 bob buys 5 @ 101 DECREMENT",
        then=[
            "b1 and s1 lose 2, s1 has 0 left, b1 3",
            "s1 is cancelled with 0 left: SELF_TRADE_PREVENTED",
            "b1 takes 2 @ 100 from s2, s2 has 0 left, b1 1",
            "b1 rests: buys 1 @ 101",
        ],
        after=["b1 bob buys 1/5 @ 101"],
    ),
    Case(
        "DECREMENT takes the overlap from both and the smaller incoming order ends",
        before=["s1 bob sells 5 @ 100", "s2 ann sells 2 @ 100"],
        when="place b1 bob buys 2 @ 101 DECREMENT",
        then=["b1 and s1 lose 2, s1 has 3 left, b1 0", "b1 is cancelled with 0 left: SELF_TRADE_PREVENTED"],
        after=["s1 bob sells 3/5 @ 100", "s2 ann sells 2 @ 100"],
    ),
    Case(
        "DECREMENT of equal orders ends the resting one, then the incoming one",
        before=["b1 bob buys 2/3 @ 100"],
        when="place s1 bob sells 2 @ 100 DECREMENT",
        then=[
            "s1 and b1 lose 2, b1 has 0 left, s1 0",
            "b1 is cancelled with 0 left: SELF_TRADE_PREVENTED",
            "s1 is cancelled with 0 left: SELF_TRADE_PREVENTED",
        ],
    ),
    Case(
        "DECREMENT leaves the rest of the resting order in its place",
        before=["s1 bob sells 5 @ 100", "s2 ann sells 2 @ 100"],
        when=["place b1 bob buys 2 @ 100 DECREMENT", "place b2 cid buys 4 @ 100"],
        then=[
            "b1 and s1 lose 2, s1 has 3 left, b1 0",
            "b1 is cancelled with 0 left: SELF_TRADE_PREVENTED",
            "b2 takes 3 @ 100 from s1, s1 has 0 left, b2 1",
            "b2 takes 1 @ 100 from s2, s2 has 1 left, b2 0",
        ],
        after=["s2 ann sells 1/2 @ 100"],
    ),
    Case(
        "an immediate order whose own account's order is cancelled goes on and its rest ends unfilled",
        before=["s1 bob sells 2 @ 100"],
        when="place b1 bob buys 5 @ 100 IOC CANCEL_OLDEST",
        then=["s1 is cancelled with 2 left: SELF_TRADE_PREVENTED", "b1 is cancelled with 5 left: IOC_UNFILLED"],
    ),
    Case(
        "an immediate order that is ended by prevention says so",
        before=["s1 ann sells 2 @ 100", "s2 bob sells 2 @ 100"],
        when="place b1 bob buys 5 @ 100 IOC CANCEL_NEWEST",
        then=["b1 takes 2 @ 100 from s1, s1 has 0 left, b1 3", "b1 is cancelled with 3 left: SELF_TRADE_PREVENTED"],
        after=["s2 bob sells 2 @ 100"],
    ),
    Case(
        "an immediate order loses the overlap under DECREMENT and its rest ends unfilled",
        before=["s1 bob sells 2 @ 100"],
        when="place b1 bob buys 5 @ 100 IOC DECREMENT",
        then=[
            "b1 and s1 lose 2, s1 has 0 left, b1 3",
            "s1 is cancelled with 0 left: SELF_TRADE_PREVENTED",
            "b1 is cancelled with 3 left: IOC_UNFILLED",
        ],
    ),
    Case(
        "the resting order's mode does not matter",
        before=["s1 bob sells 2 @ 100 CANCEL_NEWEST"],
        when="place b1 bob buys 2 @ 100 CANCEL_OLDEST",
        then=["s1 is cancelled with 2 left: SELF_TRADE_PREVENTED", "b1 rests: buys 2 @ 100"],
        after=["b1 bob buys 2 @ 100"],
    ),
    *(
        Case(
            f"an order filled before it would meet its own account's orders leaves them alone under {mode}",
            before=["s1 ann sells 5 @ 100", "s2 bob sells 2 @ 100", "s3 bob sells 2 @ 101"],
            when=f"place b1 bob buys 5 @ 101 {mode}",
            then=["b1 takes 5 @ 100 from s1, s1 has 0 left, b1 0"],
            after=["s2 bob sells 2 @ 100", "s3 bob sells 2 @ 101"],
        )
        for mode in MODES
    ),
    *(
        Case(
            f"own orders beyond the price are left alone under {mode}",
            before=["b1 ann buys 1 @ 101", "b2 bob buys 2 @ 99"],
            when=f"place s1 bob sells 5 @ 100 {mode}",
            then=["s1 takes 1 @ 101 from b1, b1 has 0 left, s1 4", "s1 rests: sells 4 @ 100"],
            after=["b2 bob buys 2 @ 99", "s1 bob sells 4/5 @ 100"],
        )
        for mode in MODES
    ),
    *(
        Case(
            f"own orders on the same side are no matter under {mode}",
            before=["b1 bob buys 2 @ 100"],
            when=f"place b2 bob buys 2 @ 100 {mode}",
            then=["b2 rests: buys 2 @ 100"],
            after=["b1 bob buys 2 @ 100", "b2 bob buys 2 @ 100"],
        )
        for mode in MODES
    ),
    Case(
        "an amended order that crosses is the newer one and its own mode rules",
        before=["b1 bob buys 3 @ 99 CANCEL_BOTH", "s1 bob sells 2 @ 100 CANCEL_NEWEST"],
        when="amend b1 to 3 @ 100",
        then=[
            "b1 is amended to 3/3 @ 100 and goes to the back",
            "s1 is cancelled with 2 left: SELF_TRADE_PREVENTED",
            "b1 is cancelled with 3 left: SELF_TRADE_PREVENTED",
        ],
    ),
    Case(
        "an amended order keeps the mode it was placed with",
        when=["place b1 bob buys 3 @ 99 DECREMENT", "place s1 bob sells 2 @ 100", "amend b1 to 3 @ 100"],
        then=[
            "b1 rests: buys 3 @ 99",
            "s1 rests: sells 2 @ 100",
            "b1 is amended to 3/3 @ 100 and goes to the back",
            "b1 and s1 lose 2, s1 has 0 left, b1 1",
            "s1 is cancelled with 0 left: SELF_TRADE_PREVENTED",
            "b1 rests: buys 1 @ 100",
        ],
        after=["b1 bob buys 1/3 @ 100"],
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_own_orders_never_trade(book: BookLike, case: Case) -> None:
    case.holds_in(book)
