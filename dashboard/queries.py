"""What an operator has to see before and after a control: how the market stands, and whether the worker has acted."""

from typing import Any, Final

from django.db import connection
from django.utils.timezone import now

from exchange_platform.db import plain_text
from institutions.models import AuditEntry
from markets.units import market_by_id
from matching.core.messages import COMMAND
from orders.controls import NoSuchSymbol, live_orders
from orders.market_data import auction_view
from orders.presentation import timestamp
from orders.schedule import ACTOR as SCHEDULE

CONTROLS: Final = ("symbol.status", "orders.cancel_all")
SHOWN: Final = 12


def market_state(*, symbol: str) -> dict[str, Any]:
    """`status` as set; `effective_status` as the worker has it (null before its first settlement) and its `sequence`; how many
    commands are `waiting` for the worker; what is open, in orders and in funds held.

    Raises: NoSuchSymbol.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT s.status, c.status, coalesce(c.sequence, 0), b.code, q.code,
                      (SELECT coalesce(sum(i.commands), 0) FROM orders_inbox i WHERE i.symbol_id = s.id)
               FROM markets_symbol s JOIN markets_asset b ON b.id = s.base_id JOIN markets_asset q ON q.id = s.quote_id
               LEFT JOIN orders_checkpoint c ON c.symbol_id = s.id WHERE s.name = %s""",
            [symbol],
        )
        row = cursor.fetchone()
    if row is None:
        raise NoSuchSymbol(f"There is no symbol {symbol}.", field="symbol")
    status, effective, sequence, base, quote, waiting = row
    found = live_orders(symbol=symbol, account=None, institution=None)
    live = found[0] if found else None
    return {
        "symbol": symbol,
        "status": status,
        "effective_status": effective,
        "sequence": sequence,
        "waiting": int(waiting),
        "open_orders": live.orders if live else 0,
        "buys": live.buys if live else 0,
        "sells": live.sells if live else 0,
        "held": [
            {"asset": base, "amount": plain_text(live.held_base) if live else "0"},
            {"asset": quote, "amount": plain_text(live.held_quote) if live else "0"},
        ],
    }


def market_phases() -> dict[str, Any]:
    """Why listed markets do not trade as usual: `at`, the server's clock, and `results`, one row for each that its worker has in AUCTION or
    HALTED: `symbol, status, cause, ends_at, auction`.

    `cause`: that of the status, SCHEDULE for an opening auction. `ends_at`: when it ends by itself, null: somebody has to end it.
    `auction`: as in the book, null in a halt. One statement; public, so nobody's name is in it.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT s.id, s.name, c.status, c.conditions->>'cause', (c.conditions->>'phase_ends_ms')::bigint,
                      (SELECT h.actor FROM orders_symbolstatus h WHERE h.symbol_id = s.id ORDER BY h.number DESC LIMIT 1),
                      (c.conditions->'indicative'->>0)::bigint, (c.conditions->'indicative'->>1)::bigint,
                      (c.conditions->'indicative'->>2)::bigint
               FROM markets_symbol s JOIN orders_checkpoint c ON c.symbol_id = s.id
               WHERE s.is_listed AND c.status IN ('AUCTION', 'HALTED') ORDER BY s.name"""
        )
        rows = cursor.fetchall()
    return {"at": timestamp(now()), "results": [_phase(*row) for row in rows]}


def _phase(
    symbol_id: int, name: str, status: str, cause: str | None, ends_ms: int | None, actor: str | None, *indicative: int
) -> dict[str, Any]:
    auction = auction_view(market_by_id(symbol_id), None if indicative[0] is None else indicative, ends_ms or 0)
    return {
        "symbol": name,
        "status": status,
        "cause": "SCHEDULE" if cause == COMMAND and actor == SCHEDULE else cause or "",
        "ends_at": auction["ends_at"],
        "auction": auction if status == "AUCTION" else None,
    }


def latest_controls() -> list[dict[str, Any]]:
    """The last controls that anybody used, newest first: `at, actor, what, subject, reason`. Backwards over the index of the trail."""
    rows = AuditEntry.objects.filter(action__in=CONTROLS).order_by("-at")[:SHOWN]
    return [
        {
            "at": row.at.isoformat(timespec="milliseconds")[:23] + "Z",
            "actor": row.actor.rpartition(":")[2],
            "what": _what(row.action, row.before, row.after),
            "subject": row.subject.rpartition(":")[2],
            "reason": row.reason,
        }
        for row in rows
    ]


def _what(action: str, before: dict[str, Any] | None, after: dict[str, Any] | None) -> str:
    if action == "symbol.status":
        return f"{(before or {}).get('status', '')} → {(after or {}).get('status', '')}"
    return f"cancel all: {(after or {}).get('orders', 0)} orders"
