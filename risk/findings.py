"""From a finding to its effect: an alert, what the accounts' scores count, the scores. All of it joins one transaction, so all of it
happens once or not at all.

An alert never blocks: what a high score means for the next order is for the pre-trade check to say, and keys without limits are not
asked.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

from django.db import connection

from exchange_platform.db import array, require_transaction
from exchange_platform.ids import moment_of
from risk.surveillance.scene import Finding
from risk.surveillance.score import Scoring, Signal, account_score

EVIDENCE_AT_MOST: Final = 200
SCORING: Final = Scoring()

# After so many half-lives a suspicion no longer shows in two decimals.
HALF_LIVES: Final = 8

INSTITUTIONS_SQL: Final = "SELECT DISTINCT institution_id FROM institutions_account WHERE id = ANY (%s::bigint[])"

SIGNALS_SQL: Final = """
    INSERT INTO risk_signal (account_id, dedupe_key, kind, severity, score, at)
    SELECT u.id, %s, %s, %s, %s, %s FROM unnest(%s::bigint[]) AS u (id) ON CONFLICT DO NOTHING"""

OF_ACCOUNT_SQL: Final = """
    SELECT account_id, severity, score, (extract(epoch FROM at) * 1000)::bigint FROM risk_signal
    WHERE account_id = ANY (%s::bigint[]) AND at > %s"""

SUSPECTED_SQL: Final = "SELECT DISTINCT account_id FROM risk_signal WHERE at > %s AND account_id > %s ORDER BY account_id LIMIT %s"


def write(findings: Sequence[Finding], *, now_ms: int, symbol_id: int | None = None, scoring: Scoring = SCORING) -> int:
    """Raise an alert for each finding that has none yet, and set the scores of the accounts concerned. Returns how many were raised.

    `now_ms`: to which scores are reckoned. Joins the caller's transaction. Locks: accounts and their risk state, by account
    (`set_score`).
    """
    require_transaction()
    if not findings:
        return 0
    from risk.alerts import raise_alert

    raised = 0
    concerned: set[int] = set()
    for finding in sorted(findings, key=lambda finding: finding.key):
        alert_id = raise_alert(
            kind=finding.kind,
            severity=finding.severity,
            title=finding.title,
            dedupe_key=finding.key,
            account_ids=finding.accounts,
            institution_id=_institution(finding.accounts),
            symbol_id=symbol_id,
            score=finding.score,
            details=dict(finding.details),
            evidence=_evidence(finding),
        )
        if alert_id is None:
            continue
        raised += 1
        concerned.update(finding.accounts)
        with connection.cursor() as cursor:
            cursor.execute(
                SIGNALS_SQL,
                [finding.key, finding.kind, finding.severity, finding.score, moment_of(finding.at_ms), array(finding.accounts)],
            )
    set_scores(concerned, now_ms=now_ms, scoring=scoring)
    return raised


def set_scores(accounts: Iterable[int], *, now_ms: int, scoring: Scoring = SCORING) -> None:
    """Reckon the scores of these accounts anew from their signals, and write them. Joins the caller's transaction; locks as `set_score`."""
    from risk.scores import set_score

    require_transaction()
    ordered = sorted(accounts)
    if not ordered:
        return
    signals: dict[int, list[Signal]] = {account: [] for account in ordered}
    with connection.cursor() as cursor:
        cursor.execute(OF_ACCOUNT_SQL, [array(ordered), moment_of(now_ms - HALF_LIVES * scoring.half_life_ms)])
        for account, severity, score, at_ms in cursor.fetchall():
            signals[account].append(Signal(severity, score, int(at_ms)))
    for account in ordered:
        set_score(account, account_score(signals[account], now_ms, scoring))


def suspected(*, after: int, now_ms: int, limit: int, scoring: Scoring = SCORING) -> list[int]:
    """Accounts beyond this one whose score may be above zero, or has just fallen to it, by number."""
    since = moment_of(now_ms - HALF_LIVES * scoring.half_life_ms) - timedelta(days=2)
    with connection.cursor() as cursor:
        cursor.execute(SUSPECTED_SQL, [since, after, limit])
        return [row[0] for row in cursor.fetchall()]


def reasons_of(account_id: int) -> list[tuple[str, str, Decimal, Any]]:
    """What an account's score is made of, newest first: (key, severity, score, time)."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT dedupe_key, severity, score, at FROM risk_signal WHERE account_id = %s ORDER BY at DESC LIMIT 100", [account_id]
        )
        return list(cursor.fetchall())


def _institution(accounts: Sequence[int]) -> int | None:
    """Whose all the accounts are, null when they are of several."""
    with connection.cursor() as cursor:
        cursor.execute(INSTITUTIONS_SQL, [array(accounts)])
        found = [row[0] for row in cursor.fetchall()]
    return found[0] if len(found) == 1 else None


def _evidence(finding: Finding) -> list[tuple[str, str]]:
    pairs = [("trade", trade) for trade in finding.trades] + [("order", order) for order in finding.orders]
    return list(dict.fromkeys(pairs))[:EVIDENCE_AT_MOST]
