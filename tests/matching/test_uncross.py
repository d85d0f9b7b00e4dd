"""Who trades with whom when an auction ends or a halted book is cleared, and what becomes of the rest.

The comments show how prices were reckoned: of each price, what would buy / what would sell at it.
"""

import pytest

from matching.core.messages import BookLike
from tests.matching.tables import Case

LINES = [
    Case(
        "at one price for all, best price first, oldest first; the older order is the maker",
        status="AUCTION",
        before=[
            "b3 ann buys 2 @ 100",
            "s2 bob sells 3 @ 100",
            "b1 cid buys 4 @ 103",
            "s1 dan sells 2 @ 98",
            "b2 ann buys 3 @ 103",
            "s3 dan sells 5 @ 100",
        ],
        when="status TRADING",  # 98, 99: 9/2, 100: 9/10, 101 to 103: 7/10
        then=[
            "auction: 9 @ 100",
            "s1 takes 2 @ 100 from b1, b1 has 2 left, s1 0",
            "b1 takes 2 @ 100 from s2, s2 has 1 left, b1 0",
            "b2 takes 1 @ 100 from s2, s2 has 0 left, b2 2",
            "s3 takes 2 @ 100 from b2, b2 has 0 left, s3 3",
            "s3 takes 2 @ 100 from b3, b3 has 0 left, s3 1",
            "status TRADING",
        ],
        after=["s3 dan sells 1/5 @ 100"],
        reference=(103, 103),
        last=97,
    ),
    Case(
        "an order that was amended took its place later, unless it kept its place",
        status="AUCTION",
        before=["b1 ann buys 3 @ 100", "b2 ann buys 3 @ 100", "s1 bob sells 4 @ 100"],
        when=["amend b1 to 4 @ 100", "amend b2 to 2 @ 100", "status TRADING"],
        then=[
            "b1 is amended to 4/4 @ 100 and goes to the back",
            "b1 rests: buys 4 @ 100",
            "b2 is amended to 2/2 @ 100 and keeps its place",
            "auction: 4 @ 100",
            "s1 takes 2 @ 100 from b2, b2 has 0 left, s1 2",
            "b1 takes 2 @ 100 from s1, s1 has 0 left, b1 2",
            "status TRADING",
        ],
        after=["b1 ann buys 2/4 @ 100"],
    ),
    Case(
        "market orders stand first, oldest first, whatever the limits and whoever came before",
        status="AUCTION",
        before=[
            "b1 ann buys 5 @ 110",
            "m1 cid buys 3 @ 104 MARKET",
            "m2 dan buys 2 @ 110 MARKET",
            "s1 bob sells 4 @ 100",
            "s2 bob sells 4 @ 104",
        ],
        when="status TRADING",  # 100 to 103: 10/4, 104: 10/8, 105 to 110: 7/8
        then=[
            "auction: 8 @ 104",
            "s1 takes 3 @ 104 from m1, m1 has 0 left, s1 1",
            "s1 takes 1 @ 104 from m2, m2 has 1 left, s1 0",
            "s2 takes 1 @ 104 from m2, m2 has 0 left, s2 3",
            "s2 takes 3 @ 104 from b1, b1 has 2 left, s2 0",
            "status TRADING",
        ],
        after=["b1 ann buys 2/5 @ 110"],
    ),
    Case(
        "a market order whose protection price does not accept the price stands in no line",
        status="AUCTION",
        before=["m1 cid buys 3 @ 103 MARKET", "b1 ann buys 5 @ 110", "s1 bob sells 4 @ 100"],
        when="status TRADING",  # 100 to 103: 8/4, 104 to 110: 5/4
        then=[
            "auction: 4 @ 104",
            "s1 takes 4 @ 104 from b1, b1 has 1 left, s1 0",
            "m1 is cancelled with 3 left: IOC_UNFILLED",
            "status TRADING",
        ],
        after=["b1 ann buys 1/5 @ 110"],
        reference=(100, 100),
    ),
    Case(
        "what is left of market orders ends, bids first, oldest first, and the status follows",
        status="AUCTION",
        before=[
            "m1 ann sells 5 @ 97 MARKET",
            "m2 bob buys 2 @ 103 MARKET",
            "m3 cid sells 1 @ 97 MARKET",
            "m4 dan buys 2/6 @ 96 MARKET",
            "m5 dan buys 2/4 @ 95 MARKET",
        ],
        when="status POST_ONLY",  # 95, 96: up to 6/0, 97 to 103: 2/6
        then=[
            "auction: 2 @ 100",
            "m2 takes 2 @ 100 from m1, m1 has 3 left, m2 0",
            "m4 is cancelled with 2 left: IOC_UNFILLED",
            "m5 is cancelled with 2 left: IOC_UNFILLED",
            "m1 is cancelled with 3 left: IOC_UNFILLED",
            "m3 is cancelled with 1 left: IOC_UNFILLED",
            "status POST_ONLY",
        ],
        reference=(100, 100),
    ),
    Case(
        "market orders end even when nothing trades, and there is no auction then",
        status="AUCTION",
        before=["m1 ann buys 5 @ 97 MARKET", "b1 bob buys 1 @ 96", "s1 bob sells 2 @ 103"],
        when="status TRADING",
        then=["m1 is cancelled with 5 left: IOC_UNFILLED", "status TRADING"],
        after=["b1 bob buys 1 @ 96", "s1 bob sells 2 @ 103"],
    ),
    Case(
        "market orders to sell end even when nothing trades as well",
        status="AUCTION",
        before=["b1 bob buys 1 @ 96", "s1 bob sells 2 @ 103", "m1 ann sells 5 @ 97 MARKET"],
        when="status TRADING",
        then=["m1 is cancelled with 5 left: IOC_UNFILLED", "status TRADING"],
        after=["b1 bob buys 1 @ 96", "s1 bob sells 2 @ 103"],
    ),
    *(
        Case(
            f"a market order that {verb} ends even when it stands alone, before {status}",
            status="AUCTION",
            before=[f"m1 ann {verb} 5 @ 100 MARKET"],
            when=f"status {status}",
            then=["m1 is cancelled with 5 left: IOC_UNFILLED", f"status {status}"],
        )
        for verb in ("buys", "sells")
        for status in ("TRADING", "POST_ONLY")
    ),
    Case(
        "a post-only order that others crossed in the auction trades like any other",
        status="AUCTION",
        before=["b1 ann buys 5 @ 100 GTX", "s1 bob sells 2 @ 99"],
        when="status TRADING",
        then=["auction: 2 @ 100", "s1 takes 2 @ 100 from b1, b1 has 3 left, s1 0", "status TRADING"],
        after=["b1 ann buys 3/5 @ 100"],
    ),
    Case(
        "a book that is not crossed is let alone",
        status="AUCTION",
        before=["b1 ann buys 5 @ 100", "s1 bob sells 2 @ 101"],
        when="status TRADING",
        then=["status TRADING"],
        after=["b1 ann buys 5 @ 100", "s1 bob sells 2 @ 101"],
        last=100,
    ),
    Case(
        "limits that a market order went before may still cross; they are cleared at a price of their own",
        status="AUCTION",
        before=["b1 ann buys 5 @ 100", "b2 ann buys 5 @ 95", "s1 bob sells 4 @ 95", "m1 cid sells 6 @ 100 MARKET"],
        when="status TRADING",  # 95: 10/4, 96 to 99: 5/4, 100: 5/10; then 95: 5/4
        then=[
            "auction: 5 @ 100",
            "m1 takes 5 @ 100 from b1, b1 has 0 left, m1 1",
            "auction: 4 @ 95",
            "s1 takes 4 @ 95 from b2, b2 has 1 left, s1 0",
            "m1 is cancelled with 1 left: IOC_UNFILLED",
            "status TRADING",
        ],
        after=["b2 ann buys 1/5 @ 95"],
    ),
    *(
        Case(
            f"a crossed book with market orders is cleared from {before} to {after}",
            status=before,
            before=["m1 ann buys 5 @ 103 MARKET", "b1 ann buys 1 @ 101", "s1 bob sells 2 @ 101"],
            when=f"status {after}",  # 101: 6/2, 102, 103: 5/2
            then=[
                "auction: 2 @ 103",
                "s1 takes 2 @ 103 from m1, m1 has 3 left, s1 0",
                "m1 is cancelled with 3 left: IOC_UNFILLED",
                f"status {after}",
            ],
            after=["b1 ann buys 1 @ 101"],
        )
        for before in ("AUCTION", "HALTED", "CANCEL_ONLY")
        for after in ("TRADING", "POST_ONLY")
    ),
]

