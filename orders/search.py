"""Reads for the back office: pages of ids of orders, trades and transfers, newest first, by any filter.

They run inside the reader's scope (`exchange_platform.db.tenant_scope`), whose transaction the caller owns. Nothing is counted.
What an index serves is read from it; other filters look through at most `LOOKED_THROUGH` rows at a time and say how far they
came (decision 0016), so that a question with no answer costs as little as one with many.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import connections

from exchange_platform.db import array
from exchange_platform.ids import uuid_floor
from orders.lifecycle import OPEN_STATUSES
from orders.queries import pin_index_scans

LOOKED_THROUGH: Final = 50_000
LAST: Final = UUID(int=2**128 - 1)
FIRST: Final = UUID(int=0)


@dataclass(frozen=True, slots=True)
class IdPage:
    """`older`: where the next page begins, null when there is none. `looked_back_to`: the filters were held against what is not
    older than this; null: against everything."""

    ids: list[UUID]
    older: UUID | None = None
    looked_back_to: UUID | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """Ids from `low` (inclusive) to `high` (exclusive), so that partitions outside are not looked at."""

    low: UUID = FIRST
    high: UUID = LAST

    @classmethod
    def of(cls, start: datetime | None, end: datetime | None, before: UUID | None) -> "Span":
        """`start` inclusive, `end` and `before` exclusive."""
        high = before or LAST
        return cls(uuid_floor(start) if start else FIRST, min(high, uuid_floor(end)) if end else high)


def order_ids(
    *,
    accounts: Sequence[int] | None,
    span: Span,
    symbol_id: int | None = None,
    statuses: Collection[str] = (),
    side: str | None = None,
    order_type: str | None = None,
    request_id: str | None = None,
    limit: int,
) -> IdPage:
    """Orders of these accounts (null: of all in reach); `statuses` empty: any. `request_id`: some change of the order was asked by it."""
    conditions, parameters = list[str](), list[Any]()
    for column, value in (("symbol_id", symbol_id), ("side", side), ("order_type", order_type)):
        if value is not None:
            conditions, parameters = [*conditions, f"o.{column} = %s"], [*parameters, value]
    if statuses:
        conditions, parameters = [*conditions, "o.status = ANY(%s::text[])"], [*parameters, array(sorted(statuses))]
    if request_id is not None:
        conditions.append("EXISTS (SELECT 1 FROM orders_transition t WHERE t.order_id = o.id AND t.request_id = %s)")
        parameters.append(request_id)
    with connections["tenant"].cursor() as cursor:
        pin_index_scans(cursor)
        if statuses and set(statuses) <= OPEN_STATUSES:
            return _open_orders(cursor, accounts, span, conditions, parameters, limit)
        floor = _floor(cursor, "orders_order", ("account_id",), accounts, span) if conditions else None
        return _page(cursor, "orders_order", ("account_id",), accounts, span, floor, conditions, parameters, limit)


def trade_ids(
    *, accounts: Sequence[int] | None, span: Span, symbol_id: int | None = None, taker_side: str | None = None, limit: int
) -> IdPage:
    """Trades with these accounts on either side (null: of all in reach)."""
    conditions, parameters = list[str](), list[Any]()
    for column, value in (("symbol_id", symbol_id), ("taker_side", taker_side)):
        if value is not None:
            conditions, parameters = [*conditions, f"o.{column} = %s"], [*parameters, value]
    sides = ("maker_account_id", "taker_account_id")
    with connections["tenant"].cursor() as cursor:
        pin_index_scans(cursor)
        by_index = accounts is None and taker_side is None  # (symbol_id, id)
        floor = _floor(cursor, "orders_trade", sides, accounts, span) if conditions and not by_index else None
        return _page(cursor, "orders_trade", sides, accounts, span, floor, conditions, parameters, limit)


def transfer_ids(
    *, accounts: Sequence[int] | None, span: Span, kinds: Collection[str] = (), asset_id: int | None = None, limit: int
) -> IdPage:
    """Transfers with these accounts on either side (null: of all in reach). An id stands once, whatever its number of legs.

    Of accounts: the ids of their trades and of their movements (decision 0005), which `kinds` and `asset_id` do not narrow: the
    caller shows of each id what fits.
    """
    with connections["tenant"].cursor() as cursor:
        pin_index_scans(cursor)
        if accounts is None:
            conditions, parameters = list[str](), list[Any]()
            if kinds:
                conditions, parameters = [*conditions, "o.kind = ANY(%s::text[])"], [*parameters, array(sorted(kinds))]
            if asset_id is not None:
                conditions, parameters = [*conditions, "o.asset_id = %s"], [*parameters, asset_id]
            floor = _floor(cursor, "wallet_transfer", (), None, span) if conditions else None
            return _page(cursor, "wallet_transfer", (), None, span, floor, conditions, parameters, limit, distinct=True)
        trades = _page(cursor, "orders_trade", ("maker_account_id", "taker_account_id"), accounts, span, None, [], [], limit)
        movement = ["o.kind NOT IN ('TRADE', 'MAKER_FEE', 'TAKER_FEE')"]
        sides = ("debit_account_id", "credit_account_id")
        moved = _page(cursor, "wallet_transfer", sides, accounts, span, None, movement, [], limit)
    ids = sorted({*trades.ids, *moved.ids}, reverse=True)
    more = len(ids) > limit or trades.older is not None or moved.older is not None
    return IdPage(ids[:limit], ids[limit - 1] if more and len(ids) >= limit else None)


def _open_orders(
    cursor: Any, accounts: Sequence[int] | None, span: Span, conditions: list[str], parameters: list[Any], limit: int
) -> IdPage:
    within, values = ["p.order_id >= %s", "p.order_id < %s"], list[Any]((span.low, span.high))
    if accounts is not None:
        within, values = [*within, "p.account_id = ANY(%s::bigint[])"], [*values, array(accounts)]
    cursor.execute(
        f"""SELECT p.order_id FROM orders_openorder p JOIN orders_order o ON o.id = p.order_id
            WHERE {" AND ".join([*within, *conditions])} ORDER BY p.order_id DESC LIMIT %s""",
        [*values, *parameters, limit + 1],
    )
    return _cut([row[0] for row in cursor.fetchall()], limit, None)


def _page(
    cursor: Any,
    table: str,
    columns: Sequence[str],
    accounts: Sequence[int] | None,
    span: Span,
    floor: UUID | None,
    conditions: list[str],
    parameters: list[Any],
    limit: int,
    *,
    distinct: bool = False,
) -> IdPage:
    """A page of a table in the order of an index: of the whole table, or one scan per account and column, merged."""
    low = max(span.low, floor or FIRST)
    where = " AND ".join(["o.id >= %s", "o.id < %s", *conditions])
    within = [low, span.high, *parameters]
    wanted = limit + 1
    if accounts is None:
        what = "DISTINCT o.id" if distinct else "o.id"
        cursor.execute(f"SELECT {what} FROM {table} o WHERE {where} ORDER BY o.id DESC LIMIT %s", [*within, wanted])
    else:
        scans = " UNION ALL ".join(
            f"(SELECT o.id FROM {table} o WHERE o.{column} = mine.account_id AND {where} ORDER BY o.id DESC LIMIT %s)" for column in columns
        )
        cursor.execute(
            f"""SELECT DISTINCT f.id FROM unnest(%s::bigint[]) AS mine (account_id) CROSS JOIN LATERAL ({scans}) f
                ORDER BY f.id DESC LIMIT %s""",
            [array(accounts), *([*within, wanted] * len(columns)), wanted],
        )
    return _cut([row[0] for row in cursor.fetchall()], limit, floor)


def _cut(ids: list[UUID], limit: int, floor: UUID | None) -> IdPage:
    if len(ids) > limit:
        return IdPage(ids[:limit], ids[limit - 1], floor)
    return IdPage(ids, floor, floor)


def _floor(cursor: Any, table: str, columns: Sequence[str], accounts: Sequence[int] | None, span: Span) -> UUID | None:
    """The id from which at most `LOOKED_THROUGH` rows have to be held against filters that no index serves; null: that is all."""
    if accounts is None:
        sql = f"SELECT o.id FROM {table} o WHERE o.id >= %s AND o.id < %s ORDER BY o.id DESC OFFSET %s LIMIT 1"
        cursor.execute(sql, [span.low, span.high, LOOKED_THROUGH])
    else:
        each = max(1, LOOKED_THROUGH // max(1, len(accounts) * len(columns)))
        scans = " UNION ALL ".join(
            f"(SELECT o.id FROM {table} o WHERE o.{column} = mine.account_id AND o.id >= %s AND o.id < %s"
            " ORDER BY o.id DESC OFFSET %s LIMIT 1)"
            for column in columns
        )
        cursor.execute(
            f"SELECT f.id FROM unnest(%s::bigint[]) AS mine (account_id) CROSS JOIN LATERAL ({scans}) f ORDER BY f.id DESC LIMIT 1",
            [array(accounts), *([span.low, span.high, each] * len(columns))],
        )
    row = cursor.fetchone()
    return None if row is None else UUID(str(row[0]))
