"""Symbols that change their shard: asked for, drained by the old owner, taken over by the new one; or undone (decision 0020).

The row of the move is the drain marker. While it lives intake takes nothing for the symbol. What an intake transaction under way
still adds waits in the inbox, which is keyed by symbol, for whoever owns the symbol then. Each step is one transaction with a
condition on the step before, so whoever dies in between leaves a move that others finish or undo.
"""

from dataclasses import dataclass
from typing import Any, Final

from django.db import IntegrityError, connections
from psycopg import Connection

from exchange_platform.db import array, own
from exchange_platform.errors import ExchangeError
from institutions import audit
from matching import shards
from orders.settlement import FENCE_SQL, Fenced

LOOK_AFTER_S: Final = 0.1
WITHIN_S: Final = 30.0
REQUESTED: Final = "REQUESTED"
DRAINED: Final = "DRAINED"
DONE: Final = "DONE"
UNDONE: Final = "UNDONE"

# Overdue ones concern everybody: both of their shards may be gone.
LIVE_SQL: Final = """
    SELECT id, symbol_id, from_shard, to_shard, state, overdue_at < clock_timestamp() FROM orders_symbolmove
    WHERE ended_at IS NULL AND (%(shard)s IN (from_shard, to_shard) OR overdue_at < clock_timestamp()) ORDER BY id"""

FIND_SQL: Final = """
    SELECT s.id, c.shard_id, EXISTS (SELECT FROM orders_symbolmove m WHERE m.symbol_id = s.id AND m.ended_at IS NULL),
           coalesce((SELECT h.expires_at > clock_timestamp() FROM orders_shard h WHERE h.id = %s), false)
    FROM markets_symbol s LEFT JOIN orders_checkpoint c ON c.symbol_id = s.id WHERE s.name = %s"""

REQUEST_SQL: Final = """
    INSERT INTO orders_symbolmove (symbol_id, from_shard, to_shard, state, actor, reason, note, requested_at, overdue_at)
    VALUES (%s, %s, %s, 'REQUESTED', %s, %s, '', now(), clock_timestamp() + make_interval(secs => %s)) RETURNING id"""

DRAIN_SQL: Final = """
    UPDATE orders_symbolmove SET state = 'DRAINED', drained_at = clock_timestamp()
    WHERE id = %s AND state = 'REQUESTED' AND NOT EXISTS (SELECT FROM orders_inbox WHERE symbol_id = %s)"""

# Nobody is left who could settle what waits: the new owner finds it in the inbox.
DRAIN_FOR_ANOTHER_SQL: Final = """
    UPDATE orders_symbolmove SET state = 'DRAINED', drained_at = clock_timestamp() WHERE id = %s AND state = 'REQUESTED'"""

FINISH_SQL: Final = "UPDATE orders_symbolmove SET state = 'DONE', ended_at = clock_timestamp() WHERE id = %s AND state = 'DRAINED'"

UNDO_SQL: Final = """
    UPDATE orders_symbolmove SET state = 'UNDONE', ended_at = clock_timestamp(), note = %s WHERE id = %s AND ended_at IS NULL"""

UNDO_FORGOTTEN_SQL: Final = """
    UPDATE orders_symbolmove SET state = 'UNDONE', ended_at = clock_timestamp(), note = 'no worker attended to it in time'
    WHERE id = %s AND ended_at IS NULL AND overdue_at < clock_timestamp() - interval '2 s'"""

CHANGE_HANDS_SQL: Final = """
    UPDATE orders_checkpoint SET shard_id = %(target)s, epoch = %(epoch)s
    WHERE symbol_id = ANY(%(symbols)s::int[]) AND shard_id = %(source)s"""

# Symbols of shards that there are no more, dealt out among those that there are.
ORPHANS_SQL: Final = """
    SELECT c.shard_id, array_agg(c.symbol_id ORDER BY c.symbol_id) FROM orders_checkpoint c
    WHERE c.shard_id >= %(shards)s AND c.symbol_id %% %(shards)s = %(shard)s
      AND NOT EXISTS (SELECT FROM orders_symbolmove m WHERE m.symbol_id = c.symbol_id AND m.ended_at IS NULL)
    GROUP BY c.shard_id ORDER BY c.shard_id"""


class MoveRefused(ExchangeError):
    """A symbol cannot be moved as asked; the message says why."""

    code = "MOVE_REFUSED"


@dataclass(frozen=True, slots=True)
class Move:
    """A move under way."""

    id: int
    symbol_id: int
    source: int
    target: int
    state: str
    is_overdue: bool

    @property
    def why_overdue(self) -> str:
        if self.state == REQUESTED:
            return f"shard {self.source} did not let go of it in time"
        return f"shard {self.target} did not take it over in time"


