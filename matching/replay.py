"""A book at any moment of the past, from the command log: the same commands with the same stamps come to the same state hash.

Begins at the symbol's first command, or, where the log's oldest partitions are gone, at the oldest anchor that has a snapshot.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from psycopg import Connection

from exchange_platform.errors import ExchangeError
from markets.units import Market
from matching.engine import SymbolEngine
from orders import commands
from orders.settlement import SymbolProgress

ROWS_AT_ONCE: Final = 500

LOG_SQL: Final = """
    SELECT first_sequence, last_sequence, stamp_ms, payload, state_hash, settled_at FROM orders_commandlog
    WHERE symbol_id = %s AND first_sequence > %s ORDER BY first_sequence"""


class ReplayDiffers(ExchangeError):
    """What the log says and what it comes to are two things; the message names the row."""

    code = "REPLAY_DIFFERS"


@dataclass(slots=True)
class Replayed:
    """`engine` stands where the replay ended. `commands`: how many were played; `at`: when the last of them was settled, null: none."""

    engine: SymbolEngine
    commands: int = 0
    at: datetime | None = None

    @property
    def sequence(self) -> int:
        return self.engine.progress.sequence

    @property
    def state_hash(self) -> int:
        return self.engine.progress.state_hash


def replay(
    connection: Connection[Any], *, market: Market, until_sequence: int | None = None, until: datetime | None = None,
    begin: SymbolEngine | None = None,
) -> Replayed:  # fmt: skip
    """Play a symbol's commands up to and with `until_sequence`, or what was settled by `until`; all of them when both are null.

    `begin`: an engine to go on from, as it was at the end of an entry (its state is used up). Reads with a server-side cursor in the
    caller's transaction.
    Raises: ReplayDiffers when a row's state hash is not what the replay gives, psycopg.Error.
    """
    found = Replayed(begin or SymbolEngine(SymbolProgress(market=market)))
    engine, progress = found.engine, found.engine.progress
    with connection.cursor(name="replay") as cursor:
        cursor.itersize = ROWS_AT_ONCE
        for first, last, stamp_ms, payload, state_hash, settled_at in cursor.execute(LOG_SQL, [market.id, progress.sequence]):
            if (until is not None and settled_at > until) or (until_sequence is not None and first > until_sequence):
                break
            if first != progress.sequence + 1:
                raise ReplayDiffers(f"{market.name}: commands {progress.sequence + 1} to {first - 1} are missing from the log.")
            batch = engine.begin(stamp_ms)
            for command in commands.unpack(payload):
                if until_sequence is not None and progress.sequence >= until_sequence:
                    break
                engine.apply(command, batch)
                found.commands += 1
            engine.finish()
            batch.close()
            found.at = settled_at
            if progress.sequence == last and progress.state_hash != int(state_hash):
                raise ReplayDiffers(
                    f"{market.name}: commands {first} to {last}, settled {settled_at.isoformat()}, give state hash {progress.state_hash}, "
                    f"the log says {state_hash}."
                )
    return found
