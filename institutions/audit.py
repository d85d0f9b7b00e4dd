"""The audit trail: who did what to whom, when and why. Written by the transaction that did it, or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from django.db import connection
from psycopg.types.json import Jsonb

from exchange_platform.db import require_transaction

# Not through the model: who starts without the registry of apps (matching.main) records too.
INSERT_SQL: Final = """
    INSERT INTO institutions_auditentry (at, actor, action, subject, reason, before, after, ip, user_agent, request_id)
    VALUES (clock_timestamp(), %s, %s, %s, %s, %s, %s, %s, %s, %s)"""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a change was asked for: what a door knows and services do not."""

    ip: str | None = None
    user_agent: str = ""
    request_id: str = ""


_origin: ContextVar[Origin | None] = ContextVar("audit_origin", default=None)


@contextmanager
def asked_from(origin: Origin) -> Iterator[None]:
    """Entries recorded in this block, by whichever service, say where they came from, unless they are told themselves."""
    token = _origin.set(origin)
    try:
        yield
    finally:
        _origin.reset(token)


def record(
    *,
    actor: str,
    action: str,
    subject: str,
    reason: str = "",
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    ip: str | None = None,
    user_agent: str = "",
    request_id: str = "",
) -> None:
    """Append one entry. Joins the caller's transaction; takes no lock.

    Args: action: `noun.verb` ("account.freeze"). subject: what it was done to ("account:alpha-1"). before, after: only what
    changed, never a secret; JSON values, decimals as strings.
    Raises: RuntimeError outside a transaction.
    """
    require_transaction()
    origin = _origin.get() or Origin()
    row: list[Any] = [
        actor[:80], action, subject[:120], reason, None if before is None else Jsonb(before), None if after is None else Jsonb(after),
        ip or origin.ip, (user_agent or origin.user_agent)[:300], (request_id or origin.request_id)[:40],
    ]  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(INSERT_SQL, row)