def request(*, symbol: str, target: int, actor: str, reason: str, within_s: float = WITHIN_S) -> int:
    """Ask for a symbol to be moved. Returns the move's id; from here on its workers do it, or undo it after `within_s` seconds.

    Owns its transaction: the move, the audit entry. Takes no lock; of two requests at once the database refuses one. Raises: MoveRefused,
    ValueError when no actor or reason is given.
    """
    if not reason.strip() or not actor.strip():
        raise ValueError("moving a symbol needs an actor and a reason")
    with own(), connections["default"].cursor() as cursor:
        cursor.execute(FIND_SQL, [target, symbol])
        row = cursor.fetchone()
        if row is None:
            raise MoveRefused(f"There is no symbol {symbol}.")
        symbol_id, source, is_moving, has_target_an_owner = row
        if source is None:
            raise MoveRefused(f"{symbol} has not been taken up by any worker yet; it goes where its number says.")
        if is_moving:
            raise MoveRefused(f"{symbol} is being moved already.")
        if source == target:
            raise MoveRefused(f"{symbol} is on shard {target}.")
        if not has_target_an_owner:
            raise MoveRefused(f"No worker owns shard {target}. Start one first.")
        try:
            cursor.execute(REQUEST_SQL, [symbol_id, source, target, actor[:80], reason, within_s])
        except IntegrityError as error:
            raise MoveRefused(f"{symbol} is being moved already.") from error
        (move_id,) = cursor.fetchone()
        audit.record(
            actor=actor,
            action="symbol.move",
            subject=f"symbol:{symbol}",
            reason=reason,
            before={"shard": source},
            after={"shard": target, "move": move_id},
        )
    return int(move_id)


def live(connection: Connection[Any], *, shard: int) -> list[Move]:
    """Moves under way from or to this shard, and overdue ones of any, in order. One statement."""
    return [Move(*row) for row in connection.execute(LIVE_SQL, {"shard": shard}, prepare=True).fetchall()]


def drain(connection: Connection[Any], move: Move, *, epoch: int) -> bool:
    """The old owner marks that it has settled what waited. Returns whether it has; then it must not touch the symbol any more.

    Owns the transaction. Raises: Fenced, psycopg.Error.
    """
    if connection.execute(DRAIN_SQL, [move.id, move.symbol_id]).rowcount != 1:
        connection.commit()
        return False
    if connection.execute(FENCE_SQL, [move.source, epoch]).rowcount != 1:
        raise Fenced(f"shard {move.source}: epoch {epoch} is over")
    connection.commit()
    return True


def drain_for_absent_owner(session: Connection[Any], move: Move, *, owner: str) -> bool:
    """When nobody owns the old shard: fence off whoever did, and mark the symbol as let go. Returns whether it is.

    `session`: direct, autocommit. What waits in the inbox is left to the new owner. Raises: psycopg.Error.
    """
    with shards.stand_in(session, shard=move.source, owner=owner) as epoch:
        return epoch is not None and session.execute(DRAIN_FOR_ANOTHER_SQL, [move.id]).rowcount == 1


def take_over(connection: Connection[Any], move: Move, *, epoch: int) -> int | None:
    """The new owner makes the symbol its own: owner and epoch are flipped and the move ends, in one transaction.

    Returns the shard's new epoch, or None when the move has been undone meanwhile. Raises: Fenced, psycopg.Error.
    """
    if connection.execute(FINISH_SQL, [move.id]).rowcount != 1:
        connection.commit()
        return None
    raised = change_hands(connection, [move.symbol_id], source=move.source, target=move.target, epoch=epoch)
    connection.commit()
    return raised


def undo(connection: Connection[Any], move: Move, *, why: str) -> bool:
    """End a move; the symbol stays where it was. Returns whether this did it. `connection`: autocommit, or the caller commits."""
    return connection.execute(UNDO_SQL, [why, move.id]).rowcount == 1


def change_hands(connection: Connection[Any], symbol_ids: list[int], *, source: int, target: int, epoch: int) -> int:
    """Symbols of one shard become another's, under a new epoch of that one, which is returned. Joins the caller's transaction.

    Raises: Fenced, RuntimeError when one of them was not the source's.
    """
    raised = shards.raise_epoch(connection, shard=target, epoch=epoch)
    parameters = {"symbols": array(symbol_ids), "source": source, "target": target, "epoch": raised}
    if connection.execute(CHANGE_HANDS_SQL, parameters).rowcount != len(symbol_ids):
        raise RuntimeError(f"symbols {symbol_ids} are not all of shard {source}")
    return raised


def take_orphans(session: Connection[Any], connection: Connection[Any], *, shard: int, shards_in_all: int, epoch: int, owner: str) -> int:
    """Symbols of shards that there are no more (number ≥ shards in all) and that nobody owns come to this one, if it is their turn.

    Returns the shard's epoch: a new one when there were any. Owns the transaction. Raises: Fenced, psycopg.Error.
    """
    found = session.execute(ORPHANS_SQL, {"shards": shards_in_all, "shard": shard}).fetchall()
    for gone, symbol_ids in found:
        with shards.stand_in(session, shard=gone, owner=owner) as taken:
            if taken is not None:
                epoch = change_hands(connection, symbol_ids, source=gone, target=shard, epoch=epoch)
                connection.commit()
    return epoch


def state_of(*, move_id: int) -> tuple[str, str]:
    """How a move stands: (state, note). Undoes one that is long overdue, since no worker is left to. Owns its transaction."""
    with own(), connections["default"].cursor() as cursor:
        cursor.execute(UNDO_FORGOTTEN_SQL, [move_id])
        cursor.execute("SELECT state, note FROM orders_symbolmove WHERE id = %s", [move_id])
        state, note = cursor.fetchone()
    return state, note
