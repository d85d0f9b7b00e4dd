"""Who asks for a movement, and how the same request is known when it comes again.

A client's request carries its Idempotency-Key, which is its own for ever, and the signature it was signed with, which works once.
Both are used up by the transaction that does what was asked, so what is refused uses up nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.db import InterfaceError, OperationalError, connection

from exchange_platform.db import own, require_transaction
from exchange_platform.errors import ExchangeError
from wallet import ledger

SPEND_SQL: Final = """
    INSERT INTO institutions_spentnonce (api_key_id, digest, spent_at) VALUES (%s, %s, now()) ON CONFLICT DO NOTHING"""


class ReplayedSignature(ExchangeError):
    """A signature for a change works once."""

    code = "REPLAYED_SIGNATURE"


class OutcomeUnknown(Exception):
    """The connection broke while committing: whether it was done is known by asking again with the same key."""


@dataclass(frozen=True, slots=True)
class Asked:
    """`actor`: as the audit trail names it. `holder`, `path` and `key`: whose key for which call (no key: staff, who are asked by a
    form). `signature`: of a signed request, the key's id and digest."""

    actor: str
    holder: str = ""
    path: str = ""
    key: str = ""
    signature: tuple[int, bytes] | None = None
    request_id: str = ""

    def spend(self) -> None:
        """Use up the signature. Joins the caller's transaction. Raises: ReplayedSignature."""
        require_transaction()
        if self.signature is None:
            return
        with connection.cursor() as cursor:
            cursor.execute(SPEND_SQL, list(self.signature))
            if not cursor.rowcount:
                raise ReplayedSignature("This signature was used before. Sign again with another timestamp.")

    def claim(self, *parts: object, made: UUID) -> UUID | None:
        """Use up the key for what is made now; null: it is new. Otherwise what the same request had made before.

        Joins the caller's transaction. All calls of one path lock in the same order, so it does not matter whether accounts are locked
        before it or after. `parts`: what was asked. Raises: ledger.IdempotencyConflict.
        """
        if not self.key:
            return None
        scope = f"{self.path} {self.holder}"
        mark = ledger.fingerprint(*parts)
        try:
            return ledger.claim_key(scope=scope, key=self.key, fingerprint=mark, transfer_id=made)
        except ledger.IdempotencyConflict:
            raise ledger.IdempotencyConflict(
                "This Idempotency-Key was used for something else. Use a new one for something new.", field="Idempotency-Key"
            ) from None


@contextmanager
def deciding() -> Iterator[None]:
    """A transaction of the function's own, which tells a failed commit from a failed statement. Raises: OutcomeUnknown."""
    is_done = False
    try:
        with own():
            yield
            is_done = True
    except (OperationalError, InterfaceError) as problem:
        if is_done:
            raise OutcomeUnknown from problem
        raise