CROSSED_BY_ANN = ["b1 ann buys 5 @ 102", "b2 bob buys 3 @ 101"]


def sold(mode: str) -> list[str]:
    """A crossed book whose heads are of one account; the seller came later. Round 1: 100, 101: 8/6, 102: 5/6, so at 101."""
    return [*CROSSED_BY_ANN, f"s1 ann sells 4 @ 100 {mode}", "s2 cid sells 2 @ 100"]


PREVENTIONS = [
    Case(
        "CANCEL_NEWEST ends the newer head, and the price is found anew",
        status="AUCTION",
        before=sold("CANCEL_NEWEST"),
        when="status TRADING",  # 100, 101: 8/2, 102: 5/2
        then=[
            "s1 is cancelled with 4 left: SELF_TRADE_PREVENTED",
            "auction: 2 @ 102",
            "s2 takes 2 @ 102 from b1, b1 has 3 left, s2 0",
            "status TRADING",
        ],
        after=["b1 ann buys 3/5 @ 102", "b2 bob buys 3 @ 101"],
    ),
    Case(
        "CANCEL_OLDEST ends the older head",
        status="AUCTION",
        before=sold("CANCEL_OLDEST"),
        when="status TRADING",  # 100, 101: 3/6
        then=[
            "b1 is cancelled with 5 left: SELF_TRADE_PREVENTED",
            "auction: 3 @ 101",
            "s1 takes 3 @ 101 from b2, b2 has 0 left, s1 1",
            "status TRADING",
        ],
        after=["s1 ann sells 1/4 @ 100", "s2 cid sells 2 @ 100"],
    ),
    Case(
        "CANCEL_BOTH ends the older head, then the newer",
        status="AUCTION",
        before=sold("CANCEL_BOTH"),
        when="status TRADING",  # 100, 101: 3/2
        then=[
            "b1 is cancelled with 5 left: SELF_TRADE_PREVENTED",
            "s1 is cancelled with 4 left: SELF_TRADE_PREVENTED",
            "auction: 2 @ 101",
            "s2 takes 2 @ 101 from b2, b2 has 1 left, s2 0",
            "status TRADING",
        ],
        after=["b2 bob buys 1/3 @ 101"],
    ),
    Case(
        "DECREMENT takes the overlap from both heads",
        status="AUCTION",
        before=sold("DECREMENT"),
        when="status TRADING",  # 100, 101: 4/2, 102: 1/2
        then=[
            "s1 and b1 lose 4, b1 has 1 left, s1 0",
            "s1 is cancelled with 0 left: SELF_TRADE_PREVENTED",
            "auction: 2 @ 101",
            "s2 takes 1 @ 101 from b1, b1 has 0 left, s2 1",
            "s2 takes 1 @ 101 from b2, b2 has 2 left, s2 0",
            "status TRADING",
        ],
        after=["b2 bob buys 2/3 @ 101"],
    ),
    Case(
        "DECREMENT of equal heads ends the older, then the newer",
        status="HALTED",
        before=["b1 ann buys 4/5 @ 102", "s1 ann sells 4 @ 100 DECREMENT"],
        when="status TRADING",
        then=[
            "s1 and b1 lose 4, b1 has 0 left, s1 0",
            "b1 is cancelled with 0 left: SELF_TRADE_PREVENTED",
            "s1 is cancelled with 0 left: SELF_TRADE_PREVENTED",
            "status TRADING",
        ],
    ),
    Case(
        "DECREMENT takes what the two still have in this line-up, and leaves what would have traded",
        status="AUCTION",
        before=["b1 ann buys 5 @ 102", "s1 cid sells 3 @ 100", "s2 ann sells 4 @ 100 DECREMENT"],
        when="status TRADING",  # 100 to 102: 5/7, then 3/5
        then=[
            "s2 and b1 lose 2, b1 has 3 left, s2 2",
            "auction: 3 @ 102",
            "s1 takes 3 @ 102 from b1, b1 has 0 left, s1 0",
            "status TRADING",
        ],
        after=["s2 ann sells 2/4 @ 100"],
    ),
    Case(
        "orders that end by prevention have all that they had left, also what would have traded",
        status="AUCTION",
        before=["b1 ann buys 5/6 @ 102", "s1 cid sells 3 @ 100", "s2 ann sells 4 @ 100 CANCEL_BOTH"],
        when="status TRADING",  # 100 to 102: 5/7
        then=[
            "b1 is cancelled with 5 left: SELF_TRADE_PREVENTED",
            "s2 is cancelled with 4 left: SELF_TRADE_PREVENTED",
            "status TRADING",
        ],
        after=["s1 cid sells 3 @ 100"],
    ),
    Case(
        "the newer of two heads decides, here the buyer",
        status="AUCTION",
        when=[
            "place s1 ann sells 4 @ 100 CANCEL_BOTH",
            "place b1 ann buys 5 @ 102 CANCEL_OLDEST",
            "place s2 bob sells 1 @ 101",
            "status TRADING",
        ],
        then=[
            "s1 rests: sells 4 @ 100",
            "b1 rests: buys 5 @ 102",
            "s2 rests: sells 1 @ 101",
            "s1 is cancelled with 4 left: SELF_TRADE_PREVENTED",
            "auction: 1 @ 102",
            "s2 takes 1 @ 102 from b1, b1 has 4 left, s2 0",
            "status TRADING",
        ],
        after=["b1 ann buys 4/5 @ 102"],
    ),
    Case(
        "an order that an amend sent to the back is the newer",
        status="AUCTION",
        before=["b1 ann buys 5 @ 102 CANCEL_OLDEST", "s1 ann sells 4 @ 100 CANCEL_BOTH"],
        when=["amend b1 to 6 @ 102", "status TRADING"],
        then=[
            "b1 is amended to 6/6 @ 102 and goes to the back",
            "b1 rests: buys 6 @ 102",
            "s1 is cancelled with 4 left: SELF_TRADE_PREVENTED",
            "status TRADING",
        ],
        after=["b1 ann buys 6 @ 102"],
    ),
    Case(
        "an order that an amend left in its place is not the newer for it",
        status="AUCTION",
        before=["b1 ann buys 5 @ 102 CANCEL_OLDEST", "s1 ann sells 4 @ 100 CANCEL_BOTH"],
        when=["amend b1 to 3 @ 102", "status TRADING"],
        then=[
            "b1 is amended to 3/3 @ 102 and keeps its place",
            "b1 is cancelled with 3 left: SELF_TRADE_PREVENTED",
            "s1 is cancelled with 4 left: SELF_TRADE_PREVENTED",
            "status TRADING",
        ],
    ),
    Case(
        "a market order meets its own account's order by the newer one's mode as well",
        status="AUCTION",
        before=["m1 ann buys 5 @ 105 MARKET CANCEL_BOTH", "b1 bob buys 2 @ 101", "s1 ann sells 3 @ 100 DECREMENT", "s2 cid sells 1 @ 100"],
        when="status TRADING",  # 100, 101: 7/4, 102 to 105: 5/4; then 100, 101: 4/1, 102 to 105: 2/1
        then=[
            "s1 and m1 lose 3, m1 has 2 left, s1 0",
            "s1 is cancelled with 0 left: SELF_TRADE_PREVENTED",
            "auction: 1 @ 105",
            "s2 takes 1 @ 105 from m1, m1 has 1 left, s2 0",
            "m1 is cancelled with 1 left: IOC_UNFILLED",
            "status TRADING",
        ],
        after=["b1 bob buys 2 @ 101"],
    ),
    Case(
        "preventions move the price, and at the new one others meet: three rounds",
        status="AUCTION",
        before=[
            "b1 ann buys 5 @ 104",
            "b2 bob buys 3 @ 101",
            "s1 ann sells 6 @ 100",
            "s2 cid sells 2 @ 100",
            "s3 ann sells 3 @ 103",
        ],
        when="status TRADING",  # 100, 101: 8/8, 102: 5/8; then 100, 101: 8/2, 102: 5/2, 103, 104: 5/5; then 102 to 104: 5/2
        then=[
            "s1 is cancelled with 6 left: SELF_TRADE_PREVENTED",
            "s3 is cancelled with 3 left: SELF_TRADE_PREVENTED",
            "auction: 2 @ 104",
            "s2 takes 2 @ 104 from b1, b1 has 3 left, s2 0",
            "status TRADING",
        ],
        after=["b1 ann buys 3/5 @ 104", "b2 bob buys 3 @ 101"],
    ),
    Case(
        "one round carries out every prevention it meets",
        status="AUCTION",
        before=[
            "b1 ann buys 2 @ 103",
            "b2 bob buys 2 @ 102",
            "s1 ann sells 2 @ 99 CANCEL_BOTH",
            "s2 bob sells 2 @ 100 CANCEL_BOTH",
        ],
        when="status TRADING",  # 100 to 102: 4/4
        then=[
            "b1 is cancelled with 2 left: SELF_TRADE_PREVENTED",
            "s1 is cancelled with 2 left: SELF_TRADE_PREVENTED",
            "b2 is cancelled with 2 left: SELF_TRADE_PREVENTED",
            "s2 is cancelled with 2 left: SELF_TRADE_PREVENTED",
            "status TRADING",
        ],
    ),
    Case(
        "an order that ended has left the line: CANCEL_NEWEST of a seller before two own buyers",
        status="AUCTION",
        before=["b1 ann buys 2 @ 102", "b2 ann buys 2 @ 102", "s1 ann sells 4 @ 100"],
        when="status TRADING",
        then=["s1 is cancelled with 4 left: SELF_TRADE_PREVENTED", "status TRADING"],
        after=["b1 ann buys 2 @ 102", "b2 ann buys 2 @ 102"],
    ),
    Case(
        "an order that ended has left the line: CANCEL_NEWEST of a buyer before two own sellers",
        status="AUCTION",
        before=["s1 ann sells 2 @ 100", "s2 ann sells 2 @ 100", "b1 ann buys 4 @ 102"],
        when="status TRADING",
        then=["b1 is cancelled with 4 left: SELF_TRADE_PREVENTED", "status TRADING"],
        after=["s1 ann sells 2 @ 100", "s2 ann sells 2 @ 100"],
    ),
    Case(
        "an order that ended has left the line: CANCEL_OLDEST of two own sellers before a buyer",
        status="AUCTION",
        before=["b1 ann buys 4 @ 102", "s1 ann sells 2 @ 100 CANCEL_OLDEST", "s2 ann sells 2 @ 100 CANCEL_OLDEST"],
        when="status TRADING",
        then=["b1 is cancelled with 4 left: SELF_TRADE_PREVENTED", "status TRADING"],
        after=["s1 ann sells 2 @ 100", "s2 ann sells 2 @ 100"],
    ),
    Case(
        "CANCEL_OLDEST of a seller goes on to the next own buyer",
        status="AUCTION",
        before=["b1 ann buys 2 @ 102", "b2 ann buys 2 @ 102", "s1 ann sells 4 @ 100 CANCEL_OLDEST"],
        when="status TRADING",
        then=["b1 is cancelled with 2 left: SELF_TRADE_PREVENTED", "b2 is cancelled with 2 left: SELF_TRADE_PREVENTED", "status TRADING"],
        after=["s1 ann sells 4 @ 100"],
    ),
    Case(
        "DECREMENT of a seller goes on to the next own buyer with what it still has",
        status="AUCTION",
        before=["b1 ann buys 2 @ 102", "b2 ann buys 3 @ 102", "s1 ann sells 4 @ 100 DECREMENT"],
        when="status TRADING",
        then=[
            "s1 and b1 lose 2, b1 has 0 left, s1 2",
            "b1 is cancelled with 0 left: SELF_TRADE_PREVENTED",
            "s1 and b2 lose 2, b2 has 1 left, s1 0",
            "s1 is cancelled with 0 left: SELF_TRADE_PREVENTED",
            "status TRADING",
        ],
        after=["b2 ann buys 1/3 @ 102"],
    ),
    Case(
        "own orders that do not meet in the lines are let alone",
        status="AUCTION",
        before=["b1 ann buys 2 @ 103", "b2 bob buys 2 @ 102", "s1 bob sells 2 @ 99 CANCEL_BOTH", "s2 ann sells 2 @ 100 CANCEL_BOTH"],
        when="status TRADING",  # 100 to 102: 4/4
        then=[
            "auction: 4 @ 102",
            "s1 takes 2 @ 102 from b1, b1 has 0 left, s1 0",
            "s2 takes 2 @ 102 from b2, b2 has 0 left, s2 0",
            "status TRADING",
        ],
    ),
]

