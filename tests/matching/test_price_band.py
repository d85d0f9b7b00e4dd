"""No trade outside the range: the symbol halts first, and the order that would go on is kept or ended."""

import pytest

from matching.core.messages import BookLike
from tests.matching.tables import Case

MODES = ("CANCEL_NEWEST", "CANCEL_OLDEST", "CANCEL_BOTH", "DECREMENT")
BAND = (95, 105)
HALT = "status HALTED by PRICE_BAND"

OFFERS = ["s1 ann sells 2 @ 104", "s2 ann sells 2 @ 106"]
FIRST_TRADE = "b1 takes 2 @ 104 from s1, s1 has 0 left, b1 3"

SWEEPS = [
    Case(
        "a sweep that would leave the range halts the symbol and its rest stays, crossing",
        range=BAND,
        before=OFFERS,
        when="place b1 bob buys 5 @ 110",
        then=[FIRST_TRADE, HALT, "b1 rests: buys 3 @ 110"],
        after=["b1 bob buys 3/5 @ 110", "s2 ann sells 2 @ 106"],
    ),
    Case(
        "a sell halts at bids below the range",
        range=BAND,
        before=["b1 ann buys 2 @ 95", "b2 ann buys 2 @ 94"],
        when="place s1 bob sells 5 @ 90",
        then=["s1 takes 2 @ 95 from b1, b1 has 0 left, s1 3", HALT, "s1 rests: sells 3 @ 90"],
        after=["b2 ann buys 2 @ 94", "s1 bob sells 3/5 @ 90"],
    ),
    *(
        Case(
            f"the rest of an order with time in force {time_in_force} ends when the symbol halts",
            range=BAND,
            before=OFFERS,
            when=f"place b1 bob buys 5 @ 110 {time_in_force}",
            then=[FIRST_TRADE, HALT, "b1 is cancelled with 3 left: SYMBOL_HALTED"],
            after=OFFERS[1:],
        )
        for time_in_force in ("IOC", "MARKET")
    ),
    Case(
        "an order whose best price is outside the range halts the symbol without a trade",
        range=BAND,
        before=["s2 ann sells 2 @ 106"],
        when="place b1 bob buys 5 @ 106",
        then=[HALT, "b1 rests: buys 5 @ 106"],
        after=["b1 bob buys 5 @ 106", "s2 ann sells 2 @ 106"],
        last=100,
    ),
    Case(
        "offers below the range halt a buyer too, although better ones within it stand behind",
        range=BAND,
        before=["s1 ann sells 2 @ 94", "s2 ann sells 2 @ 96"],
        when="place b1 bob buys 1 @ 100",
        then=[HALT, "b1 rests: buys 1 @ 100"],
        after=["b1 bob buys 1 @ 100", "s1 ann sells 2 @ 94", "s2 ann sells 2 @ 96"],
    ),
    Case(
        "both ends of the range are within it",
        range=BAND,
        before=["b1 ann buys 2 @ 95", "s1 ann sells 2 @ 105"],
        when=["place b2 bob buys 1 @ 105", "place s2 bob sells 1 @ 95"],
        then=["b2 takes 1 @ 105 from s1, s1 has 1 left, b2 0", "s2 takes 1 @ 95 from b1, b1 has 1 left, s2 0"],
        after=["b1 ann buys 1/2 @ 95", "s1 ann sells 1/2 @ 105"],
    ),
    Case(
        "an order that is filled at the edge of the range halts nothing",
        range=BAND,
        before=OFFERS,
        when="place b1 bob buys 2 @ 110",
        then=["b1 takes 2 @ 104 from s1, s1 has 0 left, b1 0"],
        after=OFFERS[1:],
    ),
    Case(
        "a price outside the range halts nothing as long as nobody would trade there",
        range=BAND,
        before=OFFERS,
        when=["place b1 bob buys 5 @ 105", "place s3 cid sells 1 @ 120", "place b2 cid buys 1 @ 80", "place s4 cid sells 1 @ 130 GTX"],
        then=[FIRST_TRADE, "b1 rests: buys 3 @ 105", "s3 rests: sells 1 @ 120", "b2 rests: buys 1 @ 80", "s4 rests: sells 1 @ 130"],
        after=["b1 bob buys 3/5 @ 105", "b2 cid buys 1 @ 80", "s2 ann sells 2 @ 106", "s3 cid sells 1 @ 120", "s4 cid sells 1 @ 130"],
    ),
    Case(
        "a post-only order that would take outside the range is rejected and halts nothing",
        range=BAND,
        before=["s2 ann sells 2 @ 106"],
        when="place b1 bob buys 5 @ 106 GTX",
        then=["b1 is rejected: POST_ONLY_WOULD_TAKE"],
        after=["s2 ann sells 2 @ 106"],
    ),
    Case(
        "the range holds from the command after it on and can be widened again",
        before=OFFERS,
        when=["range 95 105", "range 95 106", "place b1 bob buys 3 @ 110", "range 107 120", "place b2 cid buys 1 @ 110"],
        then=[
            "b1 takes 2 @ 104 from s1, s1 has 0 left, b1 1",
            "b1 takes 1 @ 106 from s2, s2 has 1 left, b1 0",
            HALT,
            "b2 rests: buys 1 @ 110",
        ],
        after=["b2 cid buys 1 @ 110", "s2 ann sells 1/2 @ 106"],
    ),
    Case(
        "what comes after the halt finds a halted symbol",
        range=BAND,
        before=OFFERS,
        when=[
            "place b1 bob buys 5 @ 110",
            "place b2 cid buys 1 @ 90",
            "amend s2 to 1 @ 106",
            "amend b1 to 6 @ 110",
            "cancel b1 USER_CANCEL",
        ],
        then=[
            FIRST_TRADE,
            HALT,
            "b1 rests: buys 3 @ 110",
            "b2 is rejected: SYMBOL_HALTED",
            "s2 is amended to 1/1 @ 106 and keeps its place",
            "b1 is refused: AMEND_REFUSED",
            "b1 is cancelled with 3 left: USER_CANCEL",
        ],
        after=["s2 ann sells 1 @ 106"],
    ),
]

