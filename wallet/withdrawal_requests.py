"""What takes two people about withdrawals: approving one above its asset's automatic limit, and raising such a limit."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import connection

from exchange_platform.errors import ExchangeError
from institutions import audit
from institutions.models import Account
from institutions.requests import Change, Effect
from institutions.rights import Right
from wallet import ledger
from wallet.addresses import refuse_denied
from wallet.admission import lock_movers
from wallet.asking import deciding
from wallet.models import Address, Balance, Withdrawal, WithdrawalLimit, WithdrawalState
from wallet.withdrawals import NoSuchWithdrawal, asset_by_id, describe, give_back, lock, move, not_open, subject_of


class InvalidLimit(ExchangeError):
    code = "INVALID_NUMBER"


class ApproveWithdrawal(Change):
    """`payload`: {"withdrawal_id"}. Asked for by the client with the withdrawal; whoever checks is staff."""

    kind, title, make = "withdrawal.approve", "Approve a withdrawal", Right.MOVE_MONEY

    def effect(self, payload: Mapping[str, Any]) -> Effect:
        row = Withdrawal.objects.filter(pk=UUID(payload["withdrawal_id"])).first()
        if row is None:
            raise NoSuchWithdrawal("There is no such withdrawal.")
        if row.state != WithdrawalState.REQUESTED:
            raise not_open(row)
        account, address = Account.objects.get(pk=row.account_id), Address.objects.get(pk=row.address_id)
        refuse_denied(address.address)
        balance, scale = Balance.objects.get(account_id=row.account_id, asset_id=row.asset_id), asset_by_id(row.asset_id).scale
        facts = {
            "address": address.address,
            "address label": address.label,
            "address listed at": address.added_at.isoformat(timespec="seconds"),
            "address removed": address.removed_at is not None,
            "account frozen": account.is_frozen,
            "posted": f"{balance.posted:.{scale}f}",
            "held": f"{balance.held:.{scale}f}",
        }
        return Effect(
            subject=subject_of(row.pk),
            summary=f"{describe(row)} to {address.address}",
            before={"state": row.state},
            after={"state": WithdrawalState.APPROVED.value},
            facts=facts,
            institution_id=account.institution_id,
        )

    def apply(self, payload: Mapping[str, Any], *, request_id: int, actor: str, reason: str) -> dict[str, Any]:
        row = lock(UUID(payload["withdrawal_id"]))
        lock_movers([row.account_id])[row.account_id].check()
        move(row, WithdrawalState.APPROVED, actor=actor, note=reason)
        return {"state": row.state}

    def declined(self, payload: Mapping[str, Any], *, request_id: int, actor: str, reason: str) -> None:
        row = lock(UUID(payload["withdrawal_id"]))
        if row.state == WithdrawalState.REQUESTED:  # else it was cancelled before
            give_back(row, WithdrawalState.REJECTED, actor=actor, note=reason)


class ChangeWithdrawalLimit(Change):
    """`payload`: {"asset", "automatic"}: how much an account may withdraw of the asset within 24 hours without a person."""

    kind, title, make = "withdrawal.limit", "Change an automatic limit of withdrawals", Right.EDIT_LIMITS

    def effect(self, payload: Mapping[str, Any]) -> Effect:
        asset, amount = ledger.asset_by_code(payload["asset"]), Decimal(payload["automatic"])
        if amount != 0:
            ledger.check_amount(amount, asset)
        return Effect(
            subject=f"asset:{asset.code}",
            summary=f"Every account may withdraw {amount:f} {asset.code} within 24 hours without anybody looking at it.",
            before={"automatic": f"{automatic_limit(asset.id):.{asset.scale}f}"},
            after={"automatic": f"{amount:.{asset.scale}f}"},
        )

    def apply(self, payload: Mapping[str, Any], *, request_id: int, actor: str, reason: str) -> dict[str, Any]:
        asset, amount = ledger.asset_by_code(payload["asset"]), Decimal(payload["automatic"])
        _set(asset.id, amount)
        return {"automatic": f"{amount:f}"}


def automatic_limit(asset_id: int) -> Decimal:
    """How much an account may withdraw within 24 hours without a person; zero where nothing was set. One statement."""
    found = WithdrawalLimit.objects.filter(pk=asset_id).values_list("automatic", flat=True).first()
    return Decimal(0) if found is None else found


def lower_limit(*, asset: str, automatic: Decimal, actor: str, reason: str) -> None:
    """Let less through without a person, at once; more takes a request. Owns its transaction. Audited.

    Raises: InvalidLimit, NotFound (asset).
    """
    known = ledger.asset_by_code(asset)
    with deciding():
        row = WithdrawalLimit.objects.select_for_update().filter(pk=known.id).first()
        before = Decimal(0) if row is None else row.automatic
        if not automatic.is_finite() or not 0 <= automatic < before:
            raise InvalidLimit(f"It is {before:f} now: one person can only lower it.", field="automatic")
        _set(known.id, automatic)
        audit.record(
            actor=actor, action="withdrawal.limit", subject=f"asset:{asset}", reason=reason,
            before={"automatic": f"{before:f}"}, after={"automatic": f"{automatic:f}"},
        )  # fmt: skip


def _set(asset_id: int, automatic: Decimal) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE wallet_withdrawallimit SET automatic = %s WHERE asset_id = %s", [automatic, asset_id])
        if not cursor.rowcount:
            cursor.execute("INSERT INTO wallet_withdrawallimit (asset_id, automatic) VALUES (%s, %s)", [asset_id, automatic])
