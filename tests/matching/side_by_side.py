"""Drives the naive and the fast book with the same commands and stops at the first difference."""

import random
from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from matching.core.book import Book
from matching.core.messages import (
    AMENDED,
    BUY,
    CANCELLED,
    FOK,
    GTC,
    GTX,
    IOC,
    PREVENTED,
    REJECTED,
    SELL,
    STATUSES,
    TRADE,
    TRADING,
    BookLike,
    Event,
    InvalidCommand,
)
from tests.matching.naive_book import NaiveBook

Command = tuple[str, tuple[Any, ...]]

ACCOUNTS = ("ann", "bob", "cid")
LOWEST, HIGHEST = 95, 105
TIMES_IN_FORCE = (GTC, GTC, GTC, GTC, IOC, FOK, FOK, GTX)


@dataclass
class Account:
    """Where the lots of one order id went."""

    placed: int = 0
    traded: int = 0
    prevented: int = 0
    cancelled: int = 0
    rejected: int = 0


@dataclass
class Conservation:
    """Every lot that was placed is traded, prevented, cancelled, rejected or still resting: for every order by itself."""

    by_order: dict[Hashable, Account] = field(default_factory=lambda: defaultdict(Account))
    totals: dict[Hashable, int] = field(default_factory=dict)
    budgets: set[Hashable] = field(default_factory=set)
    bought: int = 0
    sold: int = 0

    def record(self, command: Command, events: list[Event]) -> None:
        """Take one command that was carried out and what it told."""
        method, arguments = command
        if method == "place":
            self._enter(arguments[0], arguments[4], arguments[4])
        elif method == "restore":
            self._enter(arguments[0], arguments[4], arguments[5])
        elif method == "place_by_budget":
            self.budgets.add(arguments[0])
            assert sum(event[3] * event[4] for event in events if event[0] == TRADE) <= arguments[3], "spent more than the budget"
            assert all(event[3] <= arguments[2] for event in events if event[0] == TRADE), "bought above its price"
        for event in events:
            self._take(event)

    def _enter(self, order_id: Hashable, total: int, open_lots: int) -> None:
        self.budgets.discard(order_id)
        self.by_order[order_id].placed += open_lots
        self.totals[order_id] = total

    def _take(self, event: Event) -> None:
        if event[0] == TRADE:
            _, maker, taker, _, lots, _, _ = event
            assert lots > 0
            self.by_order[maker].traded += lots
            if taker not in self.budgets:
                self.by_order[taker].traded += lots
        elif event[0] == PREVENTED:
            _, resting, incoming, lots, _, _ = event
            assert lots > 0
            self.by_order[resting].prevented += lots
            if incoming not in self.budgets:
                self.by_order[incoming].prevented += lots
        elif event[0] == CANCELLED:
            self.by_order[event[1]].cancelled += event[2]
        elif event[0] == REJECTED and event[1] not in self.budgets:
            self.by_order[event[1]].rejected += self.totals[event[1]]
        elif event[0] == AMENDED:
            _, order_id, _, total, _, _ = event
            self.by_order[order_id].placed += total - self.totals[order_id]
            self.totals[order_id] = total

    def check(self, book: BookLike) -> None:
        """Compare with what rests in this book."""
        resting = {order_id: left for side in (BUY, SELL) for order_id, _, _, _, left in book.queue(side)}
        for order_id, lots in self.by_order.items():
            gone = lots.traded + lots.prevented + lots.cancelled + lots.rejected
            assert lots.placed == gone + resting.pop(order_id, 0), (order_id, lots)
        assert not resting, "orders that were never placed"


class SideBySide:
    """Two books that are told the same."""

    def __init__(self) -> None:
        self.naive, self.fast = NaiveBook(), Book()
        self.conservation = Conservation()
        self.told = 0
        self.seen: set[str] = set()  # event kinds and reasons, so that a test can ask whether chance covered them all

    def give(self, command: Command) -> None:
        """Carry out one command on both and compare; a restore that would cross the book is left out, recovery sends none."""
        method, arguments = command
        if method == "restore" and self._crosses(arguments[2], arguments[3]):
            return
        errors = []
        for book in (self.naive, self.fast):
            try:
                getattr(book, method)(*arguments)
            except InvalidCommand:
                errors.append(book)
        expected, got = self.naive.events, self.fast.events
        assert got == expected, command
        assert len(errors) in (0, 2), f"only {errors[0]} refuses {command}"
        self.fast.check()
        assert self.fast.status == self.naive.status
        if errors:
            assert not got, "an invalid command told something"
            self.seen.add("InvalidCommand")
            return
        self.conservation.record(command, expected)
        for event in expected:
            self.seen.add(" ".join(str(item) for item in (event[0], event[-1]) if isinstance(item, (str, bool))))
        self.told += len(expected)
        expected.clear()
        got.clear()

    def finish(self) -> None:
        """Compare what the two hold in the end, and count every lot."""
        self.naive.check()
        for side in (BUY, SELL):
            assert list(self.fast.queue(side)) == list(self.naive.queue(side))
            assert list(self.fast.levels(side)) == list(self.naive.levels(side))
            for price in range(LOWEST - 1, HIGHEST + 2):
                assert self.fast.level(side, price) == self.naive.level(side, price)
        assert len(self.fast) == len(self.naive)
        self.conservation.check(self.fast)

    def _crosses(self, side: int, price: int) -> bool:
        best = next(self.naive.levels(1 - side), None)
        return best is not None and (price >= best[0] if side == BUY else price <= best[0])


def random_command(rng: random.Random, books: SideBySide, number: int) -> Command:
    """One command likely to meet what is in the books; `number` makes a new order's id."""
    draw = rng.random()
    older = rng.randrange(max(0, number - 12), number + 1)  # often open, sometimes gone or not there yet
    price = rng.randint(LOWEST, HIGHEST)
    lots = rng.randint(1, 9)
    account = rng.choice(ACCOUNTS)
    prevention = rng.randrange(4)
    if draw < (0.02 if books.naive.status == TRADING else 0.25):
        return "set_status", (rng.choice((TRADING, TRADING, TRADING, *STATUSES)),)
    if draw < 0.62:
        side = rng.randrange(2)
        return "place", (number, account, side, price, lots, rng.choice(TIMES_IN_FORCE), prevention)
    if draw < 0.70:
        budget = rng.choice((rng.randint(1, 1500), lots * rng.randint(LOWEST, HIGHEST)))  # often spent to the last tick
        return "place_by_budget", (number, account, price, budget, prevention)
    if draw < 0.78:
        return "cancel", (older, "USER_CANCEL")
    if draw < 0.94:
        return "amend", (older, price, rng.randint(0, 12))
    if draw < 0.98:
        return "restore", (number, account, rng.randrange(2), price, lots + rng.randrange(3), lots, rng.choice((GTC, GTX)), prevention)
    return rng.choice(
        (
            ("place", (older, account, rng.randrange(3), price, lots, GTC, prevention)),
            ("place", (number, account, BUY, price, 0, GTC, prevention)),
            ("place_by_budget", (older, account, price, 500, prevention)),
            ("amend", (older, 0, lots)),
        )
    )
