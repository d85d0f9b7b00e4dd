"""Many deposits at once, as a custodian's file brings them: one transaction for all that are new, each once per reference."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from django.db import connection

from exchange_platform.db import array, own
from exchange_platform.ids import moment_of, uuid7, uuid_ms
from institutions import audit
from institutions.models import AccountKind
from institutions.services import ensure_house_account
from notifications.outbox import AccountNews
from wallet import ledger
from wallet.ledger import Asset
from wallet.services import REFERENCE_LENGTH, InvalidReference, Movement

SCOPE = "deposit"  # the same as a single deposit's: a reference is used once, whichever way it came

CLAIM_SQL = """
    INSERT INTO wallet_transferkey (scope, key, fingerprint, transfer_id)
    SELECT %s, * FROM unnest(%s::text[], %s::bytea[], %s::uuid[]) AS u(key, mark, id) ORDER BY key
    ON CONFLICT DO NOTHING RETURNING key"""

CLAIMED_SQL = "SELECT key, fingerprint, transfer_id FROM wallet_transferkey WHERE scope = %s AND key = ANY(%s)"

# In the order of (account, asset), as everybody locks balances.
CREDIT_SQL = """
    INSERT INTO wallet_balance AS b (account_id, asset_id, posted, held)
    SELECT account_id, asset_id, sum(amount), 0 FROM unnest(%s::bigint[], %s::int[], %s::numeric[]) AS u(account_id, asset_id, amount)
    GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (account_id, asset_id) DO UPDATE SET posted = b.posted + excluded.posted
    RETURNING account_id, asset_id, posted, held"""

TRANSFER_SQL = """
    INSERT INTO wallet_transfer (id, leg, kind, asset_id, debit_account_id, credit_account_id, amount, reference, created_at)
    SELECT id, 0, 'DEPOSIT', asset_id, %s, account_id, amount, reference, at
    FROM unnest(%s::uuid[], %s::int[], %s::bigint[], %s::numeric[], %s::text[], %s::timestamptz[])
        AS u(id, asset_id, account_id, amount, reference, at)"""


@dataclass(frozen=True, slots=True)
class Incoming:
    """What has arrived: `amount` in units of the asset (its code), `reference` as the outside world calls it."""

    account_id: int
    asset: str
    amount: Decimal
    reference: str


@dataclass(frozen=True, slots=True)
class _New:
    transfer_id: UUID
    incoming: Incoming
    asset: Asset


def deposit_many(*, deposits: Sequence[Incoming], actor: str, reason: str = "", request_id: str = "") -> list[Movement]:
    """Credit all of them, or none: an answer per deposit, in order; those that were credited before are replays. Audited as one.

    Owns its transaction. Locks: the references' keys in order, the accounts by id, their balances by (account, asset).
    Raises: InvalidAmount, InvalidReference (also: the same one twice), IdempotencyConflict (a reference was another deposit),
    NotFound (an asset, or no customer's account). Then nothing was credited.
    """
    known = {code: ledger.asset_by_code(code) for code in sorted({one.asset for one in deposits})}
    seen: set[str] = set()
    for one in deposits:
        if not 0 < len(one.reference) <= REFERENCE_LENGTH or one.reference in seen:
            raise InvalidReference(f"Each deposit has a reference of its own, of 1 to {REFERENCE_LENGTH} characters.", field="reference")
        seen.add(one.reference)
        ledger.check_amount(one.amount, known[one.asset])
    asked = [_New(uuid7(), one, known[one.asset]) for one in deposits]
    if not asked:
        return []
    with own():
        earlier = _claim(asked)
        new = [item for item in asked if item.incoming.reference not in earlier]
        if new:
            _credit(new)
            after = {"deposits": len(new), "replays": len(earlier), "first": str(new[0].transfer_id), "last": str(new[-1].transfer_id)}
            audit.record(actor=actor, action="wallet.deposit_many", subject="wallet", reason=reason, after=after, request_id=request_id)
    return [
        Movement(transfer_id=earlier.get(item.incoming.reference, item.transfer_id), replay=item.incoming.reference in earlier)
        for item in asked
    ]


def _claim(asked: Sequence[_New]) -> dict[str, UUID]:
    """Use up the references; returns the transfer of each that was used for the same before. Raises: IdempotencyConflict."""
    marks = {item.incoming.reference: ledger.fingerprint(item.incoming.account_id, item.asset.id, item.incoming.amount) for item in asked}
    with connection.cursor() as cursor:
        cursor.execute(CLAIM_SQL, [SCOPE, list(marks), list(marks.values()), [item.transfer_id for item in asked]])
        ours = {key for (key,) in cursor.fetchall()}
        used = [key for key in marks if key not in ours]
        if not used:
            return {}
        cursor.execute(CLAIMED_SQL, [SCOPE, used])
        found = {key: (bytes(mark), UUID(str(transfer_id))) for key, mark, transfer_id in cursor.fetchall()}
    for key, (mark, _) in found.items():
        if mark != marks[key]:
            raise ledger.IdempotencyConflict(f"{key} was used for another movement. Nothing was credited.", field="reference")
    return {key: transfer_id for key, (_, transfer_id) in found.items()}


def _credit(new: Sequence[_New]) -> None:
    outside = ensure_house_account(kind=AccountKind.EXTERNAL)
    accounts = {item.incoming.account_id for item in new}
    kinds = ledger.lock_accounts(accounts)
    for account_id in sorted(accounts):
        if kinds.get(account_id) != AccountKind.CUSTOMER:
            raise ledger.NotFound(f"There is no trading account with id {account_id}. Nothing was credited.", field="account")
    account_ids, asset_ids = array(item.incoming.account_id for item in new), array(item.asset.id for item in new)
    amounts = [item.incoming.amount for item in new]
    told: dict[int, AccountNews] = {}
    with connection.cursor() as cursor, ledger.supply_bounded("the assets that came in"):
        cursor.execute(CREDIT_SQL, [account_ids, asset_ids, amounts])
        for account_id, asset_id, posted, held in cursor.fetchall():
            told.setdefault(account_id, AccountNews()).balances.append([asset_id, str(posted), str(held)])
        cursor.execute(
            TRANSFER_SQL,
            [
                outside, [item.transfer_id for item in new], asset_ids, account_ids, amounts, [item.incoming.reference for item in new],
                [moment_of(uuid_ms(item.transfer_id)) for item in new],
            ],
        )  # fmt: skip
    ledger.tell(told, at_ms=uuid_ms(new[-1].transfer_id))
