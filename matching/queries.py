"""How the shards are: who owns them, what they own, what waits for them, which symbols move. Read without locks, as the engine."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import connections

SHARDS_SQL: Final = """
    WITH waits AS (
        SELECT c.shard_id, sum(i.commands) AS commands, min(i.created_at) AS since
        FROM orders_inbox i JOIN orders_checkpoint c ON c.symbol_id = i.symbol_id GROUP BY c.shard_id),
    owned AS (
        SELECT c.shard_id, array_agg(s.name::text ORDER BY s.name) AS symbols
        FROM orders_checkpoint c JOIN markets_symbol s ON s.id = c.symbol_id GROUP BY c.shard_id)
    SELECT shard_id, h.owner, h.epoch, h.expires_at, extract(epoch FROM h.expires_at - clock_timestamp()),
           coalesce(o.symbols, '{}'), coalesce(w.commands, 0), extract(epoch FROM clock_timestamp() - w.since)
    FROM (SELECT id AS shard_id, owner, epoch, expires_at FROM orders_shard) AS h
    FULL JOIN owned o USING (shard_id) FULL JOIN waits w USING (shard_id) ORDER BY shard_id"""

MOVES_SQL: Final = """
    SELECT m.id, s.name, m.from_shard, m.to_shard, m.state, m.actor, m.reason, m.note, m.requested_at, m.ended_at
    FROM orders_symbolmove m JOIN markets_symbol s ON s.id = m.symbol_id
    WHERE m.ended_at IS NULL OR m.id > (SELECT max(id) - %s FROM orders_symbolmove) ORDER BY m.id DESC"""


@dataclass(frozen=True, slots=True)
class ShardRow:
    """A shard. `owner`, `epoch`, `lease_until` are of its last lease, null when it never had one; `lease_s` is what is left of it,
    negative since it ended. `waiting`: commands in the inbox; `oldest_s`: since when the first of them waits, null when none does."""

    shard: int
    owner: str | None
    epoch: int | None
    lease_until: datetime | None
    lease_s: float | None
    symbols: tuple[str, ...]
    waiting: int
    oldest_s: float | None

    @property
    def is_owned(self) -> bool:
        return self.lease_s is not None and self.lease_s > 0


@dataclass(frozen=True, slots=True)
class MoveRow:
    """A move of a symbol; `ended_at` null: under way. `note` says why it was undone."""

    id: int
    symbol: str
    source: int
    target: int
    state: str
    actor: str
    reason: str
    note: str
    requested_at: datetime
    ended_at: datetime | None


def shards() -> list[ShardRow]:
    """Every shard that has, or had, an owner or symbols, by number. One statement, on one snapshot."""
    with connections["default"].cursor() as cursor:
        cursor.execute(SHARDS_SQL)
        return [
            ShardRow(
                shard, owner, epoch, until, None if left is None else float(left), tuple(symbols), int(waiting),
                None if oldest is None else float(oldest),
            )
            for shard, owner, epoch, until, left, symbols, waiting, oldest in cursor.fetchall()
        ]  # fmt: skip


def moves(*, last: int = 5) -> list[MoveRow]:
    """Moves under way and the last few that have ended, newest first."""
    with connections["default"].cursor() as cursor:
        cursor.execute(MOVES_SQL, [last])
        return [MoveRow(*row) for row in cursor.fetchall()]
