"""Drives the naive and the fast book with the same commands and stops at the first difference."""

import random
from collections.abc import Hashable

from matching.core.book import Book
from matching.core.messages import (
    AUCTIONED,
    BUY,
    CANCELLED,
    FOK,
    GTC,
    GTX,
    IOC,
    LAST,
    MARKET,
    POST_ONLY,
    REFERENCE,
    SELL,
    STATUS,
    STATUSES,
    TRADING,
    TRIGGERED,
    BookLike,
    Event,
    InvalidCommand,
)
from tests.matching.laws import Command, Conservation, Laws
from tests.matching.naive_book import NaiveBook

ACCOUNTS = ("ann", "bob", "cid")
LOWEST, HIGHEST = 95, 105
TIMES_IN_FORCE = (GTC, GTC, GTC, GTC, IOC, FOK, FOK, GTX, MARKET)
NO_RANGE = (0, 2**62)


class SideBySide:
    """Two books that are told the same."""

    def __init__(self, naive: type[BookLike] = NaiveBook, fast: type[BookLike] = Book) -> None:
        self.kinds = (naive, fast)
        self.naive, self.fast = naive(), fast()
        self.conservation = Conservation()
        self.laws = Laws()
        self.seen: set[str] = set()  # event kinds, reasons and encounters, so that a test can ask whether chance met them all

    def give(self, command: Command) -> None:
        """Carry out one command on both, compare, and check what must hold; what no recovery would restore is left out.

        Beside the commands of books there is ("recover", ()): both begin anew from what they show.
        """
        method, arguments = command
        if method == "recover":
            self._recover()
        elif method == "restore" and self._would_not_be_restored(arguments[2], arguments[3], arguments[6]):
            return
        else:
            self._carry_out(command)
        self.compare()

    def _carry_out(self, command: Command) -> None:
        method, arguments = command
        resting = {order_id: left for side in (BUY, SELL) for order_id, _, _, _, left in self.naive.queue(side)}
        errors = []
        for book in (self.naive, self.fast):
            try:
                getattr(book, method)(*arguments)
            except InvalidCommand:
                errors.append(book)
        expected, got = self.naive.events, self.fast.events
        assert got == expected, command
        assert len(errors) in (0, 2), f"only {errors[0]} refuses {command}"
        if errors:
            assert not got, "an invalid command told something"
            self.seen.add("InvalidCommand")
            return
        self.conservation.record(command, expected)
        self.laws.record(command, expected, resting)
        self._see(expected)
        expected.clear()
        got.clear()

    def compare(self) -> None:
        """What the two show, and what must hold of both."""
        naive, fast = self.naive, self.fast
        assert (fast.status, fast.last, fast.reference) == (naive.status, naive.last, naive.reference)
        for side in (BUY, SELL):
            assert list(fast.queue(side)) == list(naive.queue(side))
            levels = list(naive.levels(side))
            assert list(fast.levels(side)) == levels
            assert all(fast.level(side, price) == lots for price, lots in levels)
        assert list(fast.waiting()) == list(naive.waiting())
        assert fast.indicative() == naive.indicative()
        assert len(fast) == len(naive)
        fast.check()
        naive.check()
        self.conservation.check(fast)
        self.laws.check(fast)

    def finish(self) -> None:
        """Ask both about every price and every id, those that are not there included."""
        for side in (BUY, SELL):
            for price in range(LOWEST - 1, HIGHEST + 2):
                assert self.fast.level(side, price) == self.naive.level(side, price)
        for order_id in self.laws.terms:
            assert (order_id in self.fast) == (order_id in self.naive)

    def _recover(self) -> None:
        """Two new books, filled from what the old ones show, in the order in which orders took their places."""
        self.naive, self.fast = (self._recovered(kind, old) for kind, old in zip(self.kinds, (self.naive, self.fast), strict=True))
        self.seen.add("recovered")

    def _recovered(self, kind: type[BookLike], old: BookLike) -> BookLike:
        new = kind()
        if old.status != TRADING:
            new.set_status(old.status)
        new.last, new.reference = old.last, old.reference
        new.set_range(*self.laws.range)
        new.events.clear()
        orders = [(side, *entry) for side in (BUY, SELL) for entry in old.queue(side)]
        for side, order_id, account, price, total, left in sorted(orders, key=lambda order: self.laws.taken_at[order[1]]):
            terms = self.laws.terms[order_id]
            new.restore(order_id, account, side, price, total, left, terms.time_in_force, terms.prevention)
        for order_id, account, side, price, lots, stop, rising, source in old.waiting():
            terms = self.laws.terms[order_id]
            new.restore_stop(order_id, account, side, price, lots, terms.time_in_force, terms.prevention, stop, rising, source, terms.acts)
        assert new.events == [], "restoring tells something"
        for side in (BUY, SELL):
            assert list(new.queue(side)) == list(old.queue(side))
            assert list(new.levels(side)) == list(old.levels(side))
        assert list(new.waiting()) == list(old.waiting())
        assert new.indicative() == old.indicative()
        return new

    def _would_not_be_restored(self, side: int, price: int, time_in_force: int) -> bool:
        """A book that matches is not crossed and has no market orders in it."""
        if self.naive.status not in (TRADING, POST_ONLY):
            return False
        best = next(self.naive.levels(1 - side), None)
        crosses = best is not None and (price >= best[0] if side == BUY else price <= best[0])
        return crosses or time_in_force == MARKET

    def _see(self, events: list[Event]) -> None:
        kinds = [event[0] for event in events]
        for event in events:
            if event[0] == TRIGGERED and not self.laws.terms[event[1]].acts:
                self.seen.add("TRIGGERED and handed over")
            elif event[0] == TRIGGERED:
                self.seen.add("TRIGGERED LAST" if event[2] == LAST else "TRIGGERED REFERENCE")
            else:
                self.seen.add(" ".join(str(item) for item in event if isinstance(item, (str, bool))))
        if AUCTIONED in kinds and any(event[0] == CANCELLED for event in events[: kinds.index(AUCTIONED)]):
            self.seen.add("preventions before an uncross")
        if AUCTIONED in kinds and TRIGGERED in kinds:
            self.seen.add("stops after an uncross")
        if kinds.count(AUCTIONED) > 1:
            self.seen.add("an uncross at two prices")
        if kinds.count(TRIGGERED) > 2:
            self.seen.add("a cascade")
        if TRIGGERED in kinds and STATUS in kinds[kinds.index(TRIGGERED) :]:
            self.seen.add("a halt in a cascade")


