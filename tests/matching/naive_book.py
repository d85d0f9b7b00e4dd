"""The book as the rules tell it and nothing else: two sorted lists, linear scans. Slow, and easy to believe.

The fast book is held to this one. Written from the contract in `matching.core.messages` alone, never from the fast book, so
that the same misunderstanding has to happen twice before it goes unseen.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass

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
    HALTED,
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

CLOSED_FOR_ORDERS = {CANCEL_ONLY: "SYMBOL_CANCEL_ONLY", HALTED: "SYMBOL_HALTED", DELISTED: "SYMBOL_HALTED"}


@dataclass
class Order:
    """An order at work; `total - left` is what was filled or prevented so far."""

    order_id: OrderId
    account_id: Hashable
    side: int
    price: int
    total: int
    left: int
    time_in_force: int
    prevention: int


def require(condition: bool, what: str) -> None:
    """Stop a command that intake should never have let through, before anything has changed."""
    if not condition:
        raise InvalidCommand(what)


def reaches(side: int, limit: int, price: int) -> bool:
    """Whether an order of this side with this limit may trade at this price of the other side."""
    return price <= limit if side == BUY else price >= limit


class NaiveBook:
    """One symbol's book; `sides[BUY]` and `sides[SELL]` hold the open orders, best price first, oldest first."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.status: str = TRADING
        self.sides: tuple[list[Order], list[Order]] = ([], [])

    # -- the two lists

    def _find(self, order_id: OrderId) -> Order | None:
        for side in self.sides:
            for order in side:
                if order.order_id == order_id:
                    return order
        return None

    def _insert(self, order: Order) -> None:
        """Behind every order of a better or the same price."""
        queue = self.sides[order.side]
        position = 0
        while position < len(queue) and reaches(1 - order.side, order.price, queue[position].price):
            position += 1
        queue.insert(position, order)

    def _remove(self, order: Order) -> None:
        queue = self.sides[order.side]
        del queue[next(i for i, resting in enumerate(queue) if resting is order)]

    def _within_reach(self, side: int, limit: int) -> list[Order]:
        """Orders of the other side that an order of this side with this limit would meet, in the order of meeting."""
        return [resting for resting in self.sides[1 - side] if reaches(side, limit, resting.price)]

    # -- commands

    def place(self, order_id: OrderId, account_id: Hashable, side: int, price: int, lots: int, time_in_force: int, prevention: int) -> None:
        """See `BookLike.place`."""
        self._require_sound(order_id, side, price, lots, time_in_force, prevention)
        order = Order(order_id, account_id, side, price, lots, lots, time_in_force, prevention)
        would_take = bool(self._within_reach(side, price))
        if self.status in CLOSED_FOR_ORDERS:
            self.events.append((REJECTED, order_id, CLOSED_FOR_ORDERS[self.status]))
        elif time_in_force == GTX and would_take:
            self.events.append((REJECTED, order_id, "POST_ONLY_WOULD_TAKE"))
        elif self.status == POST_ONLY and (time_in_force in (IOC, FOK) or would_take):
            self.events.append((REJECTED, order_id, "SYMBOL_POST_ONLY"))
        elif time_in_force == FOK and (obstacle := self._obstacle_to_filling_whole(order)):
            self.events.append((CANCELLED, order_id, lots, obstacle))
        else:
            self._match_then_rest(order)

    def place_by_budget(self, order_id: OrderId, account_id: Hashable, price: int, budget: int, prevention: int) -> None:
        """See `BookLike.place_by_budget`."""
        self._require_sound(order_id, BUY, price, 1, IOC, prevention)
        require(1 <= budget <= MAX_LOTS, "budget out of range")
        if self.status in CLOSED_FOR_ORDERS:
            self.events.append((REJECTED, order_id, CLOSED_FOR_ORDERS[self.status]))
            return
        if self.status == POST_ONLY:
            self.events.append((REJECTED, order_id, "SYMBOL_POST_ONLY"))
            return
        bought = 0
        while offers := self._within_reach(BUY, price):
            best = offers[0]
            affordable = budget // best.price
            if affordable == 0:
                break
            lots = min(affordable, best.left)
            if best.account_id != account_id:
                best.left -= lots
                budget -= lots * best.price
                bought += lots
                self.events.append((TRADE, best.order_id, order_id, best.price, lots, best.left, budget // best.price))
                if best.left == 0:
                    self._remove(best)
                continue
            if prevention == DECREMENT:
                best.left -= lots
                budget -= lots * best.price
                self.events.append((PREVENTED, best.order_id, order_id, lots, best.left, budget // best.price))
            if prevention in (CANCEL_OLDEST, CANCEL_BOTH) or best.left == 0:
                self._remove(best)
                self.events.append((CANCELLED, best.order_id, best.left, "SELF_TRADE_PREVENTED"))
            if prevention in (CANCEL_NEWEST, CANCEL_BOTH) or (prevention == DECREMENT and budget < best.price):
                self.events.append((CANCELLED, order_id, 0, "SELF_TRADE_PREVENTED"))
                return
        price_of_next_lot = offers[0].price if offers else price
        if bought == 0 or budget >= price_of_next_lot:
            self.events.append((CANCELLED, order_id, 0, "IOC_UNFILLED"))

    def cancel(self, order_id: OrderId, reason: str) -> None:
        """See `BookLike.cancel`."""
        order = self._find(order_id)
        if order is None:
            self.events.append((REFUSED, order_id, "ORDER_NOT_OPEN"))
            return
        self._remove(order)
        self.events.append((CANCELLED, order_id, order.left, reason))

    def amend(self, order_id: OrderId, price: int, total: int) -> None:
        """See `BookLike.amend`. A total of 0 is one that is reached already: it cancels."""
        require(1 <= price <= MAX_TICKS, "price out of range")
        require(0 <= total <= MAX_LOTS, "total out of range")
        order = self._find(order_id)
        if order is None:
            self.events.append((REFUSED, order_id, "ORDER_NOT_OPEN"))
            return
        done = order.total - order.left
        if total <= done:
            self.cancel(order_id, "USER_CANCEL")
            return
        if price == order.price and total <= order.total:
            order.total, order.left = total, total - done
            self.events.append((AMENDED, order_id, price, total, order.left, True))
            return
        would_take = bool(self._within_reach(order.side, price))
        must_not_take = order.time_in_force == GTX or self.status == POST_ONLY
        if self.status in CLOSED_FOR_ORDERS or (would_take and must_not_take):
            self.events.append((REFUSED, order_id, "AMEND_REFUSED"))
            return
        self._remove(order)
        order.price, order.total, order.left = price, total, total - done
        self.events.append((AMENDED, order_id, price, total, order.left, False))
        self._match_then_rest(order)

    def set_status(self, status: str) -> None:
        """See `BookLike.set_status`."""
        require(status in STATUSES, "unknown status")
        self.status = status
        self.events.append((STATUS, status))
        if status == DELISTED:
            for order in [*self.sides[BUY], *self.sides[SELL]]:
                self.cancel(order.order_id, "SYMBOL_DELISTED")

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
        """See `BookLike.restore`."""
        self._require_sound(order_id, side, price, total, time_in_force, prevention)
        require(1 <= left <= total, "lots left out of range")
        self._insert(Order(order_id, account_id, side, price, total, left, time_in_force, prevention))

    # -- what commands share

    def _require_sound(self, order_id: OrderId, side: int, price: int, lots: int, time_in_force: int, prevention: int) -> None:
        require(side in (BUY, SELL), "unknown side")
        require(1 <= price <= MAX_TICKS, "price out of range")
        require(1 <= lots <= MAX_LOTS, "quantity out of range")
        require(time_in_force in (GTC, IOC, FOK, GTX), "unknown time in force")
        require(prevention in (CANCEL_NEWEST, CANCEL_OLDEST, CANCEL_BOTH, DECREMENT), "unknown prevention mode")
        require(self._find(order_id) is None, "id of an open order")

    def _obstacle_to_filling_whole(self, order: Order) -> str | None:
        """Why this fill-or-kill order must end without a trade, or None when it will be filled whole."""
        needed = order.left
        own_in_the_way = False
        for resting in self._within_reach(order.side, order.price):
            if resting.account_id == order.account_id:
                own_in_the_way = True
            else:
                needed -= resting.left
            if needed <= 0:
                return "SELF_TRADE_PREVENTED" if own_in_the_way and order.prevention != CANCEL_OLDEST else None
        return "FOK_UNFILLABLE"

    def _match_then_rest(self, order: Order) -> None:
        """Meet what is within reach, one order after the other; then the rest queues, or ends when it may not rest."""
        for resting in self._within_reach(order.side, order.price):
            if resting.account_id == order.account_id:
                if self._prevent(order, resting):
                    return
                continue
            lots = min(order.left, resting.left)
            order.left -= lots
            resting.left -= lots
            self.events.append((TRADE, resting.order_id, order.order_id, resting.price, lots, resting.left, order.left))
            if resting.left == 0:
                self._remove(resting)
            if order.left == 0:
                return
        if order.time_in_force in (IOC, FOK):
            self.events.append((CANCELLED, order.order_id, order.left, "IOC_UNFILLED"))
        else:
            self._insert(order)
            self.events.append((RESTED, order.order_id, order.side, order.price, order.left))

    def _prevent(self, order: Order, resting: Order) -> bool:
        """Two orders of one account meet: the incoming order's mode decides. Whether that ended the incoming one."""
        if order.prevention == DECREMENT:
            lots = min(order.left, resting.left)
            order.left -= lots
            resting.left -= lots
            self.events.append((PREVENTED, resting.order_id, order.order_id, lots, resting.left, order.left))
        if order.prevention in (CANCEL_OLDEST, CANCEL_BOTH) or resting.left == 0:
            self._remove(resting)
            self.events.append((CANCELLED, resting.order_id, resting.left, "SELF_TRADE_PREVENTED"))
        if order.prevention in (CANCEL_NEWEST, CANCEL_BOTH) or order.left == 0:
            self.events.append((CANCELLED, order.order_id, order.left, "SELF_TRADE_PREVENTED"))
            return True
        return False

    # -- looking

    def level(self, side: int, price: int) -> int:
        """See `BookLike.level`."""
        return sum(order.left for order in self.sides[side] if order.price == price)

    def levels(self, side: int) -> Iterator[tuple[int, int]]:
        """See `BookLike.levels`."""
        prices: list[int] = []
        for order in self.sides[side]:
            if order.price not in prices:
                prices.append(order.price)
        for price in prices:
            yield price, self.level(side, price)

    def queue(self, side: int) -> Iterator[tuple[OrderId, Hashable, int, int, int]]:
        """See `BookLike.queue`."""
        for order in self.sides[side]:
            yield order.order_id, order.account_id, order.price, order.total, order.left

    def __contains__(self, order_id: OrderId) -> bool:
        return self._find(order_id) is not None

    def __len__(self) -> int:
        return len(self.sides[BUY]) + len(self.sides[SELL])

    def check(self) -> None:
        """See `BookLike.check`: sorted, not crossed, every order with something left, every id once."""
        bids, asks = ([order.price for order in side] for side in self.sides)
        assert bids == sorted(bids, reverse=True)
        assert asks == sorted(asks)
        assert not bids or not asks or bids[0] < asks[0], "crossed"
        ids = [order.order_id for side in self.sides for order in side]
        assert len(ids) == len(set(ids))
        assert all(1 <= order.left <= order.total and order.side == side for side in (BUY, SELL) for order in self.sides[side])
