"""Surveillance after the trade: how many trades a second the Celery worker of a whole stack judges, once it has fallen behind.

Trades with their orders are laid into the stack's database as settlement would have left them, 2,000 for each second of the past
minutes; then the sweep finds them. What is measured is the whole path: reading trades, orders and owners, every detector, the
watermark, the commits.
"""

import time

from bench import Emit
from bench.measure import machine
from bench.stack import Stack, running_stack

TRADES = 30_000
PER_S = 2_000
ACCOUNTS = 300
WITHIN_S = 300.0

# Past the triggers, as only the maintenance login may: rows that happened need not happen again.
LAY_SQL = """
    SET session_replication_role = replica;
    INSERT INTO institutions_account (institution_id, name, kind, beneficial_owner, is_frozen, self_trade_prevention, created_at)
    SELECT (SELECT min(institution_id) FROM institutions_account WHERE kind = 'CUSTOMER'), 'bench-' || n, 'CUSTOMER', '', false,
           'CANCEL_NEWEST', now() FROM generate_series(1, {accounts}) n;
    CREATE TEMPORARY TABLE party AS
    SELECT row_number() OVER (ORDER BY id) - 1 AS n, id FROM institutions_account WHERE name LIKE 'bench-%';
    CREATE TEMPORARY TABLE laid AS
    SELECT n, at, exchange_uuid_from(at) AS floor, lpad(to_hex(n), 8, '0') AS tail, (n * 7919) % {accounts} AS maker,
           (n * 7919 + 1 + (n * 104729) % ({accounts} - 1)) % {accounts} AS taker, CASE WHEN n % 2 = 0 THEN 'BUY' ELSE 'SELL' END AS side,
           1 + (n * 31) % 97 AS quantity
    FROM (SELECT n, date_trunc('second', now()) - interval '60 s' - make_interval(secs => ({trades} - n)::numeric / {per_s}) AS at
          FROM generate_series(1::bigint, {trades}) n) t;
    INSERT INTO orders_order (id, account_id, symbol_id, client_order_id, side, order_type, time_in_force, self_trade_prevention,
        reduce_only, status, quantity, price, filled_quantity, filled_quote, prevented_quantity, fee, held, maker_fee_rate,
            taker_fee_rate, reason,
        sequence, priority_sequence, created_at, updated_at)
    SELECT (left(l.floor::text, 13) || '-7' || k || '00-8000-0000' || l.tail)::uuid, p.id, {symbol}, 'bench-' || l.n || '-' || k,
           CASE WHEN (k = 1) = (l.side = 'BUY') THEN 'SELL' ELSE 'BUY' END, 'LIMIT', 'GTC', 'CANCEL_NEWEST', false,
           CASE k WHEN 3 THEN 'CANCELLED' ELSE 'FILLED' END, l.quantity, 100, CASE k WHEN 3 THEN 0 ELSE l.quantity END, 0, 0, 0, 0, 0, 0,
           CASE k WHEN 3 THEN 'USER_CANCEL' END, 1, 1, l.at, l.at + interval '2 s'
    FROM laid l CROSS JOIN generate_series(1, 3) k JOIN party p ON p.n = CASE k WHEN 1 THEN l.maker ELSE l.taker END;
    INSERT INTO orders_trade (id, symbol_id, number, sequence, price, quantity, taker_side, maker_order_id, taker_order_id,
        maker_account_id,
        taker_account_id, maker_fee, taker_fee, in_auction, executed_at)
    SELECT (left(l.floor::text, 13) || '-7000-8000-0000' || l.tail)::uuid, {symbol}, 1000000 + l.n, 1, 100, l.quantity, l.side,
           (left(l.floor::text, 13) || '-7100-8000-0000' || l.tail)::uuid, (left(l.floor::text, 13) || '-7200-8000-0000' || l.tail)::uuid,
           m.id, t.id, 0, 0, false, l.at
    FROM laid l JOIN party m ON m.n = l.maker JOIN party t ON t.n = l.taker;
    ANALYZE orders_order, orders_trade;"""

LEFT_SQL = """
    SELECT count(*) FROM orders_trade WHERE symbol_id = {symbol} AND id > coalesce(
        (SELECT position FROM risk_watermark WHERE name = 'trades:{symbol}'), '00000000-0000-0000-0000-000000000000')"""


def run(emit: Emit) -> None:
    """Trades judged per second, from the first commit of a stretch to the last."""
    with running_stack() as stack:
        symbol = stack.count("SELECT min(symbol_id) FROM orders_checkpoint")
        with stack.database() as connection:
            connection.execute(LAY_SQL.format(trades=TRADES, per_s=PER_S, accounts=ACCOUNTS, symbol=symbol).encode())
        first, began = _next(stack, symbol, TRADES)
        left, ended = first, began
        while left:
            left, ended = _next(stack, symbol, left)
        rate = first / (ended - began) if ended > began else 0.0
        emit("judged_per_s", round(rate), "trades/s", trades=first, accounts=ACCOUNTS, orders=3 * TRADES, machine=machine(None))


def _next(stack: Stack, symbol: int, before: int) -> tuple[int, float]:
    """Wait until fewer are left; how many, and when that was seen."""
    give_up = time.monotonic() + WITHIN_S
    while time.monotonic() < give_up:
        left = stack.count(LEFT_SQL.format(symbol=symbol))
        if left < before:
            return left, time.perf_counter()
        time.sleep(0.05)
    raise TimeoutError(f"{before} trades are still not judged")
