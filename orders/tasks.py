"""Background work of the orders: reconciliation every few minutes, and the end of spent nonces."""

from typing import Final

import structlog
from celery import shared_task
from django.db import connection

from orders import candles
from orders.reconcile import reconcile

logger = structlog.get_logger(__name__)

LOGGED_AT_MOST: Final = 100

# The window of a signature is shorter than this on either side of the server's clock.
NONCES_KEPT_S: Final = 120
NONCES_PER_CHUNK: Final = 5_000
CHUNKS_AT_MOST: Final = 200


@shared_task(name="orders.tasks.run_reconciliation")
def run_reconciliation() -> int:
    """Reconcile and log every break at error level. Returns how many there are. Harmless to repeat."""
    report = reconcile()
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


@shared_task(name="orders.tasks.update_market_data")
def update_market_data(symbol_id: str) -> int:
    """Take a symbol's new trades into its candles and ticker. Called when news of the market went out. Harmless to repeat."""
    return candles.update(symbol_id=int(symbol_id))


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
