"""What health is: one function per part, each says how its part is and raises when it cannot know."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import redis
from django.conf import settings
from psycopg import Connection
from redis.backoff import NoBackoff
from redis.retry import Retry

from api.operations.probes import Database
from api.operations.readings import CONNECTIONS_SQL, OUTBOX_SQL
from exchange_platform.partitions import MADE_UNTIL_SQL
from exchange_platform.tasks import HEARTBEAT_KEY

HEALTHY, DEGRADED, UNHEALTHY = "healthy", "degraded", "unhealthy"

WITHIN_S: Final = 2.0
OUTBOX_LAG_LIMIT_S: Final = 10.0
CONNECTIONS_LIMIT: Final = 0.95
PARTITIONS_MARGIN: Final = timedelta(days=31)  # two months and more are made ahead; without a partition nothing can be written
WAITING_LIMIT: Final = 10_000  # half of what makes intake refuse with OVERLOADED

# Every shard that has a symbol to serve, and whether somebody owns it at present.
OWNERS_SQL: Final = """
    SELECT c.shard_id, coalesce(bool_or(s.expires_at > clock_timestamp()), false), count(DISTINCT c.symbol_id)
    FROM orders_checkpoint c JOIN markets_symbol m ON m.id = c.symbol_id AND m.status <> 'DELISTED'
    LEFT JOIN orders_shard s ON s.id = c.shard_id
    GROUP BY c.shard_id ORDER BY c.shard_id"""

ANY_OWNER_SQL: Final = "SELECT EXISTS (SELECT FROM orders_shard WHERE expires_at > clock_timestamp())"
MOVES_SQL: Final = """
    SELECT count(*), coalesce(bool_or(overdue_at < clock_timestamp() - interval '10 s'), false)
    FROM orders_symbolmove WHERE ended_at IS NULL"""
WAITING_SQL: Final = "SELECT coalesce(sum(commands), 0)::bigint FROM orders_inbox"


@dataclass(frozen=True, slots=True)
class Finding:
    """How a part is, in words for an operator. `outside`: what anybody may read of them."""

    status: str
    message: str
    outside: str = ""


def postgresql(connection: Connection[Any]) -> Finding:
    used, allowed = connection.execute(CONNECTIONS_SQL).fetchone() or (0, 1)
    told = f"{used} of {allowed} connections"
    return Finding(DEGRADED if used > CONNECTIONS_LIMIT * allowed else HEALTHY, told)


def matching(connection: Connection[Any]) -> Finding:
    rows = connection.execute(OWNERS_SQL).fetchall()
    lost = [f"{shard}" for shard, is_owned, _ in rows if not is_owned]
    if lost:
        return Finding(UNHEALTHY, f"no matching worker owns shard {', '.join(lost)}")
    if not rows and connection.execute(ANY_OWNER_SQL).fetchone() != (True,):
        return Finding(UNHEALTHY, "no matching worker has started")
    waiting = (connection.execute(WAITING_SQL).fetchone() or (0,))[0]
    told = f"{len(rows)} shards, {sum(row[2] for row in rows)} symbols, {waiting} commands wait"
    moving, is_stuck = connection.execute(MOVES_SQL).fetchone() or (0, False)
    if moving:
        told += f", {moving} symbols on the move" + (", long overdue" if is_stuck else "")
    return Finding(DEGRADED if waiting > WAITING_LIMIT or is_stuck else HEALTHY, told)


def outbox(connection: Connection[Any]) -> Finding:
    lag_s, pending, dead = connection.execute(OUTBOX_SQL).fetchone() or (0.0, 0, 0)
    told = f"{pending} events wait, the oldest for {max(0.0, lag_s):.1f} s; {dead} dead letters"
    return Finding(DEGRADED if dead or lag_s > OUTBOX_LAG_LIMIT_S else HEALTHY, told)


def partitions(connection: Connection[Any]) -> Finding:
    until = (connection.execute(MADE_UNTIL_SQL).fetchone() or (None,))[0]
    if until is None:
        return Finding(DEGRADED, "a table has no partitions")
    left = until.replace(tzinfo=UTC) - datetime.now(UTC)
    told = f"made until {until:%Y-%m-%d}"
    return Finding(DEGRADED if left < PARTITIONS_MARGIN else HEALTHY, told)


def redis_answers(client: redis.Redis) -> Finding:
    client.ping()
    return Finding(HEALTHY, "answers")


def workers(client: redis.Redis) -> Finding:
    """Celery beat has a task leave a mark that fades: it is there when beat, broker and a worker all did their part lately."""
    if not client.exists(HEARTBEAT_KEY):
        return Finding(DEGRADED, "no scheduled work has been done lately: Celery beat or every worker is gone, or the queue is long")
    return Finding(HEALTHY, "scheduled work is done")


NOT_CONFIGURED: Final = Finding(HEALTHY, "not configured", outside="not configured")


def all_checks() -> dict[str, Callable[[], Finding] | Finding]:
    """By name, in the order of the document. Each keeps its own connection, so that none waits for another."""

    def of_database(check: Callable[[Connection[Any]], Finding]) -> Callable[[], Finding]:
        database = Database(f"health-{check.__name__}", statement_timeout_ms=int(WITHIN_S * 1000))
        return lambda: database.ask(check)

    def of_redis(check: Callable[[redis.Redis], Finding]) -> Callable[[], Finding]:
        client = redis.Redis.from_url(
            settings.REDIS_URL, socket_timeout=WITHIN_S, socket_connect_timeout=WITHIN_S, retry=Retry(NoBackoff(), 0), max_connections=2
        )
        return lambda: check(client)

    return {
        "postgresql": of_database(postgresql),
        "redis": of_redis(redis_answers),
        "matching": of_database(matching),
        "outbox": of_database(outbox),
        "partitions": of_database(partitions),
        "venue": NOT_CONFIGURED,
        "price_feed": NOT_CONFIGURED,
        "workers": of_redis(workers),
    }
