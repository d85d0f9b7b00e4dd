"""Gauges that no process keeps: read from PostgreSQL when Prometheus asks, in one go and with a time limit."""

from typing import Any, Final

import structlog
from psycopg import Connection

from api.operations.probes import Database, Probe
from exchange_platform import metrics
from exchange_platform.telemetry.text import Readings
from orders import metrics as orders
from risk import metrics as risk

log = structlog.get_logger(__name__)

WITHIN_S: Final = 2.0

# Age of the oldest, events that wait, dead letters nobody has settled. A backlog of more than 100,000 rows is large enough to be told as
# such.
OUTBOX_SQL: Final = """
    SELECT coalesce((SELECT extract(epoch FROM clock_timestamp() - created_at) FROM notifications_outbox ORDER BY id LIMIT 1), 0)::float8,
           (SELECT coalesce(sum(events), 0) FROM (SELECT events FROM notifications_outbox LIMIT 100000) AS counted)::bigint,
           (SELECT count(*) FROM (SELECT FROM notifications_deadletter WHERE settled_at IS NULL LIMIT 100000) AS counted)"""

CONNECTIONS_SQL: Final = "SELECT sum(numbackends)::int, current_setting('max_connections')::int FROM pg_stat_database"


def read(connection: Connection[Any]) -> Readings:
    """Raises: psycopg.Error."""
    found = {**orders.read(connection), **risk.read(connection)}
    lag_s, pending, dead = connection.execute(OUTBOX_SQL).fetchone() or (0.0, 0, 0)
    used, allowed = connection.execute(CONNECTIONS_SQL).fetchone() or (0, 0)
    for family, value in (
        (metrics.outbox_lag_seconds, max(0.0, lag_s)),
        (metrics.outbox_pending, pending),
        (metrics.outbox_dead_letters, dead),
        (metrics.postgresql_connections, used),
        (metrics.postgresql_connections_limit, allowed),
    ):
        found[family.name] = [((), float(value))]
    return found


_database = Database("metrics", statement_timeout_ms=int(WITHIN_S * 1000))
_probe = Probe(lambda: _database.ask(read), name="metrics", within_s=WITHIN_S)


async def readings() -> Readings:
    """What the database tells, or nothing of it when it does not answer."""
    try:
        return await _probe.answer()
    except Exception as problem:
        log.warning("metrics_without_database", problem=str(problem).partition("\n")[0] or type(problem).__name__)
        return {}