PREVENTION = [
    *(
        Case(
            f"an own order outside the range halts the symbol under {mode} and is left alone",
            range=BAND,
            before=["s1 ann sells 2 @ 104", "s2 bob sells 2 @ 106"],
            when=f"place b1 bob buys 5 @ 110 {mode}",
            then=[FIRST_TRADE, HALT, "b1 rests: buys 3 @ 110"],
            after=["b1 bob buys 3/5 @ 110", "s2 bob sells 2 @ 106"],
        )
        for mode in MODES
    ),
    Case(
        "an order that ends by prevention within the range halts nothing",
        range=BAND,
        before=["s1 bob sells 2 @ 104", "s2 ann sells 2 @ 106"],
        when="place b1 bob buys 5 @ 110 CANCEL_BOTH",
        then=["s1 is cancelled with 2 left: SELF_TRADE_PREVENTED", "b1 is cancelled with 5 left: SELF_TRADE_PREVENTED"],
        after=["s2 ann sells 2 @ 106"],
    ),
    Case(
        "an order that loses the overlap within the range goes on and halts the symbol",
        range=BAND,
        before=["s1 bob sells 2 @ 104", "s2 ann sells 2 @ 106"],
        when="place b1 bob buys 5 @ 110 IOC DECREMENT",
        then=[
            "b1 and s1 lose 2, s1 has 0 left, b1 3",
            "s1 is cancelled with 0 left: SELF_TRADE_PREVENTED",
            HALT,
            "b1 is cancelled with 3 left: SYMBOL_HALTED",
        ],
        after=["s2 ann sells 2 @ 106"],
    ),
]

