"""Movements of money outside trading: one transfer, the balances of its customers, one transaction.

Trades are posted in bulk by `orders.settlement`; what comes from people and the outside world is posted here. Everything joins
the caller's transaction and refuses to run without one.
"""

import hashlib
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Final
from uuid import UUID

from django.db import IntegrityError, connection

from exchange_platform.db import EXACT, require_transaction
from exchange_platform.errors import ExchangeError
from exchange_platform.ids import moment_of, uuid7, uuid_ms
from notifications import outbox
from notifications.outbox import AccountNews, FeedPosition
from notifications.wakeups import NOTIFY_SQL, OUTBOX
from wallet.models import TransferKind

AMOUNT_LIMIT: Final = Decimal(10) ** 20  # what the database refuses to hold


class InvalidAmount(ExchangeError):
    """Not a positive, finite number within the asset's scale."""

    code = "INVALID_NUMBER"


class InsufficientFunds(ExchangeError):
    code = "INSUFFICIENT_FUNDS"


class IdempotencyConflict(ExchangeError):
    """The same key asked for another movement before."""

    code = "IDEMPOTENCY_CONFLICT"


class NotFound(ExchangeError):
    code = "NOT_FOUND"


@dataclass(frozen=True, slots=True)
class Asset:
    """What the ledger needs to know of an asset; `scale` is its number of decimals."""

    id: int
    code: str
    scale: int


