"""Keeps what reconciliation finds, raises alerts for it, and stops trading where customers' funds do not agree.

A break is a row until somebody resolves it. While it is seen it cannot be resolved; when a run no longer finds it, it stays and says so
until somebody says what it was. If it comes back it is a new one. What a run does is one transaction, so a run that is killed has done
nothing, and the next one does it.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings
from django.db import connection
from django.db.models.functions import Now

from exchange_platform.db import own, require_transaction
from exchange_platform.errors import ExchangeError
from institutions import audit
from institutions.models import User
from institutions.rights import Right, may
from orders.break_models import Break
from orders.controls import put_status
from orders.invariants import CHECKS, GUARDS
from orders.reconcile import Report, reconcile
from risk.alerts import raise_alert

ACTOR: Final = "system:reconcile"
ALERT_KIND: Final = "RECONCILIATION_BREAK"
LOCK: Final = 7_240_012  # one run at a time is kept
EVIDENCE_AT_MOST: Final = 100

FUNDS: Final = frozenset(check.name for check in CHECKS if check.touches_funds)
CRITICAL: Final = FUNDS | {GUARDS.name}

LOCK_SQL: Final = "SELECT pg_advisory_xact_lock(%s)"

# What a break concerns follows from the row it names; a row that is not there leaves it open.
KEEP_SQL: Final = """
    WITH seen AS (
        SELECT s.*, (regexp_match(row_key, '(?:^| )asset_id=(\\d+)'))[1]::int AS asset_id,
               (regexp_match(row_key, '(?:^| )symbol_id=(\\d+)'))[1]::int AS symbol_id,
               (regexp_match(row_key, '(?:^| )account_id=(\\d+)'))[1]::bigint AS account_id,
               (regexp_match(row_key, '(?:^| )(?:order_)?id=([0-9a-f-]{36})'))[1]::uuid AS id,
               (regexp_match(row_key, '(?:^| )id=(\\d+)$'))[1]::int AS number,
               (regexp_match(row_key, '(?:^| )leg=(\\d)'))[1]::int AS leg
        FROM jsonb_to_recordset(%(seen)s::jsonb) AS s
            (check_name text, table_name text, row_key text, expected text, found text, sentence text, touches_funds boolean)
    ), placed AS (
        SELECT s.check_name, s.table_name, s.row_key, s.expected, s.found, s.sentence, s.touches_funds,
               coalesce(s.asset_id, CASE s.table_name WHEN 'markets_asset' THEN s.number WHEN 'wallet_transfer' THEN coalesce(
                   (SELECT w.asset_id FROM wallet_transfer w WHERE w.id = s.id AND w.leg = s.leg),
                   (SELECT CASE WHEN s.leg IN (0, 2) THEN m.base_id ELSE m.quote_id END
                    FROM orders_trade t JOIN markets_symbol m ON m.id = t.symbol_id WHERE t.id = s.id)) END) AS asset_id,
               coalesce(s.symbol_id, CASE s.table_name
                   WHEN 'orders_order' THEN (SELECT o.symbol_id FROM orders_order o WHERE o.id = s.id)
                   WHEN 'orders_trade' THEN (SELECT t.symbol_id FROM orders_trade t WHERE t.id = s.id) END) AS symbol_id,
               coalesce(s.account_id, CASE s.table_name
                   WHEN 'orders_order' THEN (SELECT o.account_id FROM orders_order o WHERE o.id = s.id) END) AS account_id
        FROM seen s
    )
    INSERT INTO orders_break AS b (check_name, table_name, row_key, expected, found, sentence, touches_funds, asset_id, symbol_id,
        account_id, halted, first_seen_at, last_seen_at)
    SELECT p.*, '[]', %(at)s, %(at)s FROM placed p
    WHERE NOT EXISTS (SELECT FROM orders_break o WHERE (o.check_name, o.table_name, o.row_key) = (p.check_name, p.table_name, p.row_key)
                      AND o.gone_at >= %(at)s)
    ON CONFLICT (check_name, table_name, row_key) WHERE gone_at IS NULL DO UPDATE
        SET expected = excluded.expected, found = excluded.found, sentence = excluded.sentence, last_seen_at = excluded.last_seen_at
        WHERE b.last_seen_at < excluded.last_seen_at
    RETURNING b.id, b.check_name, b.asset_id, b.symbol_id, b.account_id, b.sentence, b.touches_funds, b.xmax = 0 AS is_new"""

GONE_SQL: Final = """
    UPDATE orders_break SET gone_at = %s WHERE gone_at IS NULL AND last_seen_at < %s AND check_name = ANY(%s) RETURNING id"""

# In the order of their ids, as everybody locks them.
SYMBOLS_SQL: Final = """
    SELECT id, name, status FROM markets_symbol
    WHERE (id = ANY(%(symbols)s) OR base_id = ANY(%(assets)s) OR quote_id = ANY(%(assets)s)) AND status <> 'DELISTED'
    ORDER BY id FOR UPDATE"""

HALTED_SQL: Final = """
    UPDATE orders_break b SET halted = (SELECT coalesce(jsonb_agg(m.name ORDER BY m.name), '[]') FROM markets_symbol m
        WHERE m.name = ANY(%s) AND (m.id = b.symbol_id AND b.asset_id IS NULL OR b.asset_id IN (m.base_id, m.quote_id)))
    WHERE b.id = ANY(%s)"""

KNOWN_ACCOUNTS_SQL: Final = "SELECT id FROM institutions_account WHERE id = ANY(%s) ORDER BY id"


class NoSuchBreak(ExchangeError):
    code = "NOT_FOUND"


class StillThere(ExchangeError):
    """The last run that looked found it again: there is nothing to resolve yet."""

    code = "BREAK_STILL_THERE"


class AlreadyResolved(ExchangeError):
    code = "BREAK_RESOLVED"


class InvalidAnswer(ExchangeError):
    code = "INVALID_FIELD"


@dataclass(frozen=True, slots=True)
class Kept:
    """What a run changed: ids of new breaks and of those not seen any more, of alerts it raised, names of symbols it halted."""

    new: tuple[int, ...]
    gone: tuple[int, ...]
    alerts: tuple[int, ...]
    halted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _New:
    id: int
    check: str
    asset_id: int | None
    symbol_id: int | None
    account_id: int | None
    sentence: str
    touches_funds: bool


def run() -> tuple[Report, Kept]:
    """Reconcile and keep what was found. Harmless to repeat. Owns its transactions. Raises: psycopg.Error, django.db.Error."""
    report = reconcile()
    return report, keep(report)


def keep(report: Report) -> Kept:
    """Make the table of breaks say what the report says: new ones with their alerts and halts, known ones seen again, others gone.

    A check with more breaks than are named takes none for gone. A report that is older than what is known changes nothing of that.
    Owns its transaction. Locks: other runs, then rows of the symbols that are halted (by id).
    """
    seen = [
        {
            "check_name": check, "table_name": table, "row_key": key, "expected": "; ".join(f.expected for f in found),
            "found": "; ".join(f.found for f in found), "sentence": "; ".join(f.sentence for f in found), "touches_funds": check in FUNDS,
        }
        for (check, table, key), found in _by_row(report).items()
    ]  # fmt: skip
    named: dict[str, int] = {}
    for one in report.breaks:
        named[one.check] = named.get(one.check, 0) + 1
    whole = [check.name for check in report.checks if check.breaks == named.get(check.name, 0)]
    with own(), connection.cursor() as cursor:
        cursor.execute(LOCK_SQL, [LOCK])
        cursor.execute(KEEP_SQL, {"seen": json.dumps(seen), "at": report.started_at})
        new = [_New(*row[:7]) for row in cursor.fetchall() if row[7]]
        cursor.execute(GONE_SQL, [report.started_at, report.started_at, whole])  # those that are there have just been seen
        gone = [row[0] for row in cursor.fetchall()]
        alerts = _raise_alerts(cursor, new)
        halted = _halt(cursor, [one for one in new if one.touches_funds]) if settings.RECONCILE_HALTS else []
    return Kept(tuple(sorted(one.id for one in new)), tuple(sorted(gone)), tuple(alerts), tuple(halted))


def own_break(*, break_id: int, user_id: int, actor: str) -> None:
    """The person looks into it from now on. Owns its transaction; locks the break. Raises: NoSuchBreak, AlreadyResolved, InvalidAnswer."""
    with own():
        row = _locked(break_id)
        user = User.objects.filter(pk=user_id).first()
        if not may(user, Right.SETTLE_BREAKS):
            raise InvalidAnswer("Only operators can own a break.", field="owner")
        before = row.owner and row.owner.username
        row.owner = user
        row.save(update_fields=["owner"])
        assert user is not None
        audit.record(actor=actor, action="break.own", subject=f"break:{break_id}", before={"owner": before}, after={"owner": user.username})


def resolve(*, break_id: int, resolution: str, actor: str) -> None:
    """Say what a break was that is not seen any more; final. What it halted stays halted until two people resume it.

    Owns its transaction; locks the break. Raises: NoSuchBreak, StillThere, AlreadyResolved, InvalidAnswer.
    """
    if not resolution.strip():
        raise InvalidAnswer("Say what it was and what was done: it is kept for ever.", field="reason")
    with own():
        row = _locked(break_id)
        if row.gone_at is None:
            raise StillThere("The last reconciliation still found it. Correct it, reconcile again, then resolve it.")
        Break.objects.filter(pk=break_id).update(state="RESOLVED", resolution=resolution.strip(), resolved_by=actor[:80], resolved_at=Now())
        audit.record(
            actor=actor, action="break.resolve", subject=f"break:{break_id}", reason=resolution.strip(), after={"state": "RESOLVED"}
        )


def _by_row(report: Report) -> "dict[tuple[str, str, str], list[Any]]":
    found: dict[tuple[str, str, str], list[Any]] = {}
    for one in report.breaks:
        found.setdefault((one.check, one.table, one.key), []).append(one)
    return found


def _raise_alerts(cursor: Any, new: Iterable[_New]) -> list[int]:
    """One alert for all new breaks of a check in one asset or symbol, linked to each."""
    groups: dict[tuple[str, int | None, int | None], list[_New]] = {}
    for one in sorted(new, key=lambda one: one.id):
        groups.setdefault((one.check, one.asset_id, one.symbol_id if one.asset_id is None else None), []).append(one)
    raised = []
    for (check, asset_id, symbol_id), found in groups.items():
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        cursor.execute(KNOWN_ACCOUNTS_SQL, [[one.account_id for one in found if one.account_id is not None]])
        alert_id = raise_alert(
            kind=ALERT_KIND,
            severity="CRITICAL" if check in CRITICAL else "HIGH",
            title=f"{check}: {found[0].sentence[:240]}{more}",
            dedupe_key=f"break:{found[0].id}",
            account_ids=[row[0] for row in cursor.fetchall()],
            symbol_id=symbol_id,
            details={"check": check, "asset_id": asset_id, "breaks": len(found)},
            evidence=[("break", str(one.id)) for one in found[:EVIDENCE_AT_MOST]],
        )
        if alert_id is not None:
            raised.append(alert_id)
    return raised


def _halt(cursor: Any, new: list[_New]) -> list[str]:
    """Stop every symbol of these assets, and symbols whose asset is not known. Joins the caller's transaction."""
    require_transaction()
    if not new:
        return []
    assets = sorted({one.asset_id for one in new if one.asset_id is not None})
    symbols = sorted({one.symbol_id for one in new if one.asset_id is None and one.symbol_id is not None})
    cursor.execute(SYMBOLS_SQL, {"assets": assets, "symbols": symbols})
    halted = []
    reason = f"reconciliation found break {', '.join(str(one.id) for one in new[:20])} in customers' funds"
    for symbol_id, name, status in cursor.fetchall():
        # Also one that is halted: after a halt of its own it would resume by itself.
        put_status(cursor, symbol_id=symbol_id, symbol=name, before=status, status="HALTED", actor=ACTOR, reason=reason)
        halted.append(name)
    cursor.execute(HALTED_SQL, [halted, [one.id for one in new]])
    return halted


def _locked(break_id: int) -> Break:
    row = Break.objects.select_for_update(of=("self",)).select_related("owner").filter(pk=break_id).first()
    if row is None:
        raise NoSuchBreak("There is no such break.")
    if row.state == "RESOLVED":
        raise AlreadyResolved("The break has been resolved, which is final.")
    return row
