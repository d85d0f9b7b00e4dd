"""In which order stops act, what their trades set off, and what a halt leaves waiting."""

import pytest

from matching.core.messages import BUY, LAST, SELL, BookLike
from tests.matching.tables import Case

ORDER_OF_ACTING = [
    Case(
        "many stops at one price act in order of arrival",
        before=["s1 cid sells 3 @ 101", *(f"t{n} ann buys 1 @ 101 IOC when LAST >= 101" for n in range(1, 5))],
        when="place x1 dan buys 1 @ 101",
        then=[
            "x1 takes 1 @ 101 from s1, s1 has 2 left, x1 0",
            "t1 is triggered by LAST 101",
            "t1 takes 1 @ 101 from s1, s1 has 1 left, t1 0",
            "t2 is triggered by LAST 101",
            "t2 takes 1 @ 101 from s1, s1 has 0 left, t2 0",
            "t3 is triggered by LAST 101",
            "t3 is cancelled with 1 left: IOC_UNFILLED",
            "t4 is triggered by LAST 101",
            "t4 is cancelled with 1 left: IOC_UNFILLED",
        ],
    ),
    Case(
        "stops that one trade reaches act in order of arrival, whatever they wait for and in which direction",
        before=[
            "s1 cid sells 1 @ 105",
            "t1 ann buys 1 @ 90 when LAST >= 105",
            "t2 ann buys 1 @ 91 when LAST >= 101",
            "t3 ann buys 1 @ 92 when LAST <= 110",
            "t4 ann buys 1 @ 93 when LAST >= 103",
        ],
        when="place x1 dan buys 1 @ 105",
        then=[
            "x1 takes 1 @ 105 from s1, s1 has 0 left, x1 0",
            "t1 is triggered by LAST 105",
            "t1 rests: buys 1 @ 90",
            "t2 is triggered by LAST 105",
            "t2 rests: buys 1 @ 91",
            "t3 is triggered by LAST 105",
            "t3 rests: buys 1 @ 92",
            "t4 is triggered by LAST 105",
            "t4 rests: buys 1 @ 93",
        ],
        after=["t4 ann buys 1 @ 93", "t3 ann buys 1 @ 92", "t2 ann buys 1 @ 91", "t1 ann buys 1 @ 90"],
    ),
    Case(
        "stops that one reference reaches act in order of arrival, whatever they wait for and in which direction",
        before=[
            "t1 ann buys 1 @ 90 when REFERENCE <= 101",
            "t2 ann buys 1 @ 91 when REFERENCE >= 100",
            "t3 ann buys 1 @ 92 when REFERENCE >= 80",
        ],
        when="reference 100 101",
        then=[
            "t1 is triggered by REFERENCE 100",
            "t1 rests: buys 1 @ 90",
            "t2 is triggered by REFERENCE 100",
            "t2 rests: buys 1 @ 91",
            "t3 is triggered by REFERENCE 100",
            "t3 rests: buys 1 @ 92",
        ],
        after=["t3 ann buys 1 @ 92", "t2 ann buys 1 @ 91", "t1 ann buys 1 @ 90"],
    ),
    Case(
        "what an earlier trade of a sweep reaches acts before what a later one reaches, and tells the trade that reached it",
        before=[
            "s1 cid sells 1 @ 101",
            "s2 cid sells 1 @ 103",
            "t1 ann buys 1 @ 90 when LAST >= 103",
            "t2 ann buys 1 @ 91 when LAST >= 101",
            "t3 ann buys 1 @ 92 when LAST >= 102",
            "t4 ann buys 1 @ 93 when LAST <= 101",
        ],
        when="place x1 dan buys 2 @ 103",
        then=[
            "x1 takes 1 @ 101 from s1, s1 has 0 left, x1 1",
            "x1 takes 1 @ 103 from s2, s2 has 0 left, x1 0",
            "t2 is triggered by LAST 101",
            "t2 rests: buys 1 @ 91",
            "t4 is triggered by LAST 101",
            "t4 rests: buys 1 @ 93",
            "t1 is triggered by LAST 103",
            "t1 rests: buys 1 @ 90",
            "t3 is triggered by LAST 103",
            "t3 rests: buys 1 @ 92",
        ],
        after=["t4 ann buys 1 @ 93", "t3 ann buys 1 @ 92", "t2 ann buys 1 @ 91", "t1 ann buys 1 @ 90"],
    ),
    Case(
        "trades of a triggered order reach more stops, which reach more: rising",
        before=[
            "s1 cid sells 1 @ 101",
            "s2 cid sells 1 @ 102",
            "s3 cid sells 1 @ 103",
            "t1 ann buys 1 @ 110 IOC when LAST >= 102",
            "t2 ann buys 1 @ 110 IOC when LAST >= 101",
            "t3 ann buys 1 @ 110 IOC when LAST >= 103",
        ],
        when="place x1 dan buys 1 @ 101",
        then=[
            "x1 takes 1 @ 101 from s1, s1 has 0 left, x1 0",
            "t2 is triggered by LAST 101",
            "t2 takes 1 @ 102 from s2, s2 has 0 left, t2 0",
            "t1 is triggered by LAST 102",
            "t1 takes 1 @ 103 from s3, s3 has 0 left, t1 0",
            "t3 is triggered by LAST 103",
            "t3 is cancelled with 1 left: IOC_UNFILLED",
        ],
    ),
    Case(
        "trades of a triggered order reach more stops, which reach more: falling",
        before=[
            "b1 cid buys 1 @ 99",
            "b2 cid buys 1 @ 98",
            "b3 cid buys 1 @ 97",
            "t1 ann sells 1 @ 90 MARKET when LAST <= 98",
            "t2 ann sells 1 @ 90 MARKET when LAST <= 99",
        ],
        when="place x1 dan sells 1 @ 99",
        then=[
            "x1 takes 1 @ 99 from b1, b1 has 0 left, x1 0",
            "t2 is triggered by LAST 99",
            "t2 takes 1 @ 98 from b2, b2 has 0 left, t2 0",
            "t1 is triggered by LAST 98",
            "t1 takes 1 @ 97 from b3, b3 has 0 left, t1 0",
        ],
    ),
    Case(
        "what a triggered order's trades reach queues up behind what is queued already",
        before=[
            "s1 cid sells 2 @ 101",
            "s2 cid sells 1 @ 102",
            "t1 ann buys 1 @ 90 when LAST >= 102",
            "t2 ann buys 2 @ 102 when LAST >= 101",
            "t3 ann buys 1 @ 91 when LAST >= 101",
        ],
        when="place x1 dan buys 1 @ 101",
        then=[
            "x1 takes 1 @ 101 from s1, s1 has 1 left, x1 0",
            "t2 is triggered by LAST 101",
            "t2 takes 1 @ 101 from s1, s1 has 0 left, t2 1",
            "t2 takes 1 @ 102 from s2, s2 has 0 left, t2 0",
            "t3 is triggered by LAST 101",
            "t3 rests: buys 1 @ 91",
            "t1 is triggered by LAST 102",
            "t1 rests: buys 1 @ 90",
        ],
        after=["t3 ann buys 1 @ 91", "t1 ann buys 1 @ 90"],
    ),
    Case(
        "trades of stops that a reference reached reach those of LAST, which act behind",
        before=[
            "s1 cid sells 1 @ 101",
            "t1 ann buys 1 @ 90 when LAST >= 101",
            "t2 ann buys 1 @ 101 when REFERENCE >= 100",
            "t3 ann buys 1 @ 91 when REFERENCE >= 100",
        ],
        when="reference 100 100",
        then=[
            "t2 is triggered by REFERENCE 100",
            "t2 takes 1 @ 101 from s1, s1 has 0 left, t2 0",
            "t3 is triggered by REFERENCE 100",
            "t3 rests: buys 1 @ 91",
            "t1 is triggered by LAST 101",
            "t1 rests: buys 1 @ 90",
        ],
        after=["t3 ann buys 1 @ 91", "t1 ann buys 1 @ 90"],
    ),
    Case(
        "a triggered order meets one that was triggered before it",
        before=[
            "s1 cid sells 1 @ 101",
            "t1 ann buys 2 @ 104 when LAST >= 101",
            "t2 bob sells 2 @ 103 when LAST >= 101",
            "t3 cid sells 1 @ 120 when LAST >= 104",
        ],
        when="place x1 dan buys 1 @ 101",
        then=[
            "x1 takes 1 @ 101 from s1, s1 has 0 left, x1 0",
            "t1 is triggered by LAST 101",
            "t1 rests: buys 2 @ 104",
            "t2 is triggered by LAST 101",
            "t2 takes 2 @ 104 from t1, t1 has 0 left, t2 0",
            "t3 is triggered by LAST 104",
            "t3 rests: sells 1 @ 120",
        ],
        after=["t3 cid sells 1 @ 120"],
    ),
]

