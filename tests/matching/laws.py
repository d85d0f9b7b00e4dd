"""What must hold whatever a book is told, reckoned from commands and events alone: no lot lost, no trade that may not be."""

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from matching.core.messages import (
    AMENDED,
    AUCTIONED,
    BUY,
    CANCELLED,
    IOC,
    LAST,
    PREVENTED,
    PRICE_BAND,
    REJECTED,
    RESTED,
    SELL,
    STATUS,
    TRADE,
    TRADING,
    TRIGGERED,
    BookLike,
    Event,
)

Command = tuple[str, tuple[Any, ...]]


@dataclass
class Lots:
    """Where the lots of one order id went."""

    placed: int = 0
    traded: int = 0
    prevented: int = 0
    cancelled: int = 0
    rejected: int = 0
    handed_over: int = 0


@dataclass
class Conservation:
    """Every lot that was placed is traded, prevented, cancelled, rejected, resting, waiting, or handed to who drives the book when a
    stop is reached that does not act by itself: for every order by itself."""

    by_order: dict[Hashable, Lots] = field(default_factory=lambda: defaultdict(Lots))
    totals: dict[Hashable, int] = field(default_factory=dict)
    budgets: set[Hashable] = field(default_factory=set)
    driven: set[Hashable] = field(default_factory=set)

    def record(self, command: Command, events: list[Event]) -> None:
        """Take one command that was carried out and what it told."""
        method, arguments = command
        if method in ("place", "place_stop", "restore_stop"):
            self._enter(arguments[0], arguments[4], arguments[4])
            if method != "place" and not arguments[10]:
                self.driven.add(arguments[0])
        elif method == "restore":
            self._enter(arguments[0], arguments[4], arguments[5])
        elif method == "place_by_budget":
            self.budgets.add(arguments[0])
            bought = [event for event in events if event[0] == TRADE and event[2] == arguments[0]]
            assert sum(event[3] * event[4] for event in bought) <= arguments[3], "spent more than the budget"
            assert all(event[3] <= arguments[2] for event in bought), "bought above its price"
        for event in events:
            self._take(event)

    def _enter(self, order_id: Hashable, total: int, open_lots: int) -> None:
        self.budgets.discard(order_id)
        self.driven.discard(order_id)
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
        elif event[0] == TRIGGERED and event[1] in self.driven:
            self.by_order[event[1]].handed_over += self.totals[event[1]]
        elif event[0] == AMENDED:
            _, order_id, _, total, _, _ = event
            self.by_order[order_id].placed += total - self.totals[order_id]
            self.totals[order_id] = total

    def check(self, book: BookLike) -> None:
        """Compare with what rests and waits in this book."""
        there = {order_id: left for side in (BUY, SELL) for order_id, _, _, _, left in book.queue(side)}
        there |= {order_id: lots for order_id, _, _, _, lots, *_ in book.waiting()}
        for order_id, lots in self.by_order.items():
            gone = lots.traded + lots.prevented + lots.cancelled + lots.rejected + lots.handed_over
            assert lots.placed == gone + there.pop(order_id, 0), (order_id, lots)
        assert not there, "orders that were never placed"


@dataclass
class Terms:
    """What an order was placed or restored with."""

    account: Hashable
    side: int
    price: int
    time_in_force: int
    prevention: int
    acts: bool = True  # of a stop: by itself


