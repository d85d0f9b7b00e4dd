"""What assets are worth in USDT: by the last trade of their symbol against USDT, before the first one what an operator set. By raw SQL,
since symbols and checkpoints are other rooms'."""

from decimal import Decimal
from typing import Final

from django.db import connection

MONEY: Final = "USDT"
HISTORY_DAYS: Final = 90

PRICES_SQL: Final = """
    SELECT b.id, coalesce(c.last_price, s.reference_price) FROM markets_symbol s JOIN markets_asset b ON b.id = s.base_id
    JOIN markets_asset q ON q.id = s.quote_id AND q.code = %s LEFT JOIN orders_checkpoint c ON c.symbol_id = s.id
    WHERE coalesce(c.last_price, s.reference_price) IS NOT NULL"""

# The last close of each day, by base asset. A day without a trade has none; it is filled with the day before.
CLOSES_SQL: Final = """
    SELECT DISTINCT ON (b.code, day) b.code, date_trunc('day', k.open_time AT TIME ZONE 'UTC') AS day, k.close
    FROM markets_candle k JOIN markets_symbol s ON s.id = k.symbol_id JOIN markets_asset b ON b.id = s.base_id
    JOIN markets_asset q ON q.id = s.quote_id AND q.code = %(money)s
    WHERE k.interval_s = 3600 AND k.open_time >= now() - make_interval(days => %(days)s) ORDER BY b.code, day, k.open_time DESC"""


def prices() -> dict[int, Decimal]:
    """By asset: one of it in USDT. Assets without a price are not in it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM markets_asset WHERE code = %s", [MONEY])
        found = {row[0]: Decimal(1) for row in cursor.fetchall()}
        cursor.execute(PRICES_SQL, [MONEY])
        found.update(cursor.fetchall())
    return found


def daily_closes() -> dict[str, list[Decimal]]:
    """By asset code: closes in USDT of the last 90 days, oldest first, all of the same days; assets that have none on the first day, or
    ever, begin with the first that they have."""
    with connection.cursor() as cursor:
        cursor.execute(CLOSES_SQL, {"money": MONEY, "days": HISTORY_DAYS})
        rows = cursor.fetchall()
    days = sorted({day for _, day, _ in rows})
    by_asset: dict[str, dict[object, Decimal]] = {}
    for code, day, close in rows:
        by_asset.setdefault(code, {})[day] = close
    closes: dict[str, list[Decimal]] = {}
    for code, known in by_asset.items():
        last, filled = None, []
        for day in days:
            last = known.get(day, last)
            filled.append(last)
        first = next(value for value in filled if value is not None)
        closes[code] = [first if value is None else value for value in filled]
    return closes
