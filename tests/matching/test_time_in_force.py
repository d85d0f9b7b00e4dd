"""GTC, IOC, FOK and post-only orders."""

import pytest

from matching.core.messages import BookLike
from tests.matching.tables import Case

CASES = [
    Case(
        "an immediate order that meets nothing ends",
        before=["s1 ann sells 5 @ 101"],
        when="place b1 bob buys 5 @ 100 IOC",
        then=["b1 is cancelled with 5 left: IOC_UNFILLED"],
        after=["s1 ann sells 5 @ 101"],
    ),
    Case(
        "an immediate order takes what there is within its price and the rest ends",
        before=["s1 ann sells 2 @ 100", "s2 ann sells 2 @ 101", "s3 ann sells 2 @ 102"],
        when="place b1 bob buys 5 @ 101 IOC",
        then=[
            "b1 takes 2 @ 100 from s1, s1 has 0 left, b1 3",
            "b1 takes 2 @ 101 from s2, s2 has 0 left, b1 1",
            "b1 is cancelled with 1 left: IOC_UNFILLED",
        ],
        after=["s3 ann sells 2 @ 102"],
    ),
    Case(
        "an immediate order that is filled whole says nothing more",
        before=["b1 ann buys 2 @ 100"],
        when="place s1 bob sells 2 @ 99 IOC",
        then=["s1 takes 2 @ 100 from b1, b1 has 0 left, s1 0"],
    ),
    Case(
        "fill-or-kill fills whole over several prices",
        before=["s1 ann sells 2 @ 100", "s2 cid sells 5 @ 101"],
        when="place b1 bob buys 5 @ 101 FOK",
        then=["b1 takes 2 @ 100 from s1, s1 has 0 left, b1 3", "b1 takes 3 @ 101 from s2, s2 has 2 left, b1 0"],
        after=["s2 cid sells 2/5 @ 101"],
    ),
    Case(
        "fill-or-kill one lot short touches nothing",
        before=["s1 ann sells 2 @ 100", "s2 cid sells 2 @ 101", "s3 cid sells 9 @ 102"],
        when="place b1 bob buys 5 @ 101 FOK",
        then=["b1 is cancelled with 5 left: FOK_UNFILLABLE"],
        after=["s1 ann sells 2 @ 100", "s2 cid sells 2 @ 101", "s3 cid sells 9 @ 102"],
    ),
    Case(
        "fill-or-kill in an empty book ends",
        when="place b1 bob buys 5 @ 101 FOK",
        then=["b1 is cancelled with 5 left: FOK_UNFILLABLE"],
    ),
    Case(
        "fill-or-kill to the lot fills",
        before=["b1 ann buys 2 @ 101", "b2 cid buys 2 @ 100"],
        when="place s1 bob sells 4 @ 100 FOK",
        then=["s1 takes 2 @ 101 from b1, b1 has 0 left, s1 2", "s1 takes 2 @ 100 from b2, b2 has 0 left, s1 0"],
    ),
    Case(
        "fill-or-kill does not count its own account's orders",
        before=["s1 ann sells 2 @ 100", "s2 bob sells 9 @ 101"],
        when="place b1 bob buys 5 @ 101 FOK",
        then=["b1 is cancelled with 5 left: FOK_UNFILLABLE"],
        after=["s1 ann sells 2 @ 100", "s2 bob sells 9 @ 101"],
    ),
    *(
        Case(
            f"fill-or-kill does not count its own account's orders under {mode} either",
            before=["s1 bob sells 9 @ 100", "s2 ann sells 4 @ 101"],
            when=f"place b1 bob buys 5 @ 101 FOK {mode}",
            then=["b1 is cancelled with 5 left: FOK_UNFILLABLE"],
            after=["s1 bob sells 9 @ 100", "s2 ann sells 4 @ 101"],
        )
        for mode in ("CANCEL_NEWEST", "CANCEL_OLDEST", "CANCEL_BOTH", "DECREMENT")
    ),
    *(
        Case(
            f"fill-or-kill with an own order in its way ends under {mode} and touches nothing",
            before=["s1 ann sells 2 @ 100", "s2 bob sells 1 @ 100", "s3 cid sells 9 @ 101"],
            when=f"place b1 bob buys 5 @ 101 FOK {mode}",
            then=["b1 is cancelled with 5 left: SELF_TRADE_PREVENTED"],
            after=["s1 ann sells 2 @ 100", "s2 bob sells 1 @ 100", "s3 cid sells 9 @ 101"],
        )
        for mode in ("CANCEL_NEWEST", "CANCEL_BOTH", "DECREMENT")
    ),
    Case(
        "fill-or-kill cancels own orders as it meets them under CANCEL_OLDEST and fills",
        before=["s1 ann sells 2 @ 100", "s2 bob sells 1 @ 100", "s3 cid sells 9 @ 101"],
        when="place b1 bob buys 5 @ 101 FOK CANCEL_OLDEST",
        then=[
            "b1 takes 2 @ 100 from s1, s1 has 0 left, b1 3",
            "s2 is cancelled with 1 left: SELF_TRADE_PREVENTED",
            "b1 takes 3 @ 101 from s3, s3 has 6 left, b1 0",
        ],
        after=["s3 cid sells 6/9 @ 101"],
    ),
    *(
        Case(
            f"fill-or-kill that is filled before it meets an own order fills under {mode}",
            before=["s1 ann sells 5 @ 100", "s2 bob sells 1 @ 100", "s3 bob sells 1 @ 101"],
            when=f"place b1 bob buys 5 @ 101 FOK {mode}",
            then=["b1 takes 5 @ 100 from s1, s1 has 0 left, b1 0"],
            after=["s2 bob sells 1 @ 100", "s3 bob sells 1 @ 101"],
        )
        for mode in ("CANCEL_NEWEST", "CANCEL_OLDEST", "CANCEL_BOTH", "DECREMENT")
    ),
    Case(
        "fill-or-kill that ends under CANCEL_OLDEST leaves its own account's orders alone",
        before=["s1 bob sells 1 @ 100", "s2 ann sells 4 @ 101"],
        when="place b1 bob buys 5 @ 101 FOK CANCEL_OLDEST",
        then=["b1 is cancelled with 5 left: FOK_UNFILLABLE"],
        after=["s1 bob sells 1 @ 100", "s2 ann sells 4 @ 101"],
    ),
    Case(
        "post-only that meets nothing rests",
        before=["s1 ann sells 2 @ 101"],
        when="place b1 bob buys 5 @ 100 GTX",
        then=["b1 rests: buys 5 @ 100"],
        after=["b1 bob buys 5 @ 100", "s1 ann sells 2 @ 101"],
    ),
    Case(
        "post-only that would take is rejected",
        before=["s1 ann sells 2 @ 101"],
        when="place b1 bob buys 5 @ 101 GTX",
        then=["b1 is rejected: POST_ONLY_WOULD_TAKE"],
        after=["s1 ann sells 2 @ 101"],
    ),
    *(
        Case(
            f"post-only that would meet only its own account's order is rejected under {mode}",
            before=["b1 bob buys 2 @ 101"],
            when=f"place s1 bob sells 5 @ 101 GTX {mode}",
            then=["s1 is rejected: POST_ONLY_WOULD_TAKE"],
            after=["b1 bob buys 2 @ 101"],
        )
        for mode in ("CANCEL_NEWEST", "CANCEL_OLDEST", "CANCEL_BOTH", "DECREMENT")
    ),
    Case(
        "a resting post-only order is taken like any other",
        before=["b1 ann buys 2 @ 101 GTX"],
        when="place s1 bob sells 1 @ 101",
        then=["s1 takes 1 @ 101 from b1, b1 has 1 left, s1 0"],
        after=["b1 ann buys 1/2 @ 101"],
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_order_acts_by_its_time_in_force(book: BookLike, case: Case) -> None:
    case.holds_in(book)
