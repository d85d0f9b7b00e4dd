"""Where a live channel begins: what it holds, together with the channel's sequence as of the same moment.

Each read sees one state of the database, so that the next message of the channel is `sequence + 1` and nothing is missing
between. Public channels are read as the engine's role, an account's own as the tenants' role under row-level security.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import orjson
from django.db import connection, connections, transaction

from exchange_platform.db import array, tenant_scope
from orders import market_data, queries
from orders.queries import TRADE_COLUMNS, market_named, pin_index_scans, public_trade_view
from wallet import queries as wallet

BOOK_LEVELS: Final = 100
LAST_TRADES: Final = 50
MOST_OPEN_ORDERS: Final = 1_000_000  # all of them: a page without an end


class Snapshot(NamedTuple):
    """`data` is what REST answers for the same; `sequence` that of the last message already in it."""

    sequence: int
    data: Any


class Persisted(NamedTuple):
    """How far the channels of a symbol or account have come in the database, by the channel's name without symbol or `user.`:
    `orderbook, trades, ticker, candles.1m …`, or `orders, trades, balances`. What is not there has had no message."""

    symbols: dict[int, dict[str, int]]
    accounts: dict[int, dict[str, int]]


def orderbook(*, symbol: str) -> Snapshot:
    """100 levels a side. One statement. Raises: UnknownSymbol."""
    book = market_data.book(symbol=symbol, depth=BOOK_LEVELS)
    return Snapshot(book["sequence"], book)


def trades(*, symbol: str) -> Snapshot:
    """The last 50 trades, newest first, without their parties. Owns a read transaction, one statement in it. Raises: UnknownSymbol."""
    market = market_named(symbol)
    with transaction.atomic(), connection.cursor() as cursor:
        pin_index_scans(cursor)
        cursor.execute(
            f"""SELECT c.trade_number, t.* FROM (VALUES (%(symbol)s)) AS s (id) LEFT JOIN orders_checkpoint c ON c.symbol_id = s.id
                LEFT JOIN LATERAL (SELECT {TRADE_COLUMNS} FROM orders_trade t WHERE t.symbol_id = %(symbol)s
                                   ORDER BY t.id DESC LIMIT %(limit)s) t ON true ORDER BY t.id DESC""",
            {"symbol": market.id, "limit": LAST_TRADES},
        )
        rows = cursor.fetchall()
    return Snapshot(rows[0][0] or 0, [public_trade_view(row[1:]) for row in rows if row[1] is not None])


def user_orders(*, institution_id: int | None, account_id: int) -> Snapshot:
    """The open orders of an account, newest first, without their fills."""
    with _one_state(institution_id) as cursor:
        sequence = _feed(cursor, account_id)["orders"]
        return Snapshot(sequence, _open_orders(institution_id, account_id))


def user_trades(*, institution_id: int | None, account_id: int) -> Snapshot:
    """The last 50 trades of an account, newest first, from its side; one with itself is there twice."""
    with _one_state(institution_id) as cursor:
        sequence = _feed(cursor, account_id)["trades"]
        page = queries.my_trades(institution_id=institution_id, account_ids=[account_id], limit=LAST_TRADES)
        return Snapshot(sequence, page.results)


def user_balances(*, institution_id: int | None, account_id: int) -> Snapshot:
    """Every asset the account has ever had, by code."""
    with _one_state(institution_id) as cursor:
        sequence = _feed(cursor, account_id)["balances"]
        return Snapshot(sequence, wallet.balances(institution_id=institution_id, account_ids=[account_id]))


def user(*, institution_id: int | None, account_id: int) -> tuple[dict[str, int], dict[str, Any]]:
    """Open orders and balances as of one moment: ({user.orders, user.balances: sequence}, {orders, balances})."""
    with _one_state(institution_id) as cursor:
        told = _feed(cursor, account_id)
        data = {
            "orders": _open_orders(institution_id, account_id),
            "balances": wallet.balances(institution_id=institution_id, account_ids=[account_id]),
        }
    return {f"user.{name}": told[name] for name in data}, data


def persisted(*, symbol_ids: Collection[int], account_ids: Collection[int]) -> Persisted:
    """The sequences that are in the database now. One statement, as the engine's role: numbers of channels, nobody's data."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT true, s.id, c.book_sequence, c.trade_number, m.ticker, m.candles::text FROM unnest(%s::int[]) AS s (id)
               LEFT JOIN orders_checkpoint c ON c.symbol_id = s.id LEFT JOIN markets_marketfeed m ON m.symbol_id = s.id
               UNION ALL
               SELECT false, f.account_id, f.orders, f.trades, f.balances, NULL::text FROM notifications_feed f
               WHERE f.account_id = ANY(%s::bigint[])""",
            [array(symbol_ids), array(account_ids)],
        )
        rows = cursor.fetchall()
    found = Persisted({}, {})
    for is_symbol, identity, first, second, third, candles in rows:
        if is_symbol:
            intervals = {f"candles.{interval}": sequence for interval, sequence in orjson.loads(candles or b"{}").items()}
            found.symbols[identity] = {"orderbook": first or 0, "trades": second or 0, "ticker": third or 0, **intervals}
        else:
            found.accounts[identity] = {"orders": first, "trades": second, "balances": third}
    return found


@contextmanager
def _one_state(institution_id: int | None) -> Iterator[Any]:
    """A read transaction as the tenants' role in which every statement sees the same state. Yields a cursor."""
    with transaction.atomic(using="tenant"):
        with connections["tenant"].cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        with tenant_scope(institution_id) as cursor:
            yield cursor


def _feed(cursor: Any, account_id: int) -> dict[str, int]:
    cursor.execute("SELECT orders, trades, balances FROM notifications_feed WHERE account_id = %s", [account_id])
    return dict(zip(("orders", "trades", "balances"), cursor.fetchone() or (0, 0, 0), strict=True))


def _open_orders(institution_id: int | None, account_id: int) -> list[dict[str, Any]]:
    page = queries.orders(institution_id=institution_id, account_ids=[account_id], statuses=[queries.OPEN], limit=MOST_OPEN_ORDERS)
    return page.results
