"""A recorded day of order entry played through the book, with other people's orders mixed in: what surveillance would have seen of it."""

import gzip
import heapq
import itertools
import random
from collections import defaultdict
from collections.abc import Callable
from csv import DictReader
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Final

from matching.core.book import Book
from matching.core.messages import BUY, CANCEL_NEWEST, CANCELLED, GTC, IOC, SELL, TRADE
from risk.surveillance import scene
from risk.surveillance.scene import Scene

DAY: Final = Path(__file__).resolve().parent.parent / "data" / "order-flow-bme-ana-2019-05-23.csv.gz"
TICK: Final = Decimal("0.01")
SYMBOL: Final = 1
SIDES: Final = {BUY: scene.BUY, SELL: scene.SELL}

Step = Callable[["Flow"], None]


@dataclass(slots=True)
class Placed:
    """An order while the day is played."""

    id: str
    account: int | None  # None: of the recorded day, given an account afterwards
    side: int
    ticks: int
    total: int
    at_ms: int
    filled: int = 0
    ended_ms: int | None = None
    cancelled: bool = False


@cache
def recorded_day() -> list[tuple[int, str, str, int, int, int]]:
    """(milliseconds of the day, kind, uid, side, ticks, lots) of every request."""
    rows = []
    with gzip.open(DAY, "rt", newline="") as file:
        for row in DictReader(file, delimiter=";"):
            at = datetime.fromisoformat(row["timestamp"])
            ms = ((at.hour * 60 + at.minute) * 60 + at.second) * 1000 + at.microsecond // 1000
            side = BUY if row["is_buy"] == "True" else SELL
            rows.append((ms, row["ordtype"], row["uid"], side, int(Decimal(row["price"] or 0) / TICK), int(row["qty"] or 0)))
    return rows


class Flow:
    """The book with everything that happened to it. Steps are called at their time and may place, cancel and plan further steps."""

    def __init__(self) -> None:
        self.book = Book()
        self.now_ms = 0
        self.placed: dict[str, Placed] = {}
        self.trades: list[tuple[int, str, str, int, int]] = []  # at, maker, taker, ticks, lots
        self._steps: list[tuple[int, int, Step]] = []
        self._number = itertools.count(1)

    def at(self, ms: int, step: Step) -> None:
        heapq.heappush(self._steps, (ms, next(self._number), step))

    def play(self) -> None:
        """The whole day."""
        for ms, kind, uid, side, ticks, lots in recorded_day():
            self._run_until(ms)
            self.now_ms = ms
            if kind == "new":
                self._place(uid, None, side, ticks, lots, GTC)
            elif uid in self.book:
                order = self.placed[uid]
                if kind == "modif" and order.total - lots > order.filled:
                    order.total -= lots
                    self.book.amend(uid, order.ticks, order.total)
                    self._take()
                else:
                    self.cancel(uid)
        self._run_until(None)

    def _run_until(self, ms: int | None) -> None:
        while self._steps and (ms is None or self._steps[0][0] <= ms):
            self.now_ms, _, step = heapq.heappop(self._steps)
            step(self)

    # -- what a participant can do and see

    def place(self, account: int, side: int, ticks: int, lots: int, *, rests: bool = True) -> str:
        order_id = f"x{next(self._number)}"
        self._place(order_id, account, side, ticks, lots, GTC if rests else IOC)
        return order_id

    def cancel(self, order_id: str) -> None:
        if order_id in self.book:
            self.book.cancel(order_id, "USER_CANCEL")
            self._take()

    def best(self, side: int) -> int | None:
        return next((ticks for ticks, _ in self.book.levels(side)), None)

    def lots_until(self, side: int, ticks: int) -> int:
        """How much rests on this side at this price or better."""
        better = (lambda t: t >= ticks) if side == BUY else (lambda t: t <= ticks)
        return sum(lots for t, lots in itertools.takewhile(lambda level: better(level[0]), self.book.levels(side)))

    def filled(self, order_id: str) -> int:
        return self.placed[order_id].filled

    def _place(self, order_id: str, account: int | None, side: int, ticks: int, lots: int, time_in_force: int) -> None:
        self.placed[order_id] = Placed(order_id, account, side, ticks, lots, self.now_ms)
        self.book.place(order_id, order_id, side, ticks, lots, time_in_force, CANCEL_NEWEST)
        self._take()

    def _take(self) -> None:
        for event in self.book.events:
            if event[0] == TRADE:
                _, maker, taker, ticks, lots, _, _ = event
                self.trades.append((self.now_ms, str(maker), str(taker), ticks, lots))
                for order_id in (maker, taker):
                    order = self.placed[str(order_id)]
                    order.filled += lots
                    if order.filled >= order.total:
                        order.ended_ms = self.now_ms
            elif event[0] == CANCELLED:
                order = self.placed[str(event[1])]
                order.ended_ms, order.cancelled = self.now_ms, True
        self.book.events.clear()

    # -- what surveillance sees of it

    def scene(self, chance: random.Random, *, accounts: int, owners: dict[int, int]) -> Scene:
        """The day's own orders belong to so many accounts by chance, a few of which do most, and none of which ever meets itself."""
        account_of = self._accounts(chance, accounts)
        trades = [
            scene.Trade(
                id=f"t{number}",
                at_ms=at,
                price=ticks * TICK,
                quantity=Decimal(lots),
                taker_side=SIDES[self.placed[taker].side],
                maker_order=maker,
                taker_order=taker,
                maker_account=account_of[maker],
                taker_account=account_of[taker],
            )
            for number, (at, maker, taker, ticks, lots) in enumerate(self.trades)
        ]
        orders = [
            scene.Order(
                id=o.id,
                account=account_of[o.id],
                side=SIDES[o.side],
                price=o.ticks * TICK,
                quantity=Decimal(o.total),
                filled=Decimal(o.filled),
                placed_ms=o.at_ms,
                ended_ms=o.ended_ms,
                cancelled=o.cancelled,
            )
            for o in self.placed.values()
        ]
        return Scene(symbol_id=SYMBOL, trades=trades, orders=orders, owners=owners)

    def _accounts(self, chance: random.Random, accounts: int) -> dict[str, int]:
        met: dict[str, set[str]] = defaultdict(set)
        for _, maker, taker, _, _ in self.trades:
            met[maker].add(taker)
            met[taker].add(maker)
        numbers = range(1, accounts + 1)
        weights = list(itertools.accumulate(1 / (n + 4) for n in numbers))
        found = {o.id: o.account for o in self.placed.values() if o.account is not None}
        for order in self.placed.values():
            if order.account is None:
                taken = {found.get(other) for other in met[order.id]}
                account = chance.choices(numbers, cum_weights=weights)[0]
                while account in taken:
                    account = chance.choice(numbers)
                found[order.id] = account
        return found
