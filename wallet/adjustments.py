"""What takes two people about money that is there: adjusting an account against the house, and reversing a movement.

The database takes such a transfer only from the transaction that approves the request for it, for the same accounts, asset and amount,
and once (`wallet_was_agreed` in migration 0004).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from django.db import connection

from exchange_platform.db import EXACT
from exchange_platform.errors import ExchangeError
from exchange_platform.ids import uuid7
from institutions import audit
from institutions.models import Account, AccountKind
from institutions.requests import Change, Effect
from institutions.rights import Right
from institutions.services import ensure_house_account
from wallet import ledger
from wallet.ledger import Asset
from wallet.models import Balance, TransferKey, TransferKind
from wallet.withdrawals import asset_by_id

CORRECTABLE: Final = frozenset({TransferKind.DEPOSIT, TransferKind.WITHDRAWAL, TransferKind.TRANSFER, TransferKind.ADJUSTMENT})

# Movements are few and found by id in one partition.
MOVEMENT_SQL: Final = """
    SELECT t.id, t.kind, t.asset_id, t.debit_account_id, t.credit_account_id, t.amount, t.created_at FROM wallet_transfer t
    WHERE t.id = %s AND t.leg = 0"""


class AlreadyCorrected(ExchangeError):
    """A movement is reversed once."""

    code = "ALREADY_CORRECTED"


class NotCorrectable(ExchangeError):
    code = "INVALID_FIELD"


@dataclass(frozen=True, slots=True)
class _Moved:
    id: UUID
    kind: str
    asset_id: int
    debit_account_id: int
    credit_account_id: int
    amount: Decimal
    created_at: datetime


class Adjustment(Change):
    """`payload`: {"account_id", "asset" (its code), "amount" (text; below zero: taken from the account)}."""

    kind, title, make = "wallet.adjustment", "Adjust a balance", Right.MOVE_MONEY

    def effect(self, payload: Mapping[str, Any]) -> Effect:
        account = Account.objects.filter(pk=payload["account_id"], kind=AccountKind.CUSTOMER).first()
        if account is None:
            raise ledger.NotFound("There is no such trading account.", field="account")
        asset, amount = ledger.asset_by_code(payload["asset"]), Decimal(payload["amount"])
        ledger.check_amount(abs(amount) if amount.is_finite() else amount, asset)
        way = "to" if amount > 0 else "from"
        text = f"{abs(amount):.{asset.scale}f} {asset.code}"
        return Effect(
            subject=f"account:{account.name}",
            summary=f"{text} {way} {account.name}, against the house's account of adjustments",
            before={},
            after={"adjustment": f"{amount:.{asset.scale}f} {asset.code}"},
            facts=_balance_facts(account, asset, amount),
            institution_id=account.institution_id,
        )

    def apply(self, payload: Mapping[str, Any], *, request_id: int, actor: str, reason: str) -> dict[str, Any]:
        asset, amount = ledger.asset_by_code(payload["asset"]), Decimal(payload["amount"])
        house, account_id = ensure_house_account(kind=AccountKind.ADJUSTMENT), int(payload["account_id"])
        giver, taker = (house, account_id) if amount > 0 else (account_id, house)
        transfer_id = _post(self.kind, reference_of(request_id), asset, giver, taker, abs(amount), request_id)
        name = Account.objects.get(pk=account_id).name
        after = {"transfer_id": str(transfer_id), "asset": asset.code, "amount": f"{amount:f}", "request": request_id}
        audit.record(actor=actor, action="wallet.adjust", subject=f"account:{name}", reason=reason, after=after)
        return {"transfer_id": str(transfer_id)}


class Correction(Change):
    """`payload`: {"transfer_id"} of a movement, which is reversed exactly: the same amount the other way. Trades are not movements."""

    kind, title, make = "wallet.correction", "Reverse a movement", Right.MOVE_MONEY

    def effect(self, payload: Mapping[str, Any]) -> Effect:
        moved = _movement(payload["transfer_id"])
        giver, taker = Account.objects.get(pk=moved.credit_account_id), Account.objects.get(pk=moved.debit_account_id)
        asset = asset_by_id(moved.asset_id)
        customers = [account for account in (giver, taker) if account.kind == AccountKind.CUSTOMER]
        facts = {"moved at": moved.created_at.isoformat(timespec="seconds"), "kind": moved.kind}
        for account in customers:
            facts |= _balance_facts(account, asset, moved.amount if account is taker else -moved.amount)
        return Effect(
            subject=f"transfer:{moved.id}",
            summary=f"{moved.amount:.{asset.scale}f} {asset.code} back from {giver.name} to {taker.name}",
            before={"corrected": False},
            after={"corrected": True},
            facts=facts,
            institution_id=customers[0].institution_id,
        )

    def apply(self, payload: Mapping[str, Any], *, request_id: int, actor: str, reason: str) -> dict[str, Any]:
        moved = _movement(payload["transfer_id"])
        giver, taker = moved.credit_account_id, moved.debit_account_id
        transfer_id = _post(self.kind, str(moved.id), asset_by_id(moved.asset_id), giver, taker, moved.amount, request_id)
        after = {"transfer_id": str(transfer_id), "request": request_id}
        audit.record(actor=actor, action="wallet.correct", subject=f"transfer:{moved.id}", reason=reason, after=after)
        return {"transfer_id": str(transfer_id)}


def reference_of(request_id: int) -> str:
    """What the transfer of a request is called in the ledger; the database reads it."""
    return f"request:{request_id}"


def _post(kind: str, key: str, asset: Asset, giver: int, taker: int, amount: Decimal, request_id: int) -> UUID:
    transfer_id = uuid7()
    mark = ledger.fingerprint(giver, taker, asset.id, amount)
    if ledger.claim_key(scope=kind, key=key, fingerprint=mark, transfer_id=transfer_id) is not None:
        raise AlreadyCorrected("This was done before.")
    return ledger.post(
        kind=TransferKind.ADJUSTMENT,
        asset=asset,
        debit_account_id=giver,
        credit_account_id=taker,
        amount=amount,
        reference=reference_of(request_id),
        transfer_id=transfer_id,
    )


def _movement(transfer_id: str) -> _Moved:
    """Raises: NotFound, NotCorrectable, AlreadyCorrected."""
    try:
        wanted = UUID(transfer_id)
    except ValueError:
        raise ledger.NotFound("There is no such movement.", field="transfer_id") from None
    with connection.cursor() as cursor:
        cursor.execute(MOVEMENT_SQL, [wanted])
        row = cursor.fetchone()
    if row is None or str(wanted) != transfer_id:  # one spelling, for the database compares it
        raise ledger.NotFound("There is no such movement.", field="transfer_id")
    moved = _Moved(*row)
    if moved.kind not in CORRECTABLE:
        raise NotCorrectable(f"A {moved.kind} is part of a trade; only movements are reversed.", field="transfer_id")
    if TransferKey.objects.filter(scope=Correction.kind, key=str(moved.id)).exists():
        raise AlreadyCorrected("This movement was reversed before.", field="transfer_id")
    return moved


def _balance_facts(account: Account, asset: Asset, change: Decimal) -> dict[str, str]:
    """What the account has of the asset now and would have."""
    found = Balance.objects.filter(account_id=account.pk, asset_id=asset.id).first()
    posted, held = (found.posted, found.held) if found else (Decimal(0), Decimal(0))
    after = EXACT.add(posted, change)
    told = {"posted": posted, "held": held, "available": EXACT.subtract(posted, held), "posted after": after}
    return {f"{account.name}: {name}": f"{value:.{asset.scale}f} {asset.code}" for name, value in told.items()}
