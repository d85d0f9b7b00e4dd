"""The life cycle of an order as one table.

The migration of this app writes the same moves into the database, into the trigger `order_move` and the CHECK `transition_is_legal`;
a test tries every pair of statuses against them.
"""

from enum import StrEnum
from typing import Final


class Status(StrEnum):
    PENDING = "PENDING"
    OPEN = "OPEN"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    PENDING_TRIGGER = "PENDING_TRIGGER"
    TRIGGERED = "TRIGGERED"
    FILLED = "FILLED"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"


_ENDS = frozenset({Status.FILLED, Status.CANCELLED, Status.REJECTED, Status.EXPIRED})

# What an order may become. Moves of one batch are settled as one, so the table is closed under composition.
LEGAL_MOVES: Final[dict[Status, frozenset[Status]]] = {
    Status.PENDING: frozenset({Status.OPEN, Status.PARTIALLY_FILLED, Status.PENDING_TRIGGER, Status.TRIGGERED}) | _ENDS,
    Status.PENDING_TRIGGER: frozenset({Status.TRIGGERED, Status.OPEN, Status.PARTIALLY_FILLED}) | _ENDS,
    Status.TRIGGERED: frozenset({Status.OPEN, Status.PARTIALLY_FILLED}) | _ENDS,
    Status.OPEN: frozenset({Status.PARTIALLY_FILLED, Status.FILLED, Status.CANCELLED, Status.EXPIRED}),
    Status.PARTIALLY_FILLED: frozenset({Status.FILLED, Status.CANCELLED, Status.EXPIRED}),
    Status.FILLED: frozenset(),
    Status.CANCELLED: frozenset(),
    Status.REJECTED: frozenset(),
    Status.EXPIRED: frozenset(),
}

BEGINNINGS: Final = frozenset({Status.PENDING, Status.REJECTED})
TERMINAL: Final = _ENDS
OPEN_STATUSES: Final = frozenset({Status.PENDING, Status.OPEN, Status.PARTIALLY_FILLED, Status.PENDING_TRIGGER, Status.TRIGGERED})


def is_legal(before: Status | None, after: Status) -> bool:
    """Whether an order may go from `before` (None: not there yet) to `after`."""
    return after in BEGINNINGS if before is None else after in LEGAL_MOVES[before]


# Why an order ended without being filled, besides the refusal codes of `orders.refusals`.
REASONS: Final = frozenset(
    """USER_CANCEL CANCEL_ALL DEAD_MAN_SWITCH DISCONNECT IOC_UNFILLED FOK_UNFILLABLE SELF_TRADE_PREVENTED EXPIRED SYMBOL_HALTED
    SYMBOL_DELISTED KILL_SWITCH ACCOUNT_FROZEN ADMIN_CANCEL VENUE_REJECTED VENUE_EXPIRED""".split()
)
