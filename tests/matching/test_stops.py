"""Orders that wait for a price: which wait at all, what changes them, what reaches them and what they do then."""

import pytest

from matching.core.messages import BookLike
from tests.matching.tables import Case

MODES = ("CANCEL_NEWEST", "CANCEL_OLDEST", "CANCEL_BOTH", "DECREMENT")

ARRIVALS = [
    Case(
        "a stop waits for its price and takes no place in the book",
        last=100,
        when="stop t1 ann buys 5 @ 103 when LAST >= 101",
        then=["t1 waits for 101"],
        after=["t1 ann buys 5 @ 103 when LAST >= 101"],
    ),
    Case(
        "stops of any time in force wait, in order of arrival whatever their prices",
        last=100,
        when=[
            "stop t1 ann buys 5 @ 103 IOC when LAST >= 102",
            "stop t2 ann sells 5 @ 90 MARKET when LAST <= 99",
            "stop t3 bob buys 1 @ 101 FOK when LAST >= 101",
            "stop t4 bob sells 2 @ 99 GTX when LAST <= 98",
        ],
        then=["t1 waits for 102", "t2 waits for 99", "t3 waits for 101", "t4 waits for 98"],
        after=[
            "t1 ann buys 5 @ 103 when LAST >= 102",
            "t2 ann sells 5 @ 90 when LAST <= 99",
            "t3 bob buys 1 @ 101 when LAST >= 101",
            "t4 bob sells 2 @ 99 when LAST <= 98",
        ],
    ),
    *(
        Case(
            f"a stop that waits for LAST {stop} is rejected when the last trade was at 100",
            last=100,
            when=f"stop t1 ann buys 5 @ 103 when LAST {stop}",
            then=["t1 is rejected: WOULD_TRIGGER_IMMEDIATELY"],
        )
        for stop in (">= 100", ">= 99", "<= 100", "<= 101")
    ),
    *(
        Case(
            f"a stop that waits for REFERENCE {stop} is rejected when the reference lies between {reference[0]} and {reference[1]}",
            reference=reference,
            when=f"stop t1 ann buys 5 @ 103 when REFERENCE {stop}",
            then=["t1 is rejected: WOULD_TRIGGER_IMMEDIATELY"],
        )
        for reference, stop in (
            ((100, 100), ">= 100"),
            ((100, 100), "<= 100"),
            ((100, 101), ">= 100"),
            ((100, 101), "<= 101"),
        )
    ),
    *(
        Case(
            f"a stop waits for REFERENCE {stop} when the reference lies between {reference[0]} and {reference[1]}",
            reference=reference,
            when=f"stop t1 ann buys 5 @ 103 when REFERENCE {stop}",
            then=[f"t1 waits for {stop[3:]}"],
            after=[f"t1 ann buys 5 @ 103 when REFERENCE {stop}"],
        )
        for reference, stop in (
            ((100, 100), ">= 101"),
            ((100, 100), "<= 99"),
            ((100, 101), ">= 101"),
            ((100, 101), "<= 100"),
        )
    ),
    Case(
        "with no price of its source yet a stop waits, whatever the other source says",
        when=[
            "stop t1 ann buys 5 @ 103 when LAST >= 1",
            "stop t2 ann buys 5 @ 103 when LAST <= 1000",
            "stop t3 ann buys 5 @ 103 when REFERENCE >= 1",
            "stop t4 ann buys 5 @ 103 when REFERENCE <= 1000",
        ],
        then=["t1 waits for 1", "t2 waits for 1000", "t3 waits for 1", "t4 waits for 1000"],
        after=[
            "t1 ann buys 5 @ 103 when LAST >= 1",
            "t2 ann buys 5 @ 103 when LAST <= 1000",
            "t3 ann buys 5 @ 103 when REFERENCE >= 1",
            "t4 ann buys 5 @ 103 when REFERENCE <= 1000",
        ],
    ),
    Case(
        "a stop looks at its own source alone",
        last=100,
        reference=(50, 50),
        when=[
            "stop t1 ann buys 5 @ 103 when LAST >= 101",
            "stop t2 ann sells 5 @ 40 when REFERENCE <= 49",
            "stop t3 ann sells 5 @ 40 when REFERENCE <= 50",
            "stop t4 ann sells 5 @ 40 when LAST <= 100",
        ],
        then=[
            "t1 waits for 101",
            "t2 waits for 49",
            "t3 is rejected: WOULD_TRIGGER_IMMEDIATELY",
            "t4 is rejected: WOULD_TRIGGER_IMMEDIATELY",
        ],
        after=["t1 ann buys 5 @ 103 when LAST >= 101", "t2 ann sells 5 @ 40 when REFERENCE <= 49"],
    ),
    *(
        Case(
            f"{status} rejects stops, whether their price is reached or not",
            status=status,
            last=100,
            when=["stop t1 ann buys 5 @ 103 when LAST >= 101", "stop t2 ann buys 5 @ 103 when LAST >= 100"],
            then=[f"t1 is rejected: {code}", f"t2 is rejected: {code}"],
        )
        for status, code in (
            ("POST_ONLY", "SYMBOL_POST_ONLY"),
            ("CANCEL_ONLY", "SYMBOL_CANCEL_ONLY"),
            ("HALTED", "SYMBOL_HALTED"),
            ("DELISTED", "SYMBOL_HALTED"),
        )
    ),
    Case(
        "an auction lets stops wait, but not those whose price is reached",
        status="AUCTION",
        last=100,
        when=["stop t1 ann buys 5 @ 103 IOC when LAST >= 101", "stop t2 ann buys 5 @ 103 when LAST >= 100"],
        then=["t1 waits for 101", "t2 is rejected: WOULD_TRIGGER_IMMEDIATELY"],
        after=["t1 ann buys 5 @ 103 when LAST >= 101"],
    ),
]

