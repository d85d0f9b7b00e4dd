"""Writes: between two accounts of one institution."""

from decimal import Decimal

from exchange_platform.errors import ExchangeError
from exchange_platform.ids import uuid7
from institutions import audit
from wallet import ledger
from wallet.admission import lock_movers
from wallet.asking import Asked, deciding
from wallet.models import TransferKind
from wallet.services import Movement


class SameAccount(ExchangeError):
    code = "CONFLICTING_FIELDS"


def transfer(*, from_account_id: int, to_account_id: int, asset: str, amount: Decimal, asked: Asked) -> Movement:
    """Move `amount` (units of the asset, its code) between two customers' accounts of one institution. Audited.

    Owns its transaction. Locks: signature, key, platform, institution, accounts by id, their balances by (account, asset).
    Raises: InvalidAmount, InsufficientFunds, NotFound (asset, account, or accounts of two institutions), SameAccount, Frozen,
    IdempotencyConflict, ReplayedSignature, OutcomeUnknown.
    """
    known, made = ledger.asset_by_code(asset), uuid7()
    ledger.check_amount(amount, known)
    if from_account_id == to_account_id:
        raise SameAccount("Name two different accounts.", field="to_account")
    with deciding():
        asked.spend()
        earlier = asked.claim(from_account_id, to_account_id, known.id, amount, made=made)
        if earlier is not None:
            return Movement(transfer_id=earlier, replay=True)
        movers = lock_movers([from_account_id, to_account_id])
        giver, taker = movers[from_account_id], movers[to_account_id]
        if giver.institution_id != taker.institution_id:
            raise ledger.NotFound("There is no such account.", field="to_account")
        giver.check()
        taker.check()
        ledger.post(
            kind=TransferKind.TRANSFER,
            asset=known,
            debit_account_id=from_account_id,
            credit_account_id=to_account_id,
            amount=amount,
            transfer_id=made,
        )
        told = {"transfer_id": str(made), "from": giver.name, "to": taker.name, "asset": asset, "amount": f"{amount:f}"}
        for mover in (giver, taker):
            audit.record(
                actor=asked.actor, action="wallet.transfer", subject=f"account:{mover.name}", after=told, request_id=asked.request_id
            )
    return Movement(transfer_id=made, replay=False)
