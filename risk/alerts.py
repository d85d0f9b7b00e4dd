"""Raises alerts: one per key for ever, with what they rest on. Working on them is `risk.cases`.

No model is imported here, so whoever starts without the registry of apps can raise them too.
"""

import json
import time
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from django.db import connection

from exchange_platform.db import array, require_transaction
from notifications import outbox
from notifications.outbox import ALERT, Letter
from risk.alert_states import DUE_AFTER, EVIDENCE_KINDS, Severity, State

RAISER: Final = "system:alerts"
TITLE_LENGTH: Final = 300

# Two that raise the same wait here for each other; the second finds it there.
INSERT_SQL: Final = """
    INSERT INTO risk_alert (kind, severity, title, dedupe_key, institution_id, symbol_id, score, details, due_at)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, statement_timestamp() + make_interval(secs => %s))
    ON CONFLICT (dedupe_key) DO NOTHING RETURNING id"""

ACCOUNTS_SQL: Final = "INSERT INTO risk_alertaccount (account_id, alert_id) SELECT DISTINCT u.id, %s FROM unnest(%s::bigint[]) AS u (id)"

EVIDENCE_SQL: Final = """
    INSERT INTO risk_alertevidence (alert_id, kind, reference, actor) SELECT %s, u.kind, u.reference, %s
    FROM unnest(%s::text[], %s::text[]) AS u (kind, reference) ON CONFLICT (alert_id, kind, reference) DO NOTHING"""

HISTORY_SQL: Final = """
    INSERT INTO risk_alerthistory (alert_id, number, change, state, assignee_id, actor, reason) VALUES (%s, %s, %s, %s, %s, %s, %s)"""


def raise_alert(
    *,
    kind: str,
    severity: str,
    title: str,
    dedupe_key: str,
    account_ids: Sequence[int] = (),
    institution_id: int | None = None,
    symbol_id: int | None = None,
    score: Decimal | None = None,
    details: Mapping[str, Any] = MappingProxyType({}),
    evidence: Sequence[tuple[str, str]] = (),
) -> int | None:
    """Raise an alert, exactly one per `dedupe_key`, for ever: returns its id, or None when it was there already.

    Args: severity: LOW, MEDIUM, HIGH, CRITICAL. title: one sentence. score: 0 to 1. details: JSON values, decimals, times and UUIDs.
    evidence: (kind, id) with kind order, trade, transfer, withdrawal, break or symbol; the id as text.
    Joins the caller's transaction. Locks: whoever raises the same key at the same time waits until this one has ended.
    Raises: ValueError (unknown severity or evidence, an empty or too long word), RuntimeError outside a transaction.
    """
    require_transaction()
    _check(kind, severity, title, dedupe_key, score, evidence)
    with connection.cursor() as cursor:
        cursor.execute(
            INSERT_SQL,
            [
                kind, severity, title[:TITLE_LENGTH], dedupe_key, institution_id, symbol_id, score, as_json(details),
                int(DUE_AFTER[Severity(severity)].total_seconds()),
            ],
        )  # fmt: skip
        row = cursor.fetchone()
        if row is None:
            return None
        alert_id = int(row[0])
        if account_ids:
            cursor.execute(ACCOUNTS_SQL, [alert_id, array(account_ids)])
        add_evidence(cursor, alert_id=alert_id, evidence=evidence, actor=RAISER)
        cursor.execute(HISTORY_SQL, [alert_id, 1, "RAISED", State.NEW, None, RAISER, ""])
        tell(
            cursor,
            alert_id=alert_id,
            number=1,
            change="RAISED",
            alert={
                "kind": kind, "severity": severity, "title": title[:TITLE_LENGTH], "state": State.NEW.value, "assignee": None,
                "institution_id": institution_id, "symbol_id": symbol_id, "account_ids": sorted(set(account_ids)),
                "score": None if score is None else f"{score:f}", "evidence": [list(pair) for pair in evidence],
            },
        )  # fmt: skip
    return alert_id


def add_evidence(cursor: Any, *, alert_id: int, evidence: Sequence[tuple[str, str]], actor: str) -> None:
    """What is there already stays as it is. Joins the caller's transaction."""
    if evidence:
        cursor.execute(EVIDENCE_SQL, [alert_id, actor[:80], [kind for kind, _ in evidence], [reference for _, reference in evidence]])


def tell(cursor: Any, *, alert_id: int, number: int, change: str, alert: dict[str, Any]) -> None:
    """Into the transaction's outbox: number 1 is ALERT_RAISED, the others ALERT_CHANGED (`risk.alert_news`)."""
    outbox.write(cursor.execute, [Letter(ALERT, f"{ALERT}.{alert_id}", 1, [alert_id, number, time.time_ns() // 1_000_000, change, alert])])


def as_json(details: Mapping[str, Any]) -> str:
    """Decimals and UUIDs as strings, times in ISO 8601. Raises: TypeError, ValueError on what JSON cannot tell (NaN)."""
    return json.dumps(dict(details), default=_plain, allow_nan=False)


def _plain(value: object) -> str:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    raise TypeError(f"{value!r} cannot be told in JSON")


def _check(kind: str, severity: str, title: str, dedupe_key: str, score: Decimal | None, evidence: Sequence[tuple[str, str]]) -> None:
    if severity not in set(Severity):
        raise ValueError(f"an alert is {', '.join(Severity)}, not {severity!r}")
    for name, word, longest in (("kind", kind, 40), ("dedupe_key", dedupe_key, 200), ("title", title, None)):
        if not word.strip() or (longest is not None and len(word) > longest):
            raise ValueError(f"an alert's {name} has 1 to {longest or 'many'} characters, not {len(word)}")
    if score is not None and not (score.is_finite() and 0 <= score <= 1):
        raise ValueError(f"a score is from 0 to 1, not {score}")
    for pointed, reference in evidence:
        if pointed not in EVIDENCE_KINDS or not 0 < len(reference) <= 120:
            raise ValueError(f"evidence is one of {', '.join(EVIDENCE_KINDS)} with an id, not {pointed!r} {reference!r}")
