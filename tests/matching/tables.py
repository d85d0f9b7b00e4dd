"""Acceptance tables in words: the book before, a command, what happens, the book after.

Orders are written as they stand in the queue, best price first, oldest first, bids before asks:

    b1 ann buys 5 @ 100             open with 5 of 5 lots
    b1 ann buys 2/5 @ 100 GTX       2 of 5 lots left, post-only

Commands:

    place b1 ann buys 5 @ 100 IOC DECREMENT       GTC and CANCEL_NEWEST when nothing else is said
    spend 700 for b1 ann up to 102 DECREMENT      an order by budget
    amend b1 to 5 @ 101                           5 is the new total
    cancel b1 USER_CANCEL
    status HALTED

Events are written as `told` below writes them.
"""

from dataclasses import dataclass, field

from matching.core import messages
from matching.core.messages import (
    AMENDED,
    BUY,
    CANCELLED,
    PREVENTED,
    REFUSED,
    REJECTED,
    RESTED,
    SELL,
    STATUS,
    TRADE,
    TRADING,
    BookLike,
    Event,
)

TIMES_IN_FORCE = ("GTC", "IOC", "FOK", "GTX")
MODES = ("CANCEL_NEWEST", "CANCEL_OLDEST", "CANCEL_BOTH", "DECREMENT")
SIDES = {"buys": BUY, "sells": SELL}


@dataclass(frozen=True)
class Case:
    """One row of a table. `status` is the symbol's before the command."""

    sentence: str
    when: str | list[str]
    then: list[str]
    before: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    status: str = TRADING

    def __str__(self) -> str:
        return self.sentence

    def holds_in(self, book: BookLike) -> None:
        """Play the case in this empty book and compare what it tells and what it holds."""
        put_before(book, self.before)
        if self.status != TRADING:
            book.set_status(self.status)
        book.events.clear()
        for command in [self.when] if isinstance(self.when, str) else self.when:
            give(book, command)
        assert [told(event) for event in book.events] == self.then
        assert standing(book) == [without_words(line) for line in self.after]
        book.check()


def put_before(book: BookLike, lines: list[str]) -> None:
    """Fill an empty book with orders that already stand in their queues."""
    for line in lines:
        order_id, account, verb, lots, _, price, *words = line.split()
        left, _, total = lots.partition("/")
        time_in_force, prevention = choices(words)
        book.restore(order_id, account, SIDES[verb], int(price), int(total or left), int(left), time_in_force, prevention)
    assert standing(book) == [without_words(line) for line in lines], "the lines before are not in queue order, or restore is broken"


def give(book: BookLike, command: str) -> None:
    """Carry out one command written in words."""
    verb, *rest = command.split()
    match verb, rest:
        case "place", [order_id, account, side, lots, "@", price, *words]:
            book.place(order_id, account, SIDES[side], int(price), int(lots), *choices(words))
        case "spend", [budget, "for", order_id, account, "up", "to", price, *words]:
            book.place_by_budget(order_id, account, int(price), int(budget), choices(words)[1])
        case "amend", [order_id, "to", total, "@", price]:
            book.amend(order_id, int(price), int(total))
        case "cancel", [order_id, reason]:
            book.cancel(order_id, reason)
        case "status", [status]:
            book.set_status(status)
        case _:
            raise AssertionError(f"no such command: {command}")


def choices(words: list[str]) -> tuple[int, int]:
    """Time in force and prevention mode among these words."""
    assert set(words) <= {*TIMES_IN_FORCE, *MODES}, words
    time_in_force = next((word for word in words if word in TIMES_IN_FORCE), "GTC")
    prevention = next((word for word in words if word in MODES), "CANCEL_NEWEST")
    return getattr(messages, time_in_force), getattr(messages, prevention)


def told(event: Event) -> str:
    """An event in words; every item of the tuple is in it."""
    match event:
        case (kind, order_id, side, price, left) if kind == RESTED:
            return f"{order_id} rests: {'buys' if side == BUY else 'sells'} {left} @ {price}"
        case (kind, maker, taker, price, lots, maker_left, taker_left) if kind == TRADE:
            return f"{taker} takes {lots} @ {price} from {maker}, {maker} has {maker_left} left, {taker} {taker_left}"
        case (kind, resting, incoming, lots, resting_left, incoming_left) if kind == PREVENTED:
            return f"{incoming} and {resting} lose {lots}, {resting} has {resting_left} left, {incoming} {incoming_left}"
        case (kind, order_id, left, reason) if kind == CANCELLED:
            return f"{order_id} is cancelled with {left} left: {reason}"
        case (kind, order_id, reason) if kind == REJECTED:
            return f"{order_id} is rejected: {reason}"
        case (kind, order_id, price, total, left, kept_place) if kind == AMENDED:
            place = {True: "keeps its place", False: "goes to the back"}[kept_place]
            return f"{order_id} is amended to {left}/{total} @ {price} and {place}"
        case (kind, order_id, code) if kind == REFUSED:
            return f"{order_id} is refused: {code}"
        case (kind, status, _) if kind == STATUS:
            return f"status {status}"
        case _:
            raise AssertionError(f"no such event: {event}")


def standing(book: BookLike) -> list[str]:
    """The open orders in words, and on the way: that levels, length and membership say the same as the queues."""
    lines = []
    for side, verb in ((BUY, "buys"), (SELL, "sells")):
        levels: dict[int, int] = {}
        for order_id, account, price, total, left in book.queue(side):
            lines.append(f"{order_id} {account} {verb} {left if left == total else f'{left}/{total}'} @ {price}")
            levels[price] = levels.get(price, 0) + left
            assert order_id in book
        assert list(book.levels(side)) == list(levels.items())
        assert all(book.level(side, price) == lots for price, lots in levels.items())
    assert len(book) == len(lines)
    return lines


def without_words(line: str) -> str:
    """The part of an order's line that a book shows: neither time in force nor prevention mode."""
    return " ".join(line.split()[:6])
