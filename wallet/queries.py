"""Reads of balances and the ledger, as the tenants' role: row-level security decides what an institution sees.

`institution_id` null: staff of the platform, all institutions. `account_ids` null: every account in that reach.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from django.db import connection, connections

from exchange_platform.db import EXACT, array, tenant_scope
from wallet.ledger import Asset

# Written out as in the partial indexes transfer_movement_debit and transfer_movement_credit.
_MOVEMENT: Final = "kind NOT IN ('TRADE', 'MAKER_FEE', 'TAKER_FEE')"
_COLUMNS: Final = "t.id, t.leg, t.kind, t.asset_id, t.debit_account_id, t.credit_account_id, t.amount, t.reference, t.created_at"
LAST: Final = UUID(int=2**128 - 1)


@dataclass(frozen=True, slots=True)
class TransferRow:
    """A transfer as stored: `amount` is positive and goes from the debit account to the credit account."""

    id: UUID
    leg: int
    kind: str
    asset_id: int
    debit_account_id: int
    credit_account_id: int
    amount: Decimal
    reference: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class BalanceRow:
    """A balance as stored."""

    account_id: int
    asset_id: int
    posted: Decimal
    held: Decimal


def balances(*, institution_id: int | None, account_ids: Sequence[int] | None = None) -> list[dict[str, Any]]:
    """Rows {account, asset, posted, held, available} of trading accounts, by account id and asset code; amounts at the asset's
    scale. Every asset the account has ever had is listed. Owns a read transaction, one statement in it."""
    mine = "" if account_ids is None else "AND b.account_id = ANY(%s::bigint[])"
    with tenant_scope(institution_id) as cursor:
        cursor.execute(
            f"""SELECT a.id, a.name, b.asset_id, b.posted, b.held FROM wallet_balance b
                JOIN institutions_account a ON a.id = b.account_id WHERE a.kind = 'CUSTOMER' {mine}""",
            [] if account_ids is None else [array(account_ids)],
        )
        rows = cursor.fetchall()
    known = assets({row[2] for row in rows})
    return [
        {"account": name, **balance_view(asset=known[asset_id], posted=posted, held=held)}
        for _, name, asset_id, posted, held in sorted(rows, key=lambda row: (row[0], known[row[2]].code))
    ]


def balance_view(*, asset: Asset, posted: Decimal, held: Decimal) -> dict[str, str]:
    """A balance as clients see it: {asset, posted, held, available}, amounts at the asset's scale."""
    return {
        "asset": asset.code,
        "posted": amount_text(posted, asset.scale),
        "held": amount_text(held, asset.scale),
        "available": amount_text(EXACT.subtract(posted, held), asset.scale),
    }


def balance_page(
    *, account_ids: Sequence[int] | None, asset_id: int | None = None, after: tuple[int, int] = (0, 0), limit: int
) -> list[BalanceRow]:
    """Balances behind this (account, asset), by account and asset; null: of every account, every asset. By primary key.

    Runs inside the reader's scope, whose transaction the caller owns.
    """
    conditions, parameters = ["(b.account_id, b.asset_id) > (%s, %s)"], list[Any](after)
    if account_ids is not None:
        conditions, parameters = [*conditions, "b.account_id = ANY(%s::bigint[])"], [*parameters, array(account_ids)]
    if asset_id is not None:
        conditions, parameters = [*conditions, "b.asset_id = %s"], [*parameters, asset_id]
    with connections["tenant"].cursor() as cursor:
        cursor.execute(
            f"""SELECT b.account_id, b.asset_id, b.posted, b.held FROM wallet_balance b WHERE {" AND ".join(conditions)}
                ORDER BY b.account_id, b.asset_id LIMIT %s""",
            [*parameters, limit],
        )
        return [BalanceRow(*row) for row in cursor.fetchall()]


