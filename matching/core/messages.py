"""The words that go into and come out of a book.

Commands are calls of a book's methods with plain integers and strings; events are tuples whose first item is the kind.
Prices are integer ticks, quantities integer lots. An order id is any hashable, an account id any value with equality.

Commands (see `BookLike`): place, place_by_budget, place_stop, cancel, amend, set_status, set_reference, set_range, restore,
restore_stop.

Events, in the order in which things happened:

    (RESTED, order_id, side, price, left)              joined the back of its price's queue
    (TRADE, maker_id, taker_id, price, lots, maker_left, taker_left)
                                                       at the maker's price; left = lots still open afterwards. For an order
                                                       by budget taker_left is what it could still buy at this price
    (PREVENTED, resting_id, incoming_id, lots, resting_left, incoming_left)
                                                       DECREMENT took this overlap from both, no trade
    (CANCELLED, order_id, left, reason)                ended, with so many lots unfilled
    (REJECTED, order_id, reason)                       never entered the book, nothing happened
    (AMENDED, order_id, price, total, left, kept_place)
                                                       followed by what the amended order did when it lost its place
                                                       (TRADE …, then RESTED or CANCELLED or nothing when it was filled)
    (REFUSED, order_id, code)                          a cancel or amend that changed nothing
    (STATUS, status, cause)                            the symbol's status from here on; cause COMMAND or PRICE_BAND
    (WAITING, order_id, stop)                          a stop joined the watch list
    (TRIGGERED, order_id, source, price)               a stop left the watch list and acts now: what it does follows, as for an
                                                       order that is placed. `price`: of the trade, or of the reference (`low`)
    (AUCTIONED, price, lots)                           an uncross at this price: the TRADEs that make up these lots follow

An order that traded down to nothing is FILLED: there is no event of its own, `maker_left` or `taker_left` is 0. An order by
budget is filled when it traded and no CANCELLED follows.

Rules: specification 3, 5, 8 to 11 and 14 to 16. Where they leave room:

* Self-trade prevention never looks at orders beyond the incoming order's reach. It meets resting orders one by one, best
  price first, oldest first, and the incoming order's mode decides each meeting.
* CANCEL_BOTH cancels the resting order first. DECREMENT emits PREVENTED, then CANCELLED of the resting order if nothing is
  left of it, then CANCELLED of the incoming one if nothing is left of that.
* FOK: when others' lots within its limit are fewer than its own: CANCELLED FOK_UNFILLABLE. Otherwise, when an own order stands
  before the point where it would be filled whole and the mode is not CANCEL_OLDEST: CANCELLED SELF_TRADE_PREVENTED. In both
  cases nothing else is touched. With CANCEL_OLDEST own orders in the way are cancelled as they are met and the order fills.
* A post-only order (GTX) that would meet any order, its own account's included, is REJECTED POST_ONLY_WOULD_TAKE.
* An amend to the same price and a total not above the present one keeps its place (AMENDED with kept_place True, nothing
  else). A new total at or below what is done already (filled or prevented) is CANCELLED USER_CANCEL. Everything else goes to
  the back and may trade at once by the order's own prevention mode; AMENDED comes first. A GTX order that would take then:
  REFUSED AMEND_REFUSED, the order stays as it was.
* An order of time in force MARKET is an IOC order at its protection price, but in an auction, where it is collected.

Statuses:

* TRADING: everything.
* POST_ONLY: orders that would take, and all MARKET, IOC, FOK, budget and stop orders, are REJECTED SYMBOL_POST_ONLY; amends
  that would take are REFUSED AMEND_REFUSED. GTX that would take is told POST_ONLY_WOULD_TAKE.
* CANCEL_ONLY and HALTED: placing, stops too, is REJECTED SYMBOL_CANCEL_ONLY or SYMBOL_HALTED; only cancels and amends that keep
  the place (or cancel, or are of a waiting stop) work, others are REFUSED AMEND_REFUSED.
* DELISTED: as HALTED (SYMBOL_HALTED), and every open order is CANCELLED SYMBOL_DELISTED after the STATUS event: bids best price
  first, oldest first, then asks likewise, then waiting stops in order of arrival. Market orders collected by an auction come
  before all prices of their side.
* AUCTION: GTC and MARKET orders rest without matching (RESTED; a MARKET order with its protection price), so the book may be
  crossed; IOC, FOK, GTX and budget orders are REJECTED ORDER_TYPE_NOT_ALLOWED; stops wait. Amends that lose their place rest
  without matching; GTX orders may still not be amended into anything that rests opposite (collected market orders count at their
  protection prices).
* Amends of a collected MARKET order are REFUSED AMEND_REFUSED, in every status and whatever they ask.

Stops:

* A stop is `rising` (reached when the price is at or above it) or not (at or below), and watches one source: LAST, the price of
  each trade, or REFERENCE, what set_reference says. One that the present price of its source has reached already is REJECTED
  WOULD_TRIGGER_IMMEDIATELY; with no price yet it waits.
* Stops of any time in force wait in AUCTION too; what the present price has reached is refused there as well.
* Stops act in status TRADING only. When a command is done (its rest has rested or ended), the prices of its trades are looked at
  in order: each takes the LAST stops it reaches into the queue of what acts next, those of one price in order of arrival. Then
  they act one after another; the trades of each are looked at when it is done, and what they reach queues up behind.
  set_reference does the same with the REFERENCE stops. set_status(TRADING), after STATUS and whatever came before, looks at both
  sources with the present prices: all that are reached, of both, in order of arrival.
* When the symbol halts meanwhile, what was queued and has not acted goes on waiting, at its old place.
* An amend of a waiting stop (`price`: what it is limited to once triggered) is AMENDED with kept_place True whatever it changes, or
  CANCELLED USER_CANCEL for a total of 0.

The range (set_range) is what prices trades may have now. A price outside it is not traded at: when an incoming, amended or triggered
order would go on at a level outside, the symbol is HALTED first (STATUS HALTED PRICE_BAND), whoever's orders stand there; then
the rest of the order rests (GTC, GTX), or is CANCELLED SYMBOL_HALTED (MARKET, IOC, budget). The book may be crossed then. FOK: fillable
within its limit but not within the range: no trade, STATUS HALTED PRICE_BAND, CANCELLED SYMBOL_HALTED (own orders in the way do not
matter then). A budget that does not pay for a lot at the level outside ends as it would without a range.

The uncross. set_status(TRADING) and set_status(POST_ONLY) from any other status first clear a book that is crossed or holds collected
MARKET orders:

* The price is the one at which most lots trade; of several the one that leaves the smallest surplus (the difference between what would
  buy and what would sell at it); of those the nearest to the reference, or to the last trade when there is no reference (a reference
  between two ticks counts as their middle; both unknown: all are as near); of those the higher. Market orders count as limited by their
  protection price.
* Each side's orders that accept the price stand in line: market orders, oldest first, then by price, best first, oldest first. Heads of
  the lines are matched until one line is empty. Two heads of one account do not trade: the mode of the newer one (the one that
  took its place later) decides as if the newer came in and the older rested; DECREMENT takes the overlap of what the two still have
  in this line-up.
* Preventions change what there is to match. So a first round only prevents: it goes through the lines as if all matches traded, and
  carries out the preventions it meets (an order that ended leaves the line). If there were any, price and lines are found
  anew; and so on until a round meets none. Then AUCTIONED, and the TRADEs of that round; the older order is the maker.
* A market order may have gone before better limits, which then still cross: the book is cleared again, at a price of its own, until nothing
  would trade.
* Then what is left of collected MARKET orders is CANCELLED IOC_UNFILLED, bids first, oldest first, and the STATUS event follows.
* The range does not bind an uncross: whoever drives the book asks `indicative` first.
"""

