"""The book as the rules tell it and nothing else: two sorted lists, a list of stops, linear scans. Slow, and easy to believe.

The fast book is held to this one. Written from the contract in `matching.core.messages` alone, never from the fast book, so
that the same misunderstanding has to happen twice before it goes unseen.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass

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
from tests.matching.naive_auction import best_price, reaches

CLOSED_FOR_ORDERS = {CANCEL_ONLY: "SYMBOL_CANCEL_ONLY", HALTED: "SYMBOL_HALTED", DELISTED: "SYMBOL_HALTED"}


@dataclass
class Order:
    """An order at work; `total - left` is what was filled or prevented so far. The higher `place`, the later it took its place."""

    order_id: OrderId
    account_id: Hashable
    side: int
    price: int
    total: int
    left: int
    time_in_force: int
    prevention: int
    place: int = 0


@dataclass
class Stop:
    """An order that waits until the price of its source reaches `stop`; whether it `acts` then by itself."""

    order: Order
    stop: int
    rising: bool
    source: int
    acts: bool

    def is_reached(self, low: int, high: int) -> bool:
        """By a price between these two ticks (a trade's price: both the same)."""
        return low >= self.stop if self.rising else high <= self.stop


@dataclass
class InLine:
    """An order that stands in line in an uncross, and what it still has there."""

    order: Order
    lots: int


def require(condition: bool, what: str) -> None:
    """Stop a command that intake should never have let through, before anything has changed."""
    if not condition:
        raise InvalidCommand(what)


class NaiveBook:
    """One symbol's book.

    `sides[BUY]` and `sides[SELL]` hold the open orders: collected market orders, oldest first, then best price first, oldest first;
    `stops` those that wait, in order of arrival.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.status: str = TRADING
        self.last: int = 0
        self.reference: tuple[int, int] | None = None
        self.sides: tuple[list[Order], list[Order]] = ([], [])
        self.stops: list[Stop] = []
        self._range: tuple[int, int] = (0, MAX_TICKS)
        self._places_taken = 0
        self._traded: list[int] = []  # prices of trades whose stops were not looked for yet

    # -- the lists

    def _find(self, order_id: OrderId) -> Order | None:
        for side in self.sides:
            for order in side:
                if order.order_id == order_id:
                    return order
        return None

    def _find_stop(self, order_id: OrderId) -> Stop | None:
        for stop in self.stops:
            if stop.order.order_id == order_id:
                return stop
        return None

    def _insert(self, order: Order) -> None:
        """A market order behind the market orders; others behind every order of a better or the same price."""
        self._places_taken += 1
        order.place = self._places_taken
        queue = self.sides[order.side]
        position = 0
        while position < len(queue) and self._stays_ahead(queue[position], order):
            position += 1
        queue.insert(position, order)

    @staticmethod
    def _stays_ahead(resting: Order, newcomer: Order) -> bool:
        if MARKET in (resting.time_in_force, newcomer.time_in_force):
            return resting.time_in_force == MARKET
        return reaches(1 - newcomer.side, newcomer.price, resting.price)

    def _remove(self, order: Order) -> None:
        queue = self.sides[order.side]
        del queue[next(i for i, resting in enumerate(queue) if resting is order)]

    def _remove_stop(self, stop: Stop) -> None:
        del self.stops[next(i for i, waiting in enumerate(self.stops) if waiting is stop)]

    def _within_reach(self, side: int, limit: int) -> list[Order]:
        """Orders of the other side that an order of this side with this limit would meet, in the order of meeting."""
        return [resting for resting in self.sides[1 - side] if reaches(side, limit, resting.price)]

    # -- commands

    def place(self, order_id: OrderId, account_id: Hashable, side: int, price: int, lots: int, time_in_force: int, prevention: int) -> None:
        """See `BookLike.place`."""
        self._require_sound(order_id, side, price, lots, time_in_force, prevention)
        self._enter(Order(order_id, account_id, side, price, lots, lots, time_in_force, prevention))
        self._let_stops_act([])

    def place_by_budget(self, order_id: OrderId, account_id: Hashable, price: int, budget: int, prevention: int) -> None:
        """See `BookLike.place_by_budget`."""
        self._require_sound(order_id, BUY, price, 1, IOC, prevention)
        require(1 <= budget <= MAX_LOTS, "budget out of range")
        if self.status in CLOSED_FOR_ORDERS:
            self.events.append((REJECTED, order_id, CLOSED_FOR_ORDERS[self.status]))
        elif self.status == AUCTION:
            self.events.append((REJECTED, order_id, "ORDER_TYPE_NOT_ALLOWED"))
        elif self.status == POST_ONLY:
            self.events.append((REJECTED, order_id, "SYMBOL_POST_ONLY"))
        else:
            self._spend(order_id, account_id, price, budget, prevention)
            self._let_stops_act([])

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
        """See `BookLike.place_stop`."""
        self._require_sound_stop(order_id, side, price, lots, time_in_force, prevention, stop, source)
        new = Stop(Order(order_id, account_id, side, price, lots, lots, time_in_force, prevention), stop, rising, source, acts)
        if self.status in CLOSED_FOR_ORDERS:
            self.events.append((REJECTED, order_id, CLOSED_FOR_ORDERS[self.status]))
        elif self.status == POST_ONLY:
            self.events.append((REJECTED, order_id, "SYMBOL_POST_ONLY"))
        elif self._is_reached_now(new):
            self.events.append((REJECTED, order_id, "WOULD_TRIGGER_IMMEDIATELY"))
        else:
            self.stops.append(new)
            self.events.append((WAITING, order_id, stop))

    def cancel(self, order_id: OrderId, reason: str) -> None:
        """See `BookLike.cancel`."""
        if (order := self._find(order_id)) is not None:
            self._remove(order)
            self.events.append((CANCELLED, order_id, order.left, reason))
        elif (stop := self._find_stop(order_id)) is not None:
            self._remove_stop(stop)
            self.events.append((CANCELLED, order_id, stop.order.left, reason))
        else:
            self.events.append((REFUSED, order_id, "ORDER_NOT_OPEN"))

    def amend(self, order_id: OrderId, price: int, total: int) -> None:
        """See `BookLike.amend`. A total of 0 is one that is reached already: it cancels."""
        require(1 <= price <= MAX_TICKS, "price out of range")
        require(0 <= total <= MAX_LOTS, "total out of range")
        if (stop := self._find_stop(order_id)) is not None:
            self._amend_stop(stop.order, price, total)
            return
        order = self._find(order_id)
        if order is None:
            self.events.append((REFUSED, order_id, "ORDER_NOT_OPEN"))
            return
        if order.time_in_force == MARKET:
            self.events.append((REFUSED, order_id, "AMEND_REFUSED"))
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
        if self.status == AUCTION:
            self._rest(order)
        else:
            self._match_then_rest(order)
        self._let_stops_act([])

    def _amend_stop(self, order: Order, price: int, total: int) -> None:
        if total == 0:
            self.cancel(order.order_id, "USER_CANCEL")
            return
        order.price, order.total, order.left = price, total, total
        self.events.append((AMENDED, order.order_id, price, total, total, True))

    def set_status(self, status: str) -> None:
        """See `BookLike.set_status`."""
        require(status in STATUSES, "unknown status")
        if status in (TRADING, POST_ONLY) and status != self.status:
            self._uncross()
        self.status = status
        self.events.append((STATUS, status, COMMAND))
        if status == DELISTED:
            for order in [*self.sides[BUY], *self.sides[SELL], *(stop.order for stop in self.stops)]:
                self.cancel(order.order_id, "SYMBOL_DELISTED")
        self._let_stops_act([(stop, self._present(stop.source)[0]) for stop in self.stops if self._is_reached_now(stop)])

    def set_reference(self, low: int, high: int) -> None:
        """See `BookLike.set_reference`."""
        require(0 < low <= high <= low + 1 and high <= MAX_TICKS, "no two neighbouring ticks")
        self.reference = (low, high)
        self._let_stops_act([(stop, low) for stop in self.stops if stop.source == REFERENCE and stop.is_reached(low, high)])

    def set_range(self, low: int, high: int) -> None:
        """See `BookLike.set_range`."""
        require(0 <= low <= high, "no range")
        self._range = (low, high)

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
        """See `BookLike.restore_stop`."""
        self._require_sound_stop(order_id, side, price, lots, time_in_force, prevention, stop, source)
        order = Order(order_id, account_id, side, price, lots, lots, time_in_force, prevention)
        self.stops.append(Stop(order, stop, rising, source, acts))

    # -- what commands share

    def _require_sound(self, order_id: OrderId, side: int, price: int, lots: int, time_in_force: int, prevention: int) -> None:
        require(side in (BUY, SELL), "unknown side")
        require(1 <= price <= MAX_TICKS, "price out of range")
        require(1 <= lots <= MAX_LOTS, "quantity out of range")
        require(time_in_force in (GTC, IOC, FOK, GTX, MARKET), "unknown time in force")
        require(prevention in (CANCEL_NEWEST, CANCEL_OLDEST, CANCEL_BOTH, DECREMENT), "unknown prevention mode")
        require(order_id not in self, "id of an open order or of a waiting stop")

    def _require_sound_stop(
        self, order_id: OrderId, side: int, price: int, lots: int, time_in_force: int, prevention: int, stop: int, source: int
    ) -> None:
        self._require_sound(order_id, side, price, lots, time_in_force, prevention)
        require(1 <= stop <= MAX_TICKS, "stop out of range")
        require(source in (LAST, REFERENCE), "unknown source")

    def _enter(self, order: Order) -> None:
        """An order that was placed or triggered: the status, the time in force and what it would meet decide."""
        would_take = bool(self._within_reach(order.side, order.price))
        if self.status in CLOSED_FOR_ORDERS:
            self.events.append((REJECTED, order.order_id, CLOSED_FOR_ORDERS[self.status]))
        elif self.status == AUCTION:
            if order.time_in_force in (GTC, MARKET):
                self._rest(order)
            else:
                self.events.append((REJECTED, order.order_id, "ORDER_TYPE_NOT_ALLOWED"))
        elif order.time_in_force == GTX and would_take:
            self.events.append((REJECTED, order.order_id, "POST_ONLY_WOULD_TAKE"))
        elif self.status == POST_ONLY and (order.time_in_force in (MARKET, IOC, FOK) or would_take):
            self.events.append((REJECTED, order.order_id, "SYMBOL_POST_ONLY"))
        elif order.time_in_force == FOK:
            self._fill_or_kill(order)
        else:
            self._match_then_rest(order)

    def _rest(self, order: Order) -> None:
        self._insert(order)
        self.events.append((RESTED, order.order_id, order.side, order.price, order.left))

    def _fill_or_kill(self, order: Order) -> None:
        """Fill it whole, or say why not and touch nothing."""
        met = self._within_reach(order.side, order.price)
        if sum(resting.left for resting in met if resting.account_id != order.account_id) < order.left:
            self.events.append((CANCELLED, order.order_id, order.left, "FOK_UNFILLABLE"))
            return
        needed = order.left
        own_in_the_way = False
        for resting in met:
            if needed <= 0:
                break
            if not self._may_trade_at(resting.price):
                self._halt()
                self.events.append((CANCELLED, order.order_id, order.left, "SYMBOL_HALTED"))
                return
            if resting.account_id == order.account_id:
                own_in_the_way = True
            else:
                needed -= resting.left
        if own_in_the_way and order.prevention != CANCEL_OLDEST:
            self.events.append((CANCELLED, order.order_id, order.left, "SELF_TRADE_PREVENTED"))
        else:
            self._match_then_rest(order)

    def _match_then_rest(self, order: Order) -> None:
        """Meet what is within reach, one order after the other; then the rest queues, or ends when it may not rest."""
        reason = "IOC_UNFILLED"
        for resting in self._within_reach(order.side, order.price):
            if not self._may_trade_at(resting.price):
                self._halt()
                reason = "SYMBOL_HALTED"
                break
            lots = min(order.left, resting.left)
            if resting.account_id == order.account_id:
                if self._prevent(order, resting, lots):
                    return
                continue
            order.left -= lots
            self._take(resting, order.order_id, resting.price, lots, order.left)
            if order.left == 0:
                return
        if order.time_in_force in (MARKET, IOC, FOK):
            self.events.append((CANCELLED, order.order_id, order.left, reason))
        else:
            self._rest(order)

    def _spend(self, order_id: OrderId, account_id: Hashable, price: int, budget: int, prevention: int) -> None:
        """Buy whole lots at up to this price until the budget does not pay for one more."""
        bought = 0
        while offers := self._within_reach(BUY, price):
            best = offers[0]
            affordable = budget // best.price
            if affordable == 0:
                break
            if not self._may_trade_at(best.price):
                self._halt()
                self.events.append((CANCELLED, order_id, 0, "SYMBOL_HALTED"))
                return
            lots = min(affordable, best.left)
            if best.account_id != account_id:
                budget -= lots * best.price
                bought += lots
                self._take(best, order_id, best.price, lots, budget // best.price)
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

    def _take(self, maker: Order, taker_id: OrderId, price: int, lots: int, taker_left: int) -> None:
        """A trade with this resting order, which leaves the book when nothing is left of it."""
        maker.left -= lots
        self.events.append((TRADE, maker.order_id, taker_id, price, lots, maker.left, taker_left))
        self.last = price
        self._traded.append(price)
        if maker.left == 0:
            self._remove(maker)

    def _prevent(self, order: Order, resting: Order, lots: int) -> bool:
        """Two orders of one account meet: the incoming order's mode decides. Whether that ended the incoming one."""
        if order.prevention == DECREMENT:
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

    def _may_trade_at(self, price: int) -> bool:
        return self._range[0] <= price <= self._range[1]

    def _halt(self) -> None:
        self.status = HALTED
        self.events.append((STATUS, HALTED, PRICE_BAND))

    # -- stops

    def _present(self, source: int) -> tuple[int, int]:
        """The ticks between which the present price of this source lies; (0, 0) when there is none yet."""
        return (self.last, self.last) if source == LAST else self.reference or (0, 0)

    def _is_reached_now(self, stop: Stop) -> bool:
        low, high = self._present(stop.source)
        return low > 0 and stop.is_reached(low, high)

    def _let_stops_act(self, queue: list[tuple[Stop, int]]) -> None:
        """One after another, each with the price that reached it; trades queue what they reach behind. A halt ends it."""
        while self.status == TRADING:
            for price in self._traded:
                for stop in self.stops:
                    if stop.source == LAST and stop.is_reached(price, price) and all(stop is not queued for queued, _ in queue):
                        queue.append((stop, price))
            self._traded.clear()
            if not queue:
                break
            acting, price = queue.pop(0)
            self._remove_stop(acting)
            self.events.append((TRIGGERED, acting.order.order_id, acting.source, price))
            if acting.acts:
                self._enter(acting.order)
        self._traded.clear()

    # -- the uncross

    def indicative(self) -> tuple[int, int, int] | None:
        """See `BookLike.indicative`."""
        last = (self.last, self.last) if self.last else None
        return best_price(self.sides[BUY], self.sides[SELL], self.reference or last)

    def _uncross(self) -> None:
        """Trade until nothing would; a round that meets preventions only prevents.

        It may take more than one price: a market order stands before limits that are better than its own, so these may still
        cross when it has traded.
        """
        while found := self.indicative():
            price, lots, _ = found
            if self._prevent_in_line(price):
                continue
            self.events.append((AUCTIONED, price, lots))
            bids, asks = self._lines(price)
            while bids and asks:
                older, newer = self._by_age(bids[0], asks[0])
                lots = min(older.left, newer.left)
                newer.left -= lots
                self._take(older, newer.order_id, price, lots, newer.left)
                if newer.left == 0:
                    self._remove(newer)
                bids = [order for order in bids if order.left > 0]
                asks = [order for order in asks if order.left > 0]
        for order in [*self.sides[BUY], *self.sides[SELL]]:
            if order.time_in_force == MARKET:
                self.cancel(order.order_id, "IOC_UNFILLED")
        self._traded.clear()  # who ends an auction looks at the present price

    def _lines(self, price: int) -> tuple[list[Order], list[Order]]:
        """Each side's orders that accept this price, in the order in which they are matched."""
        bids = [order for order in self.sides[BUY] if reaches(BUY, order.price, price)]
        asks = [order for order in self.sides[SELL] if reaches(SELL, order.price, price)]
        return bids, asks

    @staticmethod
    def _by_age(one: Order, other: Order) -> tuple[Order, Order]:
        """The older, then the newer."""
        return (one, other) if one.place < other.place else (other, one)

    def _prevent_in_line(self, price: int) -> bool:
        """Go through the lines as if all matches traded, and carry out the preventions. Whether there was one."""
        bids, asks = ([InLine(order, order.left) for order in line] for line in self._lines(price))
        prevented = False
        while bids and asks:
            lots = min(bids[0].lots, asks[0].lots)
            overlap_is_gone = True
            if bids[0].order.account_id == asks[0].order.account_id:
                prevented = True
                older, newer = self._by_age(bids[0].order, asks[0].order)
                overlap_is_gone = newer.prevention == DECREMENT
                if self._prevent(newer, older, lots):
                    self._remove(newer)
            if overlap_is_gone:
                bids[0].lots -= lots
                asks[0].lots -= lots
            bids = [head for head in bids if head.lots > 0 and head.order.order_id in self]
            asks = [head for head in asks if head.lots > 0 and head.order.order_id in self]
        return prevented

    # -- looking

    def level(self, side: int, price: int) -> int:
        """See `BookLike.level`."""
        return sum(order.left for order in self.sides[side] if order.price == price and order.time_in_force != MARKET)

    def levels(self, side: int) -> Iterator[tuple[int, int]]:
        """See `BookLike.levels`."""
        prices: list[int] = []
        for order in self.sides[side]:
            if order.time_in_force != MARKET and order.price not in prices:
                prices.append(order.price)
        for price in prices:
            yield price, self.level(side, price)

    def queue(self, side: int) -> Iterator[tuple[OrderId, Hashable, int, int, int]]:
        """See `BookLike.queue`."""
        for order in self.sides[side]:
            yield order.order_id, order.account_id, order.price, order.total, order.left

    def waiting(self) -> Iterator[tuple[OrderId, Hashable, int, int, int, int, bool, int]]:
        """See `BookLike.waiting`."""
        for stop in self.stops:
            order = stop.order
            yield order.order_id, order.account_id, order.side, order.price, order.left, stop.stop, stop.rising, stop.source

    def __contains__(self, order_id: OrderId) -> bool:
        return self._find(order_id) is not None or self._find_stop(order_id) is not None

    def __len__(self) -> int:
        return len(self.sides[BUY]) + len(self.sides[SELL]) + len(self.stops)

    def check(self) -> None:
        """See `BookLike.check`: sorted, crossed at most while nothing matches, every order with something left, every id once."""
        for side in (BUY, SELL):
            orders = self.sides[side]
            sign = -1 if side == BUY else 1
            ranks = [(0, 0, o.place) if o.time_in_force == MARKET else (1, sign * o.price, o.place) for o in orders]
            assert ranks == sorted(ranks)
            assert all(1 <= order.left <= order.total and order.side == side for order in orders)
        if self.status in (TRADING, POST_ONLY):
            assert self.indicative() is None, "crossed"
            assert all(order.time_in_force != MARKET for side in self.sides for order in side), "a market order rests"
        ids = [order.order_id for side in self.sides for order in side] + [stop.order.order_id for stop in self.stops]
        assert len(ids) == len(set(ids))
        assert not self._traded
