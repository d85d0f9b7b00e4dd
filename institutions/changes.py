"""Writes: what may change of institutions, accounts and people once they are there. Every change is audited with before and after."""

from collections.abc import Mapping
from typing import Any, Final

from django.core.exceptions import ValidationError

from exchange_platform.db import own
from institutions import audit
from institutions.models import Account, Institution, Role, User
from institutions.rights import STAFF
from institutions.services import InvalidValue, NotFound

_CHANGEABLE: Final[dict[type[Any], frozenset[str]]] = {
    Institution: frozenset({"name", "cors_origins"}),
    Account: frozenset({"beneficial_owner", "self_trade_prevention"}),
    User: frozenset({"email", "first_name", "last_name", "role", "is_active"}),
}


def change_institution(*, institution_id: int, changes: Mapping[str, Any], actor: str, reason: str) -> bool:
    """Change `name`, `cors_origins` or both. False: nothing was different.

    Owns its transaction; locks the row. Raises: NotFound, InvalidValue (also: no reason).
    """
    return _change(Institution, institution_id, changes, subject="institution", actor=actor, reason=reason)


def change_account(*, account_id: int, changes: Mapping[str, Any], actor: str, reason: str) -> bool:
    """Change `beneficial_owner`, `self_trade_prevention` (of orders to come). Name, kind and institution stay for ever.

    Owns its transaction; locks the row. Raises: NotFound, InvalidValue (also: no reason).
    """
    return _change(Account, account_id, changes, subject="account", actor=actor, reason=reason)


def change_user(*, user_id: int, changes: Mapping[str, Any], actor: str, reason: str) -> bool:
    """Change `email`, `first_name`, `last_name`, `role`, `is_active`. The institution stays: its histories name the person.

    A role must fit: staff of the platform have no institution, everybody else has one.
    Owns its transaction; locks the row. Raises: NotFound, InvalidValue (also: no reason).
    """
    return _change(User, user_id, changes, subject="user", actor=actor, reason=reason)


def _change(model: type[Any], pk: int, changes: Mapping[str, Any], *, subject: str, actor: str, reason: str) -> bool:
    if not reason.strip():
        raise InvalidValue("Say why: the reason is kept in the audit trail.", field="reason")
    unknown = sorted(changes.keys() - _CHANGEABLE[model])
    if unknown:
        raise InvalidValue(f"{', '.join(unknown)} of an existing {subject} cannot be changed.", field=unknown[0])
    with own():
        row = model._default_manager.select_for_update(no_key=True).filter(pk=pk).first()
        if row is None:
            raise NotFound(f"There is no such {subject}.", field=subject)
        before = {name: getattr(row, name) for name in changes if getattr(row, name) != changes[name]}
        if not before:
            return False
        for name in before:
            setattr(row, name, changes[name])
        if isinstance(row, User):
            _check_role(row)
        try:
            row.full_clean()
        except ValidationError as problem:
            field, messages = next(iter(problem.message_dict.items()))
            raise InvalidValue(" ".join(messages), field=None if field == "__all__" else field) from None
        row.save()
        audit.record(
            actor=actor,
            action=f"{subject}.change",
            subject=f"{subject}:{row}",
            reason=reason,
            before=before,
            after={name: changes[name] for name in before},
        )
    return True


def _check_role(user: User) -> None:
    """The framework's own flags follow the role, so that nothing that looks at them is told otherwise."""
    if (user.role in STAFF) != (user.institution_id is None):
        told = "Staff of the platform have no institution." if user.institution_id else f"A {user.role} belongs to an institution."
        raise InvalidValue(told, field="role")
    user.is_staff = user.role in STAFF
    user.is_superuser = user.role == Role.SUPERUSER
