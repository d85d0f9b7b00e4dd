"""Acceptance tables in words: the book before, a command, what happens, the book after.

Orders are written bids before asks, best price first, oldest first; waiting stops come last, in order of arrival:

    b1 ann buys 5 @ 100                               open with 5 of 5 lots
    b1 ann buys 2/5 @ 100 GTX                         2 of 5 lots left, post-only
    b1 ann buys 5 @ 105 MARKET                        collected by an auction, with its protection price; before all prices
    t1 ann buys 5 @ 103 IOC when LAST >= 102          a waiting stop and what it places when it is reached
    t1 ann buys 5 @ 103 DRIVEN when LAST >= 102       one that does not act by itself

Before, the lines may also stand in another order: the one in which the orders took their places.

Commands:

    place b1 ann buys 5 @ 100 IOC DECREMENT           GTC and CANCEL_NEWEST when nothing else is said
    spend 700 for b1 ann up to 102 DECREMENT          an order by budget
    stop t1 ann buys 5 @ 103 IOC when LAST >= 102     DECREMENT and the like before `when`
    amend b1 to 5 @ 101                               5 is the new total
    cancel b1 USER_CANCEL
    status HALTED
    reference 100 101
    range 95 105

Events are written as `told` below writes them.
"""

from dataclasses import dataclass, field

from matching.core import messages
from matching.core.messages import (
    AMENDED,
    AUCTIONED,
    BUY,
    CANCELLED,
    COMMAND,
    PREVENTED,
    REFUSED,
    REJECTED,
    RESTED,
    SELL,
    STATUS,
    TRADE,
    TRADING,
    TRIGGERED,
    WAITING,
    BookLike,
    Event,
)

TIMES_IN_FORCE = ("GTC", "IOC", "FOK", "GTX", "MARKET")
MODES = ("CANCEL_NEWEST", "CANCEL_OLDEST", "CANCEL_BOTH", "DECREMENT")
SIDES = {"buys": BUY, "sells": SELL}
SOURCES = {"LAST": messages.LAST, "REFERENCE": messages.REFERENCE}


@dataclass(frozen=True)
class Case:
    """One row of a table. `status`, `last`, `reference` and `range`: the symbol's before the command."""

    sentence: str
    when: str | list[str]
    then: list[str]
    before: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    status: str = TRADING
    last: int = 0
    reference: tuple[int, int] | None = None
    range: tuple[int, int] | None = None

    def __str__(self) -> str:
        return self.sentence

    def holds_in(self, book: BookLike) -> None:
        """Play the case in this empty book and compare what it tells and what it holds."""
        self.prepare(book)
        commands = [self.when] if isinstance(self.when, str) else self.when
        for command in commands:
            give(book, command)
        assert [told(event) for event in book.events] == self.then
        assert standing(book) == [without_words(line) for line in self.after]
        references = [command.split()[1:] for command in commands if command.startswith("reference ")]
        assert book.status == next((event[1] for event in reversed(book.events) if event[0] == STATUS), self.status)
        assert book.last == next((event[3] for event in reversed(book.events) if event[0] == TRADE), self.last)
        assert book.reference == next((tuple(map(int, ticks)) for ticks in reversed(references)), self.reference)
        book.check()

    def prepare(self, book: BookLike) -> None:
        """Recover this empty book to what is before the command: the status first, so that nothing is cleared."""
        if self.status != TRADING:
            book.set_status(self.status)
        book.last, book.reference = self.last, self.reference
        if self.range is not None:
            book.set_range(*self.range)
        put_before(book, self.before)
        book.events.clear()


def put_before(book: BookLike, lines: list[str]) -> None:
    """Fill an empty book with orders that already stand in their queues, and with stops that already wait."""
    book.events.clear()
    for line in lines:
        order_id, account, verb, lots, _, price, *words = line.split()
        left, _, total = lots.partition("/")
        if "when" in words:
            book.restore_stop(order_id, account, SIDES[verb], int(price), int(left), *conditional(words))
        else:
            book.restore(order_id, account, SIDES[verb], int(price), int(total or left), int(left), *choices(words))
    assert book.events == [], "restoring tells something"
    assert sorted(standing(book)) == sorted(without_words(line) for line in lines), "restoring is broken"