def asset_id_of(code: str) -> int | None:
    """The asset's id; null: there is none of that code."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM markets_asset WHERE code = %s", [code])
        row = cursor.fetchone()
    return None if row is None else int(row[0])


def movements(*, institution_id: int | None, account_ids: Sequence[int], before: UUID | None = None, limit: int = 100) -> list[TransferRow]:
    """Transfers of these accounts that are not of a trade, newest first; `before`: only ids below this one.

    At most `limit` per account and direction are returned, so the newest `limit` of all accounts are among them; a transfer
    between two of the accounts is there once. Owns a read transaction, one statement in it: two index scans per account.
    """
    with tenant_scope(institution_id) as cursor:
        cursor.execute(
            f"""SELECT DISTINCT ON (m.id, m.leg) m.* FROM unnest(%(accounts)s::bigint[]) AS mine (account_id)
                CROSS JOIN LATERAL (
                    (SELECT {_COLUMNS} FROM wallet_transfer t WHERE t.debit_account_id = mine.account_id AND t.id < %(before)s
                        AND t.{_MOVEMENT} ORDER BY t.id DESC LIMIT %(limit)s)
                    UNION ALL
                    (SELECT {_COLUMNS} FROM wallet_transfer t WHERE t.credit_account_id = mine.account_id AND t.id < %(before)s
                        AND t.{_MOVEMENT} ORDER BY t.id DESC LIMIT %(limit)s)
                ) m ORDER BY m.id DESC, m.leg""",
            {"accounts": array(account_ids), "before": before or LAST, "limit": limit},
        )
        return [TransferRow(*row) for row in cursor.fetchall()]


def transfers_by_ids(*, institution_id: int | None, ids: Iterable[UUID]) -> list[TransferRow]:
    """All transfers with these ids (of a trade: all its legs in reach), newest first, by leg.

    Owns a read transaction, one statement in it: primary key lookups.
    """
    wanted = array(ids)
    if wanted == "{}":
        return []
    with tenant_scope(institution_id) as cursor:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM wallet_transfer t WHERE t.id = ANY(%s::uuid[]) ORDER BY t.id DESC, t.leg",
            [wanted],
        )
        return [TransferRow(*row) for row in cursor.fetchall()]


def house_balance(*, account_id: int, asset_id: int) -> Decimal:
    """The sum of a house account's transfers of one asset (it has no balance row), those of closed months as they were carried forward.

    Reads the whole ledger: for reports only.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """WITH horizon AS (
                   SELECT coalesce(exchange_uuid_from((max(month) + interval '1 month') AT TIME ZONE 'UTC'),
                                   '00000000-0000-0000-0000-000000000000') AS id FROM wallet_carriedsum)
               SELECT coalesce(sum(amount), 0) FROM (
                   SELECT CASE WHEN credit_account_id = %(account)s THEN amount ELSE -amount END AS amount FROM wallet_transfer
                   WHERE %(account)s IN (debit_account_id, credit_account_id) AND asset_id = %(asset)s
                     AND id >= (SELECT id FROM horizon)
                   UNION ALL
                   SELECT amount FROM wallet_carriedsum WHERE account_id = %(account)s AND asset_id = %(asset)s) AS part""",
            {"account": account_id, "asset": asset_id},
        )
        row = cursor.fetchone()
    assert row is not None
    return Decimal(row[0])


_assets: dict[int, Asset] = {}


def assets(ids: Iterable[int]) -> dict[int, Asset]:
    """Assets by id. Their code and scale never change, so each is read once per process."""
    wanted = set(ids)
    if not wanted <= _assets.keys():
        with connection.cursor() as cursor:
            cursor.execute("SELECT id, code, scale FROM markets_asset")
            _assets.update({row[0]: Asset(*row) for row in cursor.fetchall()})
    return {asset_id: _assets[asset_id] for asset_id in wanted}


def forget() -> None:
    """Drop the cache; for tests that change databases."""
    _assets.clear()


def amount_text(amount: Decimal, scale: int) -> str:
    """Plain decimal text with exactly `scale` decimals; what is stored never has more."""
    return f"{amount:.{scale}f}"
