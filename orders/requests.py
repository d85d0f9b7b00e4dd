"""What a client may ask of intake, already parsed and authenticated, and what intake answers.

Frozen values; decimals are exact and within NUMERIC(38, 18); text fields are within their lengths. The doors build them.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from exchange_platform.db import plain_text
from exchange_platform.errors import ExchangeError


@dataclass(frozen=True, slots=True)
class Principal:
    """On whose behalf: `actor` names the key or person in the history; account null: any account of the institution;
    institution null as well: staff of the platform. `unlimited`: pre-trade limits off, except funds and frozen."""

    actor: str
    institution_id: int | None
    account_id: int | None
    unlimited: bool = False


@dataclass(frozen=True, slots=True)
class Nonce:
    """A signature that works once: which key, and the SHA-256 of the signed text."""

    api_key_id: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class PlaceOrder:
    """`order_type` and `time_in_force` are normalised (POST_ONLY is LIMIT with GTX; MARKET is IOC unless FOK).

    `account_id` is resolved and allowed by the door; `symbol` is canonical (BASE/QUOTE) and known to be listed."""

    principal: Principal
    account_id: int
    symbol: str
    client_order_id: str
    side: str
    order_type: str
    time_in_force: str
    quantity: Decimal | None = None
    quote_quantity: Decimal | None = None
    price: Decimal | None = None
    stop_price: Decimal | None = None
    trigger_source: str | None = None
    expire_at: datetime | None = None
    reduce_only: bool = False
    self_trade_prevention: str | None = None
    request_id: str = ""

    def fingerprint(self) -> bytes:
        """16 bytes that two requests share exactly when they ask for the same: numbers by value, not by spelling."""
        parts = (
            self.symbol,
            self.side,
            self.order_type,
            self.time_in_force,
            *(_plain(n) for n in (self.quantity, self.quote_quantity, self.price, self.stop_price)),
            self.trigger_source or "",
            self.expire_at.isoformat() if self.expire_at else "",
            "R" if self.reduce_only else "",
            self.self_trade_prevention or "",
        )
        return hashlib.sha256("\x1f".join(parts).encode()).digest()[:16]


def _plain(value: Decimal | None) -> str:
    return "" if value is None else plain_text(value)


@dataclass(frozen=True, slots=True)
class CancelOrder:
    """Cancel one order within the principal's reach; `reason` is what the order will say."""

    principal: Principal
    order_id: UUID
    reason: str = "USER_CANCEL"
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class CancelAll:
    """Cancel what is open of these accounts (all symbols when `symbol` is null)."""

    principal: Principal
    account_ids: tuple[int, ...]
    symbol: str | None = None
    reason: str = "CANCEL_ALL"
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class AmendOrder:
    """New price, new total quantity (what is filled included), or both."""

    principal: Principal
    order_id: UUID
    price: Decimal | None = None
    quantity: Decimal | None = None
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class SetSwitch:
    """A dead man's switch of the accounts: cancel what they have open after so long, unless it is set anew; 0 takes it off. `holder`:
    empty for the accounts' own, else the connection that it goes with."""

    principal: Principal
    account_ids: tuple[int, ...]
    timeout_ms: int
    holder: str = ""
    reason: str = "DEAD_MAN_SWITCH"


Request = PlaceOrder | CancelOrder | CancelAll | AmendOrder | SetSwitch


@dataclass(frozen=True, slots=True)
class Submission:
    """Requests of one client call, taken in order by one transaction; `nonce` is spent by its commit."""

    requests: tuple[Request, ...]
    nonce: Nonce | None = None


@dataclass(frozen=True, slots=True)
class Placed:
    """The order is durable and funded (or recorded as REJECTED: `refusal` says why). `replay`: it was there before.

    `view` makes what clients see of the order; it costs more than deciding on it, so it is made when it is asked for.
    """

    order_id: UUID
    view: Callable[[], dict[str, Any]]
    replay: bool = False
    refusal: ExchangeError | None = None

    @property
    def order(self) -> dict[str, Any]:
        """The order as clients see it."""
        return self.view()


@dataclass(frozen=True, slots=True)
class CancelTaken:
    """A cancel is on its way to the engine. `row`: the order as intake read it (presentation.ORDER_COLUMNS)."""

    order_id: UUID
    reason: str
    row: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class CancelAllTaken:
    """Cancels of these orders are on their way."""

    order_ids: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class AmendTaken:
    """An amend is on its way; what it may need more is held. `row`: the order as intake read it."""

    order_id: UUID
    amend_id: UUID
    row: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class SwitchSet:
    """`deadline`: when the switch fires, by the database's clock; null: it is off."""

    timeout_ms: int
    deadline: datetime | None


# What intake answers once its transaction has committed.
Outcome = Placed | CancelTaken | CancelAllTaken | AmendTaken | SwitchSet | ExchangeError


@dataclass(frozen=True, slots=True)
class Decided:
    """A cancel or an amend. `decided` False: the engine has not answered within the wait, `order` is as it stands."""

    order: dict[str, Any]
    decided: bool = True


@dataclass(frozen=True, slots=True)
class CancelledAll:
    """`requested` orders were open when asked, `cancelled` of them ended by it."""

    requested: int
    cancelled: int


# What `orders.desk.OrderDesk.submit` answers for each request, in order; an ExchangeError is an answer, not raised.
Result = Placed | Decided | CancelledAll | SwitchSet | ExchangeError
