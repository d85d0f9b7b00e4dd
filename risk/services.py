"""Writes: limits are set and lifted. Intake reads them with its next batch."""

from decimal import Decimal
from typing import Any, Final

from django.db import connection
from django.db.models import QuerySet

from exchange_platform.db import own, require_transaction
from exchange_platform.errors import ExchangeError
from institutions import audit
from institutions.models import Account, Institution
from risk.models import Limit, LimitKind

LIMIT_BELOW: Final = Decimal(10) ** 18


class InvalidLimit(ExchangeError):
    code = "INVALID_FIELD"


def set_limit(
    *,
    kind: str,
    value: Decimal,
    actor: str,
    reason: str,
    institution_id: int | None = None,
    account_id: int | None = None,
    symbol_id: int | None = None,
) -> None:
    """`put_limit` in a transaction of its own, for a bound that is new: another value, or none, takes two people
    (`risk.limit_changes`), and the database refuses it otherwise. Raises: InvalidLimit."""
    with own():
        put_limit(
            kind=kind,
            value=value,
            actor=actor,
            reason=reason,
            institution_id=institution_id,
            account_id=account_id,
            symbol_id=symbol_id,
        )


def put_limit(
    *,
    kind: str,
    value: Decimal,
    actor: str,
    reason: str,
    institution_id: int | None = None,
    account_id: int | None = None,
    symbol_id: int | None = None,
) -> None:
    """Set a bound for everybody (nobody named), or for the institution, account or symbol named. The strictest wins.

    `value` counts what its kind says (`risk.models.LimitKind`): ORDER_VALUE in the quote asset, MAX_POSITION in BTC, DAILY_NOTIONAL,
    DAILY_LOSS and MIN_BALANCE in USDT, DRAWDOWN in percent, MAX_SCORE from 0 to 1, the others orders. Of MIN_BALANCE, a lower bound, the
    highest is the strictest.
    Joins a transaction; two that set the same limit wait for each other. Audited. Raises: InvalidLimit.
    """
    require_transaction()
    _check_reason(reason)
    check_limit(kind, value, institution_id=institution_id, account_id=account_id)
    before = _current(kind, institution_id, account_id, symbol_id)
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO risk_limit (kind, value, institution_id, account_id, symbol_id) VALUES (%s, %s, %s, %s, %s)
               ON CONFLICT (kind, institution_id, account_id, symbol_id) DO UPDATE SET value = excluded.value""",
            [kind, value, institution_id, account_id, symbol_id],
        )
    audit.record(
        actor=actor,
        action="limit.set",
        subject=limit_subject(kind, institution_id, account_id, symbol_id),
        reason=reason,
        before=None if before is None else {"value": f"{before:f}"},
        after={"value": f"{value:f}"},
    )


def lift_limit(
    *, kind: str, actor: str, reason: str, institution_id: int | None = None, account_id: int | None = None, symbol_id: int | None = None
) -> None:
    """Lift a bound; lifting one that is not there changes nothing. Joins a transaction that has approved it. Audited.
    Raises: InvalidLimit."""
    require_transaction()
    _check_reason(reason)
    check_limit(kind, Decimal(0))
    before = _current(kind, institution_id, account_id, symbol_id)
    if before is None:
        return
    _rows(kind, institution_id, account_id, symbol_id).delete()
    subject = limit_subject(kind, institution_id, account_id, symbol_id)
    audit.record(actor=actor, action="limit.remove", subject=subject, reason=reason, before={"value": f"{before:f}"})


def _rows(kind: str, institution_id: int | None, account_id: int | None, symbol_id: int | None) -> "QuerySet[Limit]":
    scope: dict[str, Any] = {"institution_id": institution_id, "account_id": account_id, "symbol_id": symbol_id}
    return Limit.objects.filter(kind=kind, **scope)


def _current(kind: str, institution_id: int | None, account_id: int | None, symbol_id: int | None) -> Decimal | None:
    found = _rows(kind, institution_id, account_id, symbol_id).select_for_update()
    return found.values_list("value", flat=True).first()


def check_limit(kind: str, value: Decimal, *, institution_id: int | None = None, account_id: int | None = None) -> None:
    """Raises: InvalidLimit."""
    if kind not in LimitKind.values:
        raise InvalidLimit(f"There is no limit {kind}; there are {', '.join(LimitKind.values)}.", field="kind")
    if not value.is_finite() or not 0 <= value < LIMIT_BELOW:
        raise InvalidLimit(f"A limit is a number from 0 to below {LIMIT_BELOW:f}, not {value}.", field="value")
    if institution_id is not None and not Institution.objects.filter(pk=institution_id).exists():
        raise InvalidLimit("There is no such institution.", field="institution")
    if account_id is not None and not Account.objects.filter(pk=account_id).exists():
        raise InvalidLimit("There is no such account.", field="account")


def _check_reason(reason: str) -> None:
    if not reason.strip():
        raise InvalidLimit("Say why: the reason is kept in the audit trail.", field="reason")


def institution_named(code: str) -> int:
    """Raises: InvalidLimit."""
    found = Institution.objects.filter(code=code).values_list("pk", flat=True).first()
    if found is None:
        raise InvalidLimit(f"There is no institution {code}.", field="institution")
    return found


def account_named(name: str) -> int:
    """Raises: InvalidLimit."""
    found = Account.objects.filter(name=name, kind="CUSTOMER").values_list("pk", flat=True).first()
    if found is None:
        raise InvalidLimit(f"There is no trading account {name}.", field="account")
    return found


def limit_subject(kind: str, institution_id: int | None, account_id: int | None, symbol_id: int | None) -> str:
    """How the audit trail names a limit."""
    named = [("institution", institution_id), ("account", account_id), ("symbol", symbol_id)]
    return "limit:" + ",".join([kind, *(f"{what}={i}" for what, i in named if i is not None)])
