"""Other scopes for an API key that is there: more of them take two people."""

from collections.abc import Mapping
from typing import Any

from institutions import audit
from institutions.models import ApiKey
from institutions.requests import Change, Effect
from institutions.rights import Right
from institutions.services import InvalidValue, NotFound, check_scopes


class ChangeScopes(Change):
    """`payload`: {"key": …, "scopes": […]}."""

    kind, title, make = "api_key.scopes", "Change the scopes of a key", Right.EDIT_KEYS

    def effect(self, payload: Mapping[str, Any]) -> Effect:
        row = ApiKey.objects.select_related("institution", "account").filter(key=payload["key"], is_active=True).first()
        if row is None:
            raise NotFound("There is no such active API key.", field="key")
        wanted = sorted(set(payload["scopes"]))
        check_scopes(wanted, row.ip_allow_list)
        if wanted == sorted(row.scopes):
            raise InvalidValue("The key has just these scopes.", field="scopes")
        owner = row.account or f"any account of {row.institution}"
        return Effect(
            subject=f"api_key:{row.key}",
            summary=f"Key {row.key} of {owner} may {', '.join(wanted)}.",
            before={"scopes": sorted(row.scopes)},
            after={"scopes": wanted},
            facts={"label": row.label, "addresses": ", ".join(row.ip_allow_list) or "any"},
            institution_id=row.institution_id,
        )

    def apply(self, payload: Mapping[str, Any], *, request_id: int, actor: str, reason: str) -> dict[str, Any]:
        row = ApiKey.objects.select_for_update(no_key=True).get(key=payload["key"])
        before, row.scopes = sorted(row.scopes), sorted(set(payload["scopes"]))
        row.save(update_fields=["scopes"])
        audit.record(
            actor=actor, action="api_key.scopes", subject=f"api_key:{row.key}", reason=reason,
            before={"scopes": before}, after={"scopes": row.scopes},
        )  # fmt: skip
        return {"scopes": row.scopes}