@dataclass
class Laws:
    """Looks at each trade, halt and uncross, and remembers what a book does not show: terms, and who took his place when."""

    terms: dict[Hashable, Terms] = field(default_factory=dict)
    taken_at: dict[Hashable, int] = field(default_factory=dict)
    range: tuple[int, int] = (0, 2**62)
    not_looked_at: set[Hashable] = field(default_factory=set)  # stops that recovery put back, reached or not
    _moment: int = 0

    def record(self, command: Command, events: list[Event], resting: dict[Hashable, int]) -> None:
        """Take one command that was carried out and what it told; `resting`: open lots of each order in the book before it."""
        method, arguments = command
        if method in ("place", "place_stop", "restore_stop"):
            order_id, account, side, price, _, time_in_force, prevention, *_ = arguments
            self.terms[order_id] = Terms(account, side, price, time_in_force, prevention, method == "place" or arguments[10])
        elif method == "restore":
            order_id, account, side, price, _, _, time_in_force, prevention = arguments
            self.terms[order_id] = Terms(account, side, price, time_in_force, prevention)
            self._takes_place(order_id)
        elif method == "place_by_budget":
            order_id, account, price, _, prevention = arguments
            self.terms[order_id] = Terms(account, BUY, price, IOC, prevention)
        elif method == "set_range":
            self.range = arguments
        if method == "restore_stop":
            self.not_looked_at.add(arguments[0])
        elif method == "place_stop":
            self.not_looked_at.discard(arguments[0])
        elif command == ("set_status", (TRADING,)):
            self.not_looked_at.clear()
        self._go_through(events, dict(resting))

    def _takes_place(self, order_id: Hashable) -> None:
        self._moment += 1
        self.taken_at[order_id] = self._moment

    def _go_through(self, events: list[Event], resting: dict[Hashable, int]) -> None:
        auction_price, auction_lots = 0, 0  # what is left to trade of the uncross that was told last
        for event in events:
            match event:
                case (kind, price, lots) if kind == AUCTIONED:
                    assert auction_lots == 0, "an uncross that traded less than it told"
                    self._check_uncross(price, lots, resting)
                    auction_price, auction_lots = price, lots
                case (kind, maker, taker, price, lots, maker_left, taker_left) if kind == TRADE:
                    self._check_trade(maker, taker, price)
                    if auction_lots:
                        assert price == auction_price and lots <= auction_lots
                        assert self.taken_at[maker] < self.taken_at[taker], "the older order is the maker"
                        auction_lots -= lots
                        resting[taker] = taker_left
                    else:
                        assert self.range[0] <= price <= self.range[1], "a trade outside the range"
                    resting[maker] = maker_left
                case (kind, older, newer, _, older_left, newer_left) if kind == PREVENTED:
                    assert self.terms[older].account == self.terms[newer].account
                    resting[older] = older_left
                    if newer in resting:
                        resting[newer] = newer_left
                case (kind, order_id, *_) if kind == CANCELLED:
                    resting.pop(order_id, None)
                case (kind, order_id, _, price, left) if kind == RESTED:
                    self._takes_place(order_id)
                    self.terms[order_id].price = price
                    resting[order_id] = left
                case (kind, order_id, price, *_) if kind == AMENDED:
                    self.terms[order_id].price = price
                case (kind, status, cause) if kind == STATUS and cause == PRICE_BAND:
                    assert status == "HALTED" and self.range != (0, 2**62), "a halt without a range"
        assert auction_lots == 0, "an uncross that traded less than it told"

    def _check_trade(self, maker: Hashable, taker: Hashable, price: int) -> None:
        one, other = self.terms[maker], self.terms[taker]
        assert one.account != other.account, "a trade of an account with itself"
        assert one.side != other.side
        for terms in (one, other):
            assert price <= terms.price if terms.side == BUY else price >= terms.price, "a trade beyond a limit"

    def _check_uncross(self, price: int, lots: int, resting: dict[Hashable, int]) -> None:
        """No price trades more lots, and none that trades as many leaves a smaller surplus."""
        volumes: dict[int, tuple[int, int]] = {}
        limits = {self.terms[order_id].price for order_id in resting}
        for candidate in {limit + step for limit in limits for step in (-1, 0, 1)} | {price}:
            buying = sum(
                left for order_id, left in resting.items() if self.terms[order_id].side == BUY and self.terms[order_id].price >= candidate
            )
            selling = sum(
                left for order_id, left in resting.items() if self.terms[order_id].side == SELL and self.terms[order_id].price <= candidate
            )
            volumes[candidate] = (min(buying, selling), -abs(buying - selling))
        assert volumes[price][0] == lots
        assert volumes[price] == max(volumes.values())

    def check(self, book: BookLike) -> None:
        """In trading, no stop waits that the present price has reached."""
        if book.status != TRADING:
            return
        for order_id, _, _, _, _, stop, rising, source in book.waiting():
            low, high = (book.last, book.last) if source == LAST else book.reference or (0, 0)
            reached = low > 0 and (low >= stop if rising else high <= stop)
            assert not reached or order_id in self.not_looked_at, f"{order_id} should have acted"
