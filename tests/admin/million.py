"""A million orders, trades and transfers, written by the server itself, and what a page of the admin reads of them."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import psycopg
from django.db import connections

ROWS: Final = 1_000_000
ACCOUNTS: Final = 200  # of 20 institutions
SPAN_S: Final = 20 * 86_400  # within the partitions of this month and the last
SOME: Final = 10  # one order in so many has its key and its history
RARE: Final = 10_000  # one order in so many is rejected
BIG: Final = ("orders_order", "orders_trade", "orders_transition", "orders_orderkey", "wallet_transfer")

# Row n of each table: ids rise with n, one about every two seconds. Triggers are off: they are tested elsewhere.
FILL: Final = """
SET session_replication_role = replica;
SET synchronous_commit = off;
INSERT INTO institutions_institution (code, name, is_house, is_frozen, cors_origins, created_at)
    SELECT 'bank-' || i, 'Bank ' || i, false, false, '{}', now() FROM generate_series(1, 20) i;
INSERT INTO institutions_account (institution_id, name, kind, beneficial_owner, is_frozen, self_trade_prevention, created_at)
    SELECT b.id, b.code || '-' || i, 'CUSTOMER', '', false, 'CANCEL_NEWEST', now()
    FROM institutions_institution b CROSS JOIN generate_series(1, 10) i WHERE b.code LIKE 'bank-%%';
CREATE TEMP TABLE who AS SELECT row_number() OVER (ORDER BY id) - 1 AS n, id FROM institutions_account WHERE name LIKE 'bank-%%';
CREATE TEMP TABLE row AS
    SELECT x.n, (lpad(to_hex(ms), 12, '0') || '70008000' || lpad(to_hex(x.n), 12, '0'))::uuid AS id, to_timestamp(ms / 1000.0) AS at,
           w.id AS account_id, o.id AS other_id, CASE x.n %% 2 WHEN 0 THEN %(first)s ELSE %(second)s END AS symbol_id
    FROM (SELECT n, %(start_ms)s + n::bigint * %(step_ms)s AS ms FROM generate_series(1, %(rows)s) n) x
    JOIN who w ON w.n = x.n %% %(accounts)s JOIN who o ON o.n = (x.n + 1) %% %(accounts)s;
INSERT INTO orders_order (id, account_id, symbol_id, client_order_id, side, order_type, time_in_force, self_trade_prevention, reduce_only,
        status, quantity, price, filled_quantity, filled_quote, prevented_quantity, fee, held, maker_fee_rate, taker_fee_rate, reason,
        sequence, priority_sequence, created_at, updated_at)
    SELECT id, account_id, symbol_id, 'c-' || n, CASE n %% 2 WHEN 0 THEN 'BUY' ELSE 'SELL' END, 'LIMIT', 'GTC', 'CANCEL_NEWEST', false,
           CASE WHEN n %% %(rare)s = 0 THEN 'REJECTED' WHEN n %% 1000 = 1 THEN 'OPEN' ELSE 'FILLED' END, 1, 100,
           CASE WHEN n %% %(rare)s = 0 OR n %% 1000 = 1 THEN 0 ELSE 1 END, 0, 0, 0, 0, 0.001, 0.001,
           CASE WHEN n %% %(rare)s = 0 THEN 'OFF_TICK' END, n, n, at, at FROM row;
INSERT INTO orders_openorder (symbol_id, order_id, account_id)
    SELECT symbol_id, id, account_id FROM row WHERE n %% 1000 = 1 AND n %% %(rare)s <> 0;
INSERT INTO orders_orderkey (account_id, client_order_id, order_id, fingerprint)
    SELECT account_id, 'c-' || n, id, '' FROM row WHERE n %% %(some)s = 0;
INSERT INTO orders_trade (id, symbol_id, number, sequence, price, quantity, taker_side, maker_order_id, taker_order_id, maker_account_id,
        taker_account_id, maker_fee, taker_fee, executed_at)
    SELECT id, symbol_id, n, n, 100, 1, 'BUY', id, lead(id, 1, '00000000-0000-7000-8000-000000000000') OVER (ORDER BY n DESC),
           account_id, other_id, 0, 0, at FROM row
    WHERE n < %(rows)s;
INSERT INTO wallet_transfer (id, leg, kind, asset_id, debit_account_id, credit_account_id, amount, created_at)
    SELECT id, 0, CASE WHEN n %% %(rare)s = 0 THEN 'DEPOSIT' ELSE 'TRADE' END, %(asset)s, account_id, other_id, 1, at FROM row;
INSERT INTO orders_transition (order_id, sequence, from_status, to_status, cause, actor, request_id, at)
    SELECT id, 0, NULL, 'PENDING', 'place', 'key:x', 'r-' || n, at FROM row WHERE n %% %(some)s = 0;
"""

INDEXES: Final = "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = ANY(%s) AND indexname NOT LIKE '%%_pkey'"


def fill(url: str, *, first: int, second: int, asset: int) -> float:
    """Returns the seconds that it took."""
    started = time.monotonic()
    start_ms = int(datetime.now(UTC).timestamp() * 1000) - SPAN_S * 1000
    values = {
        "first": first, "second": second, "asset": asset, "rows": ROWS, "accounts": ACCOUNTS, "rare": RARE, "some": SOME,
        "start_ms": start_ms, "step_ms": SPAN_S * 1000 // ROWS,
    }  # fmt: skip
    with psycopg.connect(url, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
        # Indexes built afterwards, at once, cost a fraction of what a million single insertions cost.
        indexes = connection.execute(INDEXES, [list(BIG)]).fetchall()
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}".encode())
        for statement in FILL.split(";\n"):
            if statement.strip():
                connection.execute(statement.encode(), values)
        for _, definition in indexes:
            connection.execute(definition.replace(" ON ONLY ", " ON ").encode())
        connection.execute("ANALYZE")
    return time.monotonic() - started


@dataclass
class Reading:
    """What the statements of a page have read of the big tables: rows that a scan touched, and the scans that are no index scans."""

    touched: int = 0
    other_scans: list[str] = field(default_factory=list)
    statements: int = 0

    def add(self, plan: dict[str, Any]) -> None:
        for child in plan.get("Plans", []):
            self.add(child)
        table = plan.get("Relation Name", "")
        if not table.startswith(BIG):
            return
        rows = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
        self.touched += round(rows * plan["Actual Loops"])
        # An empty partition (next month's) is scanned whole for nothing, which is what it costs.
        if rows and plan["Node Type"] not in ("Index Scan", "Index Only Scan"):
            self.other_scans.append(f"{plan['Node Type']} on {table}")


@contextmanager
def read_plans() -> Iterator[Reading]:
    """Every SELECT inside is explained, with its rows counted, before it runs."""
    reading = Reading()

    def explain(execute: Any, sql: str, parameters: Any, many: bool, context: dict[str, Any]) -> Any:
        if sql.lstrip().upper().startswith("SELECT") and any(table in sql for table in BIG):
            reading.statements += 1
            with context["connection"].connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}", parameters)
                reading.add(cursor.fetchone()[0][0]["Plan"])
        return execute(sql, parameters, many, context)

    with ExitStack() as stack:
        for alias in ("default", "tenant"):
            stack.enter_context(connections[alias].execute_wrapper(explain))
        yield reading