DRIVEN = [
    Case(
        "a stop that does not act by itself only leaves the watch list, in its turn",
        before=[
            "s1 cid sells 9 @ 101",
            "t1 ann buys 1 @ 101 when LAST >= 101",
            "t2 ann buys 2 @ 101 DRIVEN when LAST >= 101",
            "t3 ann buys 3 @ 101 when LAST >= 101",
        ],
        when=["place x1 dan buys 1 @ 101", "cancel t2 USER_CANCEL", "place t2 ann buys 2 @ 101"],
        then=[
            "x1 takes 1 @ 101 from s1, s1 has 8 left, x1 0",
            "t1 is triggered by LAST 101",
            "t1 takes 1 @ 101 from s1, s1 has 7 left, t1 0",
            "t2 is triggered by LAST 101",
            "t3 is triggered by LAST 101",
            "t3 takes 3 @ 101 from s1, s1 has 4 left, t3 0",
            "t2 is refused: ORDER_NOT_OPEN",
            "t2 takes 2 @ 101 from s1, s1 has 2 left, t2 0",
        ],
        after=["s1 cid sells 2/9 @ 101"],
    ),
    Case(
        "a stop that does not act by itself waits, is rejected and is amended like any other",
        last=100,
        when=[
            "stop t1 ann buys 5 @ 103 DRIVEN when LAST >= 101",
            "stop t2 ann buys 5 @ 103 DRIVEN when LAST >= 100",
            "amend t1 to 4 @ 102",
            "reference 102 102",
        ],
        then=["t1 waits for 101", "t2 is rejected: WOULD_TRIGGER_IMMEDIATELY", "t1 is amended to 4/4 @ 102 and keeps its place"],
        after=["t1 ann buys 4 @ 102 when LAST >= 101"],
    ),
    Case(
        "a stop that does not act by itself is told when a reference or the beginning of trading reaches it",
        status="HALTED",
        last=100,
        before=["t1 ann buys 5 @ 103 DRIVEN when LAST >= 100", "t2 ann buys 5 @ 103 DRIVEN when REFERENCE <= 90"],
        when=["reference 91 91", "status TRADING", "reference 90 90"],
        then=["status TRADING", "t1 is triggered by LAST 100", "t2 is triggered by REFERENCE 90"],
    ),
]

