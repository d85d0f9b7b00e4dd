"""Reads of withdrawals, addresses and deposits, as the tenants' role; `institution_id` and `account_ids` as in `wallet.queries`.

Lists are newest first by id (UUIDv7) and end where `before` begins.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from exchange_platform.db import array, tenant_scope
from wallet.queries import LAST

WITHDRAWAL_SQL: Final = """
    SELECT w.id, a.name, w.asset_id, w.amount, d.address, w.state, w.transfer_id, w.reference, w.note, w.created_at, w.changed_at
    FROM wallet_withdrawal w JOIN institutions_account a ON a.id = w.account_id JOIN wallet_address d ON d.id = w.address_id"""

ADDRESS_SQL: Final = """
    SELECT d.id, a.name, d.asset_id, d.address, d.label, d.added_at, d.usable_at, d.removed_at
    FROM wallet_address d JOIN institutions_account a ON a.id = d.account_id"""

DEPOSIT_SQL: Final = """
    SELECT t.id, a.name, t.asset_id, t.amount, t.reference, t.created_at FROM institutions_account a
    CROSS JOIN LATERAL (
        SELECT t.id, t.asset_id, t.amount, t.reference, t.created_at FROM wallet_transfer t
        WHERE t.credit_account_id = a.id AND t.id < %(before)s AND t.kind NOT IN ('TRADE', 'MAKER_FEE', 'TAKER_FEE') AND t.kind = 'DEPOSIT'
        ORDER BY t.id DESC LIMIT %(limit)s) t"""

TRANSFER_SQL: Final = """
    SELECT t.id, t.asset_id, t.amount, giver.name, taker.name, t.created_at FROM wallet_transfer t
    JOIN institutions_account giver ON giver.id = t.debit_account_id JOIN institutions_account taker ON taker.id = t.credit_account_id
    WHERE t.id = %s AND t.leg = 0 AND t.kind = 'TRANSFER'"""


@dataclass(frozen=True, slots=True)
class WithdrawalRow:
    """`note`: of the last move. Amounts as stored."""

    id: UUID
    account: str
    asset_id: int
    amount: Decimal
    address: str
    state: str
    transfer_id: UUID | None
    reference: str | None
    note: str
    created_at: datetime
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class AddressRow:
    id: UUID
    account: str
    asset_id: int
    address: str
    label: str
    added_at: datetime
    usable_at: datetime
    removed_at: datetime | None


@dataclass(frozen=True, slots=True)
class DepositRow:
    id: UUID
    account: str
    asset_id: int
    amount: Decimal
    reference: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class TransferBetween:
    """A transfer between two accounts of one institution."""

    id: UUID
    asset_id: int
    amount: Decimal
    from_account: str
    to_account: str
    created_at: datetime


def withdrawals(
    *,
    institution_id: int | None,
    account_ids: Sequence[int] | None = None,
    states: Collection[str] = (),
    asset_id: int | None = None,
    before: UUID | None = None,
    limit: int = 100,
) -> list[WithdrawalRow]:
    """At most `limit`; `states`: any of these, none: all. Owns a read transaction, one statement in it."""
    conditions, parameters = ["w.id < %s"], list[Any]([before or LAST])
    if account_ids is not None:
        conditions, parameters = [*conditions, "w.account_id = ANY(%s::bigint[])"], [*parameters, array(account_ids)]
    if states:
        conditions, parameters = [*conditions, "w.state = ANY(%s::text[])"], [*parameters, array(states)]
    if asset_id is not None:
        conditions, parameters = [*conditions, "w.asset_id = %s"], [*parameters, asset_id]
    with tenant_scope(institution_id) as cursor:
        cursor.execute(f"{WITHDRAWAL_SQL} WHERE {' AND '.join(conditions)} ORDER BY w.id DESC LIMIT %s", [*parameters, limit])
        return [WithdrawalRow(*row) for row in cursor.fetchall()]


def withdrawal(*, institution_id: int | None, account_ids: Sequence[int] | None, withdrawal_id: UUID) -> WithdrawalRow | None:
    """One; null when there is none in reach. Owns a read transaction."""
    mine, parameters = ("", []) if account_ids is None else (" AND w.account_id = ANY(%s::bigint[])", [array(account_ids)])
    with tenant_scope(institution_id) as cursor:
        cursor.execute(f"{WITHDRAWAL_SQL} WHERE w.id = %s{mine}", [withdrawal_id, *parameters])
        row = cursor.fetchone()
    return None if row is None else WithdrawalRow(*row)


def addresses(
    *,
    institution_id: int | None,
    account_ids: Sequence[int] | None,
    asset_id: int | None = None,
    before: UUID | None = None,
    limit: int = 100,
) -> list[AddressRow]:
    """Those that are listed now, at most `limit`. Owns a read transaction, one statement in it."""
    conditions, parameters = ["d.id < %s", "d.removed_at IS NULL"], list[Any]([before or LAST])
    if account_ids is not None:
        conditions, parameters = [*conditions, "d.account_id = ANY(%s::bigint[])"], [*parameters, array(account_ids)]
    if asset_id is not None:
        conditions, parameters = [*conditions, "d.asset_id = %s"], [*parameters, asset_id]
    with tenant_scope(institution_id) as cursor:
        cursor.execute(f"{ADDRESS_SQL} WHERE {' AND '.join(conditions)} ORDER BY d.id DESC LIMIT %s", [*parameters, limit])
        return [AddressRow(*row) for row in cursor.fetchall()]


def address(*, institution_id: int | None, account_ids: Sequence[int] | None, address_id: UUID) -> AddressRow | None:
    """One, listed or removed; null when there is none in reach. Owns a read transaction."""
    mine, parameters = ("", []) if account_ids is None else (" AND d.account_id = ANY(%s::bigint[])", [array(account_ids)])
    with tenant_scope(institution_id) as cursor:
        cursor.execute(f"{ADDRESS_SQL} WHERE d.id = %s{mine}", [address_id, *parameters])
        row = cursor.fetchone()
    return None if row is None else AddressRow(*row)


def deposits(
    *, institution_id: int | None, account_ids: Sequence[int] | None = None, before: UUID | None = None, limit: int = 100
) -> list[DepositRow]:
    """At most `limit`. Owns a read transaction, one statement in it: an index scan per account."""
    mine = "" if account_ids is None else "AND a.id = ANY(%(accounts)s::bigint[])"
    with tenant_scope(institution_id) as cursor:
        cursor.execute(
            f"{DEPOSIT_SQL} WHERE a.kind = 'CUSTOMER' {mine} ORDER BY t.id DESC LIMIT %(limit)s",
            {"before": before or LAST, "limit": limit, "accounts": array(account_ids or ())},
        )
        return [DepositRow(*row) for row in cursor.fetchall()]


def transfer_between(*, institution_id: int | None, transfer_id: UUID) -> TransferBetween | None:
    """One; null when there is none in reach. Owns a read transaction."""
    with tenant_scope(institution_id) as cursor:
        cursor.execute(TRANSFER_SQL, [transfer_id])
        row = cursor.fetchone()
    return None if row is None else TransferBetween(*row)
