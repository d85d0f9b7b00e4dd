"""What becomes of every kind of order in every status: played on the book, written as docs/order-outcomes.md.

    python -m tests.matching.outcomes --write

A test plays it again and fails when the document says otherwise.
"""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from api.errors import BadInput
from api.rest.parsing import parse_order
from matching.core.book import Book
from matching.core.messages import (
    BUY,
    CANCELLED,
    GTC,
    MARKET,
    PREVENTED,
    REFERENCE,
    REJECTED,
    STATUSES,
    TRADE,
    TRADING,
    BookLike,
)
from orders.acceptance import check_offered
from orders.commands import book_time_in_force
from orders.refusals import Refusal
from orders.requests import Principal
from tests.matching.tables import MODES, put_before

DOCUMENT = Path(__file__).resolve().parent.parent.parent / "docs" / "order-outcomes.md"

BY_QUOTE = "MARKET by quote"
STOPS = ("STOP", "TAKE_PROFIT", "STOP_LIMIT", "TAKE_PROFIT_LIMIT")
TYPES = ("LIMIT", "POST_ONLY", "MARKET", BY_QUOTE, *STOPS)
TIMES = ("GTC", "GTD", "IOC", "FOK", "GTX")
BY_BUDGET = -1  # beside the times in force of the book

SITUATIONS = {
    "nothing": [],
    "another's 9": ["s1 bob sells 9 @ 100"],
    "another's 2": ["s1 bob sells 2 @ 100"],
    "own 2": ["s1 ann sells 2 @ 100"],
    "own 2, then another's 9": ["s1 ann sells 2 @ 100", "s2 bob sells 9 @ 100"],
    "another's 2, then own 9": ["s1 bob sells 2 @ 100", "s2 ann sells 9 @ 100"],
    "another's 2, then 9 outside the range": ["s1 bob sells 2 @ 100", "s2 bob sells 9 @ 104"],
}
RANGE = (90, 102)

Kind = tuple[str, str]  # order type and time in force, as the client asks
Rows = dict[Kind, dict[str, tuple[str, ...]]]  # of each kind and prevention mode: a cell for each situation

INTRODUCTION = """\
# What becomes of an order

Order type × time in force × self-trade prevention mode × status of the symbol, each cell played on the book. This page is
written by `python -m tests.matching.outcomes --write` from `matching.core.book`; a test plays it again.

In every cell `ann` buys 5 lots at up to 105 (by quote: for 500), all offers stand at 100 and came before. *Own* orders are
`ann`'s. "2 filled" and "2 prevented" are lots; an order that trades or loses nothing says nothing of it. A POST_ONLY order is a
LIMIT order with GTX; GTD is GTC until it expires; a triggered STOP or TAKE_PROFIT is a market order at its protection price.
"""


# -- what intake takes


@cache
def at_intake(kind: Kind) -> tuple[str, int | None]:
    """The time in force that this combination is taken with, or its refusal; and the time in force that the book sees, or None."""
    asked, time = kind
    order_type = asked.removesuffix(" by quote")
    order = {"symbol": "TEST/USDT", "side": "BUY", "order_type": order_type, "time_in_force": time, "client_order_id": "1"}
    order["quote_quantity" if asked == BY_QUOTE else "quantity"] = "5"
    if "LIMIT" in order_type or order_type == "POST_ONLY":
        order["price"] = "105"
    if asked in STOPS:
        order["stop_price"] = "104"
    if time == "GTD":
        order["expire_at"] = "2100-01-01T00:00:00Z"
    rules: Any = SimpleNamespace(order_types=("LIMIT", "MARKET", *STOPS), market=SimpleNamespace(name="TEST/USDT"))
    try:
        parsed = parse_order(
            order,
            principal=Principal("documentation", 1, 1),
            account_of=lambda _: 1,
            symbols=["TEST/USDT"],
            now=lambda: datetime(2000, 1, 1, tzinfo=UTC),
        ).order
        check_offered(parsed, rules)
    except BadInput as refusal:
        return f"400 {refusal.code}", None
    except Refusal as refusal:
        return f"422 {refusal.code}", None
    return parsed.time_in_force, BY_BUDGET if asked == BY_QUOTE else book_time_in_force(parsed.order_type, parsed.time_in_force)


def time_in_the_book(kind: Kind) -> int:
    """Of a combination that intake takes."""
    time_in_force = at_intake(kind)[1]
    assert time_in_force is not None, kind
    return time_in_force


def taken(kinds: tuple[str, ...]) -> list[Kind]:
    """The combinations of these types that intake takes."""
    return [(kind, time) for kind in kinds for time in TIMES if at_intake((kind, time))[1] is not None]