AFTERWARDS = [
    Case(
        "stops act after the auction by its price, in order of arrival, and what they do may set off more",
        status="AUCTION",
        before=[
            "b1 ann buys 5 @ 102",
            "s1 bob sells 3 @ 100",
            "s2 bob sells 1 @ 104",
            "t1 cid buys 1 @ 90 when LAST >= 104",
            "t2 cid buys 1 @ 104 IOC when LAST >= 102",
            "t3 cid sells 1 @ 102 when LAST <= 102",
        ],
        when="status TRADING",  # 100 to 102: 5/3
        then=[
            "auction: 3 @ 102",
            "s1 takes 3 @ 102 from b1, b1 has 2 left, s1 0",
            "status TRADING",
            "t2 is triggered by LAST 102",
            "t2 takes 1 @ 104 from s2, s2 has 0 left, t2 0",
            "t3 is triggered by LAST 102",
            "t3 takes 1 @ 102 from b1, b1 has 1 left, t3 0",
            "t1 is triggered by LAST 104",
            "t1 rests: buys 1 @ 90",
        ],
        after=["b1 ann buys 1/5 @ 102", "t1 cid buys 1 @ 90"],
    ),
    Case(
        "post-only status uncrosses but lets no stop act; trading does later",
        status="AUCTION",
        before=["b1 ann buys 5 @ 102", "s1 bob sells 3 @ 100", "t1 cid buys 1 @ 90 when LAST >= 101"],
        when=["status POST_ONLY", "status TRADING"],
        then=[
            "auction: 3 @ 102",
            "s1 takes 3 @ 102 from b1, b1 has 2 left, s1 0",
            "status POST_ONLY",
            "status TRADING",
            "t1 is triggered by LAST 102",
            "t1 rests: buys 1 @ 90",
        ],
        after=["b1 ann buys 2/5 @ 102", "t1 cid buys 1 @ 90"],
    ),
    Case(
        "the range does not bind the uncross, but what is triggered after it",
        status="AUCTION",
        range=(95, 99),
        before=["b1 ann buys 5 @ 102", "s1 bob sells 3 @ 100", "s2 bob sells 1 @ 104", "t1 cid buys 1 @ 104 IOC when LAST >= 102"],
        when="status TRADING",
        then=[
            "auction: 3 @ 102",
            "s1 takes 3 @ 102 from b1, b1 has 2 left, s1 0",
            "status TRADING",
            "t1 is triggered by LAST 102",
            "status HALTED by PRICE_BAND",
            "t1 is cancelled with 1 left: SYMBOL_HALTED",
        ],
        after=["b1 ann buys 2/5 @ 102", "s2 bob sells 1 @ 104"],
    ),
    Case(
        "a market order that is told to trade again is immediate",
        status="AUCTION",
        before=["s1 bob sells 3 @ 100"],
        when=["status TRADING", "place m1 ann buys 5 @ 103 MARKET"],
        then=["status TRADING", "m1 takes 3 @ 100 from s1, s1 has 0 left, m1 2", "m1 is cancelled with 2 left: IOC_UNFILLED"],
    ),
]


@pytest.mark.parametrize("case", LINES, ids=str)
def test_an_uncross_matches_the_heads_of_the_lines(book: BookLike, case: Case) -> None:
    case.holds_in(book)


@pytest.mark.parametrize("case", PREVENTIONS, ids=str)
def test_own_orders_do_not_trade_in_an_uncross(book: BookLike, case: Case) -> None:
    case.holds_in(book)


@pytest.mark.parametrize("case", AFTERWARDS, ids=str)
def test_the_market_goes_on_after_an_uncross(book: BookLike, case: Case) -> None:
    case.holds_in(book)