def give(book: BookLike, command: str) -> None:
    """Carry out one command written in words."""
    verb, *rest = command.split()
    match verb, rest:
        case "place", [order_id, account, side, lots, "@", price, *words]:
            book.place(order_id, account, SIDES[side], int(price), int(lots), *choices(words))
        case "spend", [budget, "for", order_id, account, "up", "to", price, *words]:
            book.place_by_budget(order_id, account, int(price), int(budget), choices(words)[1])
        case "stop", [order_id, account, side, lots, "@", price, *words]:
            book.place_stop(order_id, account, SIDES[side], int(price), int(lots), *conditional(words))
        case "amend", [order_id, "to", total, "@", price]:
            book.amend(order_id, int(price), int(total))
        case "cancel", [order_id, reason]:
            book.cancel(order_id, reason)
        case "status", [status]:
            book.set_status(status)
        case "reference", [low, high]:
            book.set_reference(int(low), int(high))
        case "range", [low, high]:
            book.set_range(int(low), int(high))
        case _:
            raise AssertionError(f"no such command: {command}")


def choices(words: list[str]) -> tuple[int, int]:
    """Time in force and prevention mode among these words."""
    assert set(words) <= {*TIMES_IN_FORCE, *MODES}, words
    time_in_force = next((word for word in words if word in TIMES_IN_FORCE), "GTC")
    prevention = next((word for word in words if word in MODES), "CANCEL_NEWEST")
    return getattr(messages, time_in_force), getattr(messages, prevention)


def conditional(words: list[str]) -> tuple[int, int, int, bool, int, bool]:
    """Time in force, prevention mode, stop, whether it is rising, source, whether it acts: `IOC when LAST >= 102`."""
    *before, when, source, direction, stop = words
    assert when == "when" and direction in ("<=", ">="), words
    return *choices([word for word in before if word != "DRIVEN"]), int(stop), direction == ">=", SOURCES[source], "DRIVEN" not in before


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
        case (kind, status, cause) if kind == STATUS:
            return f"status {status}" if cause == COMMAND else f"status {status} by {cause}"
        case (kind, order_id, stop) if kind == WAITING:
            return f"{order_id} waits for {stop}"
        case (kind, order_id, source, price) if kind == TRIGGERED:
            return f"{order_id} is triggered by {source_name(source)} {price}"
        case (kind, price, lots) if kind == AUCTIONED:
            return f"auction: {lots} @ {price}"
        case _:
            raise AssertionError(f"no such event: {event}")


def source_name(source: int) -> str:
    """LAST or REFERENCE."""
    return next(name for name, number in SOURCES.items() if number == source)


def standing(book: BookLike) -> list[str]:
    """Open orders and waiting stops in words, and on the way: that levels, length and membership say the same."""
    lines = []
    for side, verb in ((BUY, "buys"), (SELL, "sells")):
        queue = list(book.queue(side))
        in_levels = sum(lots for _, lots in book.levels(side))
        levels: dict[int, int] = {}
        for position, (order_id, account, price, total, left) in enumerate(queue):
            collected = sum(entry[4] for entry in queue[position:]) > in_levels
            lines.append(f"{order_id} {account} {verb} {left if left == total else f'{left}/{total}'} @ {price}{' MARKET' * collected}")
            if not collected:
                levels[price] = levels.get(price, 0) + left
            assert order_id in book
        assert list(book.levels(side)) == list(levels.items())
        assert all(book.level(side, price) == levels.get(price, 0) for price in {entry[2] for entry in queue})
    for order_id, account, side, price, lots, stop, rising, source in book.waiting():
        verb = "buys" if side == BUY else "sells"
        direction = ">=" if rising else "<="
        lines.append(f"{order_id} {account} {verb} {lots} @ {price} when {source_name(source)} {direction} {stop}")
        assert order_id in book
    assert len(book) == len(lines)
    return lines


def without_words(line: str) -> str:
    """The part of an order's line that a book shows: no time in force but MARKET of a collected order, no prevention mode."""
    words = line.split()
    shown = words[:6]
    if "when" in words:
        shown += words[words.index("when") :]
    elif "MARKET" in words:
        shown.append("MARKET")
    return " ".join(shown)
