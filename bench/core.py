"""How fast the book is by itself: a flow of commands on a warm book, a long queue eaten from the front, memory per order."""

import gc
import random
import statistics
import time
import tracemalloc
from typing import Any

from bench import Emit
from matching.core.book import Book
from matching.core.messages import (
    AUCTION,
    BUY,
    CANCEL_NEWEST,
    CANCELLED,
    GTC,
    IOC,
    LAST,
    MARKET,
    REFERENCE,
    SELL,
    TRADE,
    TRADING,
    TRIGGERED,
)

SEED = 20190523
WARM_ORDERS = 5_000
COMMANDS = 300_000
REPEATS = 5
MIDDLE_TICKS = 50_000
DEPTH_TICKS = 200
ACCOUNTS = 500
EATEN_ORDERS = 20_000
WEIGHED_ORDERS = 100_000
STOPS = 10_000
TRIGGERED_AT_ONCE = 100
AUCTIONED_ORDERS = 100_000

PLACE, CANCEL, AMEND = range(3)
Command = tuple[int, tuple[Any, ...]]  # which of the three, and its arguments


class Flow:
    """49 % orders that rest, 44 % cancels, 2 % amends, 5 % orders that take: the book keeps about its size.

    Made by playing it on a book, so that cancels and amends are about orders that are open when their turn comes. Resting
    orders stand up to `DEPTH_TICKS` from the middle, most of them near it; takers are about as large as one resting order.
    """

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.book = Book()
        self.open: list[int] = []  # ids that may be open, in no order
        self.at: dict[int, int] = {}  # where an id stands in `open`
        self.price: dict[int, tuple[int, int]] = {}  # side and price of an open order
        self.next_id = 1
        self.commands: list[Command] = []

    def make(self, warm_orders: int, commands: int) -> tuple[list[Command], list[Command]]:
        """Commands that warm a book up, and those to be timed."""
        for _ in range(warm_orders):
            self._add()
        warm, self.commands = self.commands, []
        for _ in range(commands):
            draw = self.rng.random()
            if draw < 0.49:
                self._add()
            elif draw < 0.93:
                self._give(CANCEL, (self.rng.choice(self.open), "USER_CANCEL"))
            elif draw < 0.95:
                self._amend()
            else:
                self._take()
        return warm, self.commands

    def _give(self, which: int, arguments: tuple[Any, ...]) -> None:
        self.commands.append((which, arguments))
        (self.book.place, self.book.cancel, self.book.amend)[which](*arguments)
        for event in self.book.events:
            if event[0] == CANCELLED or (event[0] == TRADE and event[5] == 0):
                self._forget(event[1])
        self.book.events.clear()

    def _forget(self, order_id: int) -> None:
        at = self.at.pop(order_id, None)
        if at is None:
            return
        last = self.open.pop()
        if last != order_id:
            self.open[at] = last
            self.at[last] = at
        del self.price[order_id]

    def _resting_price(self, side: int) -> int:
        away = 1 + min(int(self.rng.expovariate(1 / 25)), DEPTH_TICKS)
        return MIDDLE_TICKS - away if side == BUY else MIDDLE_TICKS + away

    def _add(self) -> None:
        side, order_id = self.rng.randrange(2), self.next_id
        price = self._resting_price(side)
        self.next_id += 1
        self.at[order_id] = len(self.open)
        self.open.append(order_id)
        self.price[order_id] = (side, price)
        self._give(PLACE, (order_id, self.rng.randrange(ACCOUNTS), side, price, self.rng.randint(1, 100), GTC, CANCEL_NEWEST))

    def _amend(self) -> None:
        order_id = self.rng.choice(self.open)
        side, price = self.price[order_id]
        if self.rng.random() < 0.5:
            price = self._resting_price(side)
            self.price[order_id] = (side, price)
        self._give(AMEND, (order_id, price, self.rng.randint(1, 100)))

    def _take(self) -> None:
        side, order_id = self.rng.randrange(2), self.next_id
        self.next_id += 1
        limit = MIDDLE_TICKS + DEPTH_TICKS if side == BUY else MIDDLE_TICKS - DEPTH_TICKS
        self._give(PLACE, (order_id, self.rng.randrange(ACCOUNTS), side, limit, self.rng.randint(1, 100), IOC, CANCEL_NEWEST))


def drive(book: Book, commands: list[Command]) -> int:
    """Carry out the commands, events collected and cleared after each as the worker does; how many there were."""
    methods = (book.place, book.cancel, book.amend)
    events = book.events
    told = 0
    for which, arguments in commands:
        methods[which](*arguments)
        told += len(events)
        events.clear()
    return told


def run(emit: Emit) -> None:
    """Operations per second, time per fill and bytes per open order of the fast book."""
    _flow(emit)
    _level_eating(emit)
    _memory(emit)
    _stops(emit)
    _auction(emit)


def _flow(emit: Emit) -> None:
    warm, commands = Flow(SEED).make(WARM_ORDERS, COMMANDS)
    rates = []
    for _ in range(REPEATS):
        book = Book()
        drive(book, warm)
        gc.collect()
        gc.disable()  # as the worker does while it has commands
        started = time.perf_counter()
        told = drive(book, commands)
        rates.append(len(commands) / (time.perf_counter() - started))
        gc.enable()
    about = {"commands": len(commands), "events": told, "warm_orders": len(warm), "open_after": len(book), "repeats": REPEATS}
    emit("flow_best", round(max(rates)), "operations/s", **about)
    emit("flow_median", round(statistics.median(rates)), "operations/s", **about)


