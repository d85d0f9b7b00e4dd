"""Post-trade surveillance: reads stretches of what happened, lets `risk.surveillance` judge them, writes what it found.

Every trade, order and movement is judged once, in order, when what followed it can be known: a trade when the orders around it had time
to be cancelled. The watermark, the alerts and the scores are one transaction, so a process that dies at any point leaves either all of it
or nothing, and the next call goes on where the last commit was. Alerts carry keys of what happened, not of the run: judging twice would
raise nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import connection

from exchange_platform.db import array, own
from exchange_platform.ids import ms_of, uuid_floor
from risk import findings, watermarks
from risk.links import active_links
from risk.surveillance import velocity
from risk.surveillance.detectors import Parameters, examine
from risk.surveillance.owners import owners
from risk.surveillance.scene import Order, Scene, Trade

PARAMETERS: Final = Parameters()
TRADES_AT_ONCE: Final = 5_000
CONTEXT_AT_MOST: Final = 5_000
ORDERS_OF_ACCOUNT: Final = 5_000
ORDERS_STRETCH: Final = timedelta(minutes=10)

# What settles commits within seconds of its trades' stamps; what is older than this is all there.
SETTLED_AFTER_S: Final = 10

NOW_SQL: Final = "SELECT clock_timestamp()"

BEHIND_SQL: Final = """
    SELECT c.symbol_id FROM orders_checkpoint c LEFT JOIN risk_watermark w ON w.name = 'trades:' || c.symbol_id
    WHERE EXISTS (SELECT FROM orders_trade t WHERE t.symbol_id = c.symbol_id AND t.id < %s
                  AND t.id > coalesce(w.position, '00000000-0000-0000-0000-000000000000'))"""

_TRADE: Final = """id, executed_at, price, quantity, taker_side, maker_order_id, taker_order_id, maker_account_id, taker_account_id
    FROM orders_trade WHERE symbol_id = %s"""

NEW_TRADES_SQL: Final = f"SELECT {_TRADE} AND id > %s AND id < %s ORDER BY id LIMIT %s"
CONTEXT_SQL: Final = f"SELECT {_TRADE} AND id >= %s AND id < %s ORDER BY id DESC LIMIT %s"

# The newest orders of each account in a stretch of time; an ended order's last change is its end.
ORDERS_SQL: Final = """
    SELECT o.id, o.account_id, o.side, coalesce(o.price, o.protection_price), coalesce(o.quantity, o.filled_quantity), o.filled_quantity,
           o.created_at, CASE WHEN o.status IN ('FILLED', 'CANCELLED', 'EXPIRED') THEN o.updated_at END, o.status = 'CANCELLED'
    FROM unnest(%(accounts)s::bigint[]) AS a (id) CROSS JOIN LATERAL (
        SELECT * FROM orders_order WHERE account_id = a.id AND id >= %(since)s AND id < %(until)s ORDER BY id DESC LIMIT %(most)s) o
    WHERE o.symbol_id = %(symbol)s AND o.status <> 'REJECTED'"""

SAME_OWNER_SQL: Final = "SELECT id, beneficial_owner FROM institutions_account WHERE id = ANY (%s::bigint[]) AND beneficial_owner <> ''"

# Who placed many orders in a short while, by symbol: candidates for the detector of velocity. Counted in halves of its window, since a
# burst may
# lie across the border of two.
BUSY_SQL: Final = """
    SELECT DISTINCT symbol_id, account_id FROM orders_order WHERE id >= %(since)s AND id < %(until)s
    GROUP BY symbol_id, account_id, date_bin(%(bin)s, created_at, TIMESTAMPTZ 'epoch') HAVING count(*) >= %(least)s"""


@dataclass(frozen=True, slots=True)
class Judged:
    """What a call has done: how many rows it judged and how many alerts it raised."""

    rows: int
    alerts: int


def judge_trades(*, symbol_id: int, parameters: Parameters = PARAMETERS) -> Judged:
    """Judge the symbol's next trades whose surroundings are known. At most 5,000; call again while it judges some.

    Owns its transaction. Locks: the symbol's watermark, then accounts and their risk state by account. Harmless to repeat.
    """
    name = f"trades:{symbol_id}"
    with own():
        position = watermarks.take(name)
        now = _now()
        ripe = uuid_floor(now - timedelta(milliseconds=parameters.horizon_ms, seconds=SETTLED_AFTER_S))
        new = _rows(NEW_TRADES_SQL, [symbol_id, position, ripe, TRADES_AT_ONCE])
        if not new:
            return Judged(0, 0)
        scene = _scene(symbol_id, new, parameters)
        raised = findings.write(examine(scene, parameters), now_ms=ms_of(now), symbol_id=symbol_id)
        watermarks.move(name, new[-1][0])
    return Judged(len(new), raised)


def judge_orders(*, parameters: Parameters = PARAMETERS) -> Judged:
    """Judge the pace of the next ten minutes of orders of all symbols. Returns what was done; call again while it judges some.

    Owns its transaction; locks as `judge_trades`. Harmless to repeat.
    """
    raised = 0
    bounds = parameters.velocity
    with own():
        position = watermarks.take("orders")
        now = _now()
        ripe = uuid_floor(now - timedelta(milliseconds=bounds.life_ms, seconds=SETTLED_AFTER_S))
        first = _rows("SELECT id, created_at FROM orders_order WHERE id > %s AND id < %s ORDER BY id LIMIT 1", [position, ripe])
        if not first:
            return Judged(0, 0)
        until = min(ripe, uuid_floor(first[0][1] + ORDERS_STRETCH))
        # Back by one window: a burst may have begun before the border.
        since = uuid_floor(first[0][1] - timedelta(milliseconds=bounds.window_ms))
        busy = _busy(since, until, bounds)
        for symbol_id in sorted({symbol_id for symbol_id, _ in busy}):
            accounts = [account for symbol, account in busy if symbol == symbol_id]
            scene = Scene(symbol_id=symbol_id, trades=(), orders=_orders(symbol_id, accounts, since, until))
            raised += findings.write(velocity.find(scene, bounds), now_ms=ms_of(now), symbol_id=symbol_id)
        last = _rows("SELECT id FROM orders_order WHERE id > %s AND id < %s ORDER BY id DESC LIMIT 1", [position, until])
        watermarks.move("orders", last[0][0])
    return Judged(1, raised)


def symbols_behind() -> list[int]:
    """Symbols with trades that could be judged and are not."""
    ripe = uuid_floor(_now() - timedelta(milliseconds=PARAMETERS.horizon_ms, seconds=SETTLED_AFTER_S))
    return [row[0] for row in _rows(BEHIND_SQL, [ripe])]


# -- reading


def _scene(symbol_id: int, new: Sequence[tuple[Any, ...]], parameters: Parameters) -> Scene:
    first, last = new[0], new[-1]
    begins = first[1] - timedelta(milliseconds=parameters.context_ms)
    context = _rows(CONTEXT_SQL, [symbol_id, uuid_floor(begins), first[0], CONTEXT_AT_MOST])
    context.reverse()
    trades = [_trade(row) for row in (*context, *new)]
    everybody = {account for trade in trades for account in (trade.maker_account, trade.taker_account)}
    owner_of = _owners(everybody)
    judged = {account for trade in trades[len(context) :] for account in (trade.maker_account, trade.taker_account)}
    same = {owner_of.get(account, account) for account in judged}
    traders = sorted(account for account in everybody if owner_of.get(account, account) in same)
    until = uuid_floor(last[1] + timedelta(milliseconds=parameters.horizon_ms))
    return Scene(
        symbol_id=symbol_id,
        trades=trades,
        orders=_orders(symbol_id, traders, uuid_floor(begins), until),
        owners=owner_of,
        first=len(context),
    )


def _owners(accounts: Iterable[int]) -> dict[int, int]:
    links = active_links()
    named = sorted({*accounts, *(account for link in links for account in link)})
    return owners(dict(_rows(SAME_OWNER_SQL, [array(named)])), links)


def _orders(symbol_id: int, accounts: Sequence[int], since: UUID, until: UUID) -> list[Order]:
    found = _rows(
        ORDERS_SQL,
        {"accounts": array(accounts), "since": since, "until": until, "most": ORDERS_OF_ACCOUNT, "symbol": symbol_id},
    )
    return [
        Order(str(row[0]), row[1], row[2], row[3], row[4], row[5], ms_of(row[6]), None if row[7] is None else ms_of(row[7]), row[8])
        for row in found
    ]


def _busy(since: UUID, until: UUID, bounds: velocity.Velocity) -> list[tuple[int, int]]:
    half = timedelta(milliseconds=bounds.window_ms // 2)
    return [(row[0], row[1]) for row in _rows(BUSY_SQL, {"since": since, "until": until, "bin": half, "least": max(1, bounds.orders // 3)})]


def _trade(row: Sequence[Any]) -> Trade:
    return Trade(str(row[0]), ms_of(row[1]), row[2], row[3], row[4], str(row[5]), str(row[6]), row[7], row[8])


def _now() -> datetime:
    """The database's clock; never the host's, which may differ from the one the trades are stamped by."""
    moment: datetime = _rows(NOW_SQL, [])[0][0]
    return moment


def _rows(sql: str, parameters: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return list(cursor.fetchall())
