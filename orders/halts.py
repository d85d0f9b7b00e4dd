"""Alerts for symbols that halted by themselves: a price out of its band, an auction that would have ended out of it."""

from typing import Any, Final

from django.db import connection

from exchange_platform.db import own
from matching.core.messages import COMMAND
from risk.alerts import raise_alert

ALERT_KIND: Final = "AUTOMATIC_HALT"
AT_ONCE: Final = 200

# What has an alert is passed over by its key, which nobody can take back; an index holds automatic halts alone.
UNTOLD_SQL: Final = """
    SELECT h.symbol_id, h.number, h.cause, h.at, h.sequence, s.name, c.last_price FROM orders_symbolstatus h
    JOIN markets_symbol s ON s.id = h.symbol_id LEFT JOIN orders_checkpoint c ON c.symbol_id = h.symbol_id
    WHERE h.status = 'HALTED' AND h.cause <> %s
        AND NOT EXISTS (SELECT FROM risk_alert a WHERE a.dedupe_key = format('halt:%%s:%%s', h.symbol_id, h.number))
    ORDER BY h.at LIMIT %s"""

# The trades just before it: what moved the price.
TRADES_SQL: Final = """
    SELECT id::text, maker_account_id, taker_account_id FROM orders_trade
    WHERE symbol_id = %s AND sequence <= %s AND executed_at > %s::timestamptz - interval '60 s' AND executed_at <= %s
        AND id >= exchange_uuid_from(%s::timestamptz - interval '65 s') AND id < exchange_uuid_from(%s::timestamptz + interval '5 s')
    ORDER BY number DESC LIMIT 20"""


def raise_alerts() -> int:
    """Raise a HIGH alert for every automatic halt that has none; returns how many. Any number may run at once, any number of times.

    Owns a transaction per halt.
    """
    with connection.cursor() as cursor:
        cursor.execute(UNTOLD_SQL, [COMMAND, AT_ONCE])
        halts = cursor.fetchall()
    return sum(_raise(*halt) for halt in halts)


def _raise(symbol_id: int, number: int, cause: str, at: Any, sequence: int, name: str, last_price: Any) -> bool:
    with own(), connection.cursor() as cursor:
        cursor.execute(TRADES_SQL, [symbol_id, sequence, at, at, at, at])
        trades = cursor.fetchall()
        alert_id = raise_alert(
            kind=ALERT_KIND,
            severity="HIGH",
            title=f"{name} halted by itself: {cause.replace('_', ' ').lower()}.",
            dedupe_key=f"halt:{symbol_id}:{number}",
            symbol_id=symbol_id,
            account_ids=sorted({account for _, maker, taker in trades for account in (maker, taker)}),
            details={"cause": cause, "at": at, "engine_sequence": sequence, "last_price": last_price},
            evidence=[("symbol", str(symbol_id)), *(("trade", trade_id) for trade_id, _, _ in trades)],
        )
    return alert_id is not None