def _long_queue() -> Book:
    book = Book()
    for order_id in range(EATEN_ORDERS):
        book.place(order_id, order_id % ACCOUNTS, SELL, MIDDLE_TICKS, 2, GTC, CANCEL_NEWEST)
    book.events.clear()
    return book


def _level_eating(emit: Emit) -> None:
    one_by_one, at_once = [], []
    for _ in range(REPEATS):
        book = _long_queue()
        takers = [(PLACE, (EATEN_ORDERS + n, "taker", BUY, MIDDLE_TICKS, 2, IOC, CANCEL_NEWEST)) for n in range(EATEN_ORDERS)]
        gc.collect()
        started = time.perf_counter()
        assert drive(book, takers) == EATEN_ORDERS
        one_by_one.append(time.perf_counter() - started)
        assert len(book) == 0

        book = _long_queue()
        gc.collect()
        started = time.perf_counter()
        book.place(EATEN_ORDERS, "taker", BUY, MIDDLE_TICKS, 2 * EATEN_ORDERS, IOC, CANCEL_NEWEST)
        at_once.append(time.perf_counter() - started)
        assert len(book) == 0
        assert len(book.events) == EATEN_ORDERS
    emit("level_eating_one_by_one", round(min(one_by_one) / EATEN_ORDERS * 1e6, 3), "µs/fill", queue=EATEN_ORDERS)
    emit("level_eating_at_once", round(min(at_once) / EATEN_ORDERS * 1e6, 3), "µs/fill", queue=EATEN_ORDERS)


def _memory(emit: Emit) -> None:
    rng = random.Random(SEED)
    orders = []
    for order_id in range(WEIGHED_ORDERS):
        side = rng.randrange(2)
        away = 1 + rng.randrange(1_000)
        price = MIDDLE_TICKS - away if side == BUY else MIDDLE_TICKS + away
        orders.append((order_id, order_id % ACCOUNTS, side, price, rng.randint(1, 100), GTC, CANCEL_NEWEST))
    gc.collect()
    tracemalloc.start()
    book = Book()
    for order in orders:
        book.place(*order)
        book.events.clear()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(book) == WEIGHED_ORDERS
    emit("bytes_per_open_order", round(used / WEIGHED_ORDERS), "bytes", orders=WEIGHED_ORDERS, levels=2_000)


def _stops(emit: Emit) -> None:
    """A price that triggers none of 10,000 stops, by the reference and by a trade, and one that triggers 100."""
    book = Book()
    for order_id in range(STOPS):
        side, away = order_id % 2, 1_000 + order_id
        stop = MIDDLE_TICKS + away if side == BUY else MIDDLE_TICKS - away
        source = (LAST, REFERENCE)[order_id // 2 % 2]
        book.place_stop(order_id, order_id % ACCOUNTS, side, stop, 1, MARKET, CANCEL_NEWEST, stop, side == BUY, source)
    rounds = 5_000
    started = time.perf_counter()
    for number in range(rounds):
        book.set_reference(MIDDLE_TICKS + number % 7, MIDDLE_TICKS + number % 7)
    emit("reference_that_triggers_none", round((time.perf_counter() - started) / rounds * 1e6, 3), "µs", stops=STOPS)
    book.events.clear()
    trades = []
    for number in range(rounds):
        book.place(-2 * number - 1, "maker", SELL, MIDDLE_TICKS, 1, GTC, CANCEL_NEWEST)
        started = time.perf_counter()
        book.place(-2 * number - 2, "taker", BUY, MIDDLE_TICKS, 1, GTC, CANCEL_NEWEST)
        trades.append(time.perf_counter() - started)
        book.events.clear()
    emit("trade_that_triggers_none", round(statistics.median(trades) * 1e6, 3), "µs", stops=STOPS)
    taken = []
    for number in range(REPEATS * 4):
        first = STOPS * (number + 1)
        for order_id in range(first, first + TRIGGERED_AT_ONCE):
            book.place_stop(order_id, order_id, SELL, 1, 1, MARKET, CANCEL_NEWEST, MIDDLE_TICKS - 10, False, REFERENCE)
        book.events.clear()
        started = time.perf_counter()
        book.set_reference(MIDDLE_TICKS - 10, MIDDLE_TICKS - 10)
        taken.append(time.perf_counter() - started)
        assert sum(1 for event in book.events if event[0] == TRIGGERED) == TRIGGERED_AT_ONCE
        book.set_reference(MIDDLE_TICKS, MIDDLE_TICKS)
    emit("reference_that_triggers_100", round(statistics.median(taken) * 1e3, 3), "ms", stops=STOPS)


def _auction(emit: Emit) -> None:
    """100,000 orders that cross are cleared at one price."""
    rng = random.Random(SEED)
    book = Book(AUCTION)
    for order_id in range(AUCTIONED_ORDERS):
        price = MIDDLE_TICKS + rng.randrange(-500, 500)
        book.place(order_id, order_id, rng.randrange(2), price, rng.randint(1, 100), GTC, CANCEL_NEWEST)
    book.events.clear()
    gc.collect()
    started = time.perf_counter()
    found = book.indicative()
    told_s = time.perf_counter() - started
    assert found is not None
    started = time.perf_counter()
    book.set_status(TRADING)
    taken_s = time.perf_counter() - started
    lots = sum(event[4] for event in book.events if event[0] == TRADE)
    assert lots == found[1]
    emit("auction_uncross", round(taken_s, 3), "s", orders=AUCTIONED_ORDERS, lots=lots)
    emit("auction_indicative", round(told_s * 1e3, 3), "ms", orders=AUCTIONED_ORDERS)
