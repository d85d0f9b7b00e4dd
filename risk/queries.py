"""Reads: limits as people see them."""

from django.db import connection
from django.db.models import Q, QuerySet

from institutions.models import Account
from risk.models import Limit
from risk.services import InvalidLimit, limit_subject


def limits_of_account(account: Account) -> "QuerySet[Limit]":
    """Every limit that applies to the account on some symbol, the strictest of a kind first."""
    own = Q(account_id=account.pk) | Q(institution_id=account.institution_id, account=None) | Q(institution=None, account=None)
    return Limit.objects.filter(own).order_by("kind", "value")


def subject_of(limit: Limit) -> str:
    """How the audit trail names it."""
    return limit_subject(limit.kind, limit.institution_id, limit.account_id, limit.symbol_id)


def symbol_names() -> dict[int | None, str]:
    """Names of the symbols by id; there are hundreds."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, name FROM markets_symbol")
        return dict(cursor.fetchall())


def symbol_id_of(name: str) -> int:
    """Raises: InvalidLimit."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM markets_symbol WHERE name = %s", [name])
        row = cursor.fetchone()
    if row is None:
        raise InvalidLimit(f"There is no symbol {name}.", field="symbol")
    return int(row[0])
