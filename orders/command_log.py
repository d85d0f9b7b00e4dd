"""The command log held against its own hashes: every entry there, none changed, and its end where the checkpoint is.

An anchor (`orders.models.Anchor`) is a point up to which that was done; a start verifies from the last one on. Entries are read in
parts, by primary key, and hashed where they lie: payloads do not leave the database, memory does not grow with the log.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from psycopg import Connection

from exchange_platform.ids import moment_of, uuid_floor
from orders.chain import DETACHED, VERIFIED
from orders.settlement import EMPTY_CHAIN

ENTRIES_AT_ONCE: Final = 20_000
ANCHOR_EVERY: Final = 20_000  # commands

SYMBOLS_SQL: Final = """
    SELECT c.symbol_id, s.name FROM orders_checkpoint c JOIN markets_symbol s ON s.id = c.symbol_id ORDER BY c.symbol_id"""

# Those whose log has grown enough since their last anchor.
GROWN_SQL: Final = """
    SELECT c.symbol_id FROM orders_checkpoint c
    WHERE c.sequence - coalesce((SELECT max(a.sequence) FROM orders_anchor a WHERE a.symbol_id = c.symbol_id), 0) >= %s
    ORDER BY c.symbol_id"""

START_SQL: Final = """
    SELECT sequence, kind, chain, state_hash, stamp_ms FROM orders_anchor
    WHERE symbol_id = %(symbol)s AND (kind = 'DETACHED' OR %(any)s) ORDER BY sequence DESC, kind LIMIT 1"""

ENTRY_AT_SQL: Final = """
    SELECT first_sequence, settled_at, last_sequence, chain, state_hash FROM orders_commandlog
    WHERE symbol_id = %s AND first_sequence <= %s ORDER BY first_sequence DESC, settled_at DESC LIMIT 1"""

# What is not as it must be, and the last entry of the part. The hash is that of `orders.chain.chain_after`.
WALK_SQL: Final = """
    WITH entry AS (
        SELECT symbol_id, first_sequence, last_sequence, epoch, stamp_ms, payload, chain, state_hash, settled_at FROM orders_commandlog
        WHERE symbol_id = %(symbol)s AND (first_sequence, settled_at) > (%(first)s, %(settled_at)s::timestamptz)
          AND first_sequence <= %(until)s
        ORDER BY first_sequence, settled_at LIMIT %(limit)s
    ), checked AS (
        SELECT row_number() OVER log AS place, first_sequence, settled_at, last_sequence, chain, state_hash, stamp_ms,
               lag(last_sequence, 1, %(sequence)s::bigint) OVER log + 1 AS due,
               chain <> sha256(lag(chain, 1, %(chain)s::bytea) OVER log || convert_to(concat_ws(
                   '|', symbol_id, first_sequence, last_sequence, epoch, stamp_ms, state_hash, ''), 'UTF8') || payload) AS changed,
               lead(first_sequence) OVER log IS NULL AS is_last
        FROM entry WINDOW log AS (ORDER BY first_sequence, settled_at)
    )
    SELECT place, first_sequence, settled_at, last_sequence, chain, state_hash, stamp_ms, due, changed FROM checked
    WHERE due <> first_sequence OR changed OR is_last ORDER BY place"""

# One statement, so that both are of one moment while trading goes on.
END_SQL: Final = """
    SELECT c.sequence, c.chain, c.state_hash, l.first_sequence, l.settled_at, l.last_sequence, l.chain, l.state_hash
    FROM orders_checkpoint c LEFT JOIN LATERAL (
        SELECT first_sequence, settled_at, last_sequence, chain, state_hash FROM orders_commandlog
        WHERE symbol_id = c.symbol_id ORDER BY first_sequence DESC, settled_at DESC LIMIT 1) l ON true
    WHERE c.symbol_id = %s"""

ANCHORS_SQL: Final = """
    SELECT a.sequence, a.kind FROM orders_anchor a LEFT JOIN LATERAL (
        SELECT last_sequence, chain, state_hash, stamp_ms FROM orders_commandlog l
        WHERE l.symbol_id = a.symbol_id AND l.first_sequence <= a.sequence ORDER BY l.first_sequence DESC LIMIT 1) e ON true
    WHERE a.symbol_id = %s AND a.sequence > %s AND a.sequence <= %s
      AND (e.last_sequence, e.chain, e.state_hash, e.stamp_ms) IS DISTINCT FROM (a.sequence, a.chain, a.state_hash, a.stamp_ms)
    ORDER BY a.sequence"""

INSERT_ANCHOR_SQL: Final = """
    INSERT INTO orders_anchor (symbol_id, sequence, kind, chain, state_hash, stamp_ms, trade_number, payload, at)
    VALUES (%(symbol)s, %(sequence)s, %(kind)s, %(chain)s, %(state_hash)s, %(stamp_ms)s,
        coalesce((SELECT number FROM orders_trade t WHERE t.symbol_id = %(symbol)s AND t.id < %(before)s AND t.sequence <= %(sequence)s
                  ORDER BY t.id DESC LIMIT 1),
                 (SELECT max(number) FROM orders_carriedtrade c WHERE c.symbol_id = %(symbol)s AND c.sequence <= %(sequence)s), 0),
        %(payload)s, now())
    ON CONFLICT DO NOTHING"""

BEGINNING: Final = "-infinity"
NO_END: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class LogBreak:
    """What is wrong, and at which entry; `settled_at` null: no entry is there to be named."""

    symbol_id: int
    first_sequence: int
    settled_at: datetime | None
    problem: str

    @property
    def sentence(self) -> str:
        where = f", settled at {self.settled_at.isoformat()}" if self.settled_at else ""
        return f"orders_commandlog symbol_id={self.symbol_id} first_sequence={self.first_sequence}{where}: {self.problem}"


@dataclass(frozen=True, slots=True)
class Verified:
    """How far a log was verified: from `began_at` (a sequence: 0, or that of an anchor) to `sequence`, with the entry's values there.

    `entries` of the log were hashed again; `breaks` in the order of the log, empty when everything is as it must be.
    """

    symbol_id: int
    began_at: int
    sequence: int
    chain: bytes
    state_hash: int
    stamp_ms: int
    entries: int
    breaks: tuple[LogBreak, ...]


@dataclass(slots=True)
class _Walk:
    """Where a verification has come to, and what it found odd: (place, first_sequence, settled_at, due, chain) of entries."""

    symbol_id: int
    sequence: int
    chain: bytes
    state_hash: int
    stamp_ms: int
    first: int
    settled_at: Any = BEGINNING
    entries: int = 0
    breaks: list[LogBreak] | None = None

    def add(self, first_sequence: int, settled_at: datetime | None, problem: str) -> None:
        if self.breaks is None:
            self.breaks = []
        self.breaks.append(LogBreak(self.symbol_id, first_sequence, settled_at, problem))


def verify(
    connection: Connection[Any],
    *,
    symbol_id: int,
    since_anchor: bool = True,
    until: int | None = None,
    renew: Callable[[], None] = lambda: None,
) -> Verified:
    """Hash a symbol's log again: since its last anchor, or all of it that has not left.

    `until`: only up to this sequence, and the end is not held against the checkpoint. `renew` is called after every part of at most
    ENTRIES_AT_ONCE entries. Joins the connection's transaction, or owns a statement at a time; locks nothing.
    Raises: psycopg.Error.
    """
    walk = _start(connection, symbol_id, since_anchor)
    began_at = walk.sequence
    odd = _walk(connection, walk, NO_END if until is None else until, renew)
    end = None if until is not None else connection.execute(END_SQL, [symbol_id]).fetchone()
    _judge(walk, odd, checkpoint_chain=bytes(end[1]) if end else None)
    if not since_anchor:
        for sequence, kind in connection.execute(ANCHORS_SQL, [symbol_id, began_at, walk.sequence]).fetchall():
            walk.add(sequence, None, f"the anchor ({kind}) at sequence {sequence} says something else than the log")
    if end:
        _compare_end(walk, end)
    return Verified(symbol_id, began_at, walk.sequence, walk.chain, walk.state_hash, walk.stamp_ms, walk.entries, tuple(walk.breaks or ()))


def _start(connection: Connection[Any], symbol_id: int, since_anchor: bool) -> _Walk:
    """At the anchor, which must say what the log says there, if that is still in the log."""
    anchor = connection.execute(START_SQL, {"symbol": symbol_id, "any": since_anchor}).fetchone()
    if anchor is None:
        return _Walk(symbol_id, 0, EMPTY_CHAIN, 0, 0, first=0)
    sequence, kind, chain, state_hash, stamp_ms = anchor
    walk = _Walk(symbol_id, sequence, bytes(chain), int(state_hash), stamp_ms, first=sequence, settled_at="infinity")
    entry = connection.execute(ENTRY_AT_SQL, [symbol_id, sequence]).fetchone()
    if entry is None:
        if kind != DETACHED:
            walk.add(1, None, f"commands 1 to {sequence} are missing: an anchor at {sequence} says that they were there")
    elif (entry[2], bytes(entry[3]), entry[4]) != (sequence, bytes(chain), state_hash):
        walk.add(entry[0], entry[1], f"the anchor at sequence {sequence} says something else than this entry, which ends at {entry[2]}")
    return walk


def _walk(connection: Connection[Any], walk: _Walk, until: int, renew: Callable[[], None]) -> list[tuple[Any, ...]]:
    """To the end of the log; what it found odd: (place, first_sequence, settled_at, due, chain) by place."""
    odd: list[tuple[Any, ...]] = []
    while True:
        found = connection.execute(
            WALK_SQL,
            {
                "symbol": walk.symbol_id, "first": walk.first, "settled_at": walk.settled_at, "until": until, "limit": ENTRIES_AT_ONCE,
                "sequence": walk.sequence, "chain": walk.chain,
            },
        ).fetchall()  # fmt: skip
        if not found:
            return odd
        for place, first_sequence, settled_at, _, chain, _, _, due, changed in found:
            if changed or due != first_sequence:
                odd.append((walk.entries + place, first_sequence, settled_at, due, bytes(chain)))
        place, walk.first, walk.settled_at, walk.sequence, chain, state_hash, walk.stamp_ms, *_ = found[-1]
        walk.chain, walk.state_hash = bytes(chain), int(state_hash)
        walk.entries += place
        renew()
        if place < ENTRIES_AT_ONCE:
            return odd


def _judge(walk: _Walk, odd: list[tuple[Any, ...]], *, checkpoint_chain: bytes | None) -> None:
    """Name what is wrong with each odd entry, once: an entry that only follows from a changed one is not named itself."""
    rehashed = {place for place, first_sequence, _, due, _ in odd if first_sequence == due}  # none missing before, yet another hash
    follows = {1} if walk.breaks else set()  # whatever is wrong with the anchor shows in the first entry too
    for place, first_sequence, settled_at, due, chain in odd:
        if due < first_sequence:
            walk.add(first_sequence, settled_at, f"commands {due} to {first_sequence - 1} are missing before this entry")
        elif due > first_sequence:
            walk.add(first_sequence, settled_at, f"it begins at {first_sequence} where {due} was due: commands are there twice")
        elif place not in follows:
            is_last = place == walk.entries
            if place + 1 in rehashed or (is_last and checkpoint_chain not in (None, chain)):
                follows.add(place + 1)
                walk.add(first_sequence, settled_at, "its chain was changed")
            else:
                walk.add(first_sequence, settled_at, "its payload, sequences, epoch, stamp or state hash was changed")


def _compare_end(walk: _Walk, end: tuple[Any, ...]) -> None:
    sequence, chain, state_hash, first, settled_at, last, last_chain, last_state_hash = end
    if last is None:
        # The whole log has left, or there never was one. What a VERIFIED anchor says is no log.
        last, last_chain, last_state_hash = (0, EMPTY_CHAIN, 0) if walk.breaks else (walk.sequence, walk.chain, walk.state_hash)
    if last != sequence:
        walk.add(last + 1, None, f"the command log ends at sequence {last}, the checkpoint is at {sequence}")
    elif not walk.breaks and (bytes(last_chain), int(last_state_hash)) != (bytes(chain), int(state_hash)):
        what = "hash chain" if bytes(last_chain) != bytes(chain) else "state hash"
        walk.add(first or sequence, settled_at, f"the command log ends with another {what} than the checkpoint at sequence {sequence}")


def symbols(connection: Connection[Any]) -> list[tuple[int, str]]:
    """(id, name) of every symbol that has a log to verify, by id."""
    return [(row[0], row[1]) for row in connection.execute(SYMBOLS_SQL).fetchall()]


def anchor(connection: Connection[Any], verified: Verified, *, kind: str = VERIFIED, payload: bytes | None = None) -> None:
    """Set an anchor where a log without breaks was verified to; once per point and kind. Joins the connection's transaction.
    `kind`: VERIFIED or DETACHED. `payload`: what the engine was there, from which a replay can begin.

    Raises: psycopg.errors.CheckViolation when the log says otherwise, InsufficientPrivilege (DETACHED by others than maintenance).
    """
    assert not verified.breaks
    connection.execute(
        INSERT_ANCHOR_SQL,
        {
            "symbol": verified.symbol_id, "sequence": verified.sequence, "kind": kind, "chain": verified.chain,
            "state_hash": verified.state_hash, "stamp_ms": verified.stamp_ms, "before": uuid_floor(moment_of(verified.stamp_ms + 1)),
            "payload": payload,
        },
    )  # fmt: skip


def anchor_grown(connection: Connection[Any]) -> list[Verified]:
    """Verify every log that has grown by ANCHOR_EVERY commands since its last anchor, and set the next one where nothing is wrong.

    `connection`: autocommit. Returns what was verified. Raises: psycopg.Error.
    """
    done = []
    for (symbol_id,) in connection.execute(GROWN_SQL, [ANCHOR_EVERY]).fetchall():
        verified = verify(connection, symbol_id=symbol_id)
        if not verified.breaks:
            anchor(connection, verified)
        done.append(verified)
    return done