def asset_by_code(code: str) -> Asset:
    """One statement. Raises: NotFound."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, code, scale FROM markets_asset WHERE code = %s", [code])
        row = cursor.fetchone()
    if row is None:
        raise NotFound(f"There is no asset {code}.", field="asset")
    return Asset(*row)


def check_amount(amount: Decimal, asset: Asset) -> None:
    """Pure. Raises: InvalidAmount."""
    if not amount.is_finite() or amount <= 0:
        raise InvalidAmount(f"An amount is a positive number, not {amount}.", field="amount")
    if amount >= AMOUNT_LIMIT:
        raise InvalidAmount(f"{amount:f} {asset.code} is more than a balance can hold.", field="amount")
    scaled = amount.scaleb(asset.scale, EXACT)
    if int(scaled) != scaled:
        raise InvalidAmount(f"{amount:f} has more decimals than {asset.code} has ({asset.scale}).", field="amount")


def claim_key(*, scope: str, key: str, fingerprint: bytes, transfer_id: UUID) -> UUID | None:
    """Use up (scope, key) for this transfer, for ever. Null: it is ours now. Otherwise the transfer it was used for before.

    Joins the caller's transaction; waits for another one that is claiming the same key, so claim before locking accounts.
    Raises: IdempotencyConflict when it was used for something else.
    """
    require_transaction()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO wallet_transferkey (scope, key, fingerprint, transfer_id) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
            [scope, key, fingerprint, transfer_id],
        )
        if cursor.rowcount:
            return None
        cursor.execute("SELECT fingerprint, transfer_id FROM wallet_transferkey WHERE scope = %s AND key = %s", [scope, key])
        used_for, earlier = cursor.fetchone()
    if bytes(used_for) != fingerprint:
        raise IdempotencyConflict(f"{key} was used for another movement. Use a new reference for a new movement.", field="reference")
    return UUID(str(earlier))


def fingerprint(*parts: object) -> bytes:
    """16 bytes that two movements share exactly when they ask for the same; decimals count by value, not by spelling."""
    words = [f"{part.normalize(EXACT):f}" if isinstance(part, Decimal) else str(part) for part in parts]
    return hashlib.sha256("\x1f".join(words).encode()).digest()[:16]


def lock_accounts(account_ids: Iterable[int]) -> dict[int, str]:
    """Lock the accounts' rows FOR NO KEY UPDATE, by id: the lock under which intake and settlement decide about their money.

    Returns kind by id, without the accounts that do not exist. House accounts need no lock: no balance is decided on theirs.
    Joins the caller's transaction.
    """
    require_transaction()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, kind FROM institutions_account WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE", [sorted(set(account_ids))]
        )
        return dict(cursor.fetchall())


def post(
    *,
    kind: TransferKind,
    asset: Asset,
    debit_account_id: int,
    credit_account_id: int,
    amount: Decimal,
    reference: str | None = None,
    transfer_id: UUID | None = None,
    from_hold: bool = False,
) -> UUID:
    """Move `amount` (in whole units of the asset) from the debit account to the credit account; returns the transfer's id.

    A customer's side changes its balance row, and a customer never goes below what is held; a house account has no balance row
    and may owe: its balance is the sum of its transfers. The moment is the id's millisecond. `from_hold`: the debit account held
    the amount before, for this movement, and holds it no more.
    Joins the caller's transaction. Locks: the customers' account rows by id, then their balances by (account, asset).
    Raises: InvalidAmount (also for more than the asset's supply may be), InsufficientFunds, NotFound (an account).
    """
    check_amount(amount, asset)
    kinds = _kinds([debit_account_id, credit_account_id])
    customers = [account for account, what in kinds.items() if what == "CUSTOMER"]
    lock_accounts(customers)
    changes = {debit_account_id: -amount, credit_account_id: amount}
    told: dict[int, AccountNews] = {}
    for account in sorted(customers):
        release = amount if from_hold and account == debit_account_id else Decimal(0)
        told[account] = AccountNews(balances=[_change_balance(account, asset, changes[account], release)])
    transfer_id = transfer_id or uuid7()
    with connection.cursor() as cursor, supply_bounded(asset.code):
        cursor.execute(
            """INSERT INTO wallet_transfer (id, leg, kind, asset_id, debit_account_id, credit_account_id, amount, reference, created_at)
               VALUES (%s, 0, %s, %s, %s, %s, %s, %s, %s)""",
            [transfer_id, kind.value, asset.id, debit_account_id, credit_account_id, amount, reference, moment_of(uuid_ms(transfer_id))],
        )
    tell(told, at_ms=uuid_ms(transfer_id))
    return transfer_id


def tell(told: dict[int, AccountNews], *, at_ms: int) -> None:
    """News of balances to the accounts, which are locked."""
    with connection.cursor() as cursor:
        cursor.execute(outbox.READ_FEEDS_SQL, [sorted(told)])
        positions = {account: FeedPosition(*rest) for account, *rest in cursor.fetchall()}
        outbox.write(cursor.execute, outbox.account_letters(told, positions, at_ms=at_ms))
        outbox.raise_feeds(cursor.execute, told, positions)
        cursor.execute(NOTIFY_SQL, [OUTBOX])


def _kinds(account_ids: list[int]) -> dict[int, str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, kind FROM institutions_account WHERE id = ANY(%s)", [account_ids])
        kinds = dict(cursor.fetchall())
    missing = [account for account in account_ids if account not in kinds]
    if missing:
        raise NotFound(f"There is no account with id {missing[0]}.", field="account")
    return kinds


def hold(*, account_id: int, asset: Asset, amount: Decimal) -> None:
    """Reserve `amount` of what is available. Joins the caller's transaction. Locks: the account's row, its balance.

    Raises: InvalidAmount, InsufficientFunds.
    """
    check_amount(amount, asset)
    _move_hold(account_id, asset, amount)


def release(*, account_id: int, asset: Asset, amount: Decimal) -> None:
    """Give back what `hold` reserved. Joins the caller's transaction. Locks: the account's row, its balance. Raises: InsufficientFunds."""
    _move_hold(account_id, asset, -amount)


def _move_hold(account_id: int, asset: Asset, change: Decimal) -> None:
    lock_accounts([account_id])
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE wallet_balance SET held = held + %s
               WHERE account_id = %s AND asset_id = %s AND held + %s BETWEEN 0 AND posted RETURNING posted, held""",
            [change, account_id, asset.id, change],
        )
        row = cursor.fetchone()
    if row is None:
        raise InsufficientFunds(f"Less than {abs(change):f} {asset.code} is {'available' if change > 0 else 'held'}.", field="amount")
    news = AccountNews(balances=[[asset.id, *map(str, row)]])
    tell({account_id: news}, at_ms=time.time_ns() // 1_000_000)


@contextmanager
def supply_bounded(code: str) -> Iterator[None]:
    """The database bounds the supply of an asset; its refusal in the words of this room. Raises: InvalidAmount."""
    try:
        yield
    except IntegrityError as problem:
        if "supply_sane" not in str(problem):
            raise
        raise InvalidAmount(f"With this there would be more {code} than a balance can hold.", field="amount") from None


def _change_balance(account_id: int, asset: Asset, change: Decimal, release: Decimal) -> list[object]:
    """Returns what the account is told: asset, posted, held. `release`: how much less is held after it."""
    with connection.cursor() as cursor:
        if change > 0:
            cursor.execute(
                """INSERT INTO wallet_balance AS b (account_id, asset_id, posted, held) VALUES (%s, %s, %s, 0)
                   ON CONFLICT (account_id, asset_id) DO UPDATE SET posted = b.posted + excluded.posted
                   WHERE b.posted + excluded.posted < %s RETURNING posted, held""",
                [account_id, asset.id, change, AMOUNT_LIMIT],
            )
            row = cursor.fetchone()
            if row is None:
                raise InvalidAmount(f"With {change:f} {asset.code} more the balance would be more than it can hold.", field="amount")
        else:
            cursor.execute(
                """UPDATE wallet_balance SET posted = posted + %(change)s, held = held - %(release)s
                   WHERE account_id = %(account)s AND asset_id = %(asset)s AND held >= %(release)s
                     AND posted - held + %(change)s + %(release)s >= 0 RETURNING posted, held""",
                {"change": change, "release": release, "account": account_id, "asset": asset.id},
            )
            row = cursor.fetchone()
            if row is None:
                raise InsufficientFunds(f"Less than {-change:f} {asset.code} is {'held' if release else 'available'}.", field="amount")
    return [asset.id, *map(str, row)]
