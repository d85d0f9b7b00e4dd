"""Whether an account may move money of its own will: the locks under which freezing happens, and what they tell."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from django.db import connection

from exchange_platform.db import require_transaction
from exchange_platform.errors import ExchangeError
from wallet.ledger import NotFound

PLATFORM_SQL: Final = "SELECT p.is_frozen FROM institutions_platform p WHERE p.id = 1 FOR SHARE OF p"

INSTITUTIONS_SQL: Final = """
    SELECT i.id, i.is_frozen FROM institutions_institution i
    WHERE i.id IN (SELECT institution_id FROM institutions_account WHERE id = ANY(%s)) ORDER BY i.id FOR SHARE OF i"""

ACCOUNTS_SQL: Final = """
    SELECT a.id, a.name, a.institution_id, a.is_frozen FROM institutions_account a
    WHERE a.id = ANY(%s) AND a.kind = 'CUSTOMER' ORDER BY a.id FOR NO KEY UPDATE"""


class Frozen(ExchangeError):
    """The account, its institution or everybody: ACCOUNT_FROZEN or INSTITUTION_FROZEN, as orders are refused."""

    code = "ACCOUNT_FROZEN"


@dataclass(frozen=True, slots=True)
class Mover:
    """A customer's account, locked. `is_frozen`: itself; `is_institution_frozen`: its institution, or the platform."""

    id: int
    name: str
    institution_id: int
    is_frozen: bool
    is_institution_frozen: bool

    def check(self) -> None:
        """Raises: Frozen."""
        if self.is_institution_frozen:
            raise Frozen("The institution is frozen. Ask your administrator.", code="INSTITUTION_FROZEN")
        if self.is_frozen:
            raise Frozen("The account is frozen. Ask your administrator.")


def lock_movers(account_ids: Iterable[int]) -> dict[int, Mover]:
    """Lock the customers' accounts for a movement, in the order that intake does: platform and institutions (shared), accounts.

    Joins the caller's transaction. Raises: NotFound for what is no customer's account.
    """
    require_transaction()
    ids = sorted(set(account_ids))
    with connection.cursor() as cursor:
        cursor.execute(PLATFORM_SQL)
        platform = cursor.fetchone()
        everybody = bool(platform and platform[0])
        cursor.execute(INSTITUTIONS_SQL, [ids])
        institutions = {row[0]: row[1] or everybody for row in cursor.fetchall()}
        cursor.execute(ACCOUNTS_SQL, [ids])
        found = {row[0]: Mover(row[0], row[1], row[2], row[3], institutions[row[2]]) for row in cursor.fetchall()}
    if len(found) < len(ids):
        raise NotFound("There is no such trading account.", field="account")
    return found
