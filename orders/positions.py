"""Positions as clients see them: what was bought and sold of a symbol, net, at what average, and what that is worth at the last price.

Read as the tenants' role. Fees are not in it (GET /ledger shows them), nor is what was deposited or withdrawn.
"""

from collections.abc import Sequence
from decimal import ROUND_DOWN, Decimal
from typing import Any, Final, NamedTuple

from django.db import connections

from exchange_platform.db import EXACT, array, tenant_scope
from markets.units import Market, market_by_id
from orders import market_data
from orders.presentation import fixed

SELECT_SQL: Final = """
    SELECT p.account_id, p.symbol_id, p.quantity, p.cost, p.realised, a.name
    FROM risk_position p JOIN institutions_account a ON a.id = p.account_id WHERE {mine} ORDER BY a.id, p.symbol_id"""


class PositionRow(NamedTuple):
    """A position as stored."""

    account_id: int
    symbol_id: int
    quantity: Decimal
    cost: Decimal
    realised: Decimal


def positions(*, institution_id: int | None, account_ids: Sequence[int] | None = None) -> list[dict[str, Any]]:
    """Rows {account, symbol, quantity, average_entry_price, realised_pnl, unrealised_pnl}, one per account and symbol ever traded.

    Quantity in base, negative when more was sold than bought; prices and profits in quote, cut at its scale. `average_entry_price` and
    `unrealised_pnl` are null when nothing is open, the latter also before the symbol's first trade. Owns a read transaction.
    """
    mine, parameters = ("true", []) if account_ids is None else ("p.account_id = ANY(%s::bigint[])", [array(account_ids)])
    with tenant_scope(institution_id) as cursor:
        cursor.execute(SELECT_SQL.format(mine=mine), parameters)
        rows = cursor.fetchall()
    found = position_views([PositionRow(*row[:5]) for row in rows])
    return [{"account": row[5], **view} for row, view in zip(rows, found, strict=True)]


def position_page(
    *, account_ids: Sequence[int] | None, symbol_id: int | None = None, after: tuple[int, int] = (0, 0), limit: int
) -> list[PositionRow]:
    """Positions behind this (account, symbol), by account and symbol; null: of every account, every symbol. By primary key.

    Runs inside the reader's scope, whose transaction the caller owns.
    """
    conditions, parameters = ["(p.account_id, p.symbol_id) > (%s, %s)"], list[Any](after)
    if account_ids is not None:
        conditions, parameters = [*conditions, "p.account_id = ANY(%s::bigint[])"], [*parameters, array(account_ids)]
    if symbol_id is not None:
        conditions, parameters = [*conditions, "p.symbol_id = %s"], [*parameters, symbol_id]
    with connections["tenant"].cursor() as cursor:
        cursor.execute(
            f"""SELECT p.account_id, p.symbol_id, p.quantity, p.cost, p.realised FROM risk_position p WHERE {" AND ".join(conditions)}
                ORDER BY p.account_id, p.symbol_id LIMIT %s""",
            [*parameters, limit],
        )
        return [PositionRow(*row) for row in cursor.fetchall()]


def position_views(rows: Sequence[PositionRow]) -> list[dict[str, Any]]:
    """The positions as `positions` tells them, without their accounts, in the same order. Reads the symbols' tickers."""
    markets = {row.symbol_id: market_by_id(row.symbol_id) for row in rows}
    last = {symbol_id: market_data.ticker(symbol=market.name)["last_price"] for symbol_id, market in markets.items()}
    return [_view(row, markets[row.symbol_id], last[row.symbol_id]) for row in rows]


def _view(row: PositionRow, market: Market, last_price: str | None) -> dict[str, Any]:
    _, _, quantity, cost, realised = row
    step = Decimal(1).scaleb(-market.quote_scale)
    average = unrealised = None
    if quantity:
        average = EXACT.divide(cost, abs(quantity)).quantize(step, rounding=ROUND_DOWN, context=EXACT)
        if last_price is not None:
            worth = EXACT.multiply(abs(quantity), Decimal(last_price))
            gain = EXACT.subtract(worth, cost) if quantity > 0 else EXACT.subtract(cost, worth)
            unrealised = gain.quantize(step, rounding=ROUND_DOWN, context=EXACT)
    return {
        "symbol": market.name,
        "quantity": fixed(quantity, market.lot_decimals),
        "average_entry_price": None if average is None else fixed(average, market.quote_scale),
        "realised_pnl": fixed(realised, market.quote_scale),
        "unrealised_pnl": None if unrealised is None else fixed(unrealised, market.quote_scale),
    }