BAND = (95, 105)
HALT = "status HALTED by PRICE_BAND"

HALTS = [
    Case(
        "a sweep that halts makes no stop act that its trades reached",
        range=BAND,
        before=["s1 ann sells 2 @ 104", "s2 ann sells 2 @ 106", "t1 cid buys 1 @ 90 when LAST >= 104"],
        when="place b1 bob buys 5 @ 110",
        then=["b1 takes 2 @ 104 from s1, s1 has 0 left, b1 3", HALT, "b1 rests: buys 3 @ 110"],
        after=["b1 bob buys 3/5 @ 110", "s2 ann sells 2 @ 106", "t1 cid buys 1 @ 90 when LAST >= 104"],
    ),
    Case(
        "a triggered order that halts leaves what is queued behind it waiting, at the old place",
        range=BAND,
        before=[
            "s1 cid sells 2 @ 104",
            "s2 cid sells 2 @ 106",
            "t1 ann buys 1 @ 90 when LAST >= 110",
            "t2 ann buys 3 @ 106 when LAST >= 104",
            "t3 ann buys 1 @ 91 when LAST >= 104",
            "t4 ann buys 1 @ 92 when LAST >= 111",
        ],
        when="place x1 dan buys 1 @ 104",
        then=[
            "x1 takes 1 @ 104 from s1, s1 has 1 left, x1 0",
            "t2 is triggered by LAST 104",
            "t2 takes 1 @ 104 from s1, s1 has 0 left, t2 2",
            HALT,
            "t2 rests: buys 2 @ 106",
        ],
        after=[
            "t2 ann buys 2/3 @ 106",
            "s2 cid sells 2 @ 106",
            "t1 ann buys 1 @ 90 when LAST >= 110",
            "t3 ann buys 1 @ 91 when LAST >= 104",
            "t4 ann buys 1 @ 92 when LAST >= 111",
        ],
    ),
    *(
        Case(
            f"a triggered {time_in_force} order that halts ends",
            range=BAND,
            before=["s2 cid sells 2 @ 106", f"t1 ann buys 2 @ 106 {time_in_force} when REFERENCE >= 104"],
            when="reference 104 105",
            then=["t1 is triggered by REFERENCE 104", HALT, "t1 is cancelled with 2 left: SYMBOL_HALTED"],
            after=["s2 cid sells 2 @ 106"],
        )
        for time_in_force in ("IOC", "MARKET", "FOK")
    ),
    Case(
        "stops that were left waiting by a halt act when trading begins again, if the price still reaches them",
        range=BAND,
        before=[
            "s1 cid sells 1 @ 104",
            "s2 cid sells 2 @ 106",
            "t1 ann buys 2 @ 106 IOC when LAST >= 104",
            "t2 ann buys 1 @ 91 when LAST >= 104",
        ],
        when=["place x1 dan buys 1 @ 104", "status TRADING"],
        then=[
            "x1 takes 1 @ 104 from s1, s1 has 0 left, x1 0",
            "t1 is triggered by LAST 104",
            HALT,
            "t1 is cancelled with 2 left: SYMBOL_HALTED",
            "status TRADING",
            "t2 is triggered by LAST 104",
            "t2 rests: buys 1 @ 91",
        ],
        after=["t2 ann buys 1 @ 91", "s2 cid sells 2 @ 106"],
    ),
    Case(
        "stops that were left waiting by a halt go on waiting when the price after it does not reach them",
        range=BAND,
        before=[
            "b1 cid buys 9 @ 100",
            "s1 cid sells 1 @ 104",
            "s2 cid sells 2 @ 106",
            "t1 ann buys 2 @ 106 IOC when LAST >= 104",
            "t2 ann buys 1 @ 91 when LAST >= 104",
        ],
        when=["place x1 dan buys 1 @ 104", "status AUCTION", "place x2 dan sells 1 @ 100", "status TRADING"],
        then=[
            "x1 takes 1 @ 104 from s1, s1 has 0 left, x1 0",
            "t1 is triggered by LAST 104",
            HALT,
            "t1 is cancelled with 2 left: SYMBOL_HALTED",
            "status AUCTION",
            "x2 rests: sells 1 @ 100",
            "auction: 1 @ 100",
            "x2 takes 1 @ 100 from b1, b1 has 8 left, x2 0",
            "status TRADING",
        ],
        after=["b1 cid buys 8/9 @ 100", "s2 cid sells 2 @ 106", "t2 ann buys 1 @ 91 when LAST >= 104"],
    ),
    Case(
        "a stop that acts as trading begins again may halt it at once, and the rest goes on waiting",
        range=BAND,
        status="HALTED",
        last=104,
        before=["s2 cid sells 2 @ 106", "t1 ann buys 1 @ 106 when LAST >= 104", "t2 ann buys 1 @ 91 when LAST >= 104"],
        when="status TRADING",
        then=["status TRADING", "t1 is triggered by LAST 104", HALT, "t1 rests: buys 1 @ 106"],
        after=["t1 ann buys 1 @ 106", "s2 cid sells 2 @ 106", "t2 ann buys 1 @ 91 when LAST >= 104"],
    ),
]