from collections.abc import Hashable, Iterator
from typing import Any, Final, Protocol

BUY: Final = 0
SELL: Final = 1

# time in force
GTC: Final = 0
IOC: Final = 1
FOK: Final = 2
GTX: Final = 3
MARKET: Final = 4

# self-trade prevention
CANCEL_NEWEST: Final = 0
CANCEL_OLDEST: Final = 1
CANCEL_BOTH: Final = 2
DECREMENT: Final = 3

# what a stop watches
LAST: Final = 0
REFERENCE: Final = 1

# symbol status
TRADING: Final = "TRADING"
POST_ONLY: Final = "POST_ONLY"
CANCEL_ONLY: Final = "CANCEL_ONLY"
HALTED: Final = "HALTED"
AUCTION: Final = "AUCTION"
DELISTED: Final = "DELISTED"
STATUSES: Final = (TRADING, POST_ONLY, CANCEL_ONLY, HALTED, AUCTION, DELISTED)

# why a status changed
COMMAND: Final = "COMMAND"
PRICE_BAND: Final = "PRICE_BAND"

# event kinds
RESTED: Final = "RESTED"
TRADE: Final = "TRADE"
PREVENTED: Final = "PREVENTED"
CANCELLED: Final = "CANCELLED"
REJECTED: Final = "REJECTED"
AMENDED: Final = "AMENDED"
REFUSED: Final = "REFUSED"
STATUS: Final = "STATUS"
WAITING: Final = "WAITING"
TRIGGERED: Final = "TRIGGERED"
AUCTIONED: Final = "AUCTIONED"

MAX_LOTS: Final = 2**62
MAX_TICKS: Final = 2**62

Event = tuple[Any, ...]
OrderId = Hashable


