"""Why intake refuses. Codes are contract: those of `Refusal` are recorded as REJECTED orders, the others store nothing."""

from typing import Any

from exchange_platform.errors import ExchangeError


class Refusal(ExchangeError):
    """The order is recorded as REJECTED with this code as its reason (an amend is refused and changes nothing)."""


class NotFound(ExchangeError):
    code = "NOT_FOUND"


class UnknownSymbol(ExchangeError):
    code = "UNKNOWN_SYMBOL"


class IdempotencyConflict(ExchangeError):
    code = "IDEMPOTENCY_CONFLICT"


class OrderNotOpen(ExchangeError):
    code = "ORDER_NOT_OPEN"


class AmendRefused(ExchangeError):
    code = "AMEND_REFUSED"


class ReplayedSignature(ExchangeError):
    code = "REPLAYED_SIGNATURE"


class NotTaken(ExchangeError):
    """Nothing was committed; ask again after `retry_after_s`. Codes: NO_MATCHING_OWNER, SYMBOL_MOVING, OVERLOADED,
    DATABASE_UNAVAILABLE."""

    code = "DATABASE_UNAVAILABLE"

    def __init__(self, message: str, *, code: str, retry_after_s: int = 1) -> None:
        super().__init__(message, code=code, details={"retry_after": retry_after_s})
        self.retry_after_s = retry_after_s


class OutcomeUnknown(ExchangeError):
    """The commit may or may not have happened and nobody can be asked: the door drops the connection rather than guess."""

    code = "OUTCOME_UNKNOWN"


_REFUSED_BY_ENGINE = {
    "POST_ONLY_WOULD_TAKE": "The order would have traded at once; a post-only order may not. Send a less aggressive price.",
    "WOULD_TRIGGER_IMMEDIATELY": "The price has reached stop_price already: the order would trigger at once. Send it without a stop.",
    "REDUCE_ONLY_REJECTED": "There was nothing left to reduce: what was bought and not sold again is less, or other orders reduce it.",
    "ORDER_TYPE_NOT_ALLOWED": "The symbol was in an auction at the order's turn, which collects LIMIT orders that rest and MARKET orders.",
    "SYMBOL_HALTED": "The symbol was halted before the order's turn.",
    "SYMBOL_CANCEL_ONLY": "The symbol takes cancels only.",
    "SYMBOL_POST_ONLY": "The symbol takes only orders that rest.",
}


def refusal_of(row: tuple[Any, ...]) -> Refusal | None:
    """The refusal of a REJECTED order, so that asked again it is told the same. `row`: presentation.ORDER_COLUMNS."""
    if row[8] != "REJECTED":
        return None
    code = row[17]
    return Refusal(_REFUSED_BY_ENGINE.get(code, f"The order was refused: {code}."), code=code, details={"order_id": str(row[0])})
