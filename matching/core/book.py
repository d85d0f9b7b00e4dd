"""The fast book: price-time priority over one symbol in integers, a little under a microsecond an operation.

Shape: per side a dict of price levels and one list of their keys, sorted, the best at the end. A level is the sentinel of a
circular doubly linked list of orders, oldest first, so that a cancel and a fill at the front touch three objects and no
branch. A side's key is the price for bids and the negated price for asks: for both, higher is better and the best is last.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Hashable, Iterator
from itertools import pairwise
from operator import attrgetter
from typing import Final, Union

from sortedcontainers import SortedDict

from matching.core.messages import (
    AMENDED,
    AUCTION,
    AUCTIONED,
    BUY,
    CANCEL_BOTH,
    CANCEL_NEWEST,
    CANCEL_OLDEST,
    CANCEL_ONLY,
    CANCELLED,
    COMMAND,
    DECREMENT,
    DELISTED,
    FOK,
    GTC,
    GTX,
    HALTED,
    IOC,
    LAST,
    MARKET,
    MAX_LOTS,
    MAX_TICKS,
    POST_ONLY,
    PREVENTED,
    PRICE_BAND,
    REFERENCE,
    REFUSED,
    REJECTED,
    RESTED,
    SELL,
    STATUS,
    STATUSES,
    TRADE,
    TRADING,
    TRIGGERED,
    WAITING,
    Event,
    InvalidCommand,
    OrderId,
)

_PREVENTED_REASON: Final = "SELF_TRADE_PREVENTED"
_HALTED_REASON: Final = "SYMBOL_HALTED"
_REFUSED_BY_STATUS: Final = {CANCEL_ONLY: "SYMBOL_CANCEL_ONLY", POST_ONLY: "SYMBOL_POST_ONLY"}

# Where market orders that an auction collects stand: before every price of their side. By side, as keys.
_AT_MARKET: Final = (MAX_TICKS + 1, 0)
_EVERYTHING: Final = ((-MAX_TICKS, 0), (0, MAX_TICKS))


class Level:
    """A price with its queue; `next` is the oldest order, `prev` the newest, both the level itself when empty."""

    __slots__ = ("lots", "next", "prev", "price")
    next: Union["Order", "Level"]
    prev: Union["Order", "Level"]

    def __init__(self, price: int) -> None:
        self.price = price
        self.lots = 0
        self.next = self.prev = self


class Order:
    """An order in a queue. `left` of `total` lots are open."""

    __slots__ = ("account_id", "left", "level", "next", "order_id", "prev", "prevention", "side", "time_in_force", "total")
    order_id: OrderId
    account_id: Hashable
    side: int
    total: int
    left: int
    time_in_force: int
    prevention: int
    level: Level
    next: Union["Order", Level]
    prev: Union["Order", Level]


class Stop:
    """A waiting stop, and what it becomes. `number` counts arrivals."""

    __slots__ = (
        "account_id", "acts", "lots", "number", "order_id", "prevention", "price", "rising", "side", "source", "stop", "time_in_force",
    )  # fmt: skip

    def __init__(
        self,
        order_id: OrderId,
        account_id: Hashable,
        side: int,
        price: int,
        lots: int,
        time_in_force: int,
        prevention: int,
        stop: int,
        rising: bool,
        source: int,
        acts: bool,
    ) -> None:
        self.order_id = order_id
        self.account_id = account_id
        self.side = side
        self.price = price
        self.lots = lots
        self.time_in_force = time_in_force
        self.prevention = prevention
        self.stop = stop
        self.rising = rising
        self.source = source
        self.acts = acts
        self.number = 0

    @property
    def key(self) -> int:
        """Where it stands in its watch list, which is sorted so that what is reached first comes first."""
        return self.stop if self.rising else -self.stop

    def is_reached(self, low: int, high: int) -> bool:
        return low >= self.stop if self.rising else high <= self.stop


def _join(
    level: Level, order_id: OrderId, account_id: Hashable, side: int, total: int, left: int, time_in_force: int, prevention: int
) -> Order:
    """A new order at the back of a level's queue. Filled here and not by a constructor, whose call alone costs a tenth of an
    operation."""
    order = Order()
    order.order_id = order_id
    order.account_id = account_id
    order.side = side
    order.total = total
    order.left = left
    order.time_in_force = time_in_force
    order.prevention = prevention
    order.level = order.next = level
    newest = order.prev = level.prev
    newest.next = level.prev = order
    level.lots += left
    return order


class Book:
    """See `matching.core.messages.BookLike` for what every method does."""

    __slots__ = (
        "_acting", "_arrivals", "_bounds", "_keys", "_levels", "_limits", "_orders", "_stops", "_watch", "events", "last", "reference",
        "status",
    )  # fmt: skip

    def __init__(self, status: str = TRADING) -> None:
        self.status = status
        self.last = 0
        self.reference: tuple[int, int] | None = None
        self.events: list[Event] = []
        self._orders: dict[OrderId, Order] = {}  # in the order in which they took their places
        self._keys: tuple[list[int], list[int]] = ([], [])  # by side, ascending, best last
        self._levels: tuple[dict[int, Level], dict[int, Level]] = ({}, {})  # by side, by key
        self._bounds = _EVERYTHING  # by side of the taker: lowest and highest key on the other side that it may trade at
        self._limits: dict[OrderId, int] = {}  # protection prices of collected market orders; cleared by the uncross
        self._stops: dict[OrderId, Stop] = {}
        # By source, then falling and rising: stops by key, those of one key in order of arrival.
        self._watch: tuple[tuple[SortedDict, SortedDict], ...] = tuple((SortedDict(), SortedDict()) for _ in (LAST, REFERENCE))
        self._arrivals = 0
        self._acting = False

    # -- commands

    def place(self, order_id: OrderId, account_id: Hashable, side: int, price: int, lots: int, time_in_force: int, prevention: int) -> None:
        if not 0 < price <= MAX_TICKS or not 0 < lots <= MAX_LOTS or order_id in self._orders or order_id in self._stops:
            raise InvalidCommand(f"order {order_id}: price {price}, lots {lots}, or the id is in use")
        if side == BUY:
            key, reach, against = price, -price, self._keys[SELL]
        elif side == SELL:
            key, reach, against = -price, price, self._keys[BUY]
        else:
            raise InvalidCommand(f"order {order_id}: side {side}")
        if not GTC <= time_in_force <= MARKET or not CANCEL_NEWEST <= prevention <= DECREMENT:
            raise InvalidCommand(f"order {order_id}: time in force {time_in_force}, prevention {prevention}")
        left, mark = lots, -1
        if self.status != TRADING:
            if self._turned_away(order_id, bool(against) and against[-1] >= reach, time_in_force):
                return
            if time_in_force == MARKET:
                self._collect(order_id, account_id, side, price, lots, lots, prevention)
                self.events.append((RESTED, order_id, side, price, lots))
                return
        elif against and against[-1] >= reach:
            mark = len(self.events)
            if time_in_force == GTX:
                self.events.append((REJECTED, order_id, "POST_ONLY_WOULD_TAKE"))
                return
            if time_in_force == FOK and not self._fillable(order_id, account_id, side, reach, lots, prevention):
                return
            left = self._match(order_id, account_id, side, reach, lots, prevention)
        if left <= 0:
            pass  # filled, or ended by prevention
        elif time_in_force in (GTC, GTX):
            level = self._levels[side].get(key)
            if level is None:
                level = self._open_level(side, key, price)
            # `_join`, written out: its call alone would cost a twentieth of the operation
            order = self._orders[order_id] = Order()
            order.order_id = order_id
            order.account_id = account_id
            order.side = side
            order.total = lots
            order.left = left
            order.time_in_force = time_in_force
            order.prevention = prevention
            order.level = order.next = level
            newest = order.prev = level.prev
            newest.next = level.prev = order
            level.lots += left
            self.events.append((RESTED, order_id, side, price, left))
        elif self.status != TRADING:
            self.events.append((CANCELLED, order_id, left, _HALTED_REASON))
        else:
            self.events.append((CANCELLED, order_id, left, "FOK_UNFILLABLE" if time_in_force == FOK else "IOC_UNFILLED"))
        if mark >= 0 and self._stops and not self._acting:
            self._act(self._reached_by_trades(mark))

    def place_by_budget(self, order_id: OrderId, account_id: Hashable, price: int, budget: int, prevention: int) -> None:
        if not 0 < price <= MAX_TICKS or not 0 < budget <= MAX_LOTS or order_id in self._orders or order_id in self._stops:
            raise InvalidCommand(f"order {order_id}: price {price}, budget {budget}, or the id is in use")
        if not CANCEL_NEWEST <= prevention <= DECREMENT:
            raise InvalidCommand(f"order {order_id}: prevention {prevention}")
        keys = self._keys[SELL]
        if self.status != TRADING and self._turned_away(order_id, bool(keys) and keys[-1] >= -price, IOC):
            return
        mark = len(self.events)
        self._spend(order_id, account_id, price, budget, prevention)
        if self._stops:
            self._act(self._reached_by_trades(mark))

    def place_stop(
        self,
        order_id: OrderId,
        account_id: Hashable,
        side: int,
        price: int,
        lots: int,
        time_in_force: int,
        prevention: int,
        stop: int,
        rising: bool,
        source: int,
        acts: bool = True,
    ) -> None:
        waiting = Stop(order_id, account_id, side, price, lots, time_in_force, prevention, stop, bool(rising), source, acts)
        self._admit(waiting)
        if self.status not in (TRADING, AUCTION):
            self.events.append((REJECTED, order_id, _REFUSED_BY_STATUS.get(self.status, _HALTED_REASON)))
            return
        present = self._present(source)
        if present is not None and waiting.is_reached(*present):
            self.events.append((REJECTED, order_id, "WOULD_TRIGGER_IMMEDIATELY"))
            return
        self._wait(waiting)
        self.events.append((WAITING, order_id, stop))

    def cancel(self, order_id: OrderId, reason: str) -> None:
        order = self._orders.pop(order_id, None)
        if order is None:
            self._cancel_stop(order_id, reason)
            return
        order.level.lots -= order.left
        before, after = order.prev, order.next
        if before is after:
            self._unlink(order)
        else:  # most cancels leave others in the queue: three assignments, no call
            before.next = after
            after.prev = before
            order.prev = order.next = None  # type: ignore[assignment]
        self.events.append((CANCELLED, order_id, order.left, reason))

    def amend(self, order_id: OrderId, price: int, total: int) -> None:
        if not 0 < price <= MAX_TICKS or not 0 <= total <= MAX_LOTS:
            raise InvalidCommand(f"amend of {order_id}: price {price}, total {total}")
        order = self._orders.get(order_id)
        if order is None:
            self._amend_stop(order_id, price, total)
            return
        if order.time_in_force == MARKET:
            self.events.append((REFUSED, order_id, "AMEND_REFUSED"))
            return
        level, side = order.level, order.side
        left = total - (order.total - order.left)
        if left <= 0:
            self.cancel(order_id, "USER_CANCEL")
            return
        if price == level.price and total <= order.total:
            level.lots -= order.left - left
            order.left, order.total = left, total
            self.events.append((AMENDED, order_id, price, total, left, True))
            return
        key, reach = (price, -price) if side == BUY else (-price, price)
        against = self._keys[1 - side]
        takes = bool(against) and against[-1] >= reach
        if takes and against[-1] == _AT_MARKET[1 - side]:
            takes = self._meets_collected(1 - side, reach)
        if self.status not in (TRADING, POST_ONLY, AUCTION) or (takes and (order.time_in_force == GTX or self.status == POST_ONLY)):
            self.events.append((REFUSED, order_id, "AMEND_REFUSED"))
            return
        mark = len(self.events)
        level.lots -= order.left
        self._unlink(order)
        del self._orders[order_id]
        self.events.append((AMENDED, order_id, price, total, left, False))
        if takes and self.status == TRADING:
            left = self._match(order_id, order.account_id, side, reach, left, order.prevention)
        if left > 0:
            joined = self._levels[side].get(key)
            if joined is None:
                joined = self._open_level(side, key, price)
            self._orders[order_id] = _join(joined, order_id, order.account_id, side, total, left, order.time_in_force, order.prevention)
            self.events.append((RESTED, order_id, side, price, left))
        if self._stops:
            self._act(self._reached_by_trades(mark))

    def set_status(self, status: str) -> None:
        if status not in STATUSES:
            raise InvalidCommand(f"status {status}")
        if status in (TRADING, POST_ONLY):
            self._uncross()
        self.status = status
        self.events.append((STATUS, status, COMMAND))
        if status == TRADING and self._stops:
            found = [(stop, price) for source in (LAST, REFERENCE) for stop, price in self._reached(source)]
            found.sort(key=lambda item: item[0].number)
            self._act(found)
        elif status == DELISTED:
            for side in (BUY, SELL):
                for order_id in [row[0] for row in self.queue(side)]:
                    self.cancel(order_id, "SYMBOL_DELISTED")
            for order_id in list(self._stops):
                self.cancel(order_id, "SYMBOL_DELISTED")

    def set_reference(self, low: int, high: int) -> None:
        if not 0 < low <= high <= low + 1 or high > MAX_TICKS:
            raise InvalidCommand(f"reference between {low} and {high}")
        self.reference = (low, high)
        if self.status == TRADING and self._stops:
            self._act(self._reached(REFERENCE))

    def set_range(self, low: int, high: int) -> None:
        if not 0 <= low <= high:
            raise InvalidCommand(f"range {low} to {high}")
        self._bounds = ((-high, -low), (low, high))

    def restore(
        self,
        order_id: OrderId,
        account_id: Hashable,
        side: int,
        price: int,
        total: int,
        left: int,
        time_in_force: int,
        prevention: int,
    ) -> None:
        if not 0 < price <= MAX_TICKS or not 0 < left <= total <= MAX_LOTS or order_id in self or side not in (BUY, SELL):
            raise InvalidCommand(f"restore of {order_id}: price {price}, {left} of {total} lots, side {side}, or the id is in use")
        if not GTC <= time_in_force <= MARKET or not CANCEL_NEWEST <= prevention <= DECREMENT:
            raise InvalidCommand(f"restore of {order_id}: time in force {time_in_force}, prevention {prevention}")
        if time_in_force == MARKET:
            self._collect(order_id, account_id, side, price, total, left, prevention)
            return
        key = price if side == BUY else -price
        level = self._levels[side].get(key)
        if level is None:
            level = self._open_level(side, key, price)
        self._orders[order_id] = _join(level, order_id, account_id, side, total, left, time_in_force, prevention)

    def restore_stop(
        self,
        order_id: OrderId,
        account_id: Hashable,
        side: int,
        price: int,
        lots: int,
        time_in_force: int,
        prevention: int,
        stop: int,
        rising: bool,
        source: int,
        acts: bool = True,
    ) -> None:
        waiting = Stop(order_id, account_id, side, price, lots, time_in_force, prevention, stop, bool(rising), source, acts)
        self._admit(waiting)
        self._wait(waiting)

    # -- reading

    def level(self, side: int, price: int) -> int:
        level = self._levels[side].get(price if side == BUY else -price)
        return 0 if level is None else level.lots

    def levels(self, side: int) -> Iterator[tuple[int, int]]:
        levels = self._levels[side]
        for key in reversed(self._keys[side]):
            if key != _AT_MARKET[side]:
                yield abs(key), levels[key].lots

    def queue(self, side: int) -> Iterator[tuple[OrderId, Hashable, int, int, int]]:
        levels = self._levels[side]
        for key in reversed(self._keys[side]):
            order = levels[key].next
            while isinstance(order, Order):
                price = self._limits[order.order_id] if key == _AT_MARKET[side] else order.level.price
                yield order.order_id, order.account_id, price, order.total, order.left
                order = order.next

    def waiting(self) -> Iterator[tuple[OrderId, Hashable, int, int, int, int, bool, int]]:
        for s in sorted(self._stops.values(), key=attrgetter("number")):
            yield s.order_id, s.account_id, s.side, s.price, s.lots, s.stop, s.rising, s.source

    @property
    def stops(self) -> int:
        """How many stops wait."""
        return len(self._stops)

    def terms(self, order_id: OrderId) -> tuple[int, int]:
        """Time in force and prevention of an open order. Raises: KeyError."""
        order = self._orders[order_id]
        return order.time_in_force, order.prevention

    def indicative(self) -> tuple[int, int, int] | None:
        buys, sells = self._limited(BUY), self._limited(SELL)
        if not buys or not sells or max(buys) < min(sells):
            return None
        low, high = min(sells), max(buys)
        prices = sorted({price for price in (*buys, *sells) if low <= price <= high})
        demand = sum(buys.get(price, 0) for price in prices)
        supply = 0
        near = self._present(REFERENCE) or self._present(LAST)
        best = (0, 0, 0, 0, 0)
        for price, following in pairwise([*prices, None]):
            assert price is not None
            supply += sells.get(price, 0)
            best = max(best, _appeal(price, demand, supply, near))
            demand -= buys.get(price, 0)
            if following is not None and following - price > 1:  # between two limits only the distance differs
                between = following - 1 if near is None else min(max((sum(near) + 1) // 2, price + 1), following - 1)
                best = max(best, _appeal(between, demand, supply, near))
        volume, _, _, price, surplus = best
        return price, volume, surplus

    def __contains__(self, order_id: OrderId) -> bool:
        return order_id in self._orders or order_id in self._stops

    def __len__(self) -> int:
        return len(self._orders) + len(self._stops)

    def check(self) -> None:
        seen = 0
        for side in (BUY, SELL):
            keys, levels = self._keys[side], self._levels[side]
            assert keys == sorted(set(keys)), "keys are sorted and unique"
            assert set(keys) == set(levels), "every key has its level"
            for key, level in levels.items():
                assert abs(key) == level.price and (key > 0) == (side == BUY), "a level stands at its key"
                assert key != _AT_MARKET[side] or self.status not in (TRADING, POST_ONLY), "market orders are collected in auctions only"
                lots, order = 0, level.next
                previous: Order | Level = level
                while isinstance(order, Order):
                    assert order.prev is previous and order.level is level and order.side == side, "the queue is linked both ways"
                    assert 0 < order.left <= order.total, "an open order has something left"
                    assert self._orders.get(order.order_id) is order, "every queued order is known"
                    lots, seen, previous, order = lots + order.left, seen + 1, order, order.next
                assert order is level and level.prev is previous, "the queue closes"
                assert lots == level.lots > 0, "a level's lots are those of its orders, and it is not empty"
        assert seen == len(self._orders), "every known order is queued"
        bids, asks = self._keys
        if self.status in (TRADING, POST_ONLY):
            assert not (bids and asks) or bids[-1] < -asks[-1], "the book is not crossed"
        watched = [stop for lists in self._watch for watch in lists for stops in watch.values() for stop in stops.values()]
        assert {id(stop) for stop in watched} == {id(stop) for stop in self._stops.values()}, "every waiting stop is watched"
        assert len(watched) == len(self._stops), "and watched once"
        for source, lists in enumerate(self._watch):
            for rising, watch in enumerate(lists):
                for key, stops in watch.items():
                    assert stops, "no empty place in a watch list"
                    assert all((stop.key, stop.source, stop.rising) == (key, source, rising) for stop in stops.values()), "at its place"
        assert not self._acting, "nothing acts between commands"

    # -- inside

    def _turned_away(self, order_id: OrderId, takes: bool, time_in_force: int) -> bool:
        """Whether the symbol's status, not TRADING, refuses this order; if so it has been told."""
        reason = _REFUSED_BY_STATUS.get(self.status, _HALTED_REASON)
        if self.status == POST_ONLY:
            if time_in_force == GTX and takes:
                reason = "POST_ONLY_WOULD_TAKE"
            elif time_in_force in (GTC, GTX) and not takes:
                return False
        elif self.status == AUCTION:
            if time_in_force in (GTC, MARKET):
                return False
            reason = "ORDER_TYPE_NOT_ALLOWED"
        self.events.append((REJECTED, order_id, reason))
        return True

    def _collect(self, order_id: OrderId, account_id: Hashable, side: int, price: int, total: int, left: int, prevention: int) -> None:
        """A market order waits for the uncross, before all prices of its side."""
        key = _AT_MARKET[side]
        level = self._levels[side].get(key)
        if level is None:
            level = self._open_level(side, key, key)
        self._limits[order_id] = price
        self._orders[order_id] = _join(level, order_id, account_id, side, total, left, MARKET, prevention)

    def _open_level(self, side: int, key: int, price: int) -> Level:
        level = self._levels[side][key] = Level(price)
        insort(self._keys[side], key)
        return level

    def _unlink(self, order: Order) -> None:
        """Take an order out of its queue, and its level out of the side when it was the last. Its lots are already off."""
        before, after = order.prev, order.next
        before.next = after
        after.prev = before
        order.prev = order.next = None  # type: ignore[assignment]  # or a filled order would keep its neighbours alive
        if before is after:  # only the level itself is left
            level, side = order.level, order.side
            key = level.price if side == BUY else -level.price
            keys = self._keys[side]
            del self._levels[side][key]
            level.next = level.prev = None  # type: ignore[assignment]
            if keys[-1] == key:
                keys.pop()
            else:
                del keys[bisect_left(keys, key)]

    def _meets_collected(self, side: int, reach: int) -> bool:
        """Whether something on this side that begins with collected market orders is within reach; these count at their protection
        prices."""
        keys = self._keys[side]
        if len(keys) > 1 and keys[-2] >= reach:
            return True
        limits = [self._limits[order.order_id] for order in self._queue_at(side, _AT_MARKET[side])]
        return any((limit if side == BUY else -limit) >= reach for limit in limits)

    def _match(self, order_id: OrderId, account_id: Hashable, side: int, reach: int, left: int, prevention: int) -> int:
        """Trade against the other side up to `reach`. Returns the lots left, or -1 when prevention ended the order. Halts the symbol
        when what is left would trade outside the range."""
        keys, levels, orders = self._keys[1 - side], self._levels[1 - side], self._orders
        emit: Callable[[Event], None] = self.events.append
        bound, near = self._bounds[side]
        if bound < reach:
            bound = reach
        while left and keys and bound <= keys[-1] <= near:
            level = levels[keys[-1]]
            price = level.price
            maker = level.next
            while left and isinstance(maker, Order):
                if maker.account_id == account_id:
                    overlap = left
                    if prevention == DECREMENT:
                        left -= min(left, maker.left)
                    if self._prevent(order_id, maker, overlap, prevention, left):
                        return -1
                    break  # the queue has changed: look again
                open_lots = maker.left
                self.last = price
                if open_lots > left:
                    maker.left = open_lots - left
                    level.lots -= left
                    emit((TRADE, maker.order_id, order_id, price, left, open_lots - left, 0))
                    return 0
                left -= open_lots
                maker.left = 0
                level.lots -= open_lots
                emit((TRADE, maker.order_id, order_id, price, open_lots, 0, left))
                following = maker.next
                del orders[maker.order_id]
                self._unlink(maker)
                maker = following
        if left and keys and keys[-1] >= reach:
            self._halt()
        return left

    def _spend(self, order_id: OrderId, account_id: Hashable, price: int, budget: int, prevention: int) -> None:
        """A market buy by budget, in status TRADING."""
        events, keys, levels, orders = self.events, self._keys[SELL], self._levels[SELL], self._orders
        bound, near = self._bounds[BUY]
        bound = max(-price, bound)
        traded = False
        while keys and bound <= keys[-1] <= near:
            level = levels[keys[-1]]
            affordable = budget // level.price
            if affordable == 0:
                break
            maker = level.next
            assert isinstance(maker, Order)
            if maker.account_id == account_id:
                lots = 0  # what an order by budget leaves is told in money, not in lots
                if prevention == DECREMENT:
                    budget -= min(affordable, maker.left) * level.price
                    lots = budget // level.price
                if self._prevent(order_id, maker, affordable, prevention, lots):
                    return
                continue
            lots = maker.left if maker.left < affordable else affordable
            budget -= lots * level.price
            maker.left -= lots
            level.lots -= lots
            traded = True
            self.last = level.price
            events.append((TRADE, maker.order_id, order_id, level.price, lots, maker.left, budget // level.price))
            if maker.left == 0:
                del orders[maker.order_id]
                self._unlink(maker)
        best = -keys[-1] if keys and keys[-1] >= -price else price
        if keys and keys[-1] >= -price and not bound <= keys[-1] <= near and budget >= best:
            self._halt()
            events.append((CANCELLED, order_id, 0, _HALTED_REASON))
        elif not traded or budget >= best:
            events.append((CANCELLED, order_id, 0, "IOC_UNFILLED"))

    def _halt(self) -> None:
        self.status = HALTED
        self.events.append((STATUS, HALTED, PRICE_BAND))

    def _prevent(self, order_id: OrderId, resting: Order, lots: int, prevention: int, left: int) -> bool:
        """An incoming order with `lots` open meets a resting one of its account; `left` is what it has after a decrement.
        Returns whether the incoming order has ended."""
        if prevention == DECREMENT:
            overlap = min(lots, resting.left)
            resting.left -= overlap
            resting.level.lots -= overlap
            self.events.append((PREVENTED, resting.order_id, order_id, overlap, resting.left, left))
            if resting.left == 0:
                self._end_resting(resting)
            if left == 0:
                self.events.append((CANCELLED, order_id, 0, _PREVENTED_REASON))
            return left == 0
        if prevention in (CANCEL_OLDEST, CANCEL_BOTH):
            self._end_resting(resting)
        if prevention == CANCEL_OLDEST:
            return False
        self.events.append((CANCELLED, order_id, left, _PREVENTED_REASON))
        return True

    def _end_resting(self, resting: Order) -> None:
        del self._orders[resting.order_id]
        resting.level.lots -= resting.left
        self._unlink(resting)
        self.events.append((CANCELLED, resting.order_id, resting.left, _PREVENTED_REASON))

    def _fillable(self, order_id: OrderId, account_id: Hashable, side: int, reach: int, lots: int, prevention: int) -> bool:
        """Whether a FOK order may go on to match; if not it has been cancelled."""
        wanted, own_in_the_way, outside = lots, False, False
        keys, levels, (bound, near) = self._keys[1 - side], self._levels[1 - side], self._bounds[side]
        for key in reversed(keys):
            if key < reach or wanted <= 0:
                break
            outside = outside or not bound <= key <= near
            order = levels[key].next
            while wanted > 0 and isinstance(order, Order):
                if order.account_id == account_id:
                    own_in_the_way = True
                else:
                    wanted -= order.left
                order = order.next
        if wanted > 0:
            self.events.append((CANCELLED, order_id, lots, "FOK_UNFILLABLE"))
        elif outside:
            self._halt()
            self.events.append((CANCELLED, order_id, lots, _HALTED_REASON))
        elif own_in_the_way and prevention != CANCEL_OLDEST:
            self.events.append((CANCELLED, order_id, lots, _PREVENTED_REASON))
        else:
            return True
        return False

    # -- stops

    def _admit(self, stop: Stop) -> None:
        """Number its arrival. Raises: InvalidCommand."""
        order_id = stop.order_id
        if not 0 < stop.price <= MAX_TICKS or not 0 < stop.lots <= MAX_LOTS or order_id in self or stop.side not in (BUY, SELL):
            raise InvalidCommand(f"stop {order_id}: price {stop.price}, lots {stop.lots}, side {stop.side}, or the id is in use")
        if not GTC <= stop.time_in_force <= MARKET or not CANCEL_NEWEST <= stop.prevention <= DECREMENT:
            raise InvalidCommand(f"stop {order_id}: time in force {stop.time_in_force}, prevention {stop.prevention}")
        if not 0 < stop.stop <= MAX_TICKS or stop.source not in (LAST, REFERENCE):
            raise InvalidCommand(f"stop {order_id}: stop price {stop.stop}, source {stop.source}")
        self._arrivals += 1
        stop.number = self._arrivals

    def _present(self, source: int) -> tuple[int, int] | None:
        """The source's price now, between these two ticks; None when there is none yet."""
        if source == REFERENCE:
            return self.reference
        return (self.last, self.last) if self.last else None

    def _wait(self, stop: Stop) -> None:
        self._stops[stop.order_id] = stop
        self._watch[stop.source][stop.rising].setdefault(stop.key, {})[stop.order_id] = stop

    def _cancel_stop(self, order_id: OrderId, reason: str) -> None:
        stop = self._stops.pop(order_id, None)
        if stop is None:
            self.events.append((REFUSED, order_id, "ORDER_NOT_OPEN"))
            return
        watch = self._watch[stop.source][stop.rising]
        del watch[stop.key][order_id]
        if not watch[stop.key]:
            del watch[stop.key]
        self.events.append((CANCELLED, order_id, stop.lots, reason))

    def _amend_stop(self, order_id: OrderId, price: int, total: int) -> None:
        stop = self._stops.get(order_id)
        if stop is None:
            self.events.append((REFUSED, order_id, "ORDER_NOT_OPEN"))
        elif total == 0:
            self._cancel_stop(order_id, "USER_CANCEL")
        else:
            stop.price, stop.lots = price, total
            self.events.append((AMENDED, order_id, price, total, total, True))

    def _reached(self, source: int, price: int = 0) -> list[tuple[Stop, int]]:
        """Take what the source's price (LAST: this one, or the present one) reaches out of the watch list; with the price, in order of
        arrival."""
        present = (price, price) if price else self._present(source)
        if present is None:
            return []
        low, high = present
        found: list[Stop] = []
        for watch, edge in zip(self._watch[source], (-high, low), strict=True):
            while watch and watch.peekitem(0)[0] <= edge:
                found += watch.popitem(0)[1].values()
        found.sort(key=attrgetter("number"))
        return [(stop, low) for stop in found]

    def _reached_by_trades(self, mark: int) -> list[tuple[Stop, int]]:
        """The same for every trade since this many events."""
        found: list[tuple[Stop, int]] = []
        before = 0
        for event in self.events[mark:]:
            if event[0] is TRADE and event[3] != before:
                before = event[3]
                found += self._reached(LAST, before)
        return found

    def _act(self, queue: list[tuple[Stop, int]]) -> None:
        """Let what was reached act, one after another, and what their trades reach after them. A halt sends the rest back to wait."""
        if not queue:
            return
        self._acting = True
        acted = 0
        while acted < len(queue) and self.status == TRADING:
            stop, price = queue[acted]
            acted += 1
            del self._stops[stop.order_id]
            mark = len(self.events)
            self.events.append((TRIGGERED, stop.order_id, stop.source, price))
            if stop.acts:
                self.place(stop.order_id, stop.account_id, stop.side, stop.price, stop.lots, stop.time_in_force, stop.prevention)
                queue += self._reached_by_trades(mark)
        self._acting = False
        for stop, _ in queue[acted:]:
            self._wait(stop)

    # -- auctions

    def _limited(self, side: int) -> dict[int, int]:
        """Lots by the price they are limited to, collected market orders included."""
        lots = dict(self.levels(side))
        for order in self._queue_at(side, _AT_MARKET[side]):
            limit = self._limits[order.order_id]
            lots[limit] = lots.get(limit, 0) + order.left
        return lots

    def _queue_at(self, side: int, key: int) -> Iterator[Order]:
        """Orders of one level, oldest first; the level may lose the one that was just given."""
        level = self._levels[side].get(key)
        order = None if level is None else level.next
        while isinstance(order, Order):
            following = order.next
            yield order
            order = following

    def _uncross(self) -> None:
        """Clear a book that is crossed or holds market orders."""
        bids, asks = self._keys
        collected = bool(bids and bids[-1] == _AT_MARKET[BUY]) or bool(asks and asks[-1] == _AT_MARKET[SELL])
        if not collected and not (bids and asks and bids[-1] >= -asks[-1]):
            return
        arrival = {order_id: number for number, order_id in enumerate(self._orders)}
        while (found := self.indicative()) is not None:
            matches = self._line_up(found[0], arrival)
            if matches is not None:
                self._trade_at(found[0], matches, arrival)
        for side in (BUY, SELL):
            for order in self._queue_at(side, _AT_MARKET[side]):
                self.cancel(order.order_id, "IOC_UNFILLED")
        self._limits.clear()

    def _line(self, side: int, price: int) -> list[Order]:
        """Orders that accept the price, in the order in which they trade."""
        line = [order for order in self._queue_at(side, _AT_MARKET[side]) if (self._limits[order.order_id] - price) * (1 - 2 * side) >= 0]
        worst = price if side == BUY else -price
        for key in reversed(self._keys[side]):
            if key < worst:
                break
            if key != _AT_MARKET[side]:
                line += self._queue_at(side, key)
        return line

    def _line_up(self, price: int, arrival: dict[OrderId, int]) -> list[tuple[Order, Order, int]] | None:
        """Match buys with sells as if all traded: (buy, sell, lots). None when orders of one account met: that was prevented, and what
        there is to match has changed."""
        matches: list[tuple[Order, Order, int]] = []
        met = False
        buys, sells = iter(self._line(BUY, price)), iter(self._line(SELL, price))
        buy, sell = next(buys, None), next(sells, None)
        wanted, offered = buy.left if buy else 0, sell.left if sell else 0
        while buy is not None and sell is not None:
            lots = min(wanted, offered)
            if buy.account_id != sell.account_id:
                matches.append((buy, sell, lots))
                wanted, offered = wanted - lots, offered - lots
            else:
                met = True
                older, newer = (buy, sell) if arrival[buy.order_id] < arrival[sell.order_id] else (sell, buy)
                if newer.prevention == DECREMENT:
                    wanted, offered = wanted - lots, offered - lots
                elif newer.prevention == CANCEL_BOTH:
                    wanted = offered = 0
                elif (newer.prevention == CANCEL_NEWEST) == (newer is buy):
                    wanted = 0
                else:
                    offered = 0
                self._prevent_resting(older, newer, lots)
            if wanted == 0:
                buy = next(buys, None)
                wanted = buy.left if buy else 0
            if offered == 0:
                sell = next(sells, None)
                offered = sell.left if sell else 0
        return None if met else matches

    def _prevent_resting(self, older: Order, newer: Order, lots: int) -> None:
        """Two resting orders of one account meet in an uncross; the newer one's mode decides."""
        if newer.prevention == DECREMENT:
            for order in (older, newer):
                order.left -= lots
                order.level.lots -= lots
            self.events.append((PREVENTED, older.order_id, newer.order_id, lots, older.left, newer.left))
            for order in (older, newer):
                if order.left == 0:
                    self._end_resting(order)
            return
        if newer.prevention in (CANCEL_OLDEST, CANCEL_BOTH):
            self._end_resting(older)
        if newer.prevention in (CANCEL_NEWEST, CANCEL_BOTH):
            self._end_resting(newer)

    def _trade_at(self, price: int, matches: list[tuple[Order, Order, int]], arrival: dict[OrderId, int]) -> None:
        self.events.append((AUCTIONED, price, sum(lots for _, _, lots in matches)))
        self.last = price
        for buy, sell, lots in matches:
            for order in (buy, sell):
                order.left -= lots
                order.level.lots -= lots
                if order.left == 0:
                    del self._orders[order.order_id]
                    self._unlink(order)
            older, newer = (buy, sell) if arrival[buy.order_id] < arrival[sell.order_id] else (sell, buy)
            self.events.append((TRADE, older.order_id, newer.order_id, price, lots, older.left, newer.left))


def _appeal(price: int, demand: int, supply: int, near: tuple[int, int] | None) -> tuple[int, int, int, int, int]:
    """How good a price is to uncross at, comparable: lots, smallest surplus, nearest, highest. Last the surplus itself."""
    distance = 0 if near is None else abs(2 * price - sum(near))
    return min(demand, supply), -abs(demand - supply), -distance, price, demand - supply