def random_command(rng: random.Random, books: SideBySide, number: int) -> Command:
    """One command likely to meet what is in the books; `number` makes a new order's id."""
    draw = rng.random()
    status = books.naive.status
    older = rng.randrange(max(0, number - 12), number + 1)  # often open, sometimes gone or not there yet
    if draw < (0.04 if status == TRADING else 0.08 if status == "AUCTION" else 0.25):
        return "set_status", (rng.choice((TRADING, TRADING, TRADING, TRADING, "AUCTION", "AUCTION", *STATUSES)),)
    if draw < 0.50:
        return "place", new_order(rng, number, rng.choice(TIMES_IN_FORCE if status != "AUCTION" else (GTC, GTC, MARKET, IOC, GTX)))
    if draw < 0.64:
        return "place_stop", (*new_order(rng, number, rng.choice(TIMES_IN_FORCE)), *condition(rng, books))
    if draw < 0.69:
        budget = rng.choice((rng.randint(1, 1500), rng.randint(1, 9) * some_price(rng)))  # often spent to the last tick
        return "place_by_budget", (number, rng.choice(ACCOUNTS), some_price(rng), budget, rng.randrange(4))
    if draw < 0.74:
        return "cancel", (older, "USER_CANCEL")
    if draw < 0.86:
        return "amend", (older, some_price(rng), rng.randint(0, 12))
    if draw < 0.90:
        low = some_price(rng)
        return "set_reference", (low, low + rng.randrange(2))
    if draw < 0.92:
        low = rng.randint(LOWEST, HIGHEST - 4)
        return "set_range", rng.choice((NO_RANGE, NO_RANGE, (low, low + rng.randrange(4, 9)), (LOWEST + 2, HIGHEST - 2)))
    if draw < 0.94:
        return "recover", ()
    if draw < 0.97:
        order = new_order(rng, number, rng.choice((GTC, GTX, MARKET)))
        return "restore", (*order[:4], order[4] + rng.randrange(3), *order[4:])
    if draw < 0.985:
        return "restore_stop", (*new_order(rng, number, rng.choice(TIMES_IN_FORCE)), *condition(rng, books))
    return invalid_command(rng, number, older)


def some_price(rng: random.Random) -> int:
    return rng.randint(LOWEST, HIGHEST)


def new_order(rng: random.Random, number: int, time_in_force: int) -> tuple[Hashable, Hashable, int, int, int, int, int]:
    """The arguments of `place`."""
    return number, rng.choice(ACCOUNTS), rng.randrange(2), some_price(rng), rng.randint(1, 9), time_in_force, rng.randrange(4)


def condition(rng: random.Random, books: SideBySide) -> tuple[int, bool, int, bool]:
    """Stop, whether it is rising, source: mostly not reached yet, and near enough to be reached soon; whether it acts by itself."""
    acts = rng.random() < 0.9
    source = rng.choice((LAST, LAST, REFERENCE))
    present = books.naive.last if source == LAST else (books.naive.reference or (0, 0))[0]
    rising = rng.random() < 0.5
    if present and rng.random() < 0.8:
        return max(1, present + (rng.randint(1, 4) if rising else -rng.randint(1, 4))), rising, source, acts
    return some_price(rng), rising, source, acts


def invalid_command(rng: random.Random, number: int, older: int) -> Command:
    """One that no book takes, unless the older order has ended."""
    price = some_price(rng)
    return rng.choice(
        (
            ("place", (older, "ann", rng.randrange(3), price, 5, GTC, 0)),
            ("place", (number, "ann", BUY, price, 0, GTC, 0)),
            ("place_by_budget", (older, "ann", price, 500, 0)),
            ("place_stop", (older, "ann", BUY, price, 5, GTC, 0, price, True, rng.randrange(3), True)),
            ("amend", (older, 0, 5)),
            ("set_reference", (price, price + 2)),
            ("set_range", (price, price - 1)),
        )
    )
