"""The life of an alert as one table. The migration writes the same moves into the trigger `step_is_legal`; a test tries every pair.

Nothing is ever removed: an alert that was nothing is closed with a reason, and can be opened again.
"""

from datetime import timedelta
from enum import StrEnum
from typing import Final


class State(StrEnum):
    NEW = "NEW"
    INVESTIGATING = "INVESTIGATING"
    ESCALATED = "ESCALATED"
    CLOSED = "CLOSED"


class Severity(StrEnum):
    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"
    CRITICAL = "CRITICAL"


LEGAL_MOVES: Final[dict[State, frozenset[State]]] = {
    State.NEW: frozenset({State.INVESTIGATING, State.ESCALATED, State.CLOSED}),
    State.INVESTIGATING: frozenset({State.ESCALATED, State.CLOSED}),
    State.ESCALATED: frozenset({State.INVESTIGATING, State.CLOSED}),
    State.CLOSED: frozenset({State.INVESTIGATING}),  # opened again, by somebody who then has it
}

# How long until somebody must have closed it; counted from when it was raised, or opened again.
DUE_AFTER: Final[dict[Severity, timedelta]] = {
    Severity.CRITICAL: timedelta(minutes=30),
    Severity.HIGH: timedelta(hours=4),
    Severity.MEDIUM: timedelta(days=1),
    Severity.LOW: timedelta(days=3),
}

# What evidence may point at: kinds of rows whose ids never change.
EVIDENCE_KINDS: Final = ("order", "trade", "transfer", "withdrawal", "break", "symbol")