class InvalidCommand(ValueError):
    """A command that intake should never have let through: unknown side, price or quantity out of range, an id in use."""


class BookLike(Protocol):
    """What every book of this project does; the fast one and the naive one are held to it by one test suite.

    Every command appends its events to `events` and returns None; whoever drives the book empties that list. A command that
    raises InvalidCommand has changed nothing and emitted nothing.

    `last`: ticks of the last trade, 0 before the first; whoever recovers a book sets it, as he does `reference`, the last
    set_reference's (low, high) or None.
    """

    events: list[Event]
    status: str
    last: int
    reference: tuple[int, int] | None

    def place(self, order_id: OrderId, account_id: Hashable, side: int, price: int, lots: int, time_in_force: int, prevention: int) -> None:
        """A limit order, or a market order at its protection price (MARKET, or FOK).

        Raises: InvalidCommand when side, price (1..MAX_TICKS), lots (1..MAX_LOTS), time in force or prevention is out of
        range, or the id is that of an open order or a waiting stop.
        """

    def place_by_budget(self, order_id: OrderId, account_id: Hashable, price: int, budget: int, prevention: int) -> None:
        """A market buy that spends at most `budget` (in ticks × lots), at prices up to `price`; buys whole lots.

        It ends when the next lot costs more than is left, or nothing is offered within its price. If it bought nothing, or what
        is left would still pay for a lot at the best price on offer within its limit (nothing on offer: at the limit itself):
        CANCELLED IOC_UNFILLED with left 0. Prevention: an own order met is treated as in `place` (DECREMENT: the overlap is
        min(affordable lots at that price, resting lots), its cost leaves the budget; when less than a lot at that price is
        left: CANCELLED SELF_TRADE_PREVENTED). CANCELLED of an order by budget always tells left 0.

        Raises: InvalidCommand when price (1..MAX_TICKS), budget (1..MAX_LOTS) or prevention is out of range, or the id is that of
        an open order or a waiting stop.
        """

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
        """An order that is placed (with price, lots, time in force and prevention as in `place`) when its source's price reaches `stop`.
        One that does not act by itself (`acts` False) only leaves the watch list with its TRIGGERED event: whoever drives the book
        places it, after what else the command triggers.

        Raises: InvalidCommand as `place`, and when stop (1..MAX_TICKS) or source is out of range.
        """

    def cancel(self, order_id: OrderId, reason: str) -> None:
        """CANCELLED with this reason, or REFUSED ORDER_NOT_OPEN. Expiry is a cancel with reason EXPIRED."""

    def amend(self, order_id: OrderId, price: int, total: int) -> None:
        """New price and new total quantity (what is filled included); both always given. REFUSED ORDER_NOT_OPEN when not open."""

    def set_status(self, status: str) -> None:
        """Set the symbol's status; STATUS is emitted even when nothing changes."""

    def set_reference(self, low: int, high: int) -> None:
        """The reference price lies between these neighbouring ticks (both the same when it is on the grid): a rising stop is reached
        when `low` is at or above it, the others when `high` is at or below it. Raises: InvalidCommand unless
        0 < low <= high <= low + 1 and high <= MAX_TICKS."""

    def set_range(self, low: int, high: int) -> None:
        """Prices that trades may have from here on, both included; no event. Raises: InvalidCommand unless 0 <= low <= high."""

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
        """Put an open order at the back of its queue without matching; recovery calls it, and restore_stop, in the order in which orders
        took their places. A MARKET order is one that an auction collected. No event."""

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
        """Put a stop on the watch list whatever the prices are. No event."""

    def indicative(self) -> tuple[int, int, int] | None:
        """What an uncross would do now, own orders' meetings left aside: (price, lots, surplus), surplus positive when more would buy at it
        than sell. None when nothing would trade."""

    def level(self, side: int, price: int) -> int:
        """Lots open at this price on this side, 0 when there is none; collected market orders stand at no price."""

    def levels(self, side: int) -> Iterator[tuple[int, int]]:
        """(price, lots) best price first; without collected market orders."""

    def queue(self, side: int) -> Iterator[tuple[OrderId, Hashable, int, int, int]]:
        """(order_id, account_id, price, total, left) of every open order, best price first, oldest first; collected market orders before
        all others, with their protection prices."""

    def waiting(self) -> Iterator[tuple[OrderId, Hashable, int, int, int, int, bool, int]]:
        """(order_id, account_id, side, price, lots, stop, rising, source) of every waiting stop, in order of arrival."""

    def __contains__(self, order_id: OrderId) -> bool:
        """Whether this order is open in the book or waits as a stop."""

    def __len__(self) -> int:
        """Number of open orders and waiting stops."""

    def check(self) -> None:
        """Raise AssertionError when an invariant of the book is broken; for tests, slow."""