REACHED = [
    "t1 ann buys 1 @ 90 when REFERENCE <= 103",
    "t2 ann buys 1 @ 91 when LAST >= 100",
    "t3 ann buys 1 @ 92 when LAST >= 101",
    "t4 ann buys 1 @ 93 when REFERENCE >= 102",
    "t5 ann buys 1 @ 94 when LAST <= 100",
]

BEGINNINGS = [
    *(
        Case(
            f"trading after {status} lets all stops act that the present prices reach, of both sources, in order of arrival",
            status=status,
            last=100,
            reference=(102, 103),
            before=REACHED,
            when="status TRADING",
            then=[
                "status TRADING",
                "t1 is triggered by REFERENCE 102",
                "t1 rests: buys 1 @ 90",
                "t2 is triggered by LAST 100",
                "t2 rests: buys 1 @ 91",
                "t4 is triggered by REFERENCE 102",
                "t4 rests: buys 1 @ 93",
                "t5 is triggered by LAST 100",
                "t5 rests: buys 1 @ 94",
            ],
            after=["t5 ann buys 1 @ 94", "t4 ann buys 1 @ 93", "t2 ann buys 1 @ 91", "t1 ann buys 1 @ 90", REACHED[2]],
        )
        for status in ("POST_ONLY", "CANCEL_ONLY", "HALTED", "AUCTION", "TRADING")
    ),
    *(
        Case(
            f"{status} after a halt lets no stop act",
            status="HALTED",
            last=100,
            reference=(102, 103),
            before=REACHED,
            when=f"status {status}",
            then=[f"status {status}"],
            after=REACHED,
        )
        for status in ("POST_ONLY", "CANCEL_ONLY", "HALTED", "AUCTION")
    ),
    *(
        Case(
            f"a reference in {status} lets no stop act and is known when trading begins",
            status=status,
            before=REACHED,
            when=["reference 102 103", "status TRADING"],
            then=[
                "status TRADING",
                "t1 is triggered by REFERENCE 102",
                "t1 rests: buys 1 @ 90",
                "t4 is triggered by REFERENCE 102",
                "t4 rests: buys 1 @ 93",
            ],
            after=["t4 ann buys 1 @ 93", "t1 ann buys 1 @ 90", REACHED[1], REACHED[2], REACHED[4]],
        )
        for status in ("POST_ONLY", "CANCEL_ONLY", "HALTED", "AUCTION")
    ),
    Case(
        "trading begins with no price yet and stops go on waiting",
        status="HALTED",
        before=REACHED,
        when="status TRADING",
        then=["status TRADING"],
        after=REACHED,
    ),
]


