"""Freezing takes one person, unfreezing two: the kinds of requests that let accounts, institutions or everybody trade again."""

from collections.abc import Mapping
from typing import Any

from institutions.models import Account, Institution, Platform
from institutions.requests import Change, Effect
from institutions.rights import Right
from institutions.services import InvalidValue, NotFound, set_frozen


class _Unfreeze(Change):
    """`payload`: {"id": …} of the row."""

    make = Right.FREEZE
    model: type[Account] | type[Institution] | type[Platform]
    what: str

    def effect(self, payload: Mapping[str, Any]) -> Effect:
        row = self.model._default_manager.filter(pk=payload["id"]).first()
        if row is None:
            raise NotFound(f"There is no such {self.what}.", field=self.what)
        if not row.is_frozen:
            raise InvalidValue(f"The {self.what} is not frozen.", field=self.what)
        return Effect(
            subject=self.subject(row),
            summary=f"{self.named(row)} can place orders again, unless something above or below it is frozen.",
            before={"is_frozen": True},
            after={"is_frozen": False},
            institution_id=self.institution_of(row),
        )

    def apply(self, payload: Mapping[str, Any], *, request_id: int, actor: str, reason: str) -> dict[str, Any]:
        set_frozen(self.model, payload["id"], False, actor=actor, reason=reason)
        return {"is_frozen": False}

    def subject(self, row: Any) -> str:
        return f"{self.what}:{row}"

    def named(self, row: Any) -> str:
        return f"{self.what.capitalize()} {row}"

    def institution_of(self, row: Any) -> int | None:
        return None


class UnfreezeAccount(_Unfreeze):
    kind, title, model, what = "account.unfreeze", "Unfreeze an account", Account, "account"

    def institution_of(self, row: Account) -> int | None:
        return row.institution_id


class UnfreezeInstitution(_Unfreeze):
    kind, title, model, what = "institution.unfreeze", "Unfreeze an institution", Institution, "institution"

    def institution_of(self, row: Institution) -> int | None:
        return row.pk


class UnfreezePlatform(_Unfreeze):
    kind, title, model, what = "platform.unfreeze", "Unfreeze everything", Platform, "platform"

    def subject(self, row: Platform) -> str:
        return "platform"

    def named(self, row: Platform) -> str:
        return "Everybody"
