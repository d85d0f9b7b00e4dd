"""Where commands wait for the worker of their symbol. Whoever has something for an engine puts it here, in a transaction of its own."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from notifications.wakeups import INBOX, NOTIFY_SQL
from orders import commands

INSERT_SQL: Final = "INSERT INTO orders_inbox (symbol_id, commands, payload) VALUES (%s, %s, %s)"
COMMANDS_PER_ROW: Final = 250  # a worker takes 40 rows at once: 10,000 cancels in one settlement are a second, more would hold up others


def row(symbol_id: int, items: Sequence[commands.Command]) -> list[Any]:
    """What INSERT_SQL takes."""
    return [symbol_id, len(items), commands.pack(items)]


def post(cursor: Any, by_symbol: Mapping[int, Sequence[commands.Command]]) -> None:
    """Send commands to the workers of these symbols, in order, and wake them. `cursor`: of the caller's transaction, Django's or
    psycopg's; nothing to send: nothing happens. Raises: psycopg.Error or django.db.Error."""
    rows = [
        row(symbol_id, items[at : at + COMMANDS_PER_ROW])
        for symbol_id, items in sorted(by_symbol.items())
        for at in range(0, len(items), COMMANDS_PER_ROW)
    ]
    if rows:
        cursor.executemany(INSERT_SQL, rows)
        cursor.execute(NOTIFY_SQL, [INBOX])
