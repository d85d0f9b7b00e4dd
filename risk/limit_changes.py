"""Another limit, or none: two people. What intake reads is the limit itself; this is how it gets there."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from exchange_platform.db import plain_text
from institutions.models import Account
from institutions.requests import Change, Effect
from institutions.rights import Right
from risk.models import Limit
from risk.queries import symbol_names
from risk.services import InvalidLimit, check_limit, lift_limit, limit_subject, put_limit

SCOPE = ("institution_id", "account_id", "symbol_id")


class ChangeLimit(Change):
    """`payload`: {"kind": …, "institution_id", "account_id", "symbol_id": a number or null, "value": decimal as a string, null: lift}."""

    kind, title, make = "limit.change", "Change a limit", Right.EDIT_LIMITS

    def effect(self, payload: Mapping[str, Any]) -> Effect:
        kind, scope, value = _read(payload)
        check_limit(kind, Decimal(0) if value is None else value, institution_id=scope["institution_id"], account_id=scope["account_id"])
        row = Limit.objects.filter(kind=kind, **scope).first()
        if value is None and row is None:
            raise InvalidLimit("There is no such limit to lift.", field="kind")
        if row is not None and row.value == value:
            raise InvalidLimit("The limit has just this value.", field="value")
        before, after = None if row is None else plain_text(row.value), None if value is None else plain_text(value)
        told = "is lifted" if after is None else f"becomes {after}"
        return Effect(
            subject=limit_subject(kind, **scope),
            summary=f"{kind} {told} for {_whom(scope)}. Intake goes by it from its next batch on.",
            before={"limit": before},
            after={"limit": after},
            institution_id=_institution(scope),
        )

    def apply(self, payload: Mapping[str, Any], *, request_id: int, actor: str, reason: str) -> dict[str, Any]:
        kind, scope, value = _read(payload)
        if value is None:
            lift_limit(kind=kind, actor=actor, reason=reason, **scope)
        else:
            put_limit(kind=kind, value=value, actor=actor, reason=reason, **scope)
        return {"limit": None if value is None else plain_text(value)}


def _read(payload: Mapping[str, Any]) -> tuple[str, dict[str, int | None], Decimal | None]:
    try:
        value = None if payload["value"] is None else Decimal(payload["value"])
    except InvalidOperation:
        raise InvalidLimit(f"{payload['value']} is not a number.", field="value") from None
    return payload["kind"], {name: payload.get(name) for name in SCOPE}, value


def _institution(scope: Mapping[str, int | None]) -> int | None:
    if scope["account_id"] is None:
        return scope["institution_id"]
    return Account.objects.values_list("institution_id", flat=True).get(pk=scope["account_id"])


def _whom(scope: Mapping[str, int | None]) -> str:
    symbol = scope["symbol_id"]
    on = f" on {symbol_names().get(symbol, symbol)}" if symbol is not None else ""
    if scope["account_id"] is not None:
        return f"account {Account.objects.get(pk=scope['account_id']).name}{on}"
    return (f"institution {scope['institution_id']}" if scope["institution_id"] is not None else "everybody") + on
