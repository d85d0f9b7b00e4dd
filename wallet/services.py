"""Writes: money comes in from the outside world."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final
from uuid import UUID

from exchange_platform.db import own
from exchange_platform.errors import ExchangeError
from exchange_platform.ids import uuid7
from institutions import audit
from institutions.models import Account, AccountKind
from institutions.services import ensure_house_account
from wallet import ledger
from wallet.models import TransferKind

REFERENCE_LENGTH: Final = 120


class InvalidReference(ExchangeError):
    code = "INVALID_FIELD"


@dataclass(frozen=True, slots=True)
class Movement:
    """A transfer that has happened. `replay`: it had happened before, under the same reference, and nothing was done now."""

    transfer_id: UUID
    replay: bool


def deposit(
    *, account_id: int, asset: str, amount: Decimal, reference: str, actor: str, reason: str = "", request_id: str = ""
) -> Movement:
    """Credit a customer's account with what arrived from outside, once per `reference` (the outside world's name for it).

    `amount` in units of the asset (its code), at most its number of decimals. The house account EXTERNAL is debited. Frozen
    accounts are credited too: what has arrived is theirs. Audited.
    Owns its transaction. Locks: the reference's key, the account's row (NO KEY UPDATE), its balance.
    Raises: InvalidAmount, InvalidReference, IdempotencyConflict (the reference was another deposit), NotFound (asset, or no
    customer's account).
    """
    if not 0 < len(reference) <= REFERENCE_LENGTH:
        raise InvalidReference(f"A deposit needs a reference of 1 to {REFERENCE_LENGTH} characters.", field="reference")
    known = ledger.asset_by_code(asset)
    ledger.check_amount(amount, known)
    transfer_id = uuid7()
    with own():
        account = Account.objects.filter(pk=account_id, kind=AccountKind.CUSTOMER).first()
        if account is None:
            raise ledger.NotFound("There is no such trading account.", field="account")
        mark = ledger.fingerprint(account_id, known.id, amount)
        earlier = ledger.claim_key(scope="deposit", key=reference, fingerprint=mark, transfer_id=transfer_id)
        if earlier is not None:
            return Movement(transfer_id=earlier, replay=True)
        ledger.post(
            kind=TransferKind.DEPOSIT,
            asset=known,
            debit_account_id=ensure_house_account(kind=AccountKind.EXTERNAL),
            credit_account_id=account_id,
            amount=amount,
            reference=reference,
            transfer_id=transfer_id,
        )
        audit.record(
            actor=actor,
            action="wallet.deposit",
            subject=f"account:{account.name}",
            reason=reason,
            after={"transfer_id": str(transfer_id), "asset": asset, "amount": f"{amount:f}", "reference": reference},
            request_id=request_id,
        )
    return Movement(transfer_id=transfer_id, replay=False)
