"""The words that go into and come out of a book.

Commands are calls of a book's methods with plain integers and strings; events are tuples whose first item is the kind.
Prices are integer ticks, quantities integer lots. An order id is any hashable, an account id any value with equality.

Commands (see `BookLike`): place, place_by_budget, cancel, amend, set_status, restore.

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
    (STATUS, status)                                   the symbol's status from here on

An order that traded down to nothing is FILLED: there is no event of its own, `maker_left` or `taker_left` is 0. An order by
budget is filled when it traded and no CANCELLED follows.

Rules: specification 3, 8 to 11 and 14. Where they leave room:

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
* Statuses. TRADING: everything. POST_ONLY: orders that would take, and all IOC, FOK and budget orders, are REJECTED
  SYMBOL_POST_ONLY; amends that would take are REFUSED AMEND_REFUSED. CANCEL_ONLY and HALTED: placing is REJECTED
  SYMBOL_CANCEL_ONLY or SYMBOL_HALTED; only cancels and amends that keep the place (or cancel) work, others are REFUSED
  AMEND_REFUSED. DELISTED: as HALTED (SYMBOL_HALTED), and every open order is CANCELLED SYMBOL_DELISTED after the STATUS
  event: bids best price first, oldest first, then asks likewise.
* GTX that would take while the status is POST_ONLY is told POST_ONLY_WOULD_TAKE.
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

# self-trade prevention
CANCEL_NEWEST: Final = 0
CANCEL_OLDEST: Final = 1
CANCEL_BOTH: Final = 2
DECREMENT: Final = 3

# symbol status
TRADING: Final = "TRADING"
POST_ONLY: Final = "POST_ONLY"
CANCEL_ONLY: Final = "CANCEL_ONLY"
HALTED: Final = "HALTED"
DELISTED: Final = "DELISTED"
STATUSES: Final = (TRADING, POST_ONLY, CANCEL_ONLY, HALTED, DELISTED)

# event kinds
RESTED: Final = "RESTED"
TRADE: Final = "TRADE"
PREVENTED: Final = "PREVENTED"
CANCELLED: Final = "CANCELLED"
REJECTED: Final = "REJECTED"
AMENDED: Final = "AMENDED"
REFUSED: Final = "REFUSED"
STATUS: Final = "STATUS"

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
    """

    events: list[Event]
    status: str

    def place(self, order_id: OrderId, account_id: Hashable, side: int, price: int, lots: int, time_in_force: int, prevention: int) -> None:
        """A limit order; a market order is one with IOC (or FOK) at its protection price.

        Raises: InvalidCommand when side, price (1..MAX_TICKS), lots (1..MAX_LOTS), time in force or prevention is out of
        range, or the id is that of an open order.
        """

    def place_by_budget(self, order_id: OrderId, account_id: Hashable, price: int, budget: int, prevention: int) -> None:
        """A market buy that spends at most `budget` (in ticks × lots), at prices up to `price`; buys whole lots.

        It ends when the next lot costs more than is left, or nothing is offered within its price. If it bought nothing, or what
        is left would still pay for a lot at the best price on offer within its limit (nothing on offer: at the limit itself):
        CANCELLED IOC_UNFILLED with left 0. Prevention: an own order met is treated as in `place` (DECREMENT: the overlap is
        min(affordable lots at that price, resting lots), its cost leaves the budget; when less than a lot at that price is
        left: CANCELLED SELF_TRADE_PREVENTED). CANCELLED of an order by budget always tells left 0.

        Raises: InvalidCommand when price (1..MAX_TICKS), budget (1..MAX_LOTS) or prevention is out of range, or the id is that of
        an open order.
        """

    def cancel(self, order_id: OrderId, reason: str) -> None:
        """CANCELLED with this reason, or REFUSED ORDER_NOT_OPEN."""

    def amend(self, order_id: OrderId, price: int, total: int) -> None:
        """New price and new total quantity (what is filled included); both always given. REFUSED ORDER_NOT_OPEN when not open."""

    def set_status(self, status: str) -> None:
        """Set the symbol's status; STATUS is emitted even when nothing changes."""

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
        """Put an open order at the back of its queue without matching: recovery calls it in queue order. No event."""

    def level(self, side: int, price: int) -> int:
        """Lots open at this price on this side, 0 when there is none."""

    def levels(self, side: int) -> Iterator[tuple[int, int]]:
        """(price, lots) best price first."""

    def queue(self, side: int) -> Iterator[tuple[OrderId, Hashable, int, int, int]]:
        """(order_id, account_id, price, total, left) of every open order, best price first, oldest first."""

    def __contains__(self, order_id: OrderId) -> bool:
        """Whether this order is open in the book."""

    def __len__(self) -> int:
        """Number of open orders."""

    def check(self) -> None:
        """Raise AssertionError when an invariant of the book is broken; for tests, slow."""
