"""Background work of the orders: reconciliation every few minutes, opening auctions, the end of spent nonces and of old history."""

from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

import structlog
from celery import shared_task
from django.db import connection

from exchange_platform import metrics
from exchange_platform.db import connect_direct, own
from markets.units import market_by_id
from orders import book_snapshots, breaks, candles, command_log, halts, results, retention, schedule
from orders.command_log import Verified
from risk.alerts import raise_alert

logger = structlog.get_logger(__name__)

LOGGED_AT_MOST: Final = 100

# The window of a signature is shorter than this on either side of the server's clock.
NONCES_KEPT_S: Final = 120
NONCES_PER_CHUNK: Final = 5_000
CHUNKS_AT_MOST: Final = 200


@shared_task(name="orders.tasks.run_reconciliation")
def run_reconciliation() -> int:
    """Reconcile, keep what was found (`orders.breaks`: rows, alerts, halts) and log every break at error level. Returns how many there are.

    Harmless to repeat."""
    report, kept = breaks.run()
    if kept.halted:
        logger.error("reconciliation_halted", symbols=list(kept.halted), breaks=list(kept.new))
    for found in report.breaks[:LOGGED_AT_MOST]:
        logger.error(
            "reconciliation_break",
            check=found.check,
            table=found.table,
            key=found.key,
            expected=found.expected,
            found=found.found,
            sentence=found.sentence,
        )
    told = {"breaks": report.broken, "duration_s": round(report.duration.total_seconds(), 3), "rows": report.rows}
    if report.is_clean:
        logger.info("reconciled", **told)
    else:
        logger.error("reconciliation_broken", checks={c.name: c.breaks for c in report.checks if c.breaks}, **told)
    return report.broken


@shared_task(name="orders.tasks.see_results")
def see_results() -> int:
    """Keep what accounts have won or lost today, for the limit DRAWDOWN. Returns how many were written. Harmless to repeat."""
    return results.see_results()


@shared_task(name="orders.tasks.purge_spent_nonces")
def purge_spent_nonces() -> int:
    """Delete nonces whose signatures have long expired, by the database's clock. Returns how many.

    Every chunk is a short transaction of its own and passes over rows that somebody holds; what is left when the run has done
    its share waits for the next one.
    """
    purged = 0
    for _ in range(CHUNKS_AT_MOST):
        with connection.cursor() as cursor:
            cursor.execute(
                """
                DELETE FROM institutions_spentnonce WHERE ctid = ANY (ARRAY(
                    SELECT ctid FROM institutions_spentnonce WHERE spent_at < now() - make_interval(secs => %s)
                    LIMIT %s FOR UPDATE SKIP LOCKED))
                """,
                [NONCES_KEPT_S, NONCES_PER_CHUNK],
            )
            chunk = cursor.rowcount
        purged += chunk
        if chunk < NONCES_PER_CHUNK:
            break
    return purged


@shared_task(name="orders.tasks.open_auctions")
def open_auctions() -> int:
    """Put symbols whose opening auction is due into it (`orders.schedule`). Returns how many. Harmless to repeat."""
    opened = schedule.open_auctions(now=datetime.now(UTC))
    for symbol in opened:
        logger.info("opening_auction", symbol=symbol)
    return len(opened)


@shared_task(name="orders.tasks.raise_halt_alerts")
def raise_halt_alerts(symbol_id: str = "") -> int:
    """Raise alerts for symbols that halted by themselves (`orders.halts`). Called when news of such a halt went out, with its symbol, and
    by a sweep; looks at all of them either way. Returns how many it raised. Harmless to repeat."""
    return halts.raise_alerts()


@shared_task(name="orders.tasks.update_market_data")
def update_market_data(symbol_id: str) -> int:
    """Take a symbol's new trades into its candles and ticker. Called when news of the market went out. Harmless to repeat."""
    taken = candles.update(symbol_id=int(symbol_id))
    book_snapshots.keep(symbol=market_by_id(int(symbol_id)).name)
    return taken


@shared_task(name="orders.tasks.update_all_market_data")
def update_all_market_data() -> int:
    """The same for every symbol whose trades nobody was called for. Returns how many trades were taken."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT c.symbol_id FROM orders_checkpoint c LEFT JOIN markets_marketfeed f ON f.symbol_id = c.symbol_id
               WHERE EXISTS (SELECT FROM orders_trade t WHERE t.symbol_id = c.symbol_id
                             AND t.id > coalesce(f.trade_id, '00000000-0000-0000-0000-000000000000'))"""
        )
        behind = [row[0] for row in cursor.fetchall()]
    return sum(candles.update(symbol_id=symbol_id) for symbol_id in behind)


@shared_task(name="orders.tasks.anchor_command_logs")
def anchor_command_logs() -> int:
    """Verify the command logs that have grown and anchor them, so that a start has little to verify. Returns how many breaks it found.

    Harmless to repeat. Raises: psycopg.Error.
    """
    with connect_direct(name="command-log", autocommit=True) as direct:
        return _log_breaks(command_log.anchor_grown(direct))


@shared_task(name="orders.tasks.verify_command_logs")
def verify_command_logs() -> int:
    """Verify every command log from its beginning, log each break at error level and raise one CRITICAL alert for it. Returns how many.

    Harmless to repeat. Raises: psycopg.Error.
    """
    with connect_direct(name="command-log", autocommit=True) as direct:
        breaks = _log_breaks([
            command_log.verify(direct, symbol_id=symbol_id, since_anchor=False) for symbol_id, _ in command_log.symbols(direct)
        ])  # fmt: skip
    metrics.command_log_breaks_open.set(breaks)
    return breaks


def _log_breaks(logs: list[Verified]) -> int:
    breaks = [found for verified in logs for found in verified.breaks]
    for found in breaks[:LOGGED_AT_MOST]:
        logger.error("command_log_broken", sentence=found.sentence)
        with own():
            raise_alert(
                kind="COMMAND_LOG_BREAK",
                severity="CRITICAL",
                title=found.sentence,
                dedupe_key=f"command-log:{sha256(found.sentence.encode()).hexdigest()}",  # found anew by every run
                symbol_id=found.symbol_id,
                evidence=[("symbol", str(found.symbol_id))],
            )
    logger.info("command_logs_verified", logs=len(logs), entries=sum(verified.entries for verified in logs), breaks=len(breaks))
    return len(breaks)


@shared_task(name="orders.tasks.retire_history")
def retire_history() -> int:
    """Let old months leave (`orders.retention.retire`) and log each step. Returns how many were done.

    What must wait is a warning and is tried again by the next run. Harmless to repeat. Raises: psycopg.Error, ValueError.
    """
    steps = retention.retire()
    for step in steps:
        if step.waits:
            logger.warning("history_waits", what=step.what, subject=step.subject, reason=step.waits)
        else:
            logger.info("history_left", what=step.what, subject=step.subject)
    return sum(not step.waits for step in steps)
