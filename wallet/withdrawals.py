"""Writes: money goes out. It is held when asked for, and the hold becomes a transfer, or is given back, in one transaction.

Every move locks platform, institution and account as intake does, then the withdrawal's row; `wallet.lifecycle` is the table of moves,
enforced by the database, which writes the history too.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from django.db import connection

from exchange_platform.db import require_transaction
from exchange_platform.errors import ExchangeError
from exchange_platform.ids import uuid7
from institutions import audit, requests
from institutions.models import AccountKind
from institutions.services import ensure_house_account
from wallet import ledger
from wallet.addresses import account_name, usable_address
from wallet.admission import lock_movers
from wallet.asking import Asked, deciding
from wallet.ledger import Asset
from wallet.lifecycle import MOVES
from wallet.models import TransferKind, Withdrawal, WithdrawalState
from wallet.services import REFERENCE_LENGTH, InvalidReference

APPROVE_KIND: Final = "withdrawal.approve"

# As the database reckons it when it approves by the limit.
WITHIN_LIMIT_SQL: Final = """
    SELECT %(amount)s + (SELECT coalesce(sum(w.amount), 0) FROM wallet_withdrawal w
            WHERE w.account_id = %(account)s AND w.asset_id = %(asset)s AND w.is_automatic
              AND w.changed_at > now() - interval '24 hours' AND w.state IN ('APPROVED', 'COMPLETED'))
        <= (SELECT coalesce(max(l.automatic), 0) FROM wallet_withdrawallimit l WHERE l.asset_id = %(asset)s)"""

ASSET_SQL: Final = "SELECT id, code, scale FROM markets_asset WHERE id = %s"


class NoSuchWithdrawal(ExchangeError):
    code = "NOT_FOUND"


class WithdrawalNotOpen(ExchangeError):
    """Its state does not allow this: `details.status` tells which it is."""

    code = "WITHDRAWAL_NOT_OPEN"


@dataclass(frozen=True, slots=True)
class Asks:
    """A withdrawal that has been asked for. `replay`: it had been asked for before, under the same key, and nothing was done now."""

    withdrawal_id: UUID
    replay: bool


def request_withdrawal(*, account_id: int, asset: str, amount: Decimal, address: str, asked: Asked) -> Asks:
    """Hold `amount` (units of the asset) and ask for it to be sent to an address of the account's list.

    Within the asset's automatic limit it is approved at once; above, another person than whoever asked decides. Audited.
    Owns its transaction. Locks: signature, key, platform, institution, account, balance.
    Raises: InvalidAmount, InsufficientFunds, NotFound (asset, account), Frozen, AddressNotListed, AddressCoolingOff, AddressDenied,
    IdempotencyConflict, ReplayedSignature, OutcomeUnknown.
    """
    known, made = ledger.asset_by_code(asset), uuid7()
    ledger.check_amount(amount, known)
    with deciding():
        asked.spend()
        earlier = asked.claim(account_id, known.id, amount, address, made=made)
        if earlier is not None:
            return Asks(earlier, replay=True)
        mover = lock_movers([account_id])[account_id]
        mover.check()
        address_id = usable_address(account_id=account_id, asset_id=known.id, address=address)
        ledger.hold(account_id=account_id, asset=known, amount=amount)
        _insert(made, account_id, known, amount, address_id, asked.actor)
        audit.record(
            actor=asked.actor,
            action="withdrawal.request",
            subject=subject_of(made),
            after={"account": mover.name, "asset": asset, "amount": f"{amount:f}", "address": address},
            request_id=asked.request_id,
        )
        if _is_within_limit(account_id, known, amount):
            row = lock(made)
            move(row, WithdrawalState.APPROVED, actor="system:limit", note="within the automatic limit of 24 hours")
        else:
            requests.ask(
                kind=APPROVE_KIND,
                payload={"withdrawal_id": str(made)},
                actor=asked.actor,
                maker_id=_person(asked.actor),
                reason=f"{mover.name} withdraws {amount:f} {asset} to {address}",
                request_id=asked.request_id,
            )
    return Asks(made, replay=False)


def complete(*, withdrawal_id: UUID, reference: str, asked: Asked, reason: str = "") -> UUID:
    """It was sent: the hold becomes a transfer to the world outside, which calls it `reference`. Returns the transfer's id.

    Completing again with the same reference changes nothing and returns the same id. Frozen accounts are completed too: what was sent
    has left. Owns its transaction. Locks: platform, institution, account, the withdrawal's row, the balance. Audited.
    Raises: InvalidReference, NoSuchWithdrawal, WithdrawalNotOpen, OutcomeUnknown.
    """
    if not 0 < len(reference) <= REFERENCE_LENGTH:
        raise InvalidReference(f"A completed withdrawal has a reference of 1 to {REFERENCE_LENGTH} characters.", field="reference")
    with deciding():
        row = lock(withdrawal_id)
        if row.state == WithdrawalState.COMPLETED and row.reference == reference:
            assert row.transfer_id is not None
            return row.transfer_id
        transfer_id = uuid7()
        move(row, WithdrawalState.COMPLETED, actor=asked.actor, note=reason, transfer_id=transfer_id, reference=reference)
        ledger.post(
            kind=TransferKind.WITHDRAWAL,
            asset=asset_by_id(row.asset_id),
            debit_account_id=row.account_id,
            credit_account_id=ensure_house_account(kind=AccountKind.EXTERNAL),
            amount=row.amount,
            reference=reference,
            transfer_id=transfer_id,
            from_hold=True,
        )
    return transfer_id


def fail(*, withdrawal_id: UUID, asked: Asked, reason: str) -> None:
    """It was approved and could not be sent: what was held is available again. Owns its transaction. Audited.

    Locks: as `complete`. Raises: NoSuchWithdrawal, WithdrawalNotOpen, OutcomeUnknown.
    """
    with deciding():
        give_back(lock(withdrawal_id), WithdrawalState.FAILED, actor=asked.actor, note=reason)


def cancel(*, withdrawal_id: UUID, asked: Asked, reason: str = "", until_approved: bool = True) -> None:
    """It is not wanted any more: what was held is available again. Owns its transaction. Audited.

    `until_approved`: a client cannot take back what may be on its way; staff, who send it, can.
    Locks: signature, then as `complete`. Raises: NoSuchWithdrawal, WithdrawalNotOpen, ReplayedSignature,
    OutcomeUnknown.
    """
    with deciding():
        asked.spend()
        row = lock(withdrawal_id)
        if until_approved and row.state != WithdrawalState.REQUESTED:
            raise not_open(row)
        give_back(row, WithdrawalState.CANCELLED, actor=asked.actor, note=reason)
    _take_request_back(withdrawal_id, asked.actor)


# -- what approvals share with the above


def lock(withdrawal_id: UUID) -> Withdrawal:
    """The withdrawal with its account locked, then its own row. Joins the caller's transaction. Raises: NoSuchWithdrawal."""
    require_transaction()
    found = Withdrawal.objects.filter(pk=withdrawal_id).values_list("account_id", flat=True).first()
    if found is None:
        raise NoSuchWithdrawal("There is no such withdrawal.")
    lock_movers([found])
    return Withdrawal.objects.select_for_update().get(pk=withdrawal_id)