FILL_OR_KILL = [
    Case(
        "fill-or-kill that is fillable within its limit but not within the range halts the symbol without a trade",
        range=BAND,
        before=OFFERS,
        when="place b1 bob buys 4 @ 110 FOK",
        then=[HALT, "b1 is cancelled with 4 left: SYMBOL_HALTED"],
        after=OFFERS,
    ),
    Case(
        "fill-or-kill that is fillable within the range fills",
        range=BAND,
        before=OFFERS,
        when="place b1 bob buys 2 @ 110 FOK",
        then=["b1 takes 2 @ 104 from s1, s1 has 0 left, b1 0"],
        after=OFFERS[1:],
    ),
    Case(
        "fill-or-kill that is not fillable within its limit ends and halts nothing",
        range=BAND,
        before=OFFERS,
        when="place b1 bob buys 5 @ 110 FOK",
        then=["b1 is cancelled with 5 left: FOK_UNFILLABLE"],
        after=OFFERS,
    ),
    *(
        Case(
            f"own orders in the way of fill-or-kill do not matter under {mode} when the range does",
            range=BAND,
            before=["s1 bob sells 1 @ 104", "s2 ann sells 2 @ 104", "s3 ann sells 2 @ 106"],
            when=f"place b1 bob buys 4 @ 110 FOK {mode}",
            then=[HALT, "b1 is cancelled with 4 left: SYMBOL_HALTED"],
            after=["s1 bob sells 1 @ 104", "s2 ann sells 2 @ 104", "s3 ann sells 2 @ 106"],
        )
        for mode in MODES
    ),
    Case(
        "an own order in the way of fill-or-kill within the range ends it and halts nothing",
        range=BAND,
        before=["s1 bob sells 1 @ 104", "s2 ann sells 4 @ 105", "s3 ann sells 2 @ 106"],
        when="place b1 bob buys 4 @ 110 FOK",
        then=["b1 is cancelled with 4 left: SELF_TRADE_PREVENTED"],
        after=["s1 bob sells 1 @ 104", "s2 ann sells 4 @ 105", "s3 ann sells 2 @ 106"],
    ),
    Case(
        "fill-or-kill is not fillable within the range when what stands first is outside it",
        range=BAND,
        before=["s1 ann sells 1 @ 94", "s2 ann sells 9 @ 96"],
        when="place b1 bob buys 4 @ 100 FOK",
        then=[HALT, "b1 is cancelled with 4 left: SYMBOL_HALTED"],
        after=["s1 ann sells 1 @ 94", "s2 ann sells 9 @ 96"],
    ),
]

BUDGETS = [
    Case(
        "a budget that would go on outside the range halts the symbol and ends",
        range=BAND,
        before=OFFERS,
        when="spend 500 for b1 bob up to 110",
        then=["b1 takes 2 @ 104 from s1, s1 has 0 left, b1 2", HALT, "b1 is cancelled with 0 left: SYMBOL_HALTED"],
        after=OFFERS[1:],
    ),
    Case(
        "a budget that does not pay for a lot at the level outside is filled with what it bought",
        range=BAND,
        before=OFFERS,
        when="spend 313 for b1 bob up to 110",
        then=["b1 takes 2 @ 104 from s1, s1 has 0 left, b1 1"],
        after=OFFERS[1:],
    ),
    Case(
        "a budget that pays for just one lot at the level outside halts the symbol",
        range=BAND,
        before=OFFERS,
        when="spend 314 for b1 bob up to 110",
        then=["b1 takes 2 @ 104 from s1, s1 has 0 left, b1 1", HALT, "b1 is cancelled with 0 left: SYMBOL_HALTED"],
        after=OFFERS[1:],
    ),
    Case(
        "a budget that does not pay for a lot of the first level, which is outside, buys nothing and halts nothing",
        range=BAND,
        before=["s2 ann sells 2 @ 106"],
        when="spend 105 for b1 bob up to 110",
        then=["b1 is cancelled with 0 left: IOC_UNFILLED"],
        after=["s2 ann sells 2 @ 106"],
    ),
    *(
        Case(
            f"an own order at the level outside halts a budget under {mode} and is left alone",
            range=BAND,
            before=["s2 bob sells 2 @ 106"],
            when=f"spend 500 for b1 bob up to 110 {mode}",
            then=[HALT, "b1 is cancelled with 0 left: SYMBOL_HALTED"],
            after=["s2 bob sells 2 @ 106"],
        )
        for mode in MODES
    ),
]

