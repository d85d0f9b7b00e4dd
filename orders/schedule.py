"""Opening auctions: a symbol with `opens_at` is in an AUCTION for the last `auction_s` seconds before that time of every day, UTC.

The engine begins its auction when the command's turn comes and gives it the full `auction_s`: one that begins a few seconds late ends as
much later, never with less time to collect.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final

from django.db import connection, connections

from exchange_platform.db import own
from matching.core.messages import COMMAND
from orders.controls import put_status

ACTOR: Final = "schedule"
OPENS_FROM: Final = ("TRADING", "POST_ONLY", "CANCEL_ONLY", "HALTED")
DAY: Final = timedelta(days=1)

# Against an own auction, too, that was ended before its command's turn came: the audit entry is there from the moment it was commanded.
STANDING_SQL: Final = """
    SELECT c.status, coalesce(c.conditions->>'cause', ''), EXISTS (SELECT FROM orders_inbox i WHERE i.symbol_id = s.id),
        EXISTS (SELECT FROM orders_symbolstatus h WHERE h.symbol_id = s.id AND h.status = 'AUCTION' AND h.at >= %(begins_at)s)
        OR EXISTS (SELECT FROM institutions_auditentry a WHERE a.subject = 'symbol:' || s.name AND a.action = 'symbol.status'
                   AND a.actor = %(actor)s AND a.at >= %(begins_at)s)
    FROM markets_symbol s LEFT JOIN orders_checkpoint c ON c.symbol_id = s.id WHERE s.id = %(symbol)s"""


def window_at(*, opens_at: time, auction_s: int, now: datetime) -> tuple[datetime, datetime] | None:
    """The opening auction that is due at `now`, as [begin, end); null: none is. Times in UTC; it may begin the day before it ends."""
    ends_at = datetime.combine(now.date(), opens_at, tzinfo=UTC)
    if ends_at <= now:
        ends_at += DAY
    begins_at = ends_at - timedelta(seconds=auction_s)
    return (begins_at, ends_at) if begins_at <= now else None


def open_auctions(*, now: datetime) -> list[str]:
    """Put every symbol whose opening auction is due at `now` (UTC) into AUCTION, once per window. Returns the names of those it put.

    From TRADING, POST_ONLY and CANCEL_ONLY; from HALTED only when the halt was not commanded by a person, and while nothing waits that
    could be such a command. Not again when an auction of this window was ended early. Safe to run twice at once: each symbol in a
    transaction of its own, its row locked.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, opens_at, auction_s FROM markets_symbol WHERE opens_at IS NOT NULL AND is_listed AND status = ANY(%s) ORDER BY id",
            [list(OPENS_FROM)],
        )
        candidates = cursor.fetchall()
    opened = []
    for symbol_id, opens_at, auction_s in candidates:
        window = window_at(opens_at=opens_at, auction_s=auction_s, now=now)
        if window is not None:
            name = _open(symbol_id, *window)
            if name is not None:
                opened.append(name)
    return opened


def _open(symbol_id: int, begins_at: datetime, ends_at: datetime) -> str | None:
    """Owns its transaction; locks the symbol's row. Returns the symbol's name when it was put into AUCTION."""
    with own(), connections["default"].cursor() as cursor:
        cursor.execute("SELECT name, status FROM markets_symbol WHERE id = %s FOR UPDATE", [symbol_id])
        name, status = cursor.fetchone()
        # A statement after the lock: it sees what whoever held it before has done.
        cursor.execute(STANDING_SQL, {"symbol": symbol_id, "begins_at": begins_at, "actor": ACTOR})
        if not _may_open(status, cursor.fetchone()):
            return None
        reason = f"opening auction until {ends_at:%H:%M:%S} UTC"
        put_status(cursor, symbol_id=symbol_id, symbol=name, before=status, status="AUCTION", actor=ACTOR, reason=reason)
        return str(name)


def _may_open(status: str, standing: Sequence[Any]) -> bool:
    engine_status, cause, is_waited_for, was_in_auction = standing
    if was_in_auction or status not in OPENS_FROM:
        return False
    if status != "HALTED":
        return True
    # The cause is of the engine's last status: while commands wait, a person's halt may be among them.
    return not is_waited_for and engine_status in (None, "HALTED") and cause != COMMAND
