"""What an account owned at the beginning of a period, what moved, and what it owned at the end: read, added up, and checked.

Opening and movements come from the transfers (of closed months: as they were carried forward), the closing from the present balance less
what has moved since. Where the two do not meet there is no statement. Months that are closed have one line per asset.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from django.db import connection

from exchange_platform.db import EXACT, tenant_scope
from exchange_platform.errors import ExchangeError
from exchange_platform.ids import uuid_floor
from wallet.ledger import NotFound
from wallet.queries import LAST, amount_text, assets

MOST_LINES: Final = 100_000
ATTEMPTS: Final = 3  # what commits between two reads makes them disagree; a statement is read anew then

HORIZON_SQL: Final = "SELECT (max(month) + interval '1 month') AT TIME ZONE 'UTC' FROM wallet_carriedsum"

CARRIED_SQL: Final = """
    SELECT month, asset_id, amount FROM wallet_carriedsum WHERE account_id = %s ORDER BY month, asset_id"""

ACCOUNT_SQL: Final = "SELECT name FROM institutions_account WHERE id = %s AND kind = 'CUSTOMER'"

# Transfers of trades are found through their trades (decision 0005), others by their two partial indexes.
FLOW_SQL: Final = """
    WITH trade AS (
        SELECT id FROM orders_trade WHERE maker_account_id = %(account)s AND id >= %(low)s AND id < %(high)s
        UNION SELECT id FROM orders_trade WHERE taker_account_id = %(account)s AND id >= %(low)s AND id < %(high)s
    ), flow AS (
        SELECT t.* FROM trade JOIN wallet_transfer t ON t.id = trade.id WHERE %(account)s IN (t.debit_account_id, t.credit_account_id)
        UNION ALL
        SELECT t.* FROM wallet_transfer t WHERE t.debit_account_id = %(account)s AND t.id >= %(low)s AND t.id < %(high)s
            AND t.kind NOT IN ('TRADE', 'MAKER_FEE', 'TAKER_FEE')
        UNION ALL
        SELECT t.* FROM wallet_transfer t WHERE t.credit_account_id = %(account)s AND t.id >= %(low)s AND t.id < %(high)s
            AND t.kind NOT IN ('TRADE', 'MAKER_FEE', 'TAKER_FEE')
    )"""

SUMS_SQL: Final = f"""{FLOW_SQL}
    , moved AS (
        SELECT asset_id, coalesce(sum(amount) FILTER (WHERE id < %(start)s), 0) AS before,
               coalesce(sum(amount) FILTER (WHERE id >= %(end)s), 0) AS after
        FROM (SELECT id, asset_id, CASE WHEN credit_account_id = %(account)s THEN amount ELSE -amount END AS amount FROM flow) AS signed
        GROUP BY asset_id
    ), owned AS (SELECT asset_id, posted FROM wallet_balance WHERE account_id = %(account)s)
    SELECT asset_id, coalesce(before, 0), coalesce(posted, 0) - coalesce(after, 0) FROM moved FULL JOIN owned USING (asset_id)"""

LINES_SQL: Final = f"""{FLOW_SQL}
    SELECT id, leg, kind, asset_id, CASE WHEN credit_account_id = %(account)s THEN amount ELSE -amount END, reference, created_at
    FROM flow ORDER BY id, leg LIMIT %(limit)s"""


class InvalidPeriod(ExchangeError):
    code = "INVALID_FIELD"


class StatementMismatch(ExchangeError):
    """Opening and movements do not come to the closing: the ledger is broken, and reconciliation says where."""

    code = "STATEMENT_MISMATCH"


@dataclass(frozen=True, slots=True)
class Line:
    """A movement as the account saw it. `amount`: received (positive) or given; `balance`: of the asset, after it.
    `id` null: the sum of a closed month, of which only that is kept."""

    at: datetime
    id: UUID | None
    kind: str
    asset_id: int
    amount: Decimal
    balance: Decimal
    reference: str | None


@dataclass(frozen=True, slots=True)
class Total:
    """Of one asset: opening + movements = closing."""

    asset_id: int
    opening: Decimal
    movements: Decimal
    closing: Decimal


@dataclass(frozen=True, slots=True)
class Statement:
    """From `start` (with it) to `end` (without it), UTC. Totals by asset code, lines in the order in which they happened."""

    account: str
    start: datetime
    end: datetime
    totals: list[Total]
    lines: list[Line]


def statement(*, institution_id: int | None, account_id: int, start: datetime, end: datetime, now: datetime) -> Statement:
    """The account's statement of a period. Owns read transactions; reads the account's history since the last closed month.

    Raises: NotFound (no such account in reach), InvalidPeriod, StatementMismatch.
    """
    if start >= end:
        raise InvalidPeriod("The period begins before it ends.", field="from")
    end = min(end, now)
    if start >= end:
        raise InvalidPeriod("The period has not begun.", field="from")
    for _ in range(ATTEMPTS):
        found = _read(institution_id, account_id, start, end)
        if all(EXACT.add(total.opening, total.movements) == total.closing for total in found.totals):
            return found
    raise StatementMismatch("The ledger of this account does not add up, so there is no statement. Support has to look at it.")


def _read(institution_id: int | None, account_id: int, start: datetime, end: datetime) -> Statement:
    horizon, carried = _carried(account_id)
    _check_months(start, end, horizon)
    low = uuid_floor(horizon) if horizon else UUID(int=0)
    bounds = {"account": account_id, "start": max(low, uuid_floor(start)), "end": max(low, uuid_floor(end))}
    with tenant_scope(institution_id) as cursor:
        cursor.execute("SELECT set_config('enable_seqscan', 'off', true)")
        cursor.execute(ACCOUNT_SQL, [account_id])
        named = cursor.fetchone()
        if named is None:
            raise NotFound("There is no such account.", field="account")
        cursor.execute(SUMS_SQL, {**bounds, "low": low, "high": LAST})
        sums = {row[0]: (row[1], row[2]) for row in cursor.fetchall()}
        cursor.execute(LINES_SQL, {**bounds, "low": bounds["start"], "high": bounds["end"], "limit": MOST_LINES + 1})
        rows = cursor.fetchall()
    if len(rows) > MOST_LINES:
        raise InvalidPeriod(f"More than {MOST_LINES} movements: ask for a shorter period.", field="from")
    opening: dict[int, Decimal] = {}
    months: list[tuple[Any, ...]] = []
    after: dict[int, Decimal] = {}
    for month, asset_id, amount in carried:
        if month < start:
            opening[asset_id] = EXACT.add(opening.get(asset_id, Decimal(0)), amount)
        elif month < end:
            months.append((None, 0, "MONTH", asset_id, amount, month.strftime("%Y-%m"), month))
        else:
            after[asset_id] = EXACT.add(after.get(asset_id, Decimal(0)), amount)
    closing = {asset_id: EXACT.subtract(found[1], after.get(asset_id, Decimal(0))) for asset_id, found in sums.items()}
    for asset_id, (before, _) in sums.items():
        opening[asset_id] = EXACT.add(opening.get(asset_id, Decimal(0)), before)
    return _statement(named[0], start, end, opening, closing, [*months, *rows])


def _statement(
    account: str,
    start: datetime,
    end: datetime,
    opening: dict[int, Decimal],
    closing: dict[int, Decimal],
    rows: Sequence[tuple[Any, ...]],
) -> Statement:
    running, lines = dict(opening), []
    for identity, _, kind, asset_id, amount, reference, at in rows:
        running[asset_id] = EXACT.add(running.get(asset_id, Decimal(0)), amount)
        lines.append(Line(at, identity, kind, asset_id, amount, running[asset_id], reference))
    known = assets(running.keys() | closing.keys())
    totals = [
        Total(asset_id, began, EXACT.subtract(running.get(asset_id, Decimal(0)), began), closing.get(asset_id, Decimal(0)))
        for asset_id in sorted(known, key=lambda one: known[one].code)
        for began in [opening.get(asset_id, Decimal(0))]
    ]
    return Statement(account, start, end, totals, lines)


def _carried(account_id: int) -> tuple[datetime | None, list[tuple[datetime, int, Decimal]]]:
    """The end of the last closed month (null: none is), and the account's sums by month."""
    with connection.cursor() as cursor:
        cursor.execute(HORIZON_SQL)
        row = cursor.fetchone()
        horizon = row[0] if row else None
        cursor.execute(CARRIED_SQL, [account_id])
        return horizon, [(datetime(m.year, m.month, 1, tzinfo=UTC), asset_id, amount) for m, asset_id, amount in cursor.fetchall()]


