"""Which role may do what, in one table. Doors ask `may` before they call a service; services do not know who is asking.

A right is within reach only: staff of the platform have no institution and reach everything, an institution's own people reach
their institution (decision 0016).
"""

from enum import StrEnum
from typing import Final

from institutions.models import Role, User


class Right(StrEnum):
    BACK_OFFICE = "back_office"  # log in to the admin and the operator's pages, and read what is in reach
    READ_PLATFORM = "read_platform"  # what belongs to no institution: outbox, dead letters, limits for everybody
    READ_AUDIT = "read_audit"
    SYMBOL_STATUS = "symbol_status"
    CANCEL_ALL = "cancel_all"
    FREEZE = "freeze"  # accounts and institutions
    DEAD_LETTERS = "dead_letters"  # send again, put aside
    EDIT_MARKETS = "edit_markets"  # assets, symbols and their rules
    EDIT_CLIENTS = "edit_clients"  # institutions, accounts, people
    EDIT_LIMITS = "edit_limits"
    EDIT_KEYS = "edit_keys"  # create and revoke API keys, ask for other scopes
    MOVE_MONEY = "move_money"  # deposits, sending withdrawals, asking for adjustments and corrections
    EDIT_ADDRESSES = "edit_addresses"  # where accounts may withdraw to
    CHECK_CHANGES = "check_changes"  # decide about what another person has asked for (institutions.requests)
    WORK_ALERTS = "work_alerts"  # take, assign, note, escalate, close, open again
    SETTLE_BREAKS = "settle_breaks"  # own and resolve what reconciliation found
    KILL_SWITCH = "kill_switch"  # freeze and cancel everything at once


_READ: Final = frozenset({Right.BACK_OFFICE, Right.READ_PLATFORM, Right.READ_AUDIT})

RIGHTS: Final[dict[str, frozenset[Right]]] = {
    Role.SUPERUSER: frozenset(Right),
    Role.COMPLIANCE: _READ | {Right.CHECK_CHANGES, Right.WORK_ALERTS},
    Role.OPERATOR: _READ
    | {
        Right.SYMBOL_STATUS,
        Right.CANCEL_ALL,
        Right.FREEZE,
        Right.DEAD_LETTERS,
        Right.MOVE_MONEY,
        Right.CHECK_CHANGES,
        Right.KILL_SWITCH,
        Right.SETTLE_BREAKS,
    },
    Role.INSTITUTION_ADMIN: frozenset({Right.BACK_OFFICE, Right.EDIT_KEYS, Right.EDIT_ADDRESSES}),
    Role.TRADER: frozenset(),
    Role.QUANT: frozenset(),
}
# Roles of the platform's staff: with an institution they would be somebody else's, and have no rights here.
STAFF: Final = frozenset({Role.SUPERUSER, Role.COMPLIANCE, Role.OPERATOR})


def rights_of(user: object) -> frozenset[Right]:
    """The rights of a person; none of anybody who is not logged in, not active, or whose role does not fit the institution."""
    if not isinstance(user, User) or not user.is_active:
        return frozenset()
    if (user.role in STAFF) != (user.institution_id is None):
        return frozenset()
    return RIGHTS.get(user.role, frozenset())


def may(user: object, right: Right) -> bool:
    """Whether the person (whatever stands in `request.user`) has this right, within their reach."""
    return right in rights_of(user)
