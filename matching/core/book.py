"""The fast book: price-time priority over one symbol in integers, a little under a microsecond an operation.

Shape: per side a dict of price levels and one list of their keys, sorted, the best at the end. A level is the sentinel of a
circular doubly linked list of orders, oldest first, so that a cancel and a fill at the front touch three objects and no
branch. A side's key is the price for bids and the negated price for asks: for both, higher is better and the best is last.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Hashable, Iterator
from typing import Final, Union

from matching.core.messages import (
    AMENDED,
    BUY,
    CANCEL_BOTH,
    CANCEL_NEWEST,
    CANCEL_OLDEST,
    CANCEL_ONLY,
    CANCELLED,
    DECREMENT,
    DELISTED,
    FOK,
    GTC,
    GTX,
    IOC,
    MAX_LOTS,
    MAX_TICKS,
    POST_ONLY,
    PREVENTED,
    REFUSED,
    REJECTED,
    RESTED,
    SELL,
    STATUS,
    STATUSES,
    TRADE,
    TRADING,
    Event,
    InvalidCommand,
    OrderId,
)

_PREVENTED_REASON: Final = "SELF_TRADE_PREVENTED"
_REFUSED_BY_STATUS: Final = {CANCEL_ONLY: "SYMBOL_CANCEL_ONLY", POST_ONLY: "SYMBOL_POST_ONLY"}


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

    __slots__ = ("_keys", "_levels", "_orders", "events", "status")

    def __init__(self, status: str = TRADING) -> None:
        self.status = status
        self.events: list[Event] = []
        self._orders: dict[OrderId, Order] = {}
        self._keys: tuple[list[int], list[int]] = ([], [])  # by side, ascending, best last
        self._levels: tuple[dict[int, Level], dict[int, Level]] = ({}, {})  # by side, by key

    # -- commands

    def place(self, order_id: OrderId, account_id: Hashable, side: int, price: int, lots: int, time_in_force: int, prevention: int) -> None:
        if not 0 < price <= MAX_TICKS or not 0 < lots <= MAX_LOTS or order_id in self._orders:
            raise InvalidCommand(f"order {order_id}: price {price}, lots {lots}, or the id is in use")
        if side == BUY:
            key, reach, against = price, -price, self._keys[SELL]
        elif side == SELL:
            key, reach, against = -price, price, self._keys[BUY]
        else:
            raise InvalidCommand(f"order {order_id}: side {side}")
        if not GTC <= time_in_force <= GTX or not CANCEL_NEWEST <= prevention <= DECREMENT:
            raise InvalidCommand(f"order {order_id}: time in force {time_in_force}, prevention {prevention}")
        left = lots
        if against and against[-1] >= reach:
            if self.status != TRADING and self._turned_away(order_id, True, time_in_force):
                return
            if time_in_force == GTX:
                self.events.append((REJECTED, order_id, "POST_ONLY_WOULD_TAKE"))
                return
            if time_in_force == FOK and not self._fillable(order_id, account_id, side, reach, lots, prevention):
                return
            left = self._match(order_id, account_id, side, reach, lots, prevention)
            if left <= 0:
                return
        elif self.status != TRADING and self._turned_away(order_id, False, time_in_force):
            return
        if time_in_force in (GTC, GTX):
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
        elif time_in_force == IOC:
            self.events.append((CANCELLED, order_id, left, "IOC_UNFILLED"))
        else:
            self.events.append((CANCELLED, order_id, left, "FOK_UNFILLABLE"))

    def place_by_budget(self, order_id: OrderId, account_id: Hashable, price: int, budget: int, prevention: int) -> None:
        if not 0 < price <= MAX_TICKS or not 0 < budget <= MAX_LOTS or order_id in self._orders:
            raise InvalidCommand(f"order {order_id}: price {price}, budget {budget}, or the id is in use")
        if not CANCEL_NEWEST <= prevention <= DECREMENT:
            raise InvalidCommand(f"order {order_id}: prevention {prevention}")
        keys = self._keys[SELL]
        takes = bool(keys) and keys[-1] >= -price
        if self.status != TRADING and self._turned_away(order_id, takes, IOC):
            return
        events, levels, orders = self.events, self._levels[SELL], self._orders
        traded = False
        while keys and keys[-1] >= -price:
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
            events.append((TRADE, maker.order_id, order_id, level.price, lots, maker.left, budget // level.price))
            if maker.left == 0:
                del orders[maker.order_id]
                self._unlink(maker)
        best = -keys[-1] if keys and keys[-1] >= -price else price
        if not traded or budget >= best:
            events.append((CANCELLED, order_id, 0, "IOC_UNFILLED"))

    def cancel(self, order_id: OrderId, reason: str) -> None:
        order = self._orders.pop(order_id, None)
        if order is None:
            self.events.append((REFUSED, order_id, "ORDER_NOT_OPEN"))
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
            self.events.append((REFUSED, order_id, "ORDER_NOT_OPEN"))
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
        if self.status not in (TRADING, POST_ONLY) or (takes and (order.time_in_force == GTX or self.status == POST_ONLY)):
            self.events.append((REFUSED, order_id, "AMEND_REFUSED"))
            return
        level.lots -= order.left
        self._unlink(order)
        del self._orders[order_id]
        self.events.append((AMENDED, order_id, price, total, left, False))
        if takes:
            left = self._match(order_id, order.account_id, side, reach, left, order.prevention)
            if left <= 0:
                return
        joined = self._levels[side].get(key)
        if joined is None:
            joined = self._open_level(side, key, price)
        self._orders[order_id] = _join(joined, order_id, order.account_id, side, total, left, order.time_in_force, order.prevention)
        self.events.append((RESTED, order_id, side, price, left))

    def set_status(self, status: str) -> None:
        if status not in STATUSES:
            raise InvalidCommand(f"status {status}")
        self.status = status
        self.events.append((STATUS, status))
        if status == DELISTED:
            for side in (BUY, SELL):
                for order_id in [row[0] for row in self.queue(side)]:
                    self.cancel(order_id, "SYMBOL_DELISTED")

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
        if not 0 < price <= MAX_TICKS or not 0 < left <= total <= MAX_LOTS or order_id in self._orders or side not in (BUY, SELL):
            raise InvalidCommand(f"restore of {order_id}: price {price}, {left} of {total} lots, side {side}, or the id is in use")
        if not GTC <= time_in_force <= GTX or not CANCEL_NEWEST <= prevention <= DECREMENT:
            raise InvalidCommand(f"restore of {order_id}: time in force {time_in_force}, prevention {prevention}")
        key = price if side == BUY else -price
        level = self._levels[side].get(key)
        if level is None:
            level = self._open_level(side, key, price)
        self._orders[order_id] = _join(level, order_id, account_id, side, total, left, time_in_force, prevention)

    # -- reading

    def level(self, side: int, price: int) -> int:
        level = self._levels[side].get(price if side == BUY else -price)
        return 0 if level is None else level.lots

    def levels(self, side: int) -> Iterator[tuple[int, int]]:
        levels = self._levels[side]
        for key in reversed(self._keys[side]):
            yield abs(key), levels[key].lots

    def queue(self, side: int) -> Iterator[tuple[OrderId, Hashable, int, int, int]]:
        levels = self._levels[side]
        for key in reversed(self._keys[side]):
            order = levels[key].next
            while isinstance(order, Order):
                yield order.order_id, order.account_id, order.level.price, order.total, order.left
                order = order.next

    def __contains__(self, order_id: OrderId) -> bool:
        return order_id in self._orders

    def __len__(self) -> int:
        return len(self._orders)

    def check(self) -> None:
        seen = 0
        for side in (BUY, SELL):
            keys, levels = self._keys[side], self._levels[side]
            assert keys == sorted(set(keys)), "keys are sorted and unique"
            assert set(keys) == set(levels), "every key has its level"
            for key, level in levels.items():
                assert abs(key) == level.price and (key > 0) == (side == BUY), "a level stands at its key"
                lots, previous, order = 0, level, level.next
                while isinstance(order, Order):
                    assert order.prev is previous and order.level is level and order.side == side, "the queue is linked both ways"
                    assert 0 < order.left <= order.total, "an open order has something left"
                    assert self._orders.get(order.order_id) is order, "every queued order is known"
                    lots, seen, previous, order = lots + order.left, seen + 1, order, order.next  # type: ignore[assignment]
                assert order is level and level.prev is previous, "the queue closes"
                assert lots == level.lots > 0, "a level's lots are those of its orders, and it is not empty"
        assert seen == len(self._orders), "every known order is queued"
        bids, asks = self._keys
        assert not (bids and asks) or bids[-1] < -asks[-1], "the book is not crossed"

    # -- inside

    def _turned_away(self, order_id: OrderId, takes: bool, time_in_force: int) -> bool:
        """Whether the symbol's status, not TRADING, refuses this order; if so it has been told."""
        if self.status == POST_ONLY:
            if time_in_force not in (IOC, FOK) and (not takes or time_in_force == GTX):
                return False  # it rests, or GTX is told why it does not
        self.events.append((REJECTED, order_id, _REFUSED_BY_STATUS.get(self.status, "SYMBOL_HALTED")))
        return True

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

    def _match(self, order_id: OrderId, account_id: Hashable, side: int, reach: int, left: int, prevention: int) -> int:
        """Trade against the other side up to `reach`. Returns the lots left, or -1 when prevention ended the order."""
        keys, levels, orders = self._keys[1 - side], self._levels[1 - side], self._orders
        emit: Callable[[Event], None] = self.events.append
        while left and keys and keys[-1] >= reach:
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
        return left

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
        wanted, own_in_the_way = lots, False
        keys, levels = self._keys[1 - side], self._levels[1 - side]
        for key in reversed(keys):
            if key < reach or wanted <= 0:
                break
            order = levels[key].next
            while wanted > 0 and isinstance(order, Order):
                if order.account_id == account_id:
                    own_in_the_way = True
                else:
                    wanted -= order.left
                order = order.next
        if wanted > 0:
            self.events.append((CANCELLED, order_id, lots, "FOK_UNFILLABLE"))
        elif own_in_the_way and prevention != CANCEL_OLDEST:
            self.events.append((CANCELLED, order_id, lots, _PREVENTED_REASON))
        else:
            return True
        return False