def _check_months(start: datetime, end: datetime, horizon: datetime | None) -> None:
    """Of closed months only sums are kept: a period begins and ends with a month there. Raises: InvalidPeriod."""
    for name, moment in (("from", start), ("to", end)):
        if horizon and moment < horizon and (moment.day, moment.hour, moment.minute, moment.second, moment.microsecond) != (1, 0, 0, 0, 0):
            raise InvalidPeriod(f"Before {horizon:%Y-%m-%d} whole months are kept: name the first day of a month, 00:00 UTC.", field=name)


# -- how it is told


def as_json(found: Statement) -> dict[str, Any]:
    """{account, from, to, assets: [{asset, opening, movements, closing}], entries: [{timestamp, id, kind, asset, amount, balance,
    reference}]}, amounts at the asset's scale."""
    known = assets({total.asset_id for total in found.totals})
    totals = []
    for total in found.totals:
        asset = known[total.asset_id]
        values = {name: amount_text(getattr(total, name), asset.scale) for name in ("opening", "movements", "closing")}
        totals.append({"asset": asset.code, **values})
    entries = []
    for line in found.lines:
        asset = known[line.asset_id]
        entries.append({
            "timestamp": _moment(line.at), "id": None if line.id is None else str(line.id), "kind": line.kind, "asset": asset.code,
            "amount": amount_text(line.amount, asset.scale), "balance": amount_text(line.balance, asset.scale), "reference": line.reference,
        })  # fmt: skip
    return {"account": found.account, "from": _moment(found.start), "to": _moment(found.end), "assets": totals, "entries": entries}


def as_csv(found: Statement) -> str:
    """The same for a spreadsheet: a line OPENING per asset, the movements, a line CLOSING per asset; RFC 4180."""
    told, out = as_json(found), io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["timestamp", "id", "kind", "asset", "amount", "balance", "reference"])
    for total in told["assets"]:
        writer.writerow([told["from"], "", "OPENING", total["asset"], "", total["opening"], ""])
    for entry in told["entries"]:
        row = [entry[name] for name in ("timestamp", "id", "kind", "asset", "amount", "balance")]
        writer.writerow([*row, _harmless(entry["reference"] or "")])
    for total in told["assets"]:
        writer.writerow([told["to"], "", "CLOSING", total["asset"], "", total["closing"], ""])
    return out.getvalue()


def _harmless(text: str) -> str:
    """What people wrote never begins a formula."""
    return "'" + text if text.startswith(("=", "+", "-", "@", "\t")) else text


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds")[:23] + "Z"


def file_name(found: Statement) -> str:
    return f"{found.account}-{found.start:%Y%m%d}-{found.end:%Y%m%d}.csv"
