"""Writes: where an account may withdraw to. A new address waits before its first use, so that who has stolen a key cannot use one."""

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db import connection

from exchange_platform.errors import ExchangeError
from exchange_platform.ids import uuid7
from institutions import audit
from wallet import ledger
from wallet.admission import lock_movers
from wallet.asking import Asked, deciding
from wallet.models import Address, DeniedAddress

ADDRESS_LENGTH: Final = 120


class AddressNotListed(ExchangeError):
    code = "ADDRESS_NOT_LISTED"


class AddressCoolingOff(ExchangeError):
    code = "ADDRESS_COOLING_OFF"


class AddressDenied(ExchangeError):
    code = "ADDRESS_DENIED"


class NoSuchAddress(ExchangeError):
    code = "NOT_FOUND"


def add_address(*, account_id: int, asset: str, address: str, label: str = "", asked: Asked) -> tuple[UUID, bool]:
    """List an address for withdrawals of an asset (its code) from an account; usable after WITHDRAWAL_COOL_OFF_S.

    One that is listed already stays as it is and waits no longer. Returns its id and whether it was listed before.
    Owns its transaction. Locks: signature, platform, institution, account, key. Audited.
    Raises: NotFound (asset, account), AddressDenied, IdempotencyConflict, ReplayedSignature, OutcomeUnknown.
    """
    known, made = ledger.asset_by_code(asset), uuid7()
    with deciding():
        asked.spend()
        name = lock_movers([account_id])[account_id].name
        refuse_denied(address)
        listed = Address.objects.filter(account_id=account_id, asset_id=known.id, address=address, removed_at=None).first()
        earlier = asked.claim(account_id, known.id, address, label, made=made if listed is None else listed.pk)
        if earlier is not None or listed is not None:
            return earlier or listed.pk, True  # type: ignore[union-attr]  # one of the two
        now = datetime.now(UTC)
        usable_at = now + timedelta(seconds=settings.WITHDRAWAL_COOL_OFF_S)
        with connection.cursor() as cursor:
            cursor.execute(
                """INSERT INTO wallet_address (id, account_id, asset_id, address, label, added_by, added_at, usable_at)
                   VALUES (%s, %s, %s, %s, %s, %s, now(), now() + make_interval(secs => %s))""",
                [made, account_id, known.id, address, label, asked.actor[:80], settings.WITHDRAWAL_COOL_OFF_S],
            )
        audit.record(
            actor=asked.actor,
            action="address.add",
            subject=f"account:{name}",
            after={"address_id": str(made), "asset": asset, "address": address, "label": label, "usable_at": usable_at.isoformat()},
            request_id=asked.request_id,
        )
    return made, False


def remove_address(*, account_id: int, address_id: UUID, asked: Asked, reason: str = "") -> None:
    """Take an address off the account's list; withdrawals to it that wait or are approved go on.

    Removing one that is removed changes nothing. Owns its transaction. Locks: the address's row. Audited.
    Raises: NoSuchAddress, ReplayedSignature, OutcomeUnknown.
    """
    with deciding():
        asked.spend()
        row = Address.objects.select_for_update().filter(pk=address_id, account_id=account_id).first()
        if row is None:
            raise NoSuchAddress("There is no such address.")
        if row.removed_at is not None:
            return
        row.removed_at, row.removed_by = datetime.now(UTC), asked.actor[:80]
        row.save(update_fields=["removed_at", "removed_by"])
        audit.record(
            actor=asked.actor,
            action="address.remove",
            subject=f"account:{account_name(account_id)}",
            reason=reason,
            before={"address_id": str(address_id), "address": row.address},
            request_id=asked.request_id,
        )


def usable_address(*, account_id: int, asset_id: int, address: str) -> UUID:
    """The id of the address on the account's list. Reads only.

    Raises: AddressDenied, AddressNotListed, AddressCoolingOff (`details.usable_at`).
    """
    refuse_denied(address)
    found = Address.objects.filter(account_id=account_id, asset_id=asset_id, address=address, removed_at=None).first()
    if found is None:
        raise AddressNotListed("This address is not on the account's list. Add it first; it can be used after a day.", field="address")
    if found.usable_at > datetime.now(UTC):
        raise AddressCoolingOff(
            "This address was added a short while ago. Withdraw to it later.",
            field="address",
            details={"usable_at": found.usable_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")},
        )
    return found.pk


def refuse_denied(address: str) -> None:
    """Reads only. Raises: AddressDenied."""
    if DeniedAddress.objects.filter(address=address).exists():
        raise AddressDenied("Nothing is withdrawn to this address.", field="address")


def deny_address(*, address: str, actor: str, reason: str) -> bool:
    """Nobody withdraws to this address any more; returns whether that is new. Withdrawals that wait cannot be approved.

    Owns its transaction. Audited.
    """
    with deciding():
        _, is_new = DeniedAddress.objects.get_or_create(address=address, defaults={"reason": reason, "added_by": actor[:80]})
        if is_new:
            audit.record(actor=actor, action="address.deny", subject=f"address:{address}", reason=reason)
    return is_new


def account_name(account_id: int) -> str:
    """For the audit trail. Raises: NotFound."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM institutions_account WHERE id = %s", [account_id])
        row = cursor.fetchone()
    if row is None:
        raise ledger.NotFound("There is no such account.", field="account")
    return str(row[0])