def move(row: Withdrawal, state: WithdrawalState, *, actor: str, note: str, **facts: Any) -> None:
    """Bring a locked withdrawal into a state; the history is written by the database. Joins. Audited. Raises: WithdrawalNotOpen."""
    require_transaction()
    if state not in MOVES[row.state]:
        raise not_open(row)
    before, values = row.state, {"state": state.value, "changed_by": actor[:80], "note": note[:500], **facts}
    for name, value in values.items():
        setattr(row, name, value)
    row.save(update_fields=list(values))
    after = {"state": state.value, **{name: str(value) for name, value in facts.items()}}
    audit.record(
        actor=actor, action=f"withdrawal.{_WORDS[state]}", subject=subject_of(row.pk), reason=note, before={"state": before}, after=after
    )


def give_back(row: Withdrawal, state: WithdrawalState, *, actor: str, note: str) -> None:
    """End a locked withdrawal that was not sent. Joins the caller's transaction. Raises: WithdrawalNotOpen."""
    move(row, state, actor=actor, note=note)
    ledger.release(account_id=row.account_id, asset=asset_by_id(row.asset_id), amount=row.amount)


def not_open(row: Withdrawal) -> WithdrawalNotOpen:
    return WithdrawalNotOpen(f"The withdrawal is {row.state}.", details={"status": row.state})


def subject_of(withdrawal_id: UUID) -> str:
    """As audit trail and requests name it."""
    return f"withdrawal:{withdrawal_id}"


def asset_by_id(asset_id: int) -> Asset:
    with connection.cursor() as cursor:
        cursor.execute(ASSET_SQL, [asset_id])
        row = cursor.fetchone()
    assert row is not None  # the database lets no withdrawal have another
    return Asset(*row)


def describe(row: Withdrawal) -> str:
    """In a line, for whoever decides."""
    asset = asset_by_id(row.asset_id)
    return f"{account_name(row.account_id)} withdraws {row.amount:.{asset.scale}f} {asset.code}"


_WORDS: Final = {
    WithdrawalState.APPROVED: "approve",
    WithdrawalState.COMPLETED: "complete",
    WithdrawalState.FAILED: "fail",
    WithdrawalState.CANCELLED: "cancel",
    WithdrawalState.REJECTED: "reject",
}


def _insert(made: UUID, account_id: int, asset: Asset, amount: Decimal, address_id: UUID, actor: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO wallet_withdrawal (id, account_id, asset_id, amount, address_id, state, is_automatic, changed_by, note,
                   created_at, changed_at) VALUES (%s, %s, %s, %s, %s, 'REQUESTED', false, %s, '', now(), now())""",
            [made, account_id, asset.id, amount, address_id, actor[:80]],
        )


def _is_within_limit(account_id: int, asset: Asset, amount: Decimal) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(WITHIN_LIMIT_SQL, {"amount": amount, "account": account_id, "asset": asset.id})
        row = cursor.fetchone()
    return bool(row and row[0])


def _person(actor: str) -> int | None:
    """Who asked, if a person did: actors are `user:<id>:<name>` or a key."""
    kind, _, rest = actor.partition(":")
    number = rest.partition(":")[0]
    return int(number) if kind == "user" and number.isdecimal() else None


def _take_request_back(withdrawal_id: UUID, actor: str) -> None:
    """The request for approval goes with the withdrawal where its maker cancels; another's stays until it is rejected or expires, and
    cannot be approved."""
    pending = requests.ChangeRequest.objects.filter(kind=APPROVE_KIND, subject=subject_of(withdrawal_id), state="PENDING", maker=actor[:80])
    for change_id, maker_id in list(pending.values_list("pk", "maker_user_id")):
        requests.withdraw(change_id=change_id, maker_id=maker_id, actor=actor, reason="the withdrawal was cancelled")