WAITING = ["t1 ann buys 5 @ 103 IOC when LAST >= 102", "t2 bob sells 4 @ 90 when LAST <= 95"]

CHANGES = [
    *(
        Case(
            f"a waiting stop can be cancelled and amended in {status}, and keeps its place whatever changes",
            status=status,
            before=WAITING,
            when=[
                "amend t1 to 5 @ 103",
                "amend t1 to 9 @ 104",
                "amend t1 to 1 @ 1",
                "amend t2 to 0 @ 90",
                "cancel t1 EXPIRED",
                "cancel t1 EXPIRED",
            ],
            then=[
                "t1 is amended to 5/5 @ 103 and keeps its place",
                "t1 is amended to 9/9 @ 104 and keeps its place",
                "t1 is amended to 1/1 @ 1 and keeps its place",
                "t2 is cancelled with 4 left: USER_CANCEL",
                "t1 is cancelled with 1 left: EXPIRED",
                "t1 is refused: ORDER_NOT_OPEN",
            ],
        )
        for status in ("TRADING", "POST_ONLY", "CANCEL_ONLY", "HALTED", "AUCTION")
    ),
    Case(
        "an amended stop acts with its new price and quantity, before those that arrived after it",
        before=["s1 cid sells 9 @ 102", *WAITING[:1], "t3 bob buys 1 @ 102 when LAST >= 102"],
        when=["amend t1 to 2 @ 102", "place b1 dan buys 1 @ 102"],
        then=[
            "t1 is amended to 2/2 @ 102 and keeps its place",
            "b1 takes 1 @ 102 from s1, s1 has 8 left, b1 0",
            "t1 is triggered by LAST 102",
            "t1 takes 2 @ 102 from s1, s1 has 6 left, t1 0",
            "t3 is triggered by LAST 102",
            "t3 takes 1 @ 102 from s1, s1 has 5 left, t3 0",
        ],
        after=["s1 cid sells 5/9 @ 102"],
    ),
    Case(
        "an amend of a waiting stop does not make it act, whatever its new price would meet",
        before=["s1 cid sells 9 @ 104", *WAITING[:1]],
        last=100,
        when="amend t1 to 5 @ 110",
        then=["t1 is amended to 5/5 @ 110 and keeps its place"],
        after=["s1 cid sells 9 @ 104", "t1 ann buys 5 @ 110 when LAST >= 102"],
    ),
]