# -- playing


def prepared(status: str, before: list[str]) -> BookLike:
    """A book in this status with these orders in it; a delisted one has none."""
    book = Book()
    book.set_range(*RANGE)
    book.set_status(status)
    put_before(book, [] if status == "DELISTED" else before)
    return book


def enter(book: BookLike, kind: Kind, mode: str) -> None:
    """Place the order, or as a stop have it triggered at once by the reference."""
    time_in_force, prevention = time_in_the_book(kind), MODES.index(mode)
    if kind[0] in STOPS:
        book.place_stop("b1", "ann", BUY, 105, 5, time_in_force, prevention, 104, True, REFERENCE)
        book.set_reference(104, 104)
    elif time_in_force == BY_BUDGET:
        book.place_by_budget("b1", "ann", 105, 500, prevention)
    else:
        book.place("b1", "ann", BUY, 105, 5, time_in_force, prevention)


def outcome(book: BookLike) -> str:
    """What became of b1 and of its account's other orders, in the words of the order's status."""
    trades = [event for event in book.events if event[0] == TRADE and "b1" in event[1:3]]
    filled = sum(event[4] for event in trades)
    prevented = sum(event[3] for event in book.events if event[0] == PREVENTED and "b1" in event[1:3])
    end = next((event for event in book.events if event[0] in (CANCELLED, REJECTED) and event[1] == "b1"), None)
    said = "FILLED"
    if end is not None:
        said = f"{end[0]} {end[-1]}"
    elif "b1" in book:
        said = "PARTIALLY_FILLED" if filled else "OPEN"
    if filled and said != "FILLED":
        said += f", {filled} filled"
    if prevented:
        said += f", {prevented} prevented"
    if any(event[0] == CANCELLED and event[1] != "b1" for event in book.events):
        said += "; own order CANCELLED"
    if ("STATUS", "HALTED", "PRICE_BAND") in book.events:
        said += "; symbol HALTED"
    return said


def play(status: str, kind: Kind, mode: str, before: list[str], then: str | None = None) -> str:
    """One cell. `then`: the status that follows, so that an auction uncrosses."""
    book = prepared(status, before)
    enter(book, kind, mode)
    if then is not None:
        book.set_status(then)
    return outcome(book)


def all_cells(status: str, kinds: list[Kind], then: str | None = None) -> Rows:
    """Every kind in every mode and situation."""
    return {
        kind: {mode: tuple(play(status, kind, mode, before, then) for before in SITUATIONS.values()) for mode in MODES} for kind in kinds
    }


# -- writing


def names(kinds: list[Kind]) -> str:
    """LIMIT GTC/GTD, MARKET IOC."""
    by_type: dict[str, list[str]] = {}
    for order_type, time in kinds:
        by_type.setdefault(order_type, []).append(time)
    return ", ".join(f"{order_type} {'/'.join(times)}" for order_type, times in by_type.items())


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def cells_table(cells: Rows) -> str:
    """Kinds that fare alike share their rows, and so do modes."""
    alike: dict[tuple[tuple[str, tuple[str, ...]], ...], list[Kind]] = {}
    for kind, by_mode in cells.items():
        alike.setdefault(tuple(by_mode.items()), []).append(kind)
    simple, wide = [], []
    for by_modes, kinds in alike.items():
        modes: dict[tuple[str, ...], list[str]] = {}
        for mode, row in by_modes:
            modes.setdefault(row, []).append(mode)
        if len(modes) == 1 and len(set(by_modes[0][1])) == 1:
            simple.append([names(kinds), by_modes[0][1][0]])
        else:
            wide += [[names(kinds), "any" if len(group) == len(MODES) else ", ".join(group), *row] for row, group in modes.items()]
    text = table(["order", "whatever stands opposite, in every mode"], simple) if simple else ""
    if wide:
        text += ("\n" if text else "") + table(["order", "mode", *SITUATIONS], wide)
    return text


def arriving_stops(status: str) -> str:
    """What is told of a stop that is placed."""
    cells = []
    for reference in ((103, 103), (104, 104)):
        told = set()
        for kind in taken(STOPS):
            for mode in range(len(MODES)):
                book = prepared(status, [])
                book.set_reference(*reference)
                book.events.clear()
                book.place_stop("b1", "ann", BUY, 105, 5, time_in_the_book(kind), mode, 104, True, REFERENCE)
                told.add(f"REJECTED {book.events[0][2]}" if book.events[0][0] == REJECTED else "PENDING_TRIGGER")
        cells.append(" or ".join(sorted(told)))
    return table(["stop that arrives", "price not reached", "price reached already"], [["all, in every mode", *cells]])