@pytest.mark.parametrize("case", ORDER_OF_ACTING, ids=str)
def test_stops_act_one_after_another(book: BookLike, case: Case) -> None:
    case.holds_in(book)


@pytest.mark.parametrize("case", DRIVEN, ids=str)
def test_a_stop_may_be_left_to_whoever_drives_the_book(book: BookLike, case: Case) -> None:
    case.holds_in(book)


@pytest.mark.parametrize("case", [*HALTS, *BEGINNINGS], ids=str)
def test_stops_act_in_trading_alone(book: BookLike, case: Case) -> None:
    case.holds_in(book)


def test_two_hundred_stops_at_one_price_act_in_order_of_arrival_and_reach_those_of_the_next(book: BookLike) -> None:
    book.place("s1", "cid", SELL, 101, 201, 0, 0)
    book.place("s2", "cid", SELL, 102, 9, 0, 0)
    for number in range(200):
        book.place_stop(number, "ann", BUY, 101, 1, 1, 0, 101, True, LAST)
    book.place_stop("one too many", "ann", BUY, 102, 1, 1, 0, 101, True, LAST)
    book.place_stop("next", "ann", BUY, 102, 2, 1, 0, 102, True, LAST)
    book.events.clear()
    book.place("x1", "dan", BUY, 101, 1, 0, 0)
    assert [event[1] for event in book.events if event[0] == "TRIGGERED"] == [*range(200), "one too many", "next"]
    assert [event[2] for event in book.events if event[0] == "TRADE"] == ["x1", *range(200), "one too many", "next"]
    assert list(book.waiting()) == []
    assert list(book.levels(SELL)) == [(102, 6)]
    book.check()
