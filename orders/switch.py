"""Dead man's switches: deadlines that lie in the database and that a matching worker fires, so that they hold whoever dies.

An account has one of its own (set by its client, moved on by him), and one for every connection that asked to be cancelled with.
Firing is ordinary cancels into the inboxes, under the account's lock: every order that was taken before is among them.
"""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from django.db import connections
from psycopg import Connection

from exchange_platform.db import array
from orders import commands, inbox

DISCONNECT: Final = "DISCONNECT"
ACCOUNTS_AT_ONCE: Final = 50

SET_SQL: Final = """
    INSERT INTO orders_switch AS s (account_id, holder, deadline, reason, actor)
    SELECT u.account_id, %s, clock_timestamp() + make_interval(secs => %s), %s, %s FROM unnest(%s::bigint[]) AS u(account_id)
    ON CONFLICT (account_id, holder) DO UPDATE SET deadline = excluded.deadline, actor = excluded.actor
    RETURNING deadline"""

CLEAR_SQL: Final = "DELETE FROM orders_switch WHERE account_id = ANY(%s::bigint[]) AND holder = %s"

MOVE_SQL: Final = """
    UPDATE orders_switch SET deadline = clock_timestamp() + make_interval(secs => %s) WHERE holder = ANY(%s::text[])"""

DUE_SQL: Final = "SELECT DISTINCT account_id FROM orders_switch WHERE deadline <= clock_timestamp() LIMIT %s"

# Whoever holds an account lets the switch wait for the next look: the worker has books to run.
LOCK_SQL: Final = """
    SELECT a.id FROM institutions_account a WHERE a.id = ANY(%s::bigint[]) ORDER BY a.id FOR NO KEY UPDATE OF a SKIP LOCKED"""

TAKE_SQL: Final = """
    DELETE FROM orders_switch WHERE account_id = ANY(%s::bigint[]) AND deadline <= clock_timestamp() RETURNING account_id, reason, actor"""

OPEN_SQL: Final = "SELECT symbol_id, order_id FROM orders_openorder WHERE account_id = %s ORDER BY order_id"


def move_on(*, holders: Sequence[str], seconds: float) -> None:
    """These connections live: their switches fire so much later. Owns its transaction, one statement. Raises: django.db.Error."""
    with connections["default"].cursor() as cursor:
        cursor.execute(MOVE_SQL, [seconds, list(holders)])


def fire_due(connection: Connection[Any]) -> int:
    """Fire every switch whose time has come. Returns how many orders are asked to end. Commits; nothing is due: one cheap statement.

    Safe from any number of workers at once. Raises: psycopg.Error.
    """
    due = [row[0] for row in connection.execute(DUE_SQL, [ACCOUNTS_AT_ONCE], prepare=True)]
    if not due:
        connection.commit()
        return 0
    locked = array(row[0] for row in connection.execute(LOCK_SQL, [array(sorted(due))], prepare=True))
    fired: dict[int, tuple[str, str]] = {}
    for account_id, reason, actor in connection.execute(TAKE_SQL, [locked], prepare=True):
        fired[account_id] = (reason, actor)
    asked: dict[int, list[commands.Command]] = {}
    for account_id, (reason, actor) in sorted(fired.items()):
        for symbol_id, order_id in connection.execute(OPEN_SQL, [account_id], prepare=True):
            asked.setdefault(symbol_id, []).append(_cancel(order_id, reason, actor))
    inbox.post(connection.cursor(), asked)
    connection.commit()
    return sum(len(cancels) for cancels in asked.values())


def _cancel(order_id: UUID, reason: str, actor: str) -> commands.Command:
    return [commands.CANCEL, order_id.hex, reason, actor, ""]
