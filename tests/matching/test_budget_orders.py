"""Market buys that spend at most a budget, in whole lots."""

import pytest

from matching.core.messages import BookLike
from tests.matching.tables import Case

CASES = [
    Case(
        "a budget buys whole lots from the cheapest offer on and keeps the change",
        before=["s1 ann sells 2 @ 100", "s2 ann sells 9 @ 110"],
        when="spend 500 for b1 bob up to 120",
        then=["b1 takes 2 @ 100 from s1, s1 has 0 left, b1 3", "b1 takes 2 @ 110 from s2, s2 has 7 left, b1 0"],
        after=["s2 ann sells 7/9 @ 110"],
    ),
    Case(
        "a budget spent to the last tick is filled",
        before=["s1 ann sells 9 @ 100"],
        when="spend 300 for b1 bob up to 100",
        then=["b1 takes 3 @ 100 from s1, s1 has 6 left, b1 0"],
        after=["s1 ann sells 6/9 @ 100"],
    ),
    Case(
        "what a taker could still buy is told at the price of the trade",
        before=["s1 ann sells 1 @ 100", "s2 ann sells 1 @ 250"],
        when="spend 360 for b1 bob up to 300",
        then=["b1 takes 1 @ 100 from s1, s1 has 0 left, b1 2", "b1 takes 1 @ 250 from s2, s2 has 0 left, b1 0"],
    ),
    Case(
        "a budget that does not pay for a lot at the next price is filled with what it bought",
        before=["s1 ann sells 1 @ 100", "s2 ann sells 1 @ 300"],
        when="spend 399 for b1 bob up to 300",
        then=["b1 takes 1 @ 100 from s1, s1 has 0 left, b1 2"],
        after=["s2 ann sells 1 @ 300"],
    ),
    Case(
        "a budget that does not pay for a single lot buys nothing and ends",
        before=["s1 ann sells 5 @ 100"],
        when="spend 99 for b1 bob up to 120",
        then=["b1 is cancelled with 0 left: IOC_UNFILLED"],
        after=["s1 ann sells 5 @ 100"],
    ),
    Case(
        "a budget that meets no offer ends",
        when="spend 500 for b1 bob up to 120",
        then=["b1 is cancelled with 0 left: IOC_UNFILLED"],
    ),
    Case(
        "a budget whose price is below every offer ends",
        before=["s1 ann sells 5 @ 100"],
        when="spend 500 for b1 bob up to 99",
        then=["b1 is cancelled with 0 left: IOC_UNFILLED"],
        after=["s1 ann sells 5 @ 100"],
    ),
    Case(
        "a budget that empties the offers within its price ends when a lot at its own price is still affordable",
        before=["s1 ann sells 1 @ 100", "s2 ann sells 5 @ 121"],
        when="spend 220 for b1 bob up to 120",
        then=["b1 takes 1 @ 100 from s1, s1 has 0 left, b1 1", "b1 is cancelled with 0 left: IOC_UNFILLED"],
        after=["s2 ann sells 5 @ 121"],
    ),
    Case(
        "a budget that empties the offers within its price is filled when a lot at its own price is too dear",
        before=["s1 ann sells 1 @ 100", "s2 ann sells 5 @ 121"],
        when="spend 219 for b1 bob up to 120",
        then=["b1 takes 1 @ 100 from s1, s1 has 0 left, b1 1"],
        after=["s2 ann sells 5 @ 121"],
    ),
    Case(
        "a budget under CANCEL_NEWEST ends where it meets its own account",
        before=["s1 ann sells 1 @ 100", "s2 bob sells 1 @ 100"],
        when="spend 500 for b1 bob up to 120 CANCEL_NEWEST",
        then=["b1 takes 1 @ 100 from s1, s1 has 0 left, b1 4", "b1 is cancelled with 0 left: SELF_TRADE_PREVENTED"],
        after=["s2 bob sells 1 @ 100"],
    ),
    Case(
        "a budget under CANCEL_OLDEST cancels its own account's offer and goes on",
        before=["s1 bob sells 1 @ 100", "s2 ann sells 9 @ 110"],
        when="spend 330 for b1 bob up to 120 CANCEL_OLDEST",
        then=["s1 is cancelled with 1 left: SELF_TRADE_PREVENTED", "b1 takes 3 @ 110 from s2, s2 has 6 left, b1 0"],
        after=["s2 ann sells 6/9 @ 110"],
    ),
    Case(
        "a budget under CANCEL_BOTH cancels its own account's offer, then ends",
        before=["s1 bob sells 1 @ 100", "s2 ann sells 9 @ 110"],
        when="spend 330 for b1 bob up to 120 CANCEL_BOTH",
        then=["s1 is cancelled with 1 left: SELF_TRADE_PREVENTED", "b1 is cancelled with 0 left: SELF_TRADE_PREVENTED"],
        after=["s2 ann sells 9 @ 110"],
    ),
    Case(
        "a budget under DECREMENT pays for the overlap and goes on",
        before=["s1 bob sells 1 @ 100", "s2 ann sells 9 @ 110"],
        when="spend 330 for b1 bob up to 120 DECREMENT",
        then=[
            "b1 and s1 lose 1, s1 has 0 left, b1 2",
            "s1 is cancelled with 0 left: SELF_TRADE_PREVENTED",
            "b1 takes 2 @ 110 from s2, s2 has 7 left, b1 0",
        ],
        after=["s2 ann sells 7/9 @ 110"],
    ),
    Case(
        "a budget under DECREMENT goes on when exactly one lot at that price is left",
        before=["s1 bob sells 1 @ 100", "s2 ann sells 9 @ 100"],
        when="spend 200 for b1 bob up to 120 DECREMENT",
        then=[
            "b1 and s1 lose 1, s1 has 0 left, b1 1",
            "s1 is cancelled with 0 left: SELF_TRADE_PREVENTED",
            "b1 takes 1 @ 100 from s2, s2 has 8 left, b1 0",
        ],
        after=["s2 ann sells 8/9 @ 100"],
    ),
    Case(
        "a budget under DECREMENT ends when less than a lot is left at that price",
        before=["s1 bob sells 9 @ 100"],
        when="spend 330 for b1 bob up to 120 DECREMENT",
        then=["b1 and s1 lose 3, s1 has 6 left, b1 0", "b1 is cancelled with 0 left: SELF_TRADE_PREVENTED"],
        after=["s1 bob sells 6/9 @ 100"],
    ),
    Case(
        "a budget under DECREMENT that consumes the offer and the budget ends both, the resting order first",
        before=["s1 bob sells 3 @ 100", "s2 ann sells 1 @ 101"],
        when="spend 330 for b1 bob up to 120 DECREMENT",
        then=[
            "b1 and s1 lose 3, s1 has 0 left, b1 0",
            "s1 is cancelled with 0 left: SELF_TRADE_PREVENTED",
            "b1 is cancelled with 0 left: SELF_TRADE_PREVENTED",
        ],
        after=["s2 ann sells 1 @ 101"],
    ),
    Case(
        "a budget that lost everything to prevention and bought nothing ends unfilled",
        before=["s1 bob sells 1 @ 100", "s2 ann sells 9 @ 115"],
        when="spend 210 for b1 bob up to 120 DECREMENT",
        then=[
            "b1 and s1 lose 1, s1 has 0 left, b1 1",
            "s1 is cancelled with 0 left: SELF_TRADE_PREVENTED",
            "b1 is cancelled with 0 left: IOC_UNFILLED",
        ],
        after=["s2 ann sells 9 @ 115"],
    ),
    *(
        Case(
            f"a budget that cannot pay for a lot of its own account's offer leaves it alone under {mode}",
            before=["s1 ann sells 1 @ 100", "s2 bob sells 1 @ 110"],
            when=f"spend 200 for b1 bob up to 120 {mode}",
            then=["b1 takes 1 @ 100 from s1, s1 has 0 left, b1 1"],
            after=["s2 bob sells 1 @ 110"],
        )
        for mode in ("CANCEL_NEWEST", "CANCEL_OLDEST", "CANCEL_BOTH", "DECREMENT")
    ),
    Case(
        "an order by budget never rests",
        before=["s1 ann sells 1 @ 100"],
        when=["spend 900 for b1 bob up to 120", "cancel b1 USER_CANCEL"],
        then=[
            "b1 takes 1 @ 100 from s1, s1 has 0 left, b1 8",
            "b1 is cancelled with 0 left: IOC_UNFILLED",
            "b1 is refused: ORDER_NOT_OPEN",
        ],
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_budget_buys_whole_lots(book: BookLike, case: Case) -> None:
    case.holds_in(book)