AMENDS = [
    Case(
        "an amended order that would go on outside the range halts the symbol and its rest stays",
        range=BAND,
        before=["b1 bob buys 3/5 @ 100", *OFFERS],
        when="amend b1 to 5 @ 110",
        then=[
            "b1 is amended to 3/5 @ 110 and goes to the back",
            "b1 takes 2 @ 104 from s1, s1 has 0 left, b1 1",
            HALT,
            "b1 rests: buys 1 @ 110",
        ],
        after=["b1 bob buys 1/5 @ 110", "s2 ann sells 2 @ 106"],
    ),
    Case(
        "a post-only order is refused the amend that would take outside the range, and nothing halts",
        range=BAND,
        before=["b1 bob buys 5 @ 100 GTX", "s2 ann sells 2 @ 106"],
        when="amend b1 to 5 @ 106",
        then=["b1 is refused: AMEND_REFUSED"],
        after=["b1 bob buys 5 @ 100", "s2 ann sells 2 @ 106"],
    ),
]

RESUMES = [
    Case(
        "trading again clears the crossed book at one price, outside the range too",
        range=BAND,
        before=OFFERS,
        when=["place b1 bob buys 5 @ 110", "status TRADING"],
        then=[
            FIRST_TRADE,
            HALT,
            "b1 rests: buys 3 @ 110",
            "auction: 2 @ 106",
            "b1 takes 2 @ 106 from s2, s2 has 0 left, b1 1",
            "status TRADING",
        ],
        after=["b1 bob buys 1/5 @ 110"],
    ),
    Case(
        "post-only status clears the crossed book as well",
        range=BAND,
        before=OFFERS,
        when=["place b1 bob buys 5 @ 110", "status POST_ONLY", "place b2 cid buys 1 @ 90"],
        then=[
            FIRST_TRADE,
            HALT,
            "b1 rests: buys 3 @ 110",
            "auction: 2 @ 106",
            "b1 takes 2 @ 106 from s2, s2 has 0 left, b1 1",
            "status POST_ONLY",
            "b2 rests: buys 1 @ 90",
        ],
        after=["b1 bob buys 1/5 @ 110", "b2 cid buys 1 @ 90"],
    ),
    Case(
        "a halted, crossed book collects more in an auction and is cleared by trading",
        range=BAND,
        before=OFFERS,
        when=["place b1 bob buys 5 @ 110", "status AUCTION", "place s3 cid sells 4 @ 105", "status TRADING"],
        then=[
            FIRST_TRADE,
            HALT,
            "b1 rests: buys 3 @ 110",
            "status AUCTION",
            "s3 rests: sells 4 @ 105",
            "auction: 3 @ 105",
            "s3 takes 3 @ 105 from b1, b1 has 0 left, s3 1",
            "status TRADING",
        ],
        after=["s3 cid sells 1/4 @ 105", "s2 ann sells 2 @ 106"],
    ),
    *(
        Case(
            f"{status} leaves the book crossed",
            range=BAND,
            before=["s2 ann sells 2 @ 106"],
            when=["place b1 bob buys 5 @ 106", f"status {status}"],
            then=[HALT, "b1 rests: buys 5 @ 106", f"status {status}"],
            after=["b1 bob buys 5 @ 106", "s2 ann sells 2 @ 106"],
        )
        for status in ("HALTED", "CANCEL_ONLY", "AUCTION")
    ),
]


@pytest.mark.parametrize("case", [*SWEEPS, *PREVENTION, *FILL_OR_KILL, *BUDGETS, *AMENDS], ids=str)
def test_nothing_trades_outside_the_range(book: BookLike, case: Case) -> None:
    case.holds_in(book)


@pytest.mark.parametrize("case", RESUMES, ids=str)
def test_a_halted_book_is_cleared_before_it_matches_again(book: BookLike, case: Case) -> None:
    case.holds_in(book)
