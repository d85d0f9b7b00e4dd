"""Takes a snapshot of every customer's portfolio and raises alerts where it is beyond its limits."""

from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from django.db import connection

from exchange_platform.db import EXACT, array, own
from exchange_platform.ids import ms_of
from risk import findings
from risk.portfolio import Past, PortfolioLimits, Snapshot, beyond, take
from risk.valuation import MONEY, daily_closes, prices

ACCOUNTS_AT_ONCE: Final = 200
LIMITS: Final = PortfolioLimits()

ACCOUNTS_SQL: Final = """
    SELECT id FROM institutions_account WHERE kind = 'CUSTOMER' AND id > %s
      AND EXISTS (SELECT FROM wallet_balance b WHERE b.account_id = institutions_account.id) ORDER BY id LIMIT %s"""

HOLDINGS_SQL: Final = """
    SELECT b.account_id, s.id, s.code, b.posted FROM wallet_balance b JOIN markets_asset s ON s.id = b.asset_id
    WHERE b.account_id = ANY (%s::bigint[]) AND b.posted <> 0"""

# What came in since the last snapshot, net, in any way but trading; what left with closed months was seen by earlier snapshots.
FLOWS_SQL: Final = """
    SELECT a.id, t.asset_id, sum(CASE WHEN t.credit_account_id = a.id THEN t.amount ELSE -t.amount END)
    FROM unnest(%(accounts)s::bigint[], %(since)s::timestamptz[]) AS a (id, since) JOIN wallet_transfer t
      ON t.kind NOT IN ('TRADE', 'MAKER_FEE', 'TAKER_FEE') AND a.id IN (t.debit_account_id, t.credit_account_id)
     AND t.id >= exchange_uuid_from(a.since) AND t.id < exchange_uuid_from(%(until)s)
    GROUP BY a.id, t.asset_id"""

LAST_SQL: Final = """
    SELECT DISTINCT ON (account_id) account_id, at, equity, inflow, peak_gain FROM risk_portfoliosnapshot
    WHERE account_id = ANY (%s::bigint[]) AND at < %s ORDER BY account_id, at DESC"""

# The first of the day, or the last of the days before: what the day's loss is held against.
MORNING_SQL: Final = """
    SELECT a.id, p.equity, p.inflow FROM unnest(%s::bigint[]) AS a (id) CROSS JOIN LATERAL (
        (SELECT equity, inflow, 1 AS rank FROM risk_portfoliosnapshot WHERE account_id = a.id AND at <= %s ORDER BY at DESC LIMIT 1)
        UNION ALL
        (SELECT equity, inflow, 2 FROM risk_portfoliosnapshot WHERE account_id = a.id AND at > %s ORDER BY at LIMIT 1)
        ORDER BY rank LIMIT 1) p"""

INSERT_SQL: Final = """
    INSERT INTO risk_portfoliosnapshot (account_id, at, equity, inflow, peak_gain, var_historical, var_parametric, var_periods,
        concentration, concentrated_in, drawdown, daily_loss)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING 1"""

_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


def take_snapshots(*, at: datetime, limits: PortfolioLimits = LIMITS) -> int:
    """One snapshot per customer account that has balances, as of the run `at`; alerts where limits are exceeded. Returns how many were
    taken.

    Owns a transaction for every 200 accounts. Locks: accounts and their risk state where an alert is raised. Harmless to repeat with the
    same `at`.
    """
    worth, closes = prices(), daily_closes()
    taken = after = 0
    while True:
        with own(), connection.cursor() as cursor:
            cursor.execute(ACCOUNTS_SQL, [after, ACCOUNTS_AT_ONCE])
            accounts = [row[0] for row in cursor.fetchall()]
            if not accounts:
                return taken
            taken += _take_some(cursor, accounts, at, worth, closes, limits)
        after = accounts[-1]


def _take_some(
    cursor: Any,
    accounts: list[int],
    at: datetime,
    worth: dict[int, Decimal],
    closes: dict[str, list[Decimal]],
    limits: PortfolioLimits,
) -> int:
    listed = array(accounts)
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
    cursor.execute(LAST_SQL, [listed, at])
    last = {row[0]: row[1:] for row in cursor.fetchall()}
    cursor.execute(MORNING_SQL, [listed, midnight, midnight])
    morning = {row[0]: row[1:] for row in cursor.fetchall()}
    holdings = _holdings(cursor, listed, worth)
    since = "{" + ",".join(f'"{last[a][0] if a in last else _LONG_AGO}"' for a in accounts) + "}"
    cursor.execute(FLOWS_SQL, {"accounts": listed, "since": since, "until": at})
    flows: dict[int, Decimal] = defaultdict(Decimal)
    for account, asset_id, amount in cursor.fetchall():
        flows[account] += EXACT.multiply(amount, worth.get(asset_id, Decimal(0)))
    found, taken = [], 0
    for account in accounts:
        past = None
        if account in last:
            _, _, inflow, peak_gain = last[account]
            past = Past(day_equity=morning[account][0], day_inflow=morning[account][1], peak_gain=peak_gain)
        else:
            inflow = Decimal(0)
        snapshot = take(holdings=holdings[account], prices=closes, inflow=inflow + flows[account], past=past, cash=MONEY)
        cursor.execute(INSERT_SQL, [account, at, *_columns(snapshot)])
        if cursor.fetchone():
            taken += 1
            found += beyond(snapshot, account=account, at_ms=ms_of(at), day=f"{at:%Y-%m-%d}", limits=limits)
    findings.write(found, now_ms=ms_of(at))
    return taken


def _holdings(cursor: Any, listed: str, worth: dict[int, Decimal]) -> dict[int, dict[str, Decimal]]:
    """Values in USDT by account and asset; an asset without a price is worth nothing here."""
    cursor.execute(HOLDINGS_SQL, [listed])
    found: dict[int, dict[str, Decimal]] = defaultdict(dict)
    for account, asset_id, code, posted in cursor.fetchall():
        if asset_id in worth:
            found[account][code] = EXACT.multiply(posted, worth[asset_id])
    return found


def _columns(snapshot: Snapshot) -> list[object]:
    risk = snapshot.risk
    return [
        snapshot.equity, snapshot.inflow, snapshot.peak_gain, risk.historical, risk.parametric, risk.periods, snapshot.concentration,
        snapshot.concentrated_in, snapshot.drawdown, snapshot.daily_loss,
    ]  # fmt: skip
