"""Writes: which symbols somebody may trade, and which not. Intake reads the rules with its next batch."""

from typing import Any

from django.db import connection
from django.db.models import QuerySet

from exchange_platform.db import own, require_transaction
from institutions import audit
from institutions.models import Account, Institution
from risk.models import SymbolRule, SymbolRuleKind
from risk.services import InvalidLimit


def set_symbol_rule(
    *, rule: str, symbol_id: int, actor: str, reason: str, institution_id: int | None = None, account_id: int | None = None
) -> None:
    """`put_symbol_rule` in a transaction of its own. Raises: InvalidLimit."""
    with own():
        put_symbol_rule(rule=rule, symbol_id=symbol_id, actor=actor, reason=reason, institution_id=institution_id, account_id=account_id)


def put_symbol_rule(
    *, rule: str, symbol_id: int, actor: str, reason: str, institution_id: int | None = None, account_id: int | None = None
) -> None:
    """The symbol is ALLOWED or BLOCKED for everybody (nobody named), an institution or an account; what was said before is replaced.

    Whoever has symbols that are ALLOWED may trade no others. An order must pass the rules of all three. Joins a transaction; two that say
    something of the same symbol wait for each other. Audited. Raises: InvalidLimit.
    """
    require_transaction()
    _check(rule, symbol_id, reason, institution_id, account_id)
    before = _current(symbol_id, institution_id, account_id)
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO risk_symbolrule (rule, symbol_id, institution_id, account_id) VALUES (%s, %s, %s, %s)
               ON CONFLICT (institution_id, account_id, symbol_id) DO UPDATE SET rule = excluded.rule""",
            [rule, symbol_id, institution_id, account_id],
        )
    audit.record(
        actor=actor,
        action="symbol_rule.set",
        subject=rule_subject(symbol_id, institution_id, account_id),
        reason=reason,
        before=None if before is None else {"rule": before},
        after={"rule": rule},
    )


def remove_symbol_rule(
    *, symbol_id: int, actor: str, reason: str, institution_id: int | None = None, account_id: int | None = None
) -> None:
    """`lift_symbol_rule` in a transaction of its own. Raises: InvalidLimit."""
    with own():
        lift_symbol_rule(symbol_id=symbol_id, actor=actor, reason=reason, institution_id=institution_id, account_id=account_id)


def lift_symbol_rule(*, symbol_id: int, actor: str, reason: str, institution_id: int | None = None, account_id: int | None = None) -> None:
    """Nothing is said of the symbol any more; lifting what is not there changes nothing. Joins a transaction. Audited.

    Raises: InvalidLimit.
    """
    require_transaction()
    _check(SymbolRuleKind.BLOCKED, symbol_id, reason, institution_id, account_id)
    before = _current(symbol_id, institution_id, account_id)
    if before is None:
        return
    _rows(symbol_id, institution_id, account_id).delete()
    subject = rule_subject(symbol_id, institution_id, account_id)
    audit.record(actor=actor, action="symbol_rule.remove", subject=subject, reason=reason, before={"rule": before})


def rule_subject(symbol_id: int, institution_id: int | None, account_id: int | None) -> str:
    """How the audit trail names a rule."""
    named = [("symbol", symbol_id), ("institution", institution_id), ("account", account_id)]
    return "symbol_rule:" + ",".join(f"{what}={i}" for what, i in named if i is not None)


def _rows(symbol_id: int, institution_id: int | None, account_id: int | None) -> "QuerySet[SymbolRule]":
    scope: dict[str, Any] = {"institution_id": institution_id, "account_id": account_id}
    return SymbolRule.objects.filter(symbol_id=symbol_id, **scope)


def _current(symbol_id: int, institution_id: int | None, account_id: int | None) -> str | None:
    return _rows(symbol_id, institution_id, account_id).select_for_update().values_list("rule", flat=True).first()


def _check(rule: str, symbol_id: int, reason: str, institution_id: int | None, account_id: int | None) -> None:
    if rule not in SymbolRuleKind.values:
        raise InvalidLimit(f"A symbol is {' or '.join(SymbolRuleKind.values)}, not {rule}.", field="rule")
    if not reason.strip():
        raise InvalidLimit("Say why: the reason is kept in the audit trail.", field="reason")
    if institution_id is not None and account_id is not None:
        raise InvalidLimit("Name an institution or an account, not both.", field="account")
    if institution_id is not None and not Institution.objects.filter(pk=institution_id).exists():
        raise InvalidLimit("There is no such institution.", field="institution")
    if account_id is not None and not Account.objects.filter(pk=account_id).exists():
        raise InvalidLimit("There is no such account.", field="account")
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM markets_symbol WHERE id = %s", [symbol_id])
        if cursor.fetchone() is None:
            raise InvalidLimit("There is no such symbol.", field="symbol")
