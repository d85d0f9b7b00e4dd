"""What accounts win and lose by trading, looked at every minute and kept per UTC day: a drawdown is measured from the highest of it.

Intake reckons the same with the prices of its own moment (`risk.exposures`, `risk.marks`); here the formula stands a second time, in SQL
and for all accounts at once.
"""

from typing import Final

from django.db import connection

from exchange_platform.db import own
from risk.marks import MONEY

WINDOW_DAYS: Final = 30

# An account without a position has neither won nor lost. Sums are rounded half up to 18 decimals, which nobody is paid by.
SEE_SQL: Final = """
    WITH today AS (
        SELECT (now() AT TIME ZONE 'UTC')::date AS day
    ), mark AS (
        SELECT s.id, s.base_id, s.quote_id, q.code AS quote, coalesce(c.last_price, s.reference_price) AS price,
               CASE WHEN (c.last_traded_at AT TIME ZONE 'UTC')::date = t.day THEN c.previous_close ELSE c.last_price END AS opening
        FROM markets_symbol s JOIN markets_asset q ON q.id = s.quote_id LEFT JOIN orders_checkpoint c ON c.symbol_id = s.id
        CROSS JOIN today t
    ), usdt AS (
        SELECT a.id AS asset_id, CASE WHEN a.code = %(money)s THEN 1 ELSE m.price END AS price
        FROM markets_asset a LEFT JOIN mark m ON m.base_id = a.id AND m.quote = %(money)s
    ), worth AS (
        SELECT u.asset_id, coalesce(u.price, (
                   SELECT m.price * coalesce(q.price, 1) FROM mark m JOIN usdt q ON q.asset_id = m.quote_id
                   WHERE m.base_id = u.asset_id AND m.price IS NOT NULL ORDER BY m.id LIMIT 1),
                   CASE WHEN EXISTS (SELECT 1 FROM mark WHERE quote_id = u.asset_id) THEN 1 ELSE 0 END) AS worth
        FROM usdt u
    ), held AS (
        SELECT p.account_id, m.price, m.opening AS opening_price, w.worth, p.quantity, p.cost, p.realised,
               CASE WHEN p.day = t.day THEN p.opening_quantity ELSE p.quantity END AS opening_quantity,
               CASE WHEN p.day = t.day THEN p.opening_cost ELSE p.cost END AS opening_cost,
               CASE WHEN p.day = t.day THEN p.opening_realised ELSE p.realised END AS opening_realised
        FROM risk_position p JOIN mark m ON m.id = p.symbol_id JOIN worth w ON w.asset_id = m.quote_id CROSS JOIN today t
    ), result AS (
        SELECT account_id,
               round(sum((realised + CASE WHEN quantity > 0 THEN coalesce(quantity * price - cost, 0) ELSE 0 END) * worth), 18) AS latest,
               round(sum((opening_realised + CASE WHEN opening_quantity > 0
                   THEN coalesce(opening_quantity * opening_price - opening_cost, 0) ELSE 0 END) * worth), 18) AS opening
        FROM held GROUP BY account_id
    ), equity AS (
        SELECT b.account_id, round(sum(b.posted * w.worth), 18) AS equity FROM wallet_balance b JOIN worth w USING (asset_id) GROUP BY 1
    ), before AS (
        SELECT d.account_id, max(d.peak) AS peak FROM risk_dayresult d CROSS JOIN today t
        WHERE d.day > t.day - %(window)s AND d.day < t.day GROUP BY d.account_id
    )
    INSERT INTO risk_dayresult AS d (account_id, day, opening, latest, peak, high, equity, seen_at)
    SELECT r.account_id, t.day, r.opening, r.latest, greatest(r.opening, r.latest), greatest(r.opening, r.latest, b.peak),
           coalesce(e.equity, 0), now()
    FROM result r CROSS JOIN today t LEFT JOIN equity e USING (account_id) LEFT JOIN before b USING (account_id)
    ON CONFLICT (account_id, day) DO UPDATE SET latest = excluded.latest, peak = greatest(d.peak, excluded.latest),
        high = greatest(d.high, excluded.latest), equity = excluded.equity, seen_at = excluded.seen_at
    WHERE (d.latest, d.equity) IS DISTINCT FROM (excluded.latest, excluded.equity)"""


def see_results() -> int:
    """Look at every account's result and raise its peak where it is higher. Returns how many rows were written. Harmless to repeat.

    Owns its transaction; locks no account, since nothing else writes these rows.
    """
    with own(), connection.cursor() as cursor:
        cursor.execute(SEE_SQL, {"money": MONEY, "window": WINDOW_DAYS})
        return int(cursor.rowcount)
