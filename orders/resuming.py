"""Letting a halted symbol trade again: by hand it takes two people, whoever halted it. Halting never does."""

from collections.abc import Mapping
from typing import Any

from django.db import connection

from institutions.requests import Change, Effect
from institutions.rights import Right
from orders.controls import NoSuchSymbol, UnknownStatus, move_symbol, needs_two

LAST_SQL = """
    SELECT s.status, h.cause, h.actor, h.at, (SELECT count(*) FROM orders_openorder p WHERE p.symbol_id = s.id)
    FROM markets_symbol s LEFT JOIN LATERAL (
        SELECT * FROM orders_symbolstatus h WHERE h.symbol_id = s.id AND h.status = 'HALTED' ORDER BY h.number DESC LIMIT 1) h ON true
    WHERE s.name = %s"""


class ResumeSymbol(Change):
    """`payload`: {"symbol": "BTC/USDT", "status": "TRADING" | "AUCTION" | "POST_ONLY" | "CANCEL_ONLY"}."""

    kind, title, make = "symbol.resume", "Resume a halted symbol", Right.SYMBOL_STATUS

    def effect(self, payload: Mapping[str, Any]) -> Effect:
        symbol, status = payload["symbol"], payload["status"]
        with connection.cursor() as cursor:
            cursor.execute(LAST_SQL, [symbol])
            row = cursor.fetchone()
        if row is None:
            raise NoSuchSymbol(f"There is no symbol {symbol}.", field="symbol")
        now, cause, actor, at, live = row
        if not needs_two(now, status):
            raise UnknownStatus(f"{symbol} is {now}: setting it to {status} takes no second person.", field="status")
        facts = {"open orders": live}
        if at is not None:
            facts |= {"halted by": actor, "cause": cause or "an operator's command", "halted at": at.isoformat(timespec="seconds")}
        return Effect(
            subject=f"symbol:{symbol}",
            summary=f"{symbol} leaves its halt for {status}"
            + ("." if status == "CANCEL_ONLY" else ": orders are taken and matched again."),
            before={"status": now},
            after={"status": status},
            facts=facts,
        )

    def apply(self, payload: Mapping[str, Any], *, request_id: int, actor: str, reason: str) -> dict[str, Any]:
        with connection.cursor() as cursor:
            status = move_symbol(cursor, symbol=payload["symbol"], status=payload["status"], actor=actor, reason=reason)
        return {"status": status}