MARKET_OF_100 = ["b1 cid buys 9 @ 99", "s1 cid sells 9 @ 101"]
TAKE = "place x1 dan buys 1 @ 101"
TAKEN = "x1 takes 1 @ 101 from s1, s1 has 8 left, x1 0"

TRIGGERS = [
    *(
        Case(
            f"a trade at 101 reaches a stop that waits for LAST {stop}",
            before=[*MARKET_OF_100, f"t1 ann buys 2 @ 100 when LAST {stop}"],
            when=TAKE,
            then=[TAKEN, "t1 is triggered by LAST 101", "t1 rests: buys 2 @ 100"],
            after=["t1 ann buys 2 @ 100", "b1 cid buys 9 @ 99", "s1 cid sells 8/9 @ 101"],
        )
        for stop in (">= 101", ">= 100", "<= 101", "<= 102")
    ),
    *(
        Case(
            f"a trade at 101 does not reach a stop that waits for {stop}",
            before=[*MARKET_OF_100, f"t1 ann buys 2 @ 100 when {stop}"],
            when=TAKE,
            then=[TAKEN],
            after=["b1 cid buys 9 @ 99", "s1 cid sells 8/9 @ 101", f"t1 ann buys 2 @ 100 when {stop}"],
        )
        for stop in ("LAST >= 102", "LAST <= 100", "REFERENCE >= 101", "REFERENCE <= 101")
    ),
    *(
        Case(
            f"a reference between {low} and {high} reaches a stop that waits for REFERENCE {stop}, and tells the lower tick",
            before=[*MARKET_OF_100, f"t1 ann sells 2 @ 100 when REFERENCE {stop}"],
            when=f"reference {low} {high}",
            then=[f"t1 is triggered by REFERENCE {low}", "t1 rests: sells 2 @ 100"],
            after=["b1 cid buys 9 @ 99", "t1 ann sells 2 @ 100", "s1 cid sells 9 @ 101"],
        )
        for low, high, stop in (
            (90, 90, "<= 90"),
            (90, 91, "<= 91"),
            (90, 91, "<= 92"),
            (90, 90, ">= 90"),
            (90, 91, ">= 90"),
            (90, 91, ">= 89"),
        )
    ),
    *(
        Case(
            f"a reference between {low} and {high} does not reach a stop that waits for {stop}",
            before=[*MARKET_OF_100, f"t1 ann sells 2 @ 100 when {stop}"],
            when=f"reference {low} {high}",
            then=[],
            after=[*MARKET_OF_100, f"t1 ann sells 2 @ 100 when {stop}"],
        )
        for low, high, stop in (
            (90, 90, "REFERENCE <= 89"),
            (90, 91, "REFERENCE <= 90"),
            (90, 91, "REFERENCE >= 91"),
            (90, 90, "REFERENCE >= 91"),
            (90, 90, "LAST <= 90"),
            (90, 90, "LAST >= 90"),
        )
    ),
    Case(
        "the trades of the command come first, then its rest rests, then the stops act",
        before=["s1 cid sells 2 @ 101", "t1 ann sells 3 @ 101 when LAST >= 101"],
        when="place x1 dan buys 5 @ 102",
        then=[
            "x1 takes 2 @ 101 from s1, s1 has 0 left, x1 3",
            "x1 rests: buys 3 @ 102",
            "t1 is triggered by LAST 101",
            "t1 takes 3 @ 102 from x1, x1 has 0 left, t1 0",
        ],
    ),
    Case(
        "a stop acts after the rest of an immediate order has ended",
        before=["s1 cid sells 2 @ 101", "t1 ann sells 3 @ 101 when LAST >= 101"],
        when="place x1 dan buys 5 @ 102 IOC",
        then=[
            "x1 takes 2 @ 101 from s1, s1 has 0 left, x1 3",
            "x1 is cancelled with 3 left: IOC_UNFILLED",
            "t1 is triggered by LAST 101",
            "t1 rests: sells 3 @ 101",
        ],
        after=["t1 ann sells 3 @ 101"],
    ),
    Case(
        "trades of a budget reach stops",
        before=["s1 cid sells 2 @ 101", "t1 ann sells 3 @ 105 when LAST >= 101"],
        when="spend 101 for x1 dan up to 101",
        then=["x1 takes 1 @ 101 from s1, s1 has 1 left, x1 0", "t1 is triggered by LAST 101", "t1 rests: sells 3 @ 105"],
        after=["s1 cid sells 1/2 @ 101", "t1 ann sells 3 @ 105"],
    ),
    Case(
        "trades of an amended order reach stops",
        before=["b1 dan buys 1 @ 99", "s1 cid sells 2 @ 101", "t1 ann sells 3 @ 105 when LAST >= 101"],
        when="amend b1 to 1 @ 101",
        then=[
            "b1 is amended to 1/1 @ 101 and goes to the back",
            "b1 takes 1 @ 101 from s1, s1 has 1 left, b1 0",
            "t1 is triggered by LAST 101",
            "t1 rests: sells 3 @ 105",
        ],
        after=["s1 cid sells 1/2 @ 101", "t1 ann sells 3 @ 105"],
    ),
    Case(
        "a prevented overlap is no trade and reaches no stop",
        before=["s1 dan sells 2 @ 101", "t1 ann sells 3 @ 105 when LAST >= 101"],
        when="place x1 dan buys 1 @ 101 DECREMENT",
        then=["x1 and s1 lose 1, s1 has 1 left, x1 0", "x1 is cancelled with 0 left: SELF_TRADE_PREVENTED"],
        after=["s1 dan sells 1/2 @ 101", "t1 ann sells 3 @ 105 when LAST >= 101"],
    ),
    Case(
        "a second trade at the same price reaches a stop that recovery put back although it was reached",
        before=[*MARKET_OF_100, "t1 ann buys 2 @ 100 when LAST >= 101"],
        last=101,
        when=TAKE,
        then=[TAKEN, "t1 is triggered by LAST 101", "t1 rests: buys 2 @ 100"],
        after=["t1 ann buys 2 @ 100", "b1 cid buys 9 @ 99", "s1 cid sells 8/9 @ 101"],
    ),
]