Change = Callable[[BookLike], None]
OPEN = ["b1 ann buys 5 @ 98", "s1 bob sells 5 @ 100"]
OPEN_POST_ONLY = ["b1 ann buys 5 @ 98 GTX", "s1 bob sells 5 @ 100"]
COLLECTED = ["b1 ann buys 5 @ 98 MARKET", "s1 bob sells 5 @ 100"]
WAITING = ["b1 ann buys 5 @ 95 when REFERENCE >= 104"]
COMES: dict[str, list[str]] = {
    "an open order": OPEN,
    "a market order that was collected": COLLECTED,
    "a waiting stop": WAITING,
}
CHANGES: dict[str, tuple[list[str], Change]] = {
    "cancel": (OPEN, lambda book: book.cancel("b1", "USER_CANCEL")),
    "amend to a total of 0": (OPEN, lambda book: book.amend("b1", 98, 0)),
    "amend, same price, smaller": (OPEN, lambda book: book.amend("b1", 98, 4)),
    "amend, same price, larger": (OPEN, lambda book: book.amend("b1", 98, 6)),
    "amend to a price that meets an offer": (OPEN, lambda book: book.amend("b1", 100, 5)),
    "the same of a post-only order": (OPEN_POST_ONLY, lambda book: book.amend("b1", 100, 5)),
    "amend of a market order that was collected": (COLLECTED, lambda book: book.amend("b1", 98, 4)),
    "cancel of a waiting stop": (WAITING, lambda book: book.cancel("b1", "USER_CANCEL")),
    "amend of a waiting stop": (WAITING, lambda book: book.amend("b1", 96, 9)),
    "the price of a waiting stop is reached": (WAITING, lambda book: book.set_reference(104, 104)),
}


def there_before(status: str, before: list[str]) -> BookLike:
    """A book to which this status came when these orders were there; collected ones came by an auction."""
    book = Book()
    if before is COLLECTED:
        book.set_status("AUCTION")
    put_before(book, before)
    book.set_status(status)
    return book


def told_of(book: BookLike) -> str:
    """What was told of b1 last, in short."""
    about = [event for event in book.events if "b1" in event[1:3]]
    if not about:
        return "stays" if "b1" in book else "there is none"
    match about[-1]:
        case ("CANCELLED" | "REFUSED" as kind, *_, reason):
            return f"{kind} {reason}"
        case ("AMENDED", *_, True):
            return "AMENDED, keeps its place"
        case ("TRADE", *_):
            return "AMENDED and trades"
        case ("RESTED", *_) if about[0][0] == "TRIGGERED":
            return "TRIGGERED and acts"
        case _:
            return "AMENDED, goes to the back"


def changed(status: str, before: list[str], change: Change) -> str:
    """What is told of a change in this status."""
    book = there_before(status, before)
    book.events.clear()
    change(book)
    return told_of(book)


def document() -> str:
    """The whole page."""
    placed = taken(("LIMIT", "POST_ONLY", "MARKET", BY_QUOTE))
    parts = [INTRODUCTION, "\n## What intake takes\n\nThe time in force that an order is taken with, or its refusal.\n\n"]
    parts.append(table(["order type", *TIMES], [[kind, *(at_intake((kind, time))[0] for time in TIMES)] for kind in TYPES]))
    for status in STATUSES:
        parts.append(f"\n## {status}\n\n{cells_table(all_cells(status, placed))}\n{arriving_stops(status)}")
        if status == TRADING:
            parts.append(f"\nOnce triggered:\n\n{cells_table(all_cells(status, taken(STOPS)))}")
        if status == "AUCTION":
            collected = [kind for kind in placed if time_in_the_book(kind) in (GTC, MARKET)]
            parts.append(f"\nWhat was collected, after the uncross:\n\n{cells_table(all_cells(status, collected, TRADING))}")
    rows = [[sentence, *(told_of(there_before(status, before)) for status in STATUSES)] for sentence, before in COMES.items()]
    parts.append(f"\n## Orders that are there when a status comes\n\n{table(['order', *STATUSES], rows)}")
    rows = [[sentence, *(changed(status, *change) for status in STATUSES)] for sentence, change in CHANGES.items()]
    parts.append(f"\nAnd what they are told in it:\n\n{table(['change', *STATUSES], rows)}")
    return "".join(parts)


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        DOCUMENT.write_text(document())
    else:
        print(document(), end="")
