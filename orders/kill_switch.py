"""The kill switch of an account, an institution, or everything: freezes and cancels in one transaction, so that nothing slips past.

Pulling it takes one person; letting trade again takes two (`institutions.unfreezing`). What it has asked to end ends in the workers'
sequence: `still_live` tells what has not ended yet.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from django.db import connections

from exchange_platform.db import own
from institutions import audit
from institutions.models import Account, Institution, Platform
from institutions.services import set_frozen
from orders.controls import LiveOrders, Scope, cancel_open, live_orders, scope_of

KILL_SWITCH: Final = "KILL_SWITCH"
LOOK_EVERY_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Killed:
    """`subject`: whom the audit trail says it was done to. `asked`: open orders that were asked to end; nothing comes after them."""

    subject: str
    asked: int


def pull(*, account: str | None, institution: str | None, actor: str, reason: str, request_id: str = "") -> Killed:
    """Freeze the account, the institution, or (both null) everything, and ask every open order of theirs to end, reason KILL_SWITCH.

    Every order that intake committed before this returns is among them, and it commits none afterwards. Pulled again it freezes nothing
    and asks again what is still open. Some orders may fill before their cancel's turn.
    Owns its transaction: the freeze, the cancels, the audit entries, all or nothing. Locks what intake locks first: the account's row, or
    the table of institutions or of the platform (EXCLUSIVE), so that it queues with intake instead of starving behind it.
    Raises: NoSuchScope, institutions.services.InvalidValue (no reason).
    """
    with own(), connections["default"].cursor() as cursor:
        scope = scope_of(cursor, None, account, institution)
        _freeze(scope, actor=actor, reason=reason)
        asked = cancel_open(cursor, scope, cause=KILL_SWITCH, actor=actor, request_id=request_id)
        audit.record(
            actor=actor,
            action="kill_switch.pull",
            subject=scope.subject,
            reason=reason,
            after={"account": account, "institution": institution, "orders": asked},
            request_id=request_id,
        )
    return Killed(scope.subject, asked)


def still_live(
    *,
    account: str | None,
    institution: str | None,
    within_s: float = 0.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> list[LiveOrders]:
    """What of the scope is open, by symbol: as soon as nothing is, else after `within_s`. What remains waits for its worker; a symbol that
    nobody owns keeps its orders until somebody does. Raises: NoSuchScope."""
    until = clock() + within_s
    while True:
        live = live_orders(symbol=None, account=account, institution=institution)
        if not live or clock() >= until:
            return live
        sleep(LOOK_EVERY_S)


def _freeze(scope: Scope, *, actor: str, reason: str) -> None:
    if scope.account_id is not None:
        set_frozen(Account, scope.account_id, True, actor=actor, reason=reason)
    elif scope.institution_id is not None:
        set_frozen(Institution, scope.institution_id, True, actor=actor, reason=reason)
    else:
        set_frozen(Platform, 1, True, actor=actor, reason=reason)
