"""Judges deposits and withdrawals: reads the movements, lets `risk.aml` judge them, writes what it found. Once each, as `risk.post_trade`
tells."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from django.db import connection

from exchange_platform.db import EXACT, array, own
from exchange_platform.ids import ms_of, uuid_floor
from risk import aml, findings, watermarks
from risk.aml import IN, OUT, Laundering, Movement
from risk.links import watched_marks
from risk.post_trade import NOW_SQL, SETTLED_AFTER_S, Judged
from risk.valuation import prices

MOVEMENTS_AT_ONCE: Final = 5_000
LAUNDERING: Final = Laundering()

# Movements come from and go to the house's accounts of the world outside, which their partial indexes find; a symbol's trades are not
# looked at.
NEW_SQL: Final = """
    SELECT id, kind, account, asset_id, amount, reference, created_at FROM (
        SELECT t.id, t.kind, t.credit_account_id AS account, t.asset_id, t.amount, t.reference, t.created_at
        FROM institutions_account x JOIN wallet_transfer t ON t.debit_account_id = x.id
        WHERE x.kind = 'EXTERNAL' AND t.kind NOT IN ('TRADE', 'MAKER_FEE', 'TAKER_FEE') AND t.kind = 'DEPOSIT'
          AND t.id > %(since)s AND t.id < %(until)s
        UNION ALL
        SELECT t.id, t.kind, t.debit_account_id, t.asset_id, t.amount, t.reference, t.created_at
        FROM institutions_account x JOIN wallet_transfer t ON t.credit_account_id = x.id
        WHERE x.kind = 'EXTERNAL' AND t.kind NOT IN ('TRADE', 'MAKER_FEE', 'TAKER_FEE') AND t.kind = 'WITHDRAWAL'
          AND t.id > %(since)s AND t.id < %(until)s) m
    ORDER BY id LIMIT %(most)s"""

PAST_SQL: Final = """
    SELECT t.id, t.kind, a.id, t.asset_id, t.amount, t.reference, t.created_at
    FROM unnest(%(accounts)s::bigint[]) AS a (id) JOIN wallet_transfer t
      ON t.kind NOT IN ('TRADE', 'MAKER_FEE', 'TAKER_FEE') AND t.id >= %(since)s AND t.id <= %(until)s
     AND (t.credit_account_id = a.id AND t.kind = 'DEPOSIT' OR t.debit_account_id = a.id AND t.kind = 'WITHDRAWAL')
    ORDER BY t.id"""


def judge_movements(*, parameters: Laundering = LAUNDERING) -> Judged:
    """Judge the next deposits and withdrawals, at most 5,000. Values are reckoned at the prices of now.

    Owns its transaction. Locks: the watermark `movements`, then accounts and their risk state by account. Harmless to repeat.
    """
    with own(), connection.cursor() as cursor:
        position = watermarks.take("movements")
        cursor.execute(NOW_SQL)
        now: datetime = cursor.fetchone()[0]
        ripe = uuid_floor(now - timedelta(seconds=SETTLED_AFTER_S))
        cursor.execute(NEW_SQL, {"since": position, "until": ripe, "most": MOVEMENTS_AT_ONCE})
        new = cursor.fetchall()
        if not new:
            return Judged(0, 0)
        first, last = new[0], new[-1]
        since = uuid_floor(first[6] - timedelta(milliseconds=parameters.context_ms))
        cursor.execute(PAST_SQL, {"accounts": array(sorted({row[2] for row in new})), "since": since, "until": last[0]})
        worth = prices()
        movements = [_movement(row, worth) for row in cursor.fetchall()]
        fresh = {str(row[0]) for row in new}
        since_ms = min((m.at_ms for m in movements if m.id in fresh), default=0)
        found = aml.examine(movements, watched=watched_marks(), since_ms=since_ms, parameters=parameters)
        raised = findings.write(found, now_ms=ms_of(now))
        watermarks.move("movements", last[0])
    return Judged(len(new), raised)


def _movement(row: Sequence[Any], worth: Mapping[int, Decimal]) -> Movement:
    identity, kind, account, asset_id, amount, reference, created_at = row
    price = worth.get(asset_id)
    value = None if price is None else EXACT.multiply(amount, price)
    # A reference may be made of several words: an address, a name, a number of the bank's.
    marks = (reference, *reference.split()) if reference else ()
    return Movement(str(identity), account, IN if kind == "DEPOSIT" else OUT, value, ms_of(created_at), tuple(dict.fromkeys(marks)))
