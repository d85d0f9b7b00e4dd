"""An account's risk score, from 0 (harmless) to 1: surveillance writes it, intake holds it against the limit MAX_SCORE."""

from decimal import Decimal
from typing import Final

from django.db import connection

from exchange_platform.db import require_transaction
from exchange_platform.errors import ExchangeError

STEP: Final = Decimal("0.001")


class InvalidScore(ExchangeError):
    code = "INVALID_FIELD"


def set_score(account_id: int, score: Decimal) -> None:
    """The account's score is this from now on (0 to 1, at most three decimals); its next order is held against it.

    Joins a transaction. Locks the account's row, then its counters, as intake does. Raises: InvalidScore.
    """
    require_transaction()
    if not score.is_finite() or not 0 <= score <= 1 or score % STEP:
        raise InvalidScore(f"A score is a number from 0 to 1 with at most three decimals, not {score}.", field="score")
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM institutions_account WHERE id = %s FOR NO KEY UPDATE", [account_id])
        cursor.execute("UPDATE risk_accountstate SET score = %s WHERE account_id = %s", [score, account_id])
        if cursor.rowcount != 1:
            raise InvalidScore("There is no such account.", field="account")