OUTCOMES = [
    Case(
        "a triggered order takes and its rest joins the back of its queue",
        before=["b1 cid buys 1 @ 103", "s1 cid sells 3 @ 104", "t1 ann buys 5 @ 104 when REFERENCE >= 104"],
        when="reference 104 104",
        then=["t1 is triggered by REFERENCE 104", "t1 takes 3 @ 104 from s1, s1 has 0 left, t1 2", "t1 rests: buys 2 @ 104"],
        after=["t1 ann buys 2/5 @ 104", "b1 cid buys 1 @ 103"],
    ),
    *(
        Case(
            f"a triggered {time_in_force} order takes and its rest ends",
            before=["s1 cid sells 3 @ 104", f"t1 ann buys 5 @ 104 {time_in_force} when REFERENCE >= 104"],
            when="reference 104 104",
            then=[
                "t1 is triggered by REFERENCE 104",
                "t1 takes 3 @ 104 from s1, s1 has 0 left, t1 2",
                "t1 is cancelled with 2 left: IOC_UNFILLED",
            ],
        )
        for time_in_force in ("IOC", "MARKET")
    ),
    Case(
        "a triggered fill-or-kill order fills whole or ends",
        before=["s1 cid sells 3 @ 104", "t1 ann buys 4 @ 104 FOK when REFERENCE >= 104", "t2 ann buys 3 @ 104 FOK when REFERENCE >= 104"],
        when="reference 104 104",
        then=[
            "t1 is triggered by REFERENCE 104",
            "t1 is cancelled with 4 left: FOK_UNFILLABLE",
            "t2 is triggered by REFERENCE 104",
            "t2 takes 3 @ 104 from s1, s1 has 0 left, t2 0",
        ],
    ),
    Case(
        "a triggered post-only order rests or is rejected",
        before=["s1 cid sells 3 @ 104", "t1 ann buys 4 @ 104 GTX when REFERENCE >= 104", "t2 ann buys 3 @ 103 GTX when REFERENCE >= 104"],
        when="reference 104 104",
        then=[
            "t1 is triggered by REFERENCE 104",
            "t1 is rejected: POST_ONLY_WOULD_TAKE",
            "t2 is triggered by REFERENCE 104",
            "t2 rests: buys 3 @ 103",
        ],
        after=["t2 ann buys 3 @ 103", "s1 cid sells 3 @ 104"],
    ),
    *(
        Case(
            f"a triggered order meets its own account's order by its own mode {mode}",
            before=["s1 ann sells 2 @ 104 CANCEL_BOTH", f"t1 ann buys 5 @ 104 {mode} when REFERENCE >= 104"],
            when="reference 104 104",
            then=["t1 is triggered by REFERENCE 104", *then],
            after=after,
        )
        for mode, then, after in (
            ("CANCEL_NEWEST", ["t1 is cancelled with 5 left: SELF_TRADE_PREVENTED"], ["s1 ann sells 2 @ 104"]),
            ("CANCEL_OLDEST", ["s1 is cancelled with 2 left: SELF_TRADE_PREVENTED", "t1 rests: buys 5 @ 104"], ["t1 ann buys 5 @ 104"]),
            (
                "CANCEL_BOTH",
                ["s1 is cancelled with 2 left: SELF_TRADE_PREVENTED", "t1 is cancelled with 5 left: SELF_TRADE_PREVENTED"],
                [],
            ),
            (
                "DECREMENT",
                ["t1 and s1 lose 2, s1 has 0 left, t1 3", "s1 is cancelled with 0 left: SELF_TRADE_PREVENTED", "t1 rests: buys 3 @ 104"],
                ["t1 ann buys 3/5 @ 104"],
            ),
        )
    ),
    *(
        Case(
            f"a waiting stop meets no order of its own account under {mode}",
            last=100,
            before=[f"t1 ann buys 5 @ 104 {mode} when LAST >= 103"],
            when=f"place s1 ann sells 5 @ 102 {mode}",
            then=["s1 rests: sells 5 @ 102"],
            after=["s1 ann sells 5 @ 102", "t1 ann buys 5 @ 104 when LAST >= 103"],
        )
        for mode in MODES
    ),
    Case(
        "a triggered order that rests can be amended and cancelled like any other",
        before=["t1 ann buys 5 @ 104 when REFERENCE >= 104"],
        when=["reference 104 104", "amend t1 to 6 @ 104", "cancel t1 USER_CANCEL"],
        then=[
            "t1 is triggered by REFERENCE 104",
            "t1 rests: buys 5 @ 104",
            "t1 is amended to 6/6 @ 104 and goes to the back",
            "t1 rests: buys 6 @ 104",
            "t1 is cancelled with 6 left: USER_CANCEL",
        ],
    ),
]


@pytest.mark.parametrize("case", ARRIVALS, ids=str)
def test_a_stop_waits_or_is_rejected(book: BookLike, case: Case) -> None:
    case.holds_in(book)


@pytest.mark.parametrize("case", CHANGES, ids=str)
def test_a_waiting_stop_is_changed_where_it_stands(book: BookLike, case: Case) -> None:
    case.holds_in(book)


@pytest.mark.parametrize("case", [*TRIGGERS, *OUTCOMES], ids=str)
def test_a_stop_that_is_reached_acts_as_an_order_that_is_placed(book: BookLike, case: Case) -> None:
    case.holds_in(book)
