"""How an order and its fills look to clients: decimals as strings at the symbol's and assets' number of decimals.

One shape for REST, WebSocket, gRPC and events. Reads rows, writes nothing.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import ROUND_DOWN, Context, Decimal
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from markets.units import Market, market_by_id
from orders.lifecycle import TERMINAL

EXACT: Final = Context(prec=76, rounding=ROUND_DOWN)
_ZEROS: Final = tuple("0" if decimals == 0 else "0." + "0" * decimals for decimals in range(40))

# The select list of an order row; `order_view` takes rows of this shape. `o` is orders_order, `a` institutions_account.
ORDER_COLUMNS: Final = """o.id, o.client_order_id, o.exchange_order_id, a.name, o.symbol_id, o.side, o.order_type, o.time_in_force,
    o.status, o.quantity, o.quote_quantity, o.filled_quantity, o.prevented_quantity, o.price, o.stop_price, o.filled_quote, o.fee,
    o.reason, o.created_at, o.updated_at, o.sequence, o.account_id"""
ORDER_FROM: Final = "orders_order o JOIN institutions_account a ON a.id = o.account_id"

FILL_COLUMNS: Final = """t.id, t.symbol_id, t.price, t.quantity, t.taker_side, t.maker_order_id, t.taker_order_id, t.maker_fee, t.taker_fee,
    t.executed_at"""


@lru_cache(maxsize=1024)  # the orders of a batch share their millisecond
def timestamp(moment: datetime) -> str:
    """RFC 3339 UTC with milliseconds; moments come from the database in UTC."""
    return moment.isoformat(timespec="milliseconds")[:23] + "Z"


def fixed(value: Decimal, decimals: int) -> str:
    """`value` with exactly so many decimals; one that does not fit the grid (a refused order's) is shown as it was sent."""
    if not value:
        return _ZEROS[decimals]
    whole, _, fraction = f"{value:f}".partition(".")
    if len(fraction) > decimals and fraction.strip("0") and fraction[decimals:].strip("0"):
        return f"{value.normalize(EXACT):f}"
    if decimals == 0:
        return whole
    return f"{whole}.{fraction[:decimals].ljust(decimals, '0')}"


def order_view(row: Sequence[Any], fills: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """An order as clients see it. `row`: ORDER_COLUMNS. `fills` [] when not asked for."""
    (order_id, client_order_id, exchange_order_id, account, symbol_id, side, order_type, time_in_force, status, quantity, quote_quantity,
     filled, prevented, price, stop_price, filled_quote, fee, reason, created_at, updated_at, sequence, _) = row  # fmt: skip
    market: Market = market_by_id(symbol_id)
    lot_decimals, tick_decimals = market.lot_decimals, market.tick_decimals
    if filled or prevented:
        filled_text, prevented_text = fixed(filled, lot_decimals), fixed(prevented, lot_decimals)
        remaining = None if quantity is None else EXACT.subtract(EXACT.subtract(quantity, filled), prevented)
    else:
        filled_text = prevented_text = _ZEROS[lot_decimals]
        remaining = quantity
    average = None
    if filled:
        average = fixed(
            EXACT.divide(filled_quote, filled).quantize(Decimal(1).scaleb(-market.quote_scale), rounding=ROUND_DOWN, context=EXACT),
            market.quote_scale,
        )
    base_fee = side == "BUY"
    if quantity is None and status in TERMINAL:
        quantity, remaining = filled, Decimal(0)
    quantity_text = None if quantity is None else fixed(quantity, lot_decimals)
    return {
        "order_id": str(order_id),
        "client_order_id": client_order_id,
        "exchange_order_id": exchange_order_id,
        "account": account,
        "symbol": market.name,
        "side": side,
        "order_type": order_type,
        "time_in_force": time_in_force,
        "status": status,
        "quantity": quantity_text,
        "quote_quantity": None if quote_quantity is None else fixed(quote_quantity, market.quote_scale),
        "filled_quantity": filled_text,
        "remaining_quantity": quantity_text if remaining is None or remaining is quantity else fixed(remaining, lot_decimals),
        "prevented_quantity": prevented_text,
        "price": None if price is None else fixed(price, tick_decimals),
        "stop_price": None if stop_price is None else fixed(stop_price, tick_decimals),
        "average_price": average,
        "fee": fixed(fee, market.base_scale if base_fee else market.quote_scale),
        "fee_asset": market.base if base_fee else market.quote,
        "reason": reason,
        "created_at": (created := timestamp(created_at)),
        "updated_at": created if updated_at is created_at else timestamp(updated_at),
        "sequence": sequence,
        "fills": fills or [],
    }


def fills_by_order(rows: Iterable[Sequence[Any]], wanted: set[UUID]) -> dict[UUID, list[dict[str, Any]]]:
    """Fills of the wanted orders, oldest first as the rows are. `rows`: FILL_COLUMNS, each trade once."""
    found: dict[UUID, list[dict[str, Any]]] = {}
    for trade_id, symbol_id, price, quantity, taker_side, maker_order, taker_order, maker_fee, taker_fee, executed_at in rows:
        market = market_by_id(symbol_id)
        for order_id, fee, is_maker in ((maker_order, maker_fee, True), (taker_order, taker_fee, False)):
            if order_id not in wanted:
                continue
            receives_base = (taker_side == "BUY") != is_maker
            found.setdefault(order_id, []).append(
                {
                    "trade_id": str(trade_id),
                    "price": fixed(price, market.tick_decimals),
                    "quantity": fixed(quantity, market.lot_decimals),
                    "fee": fixed(fee, market.base_scale if receives_base else market.quote_scale),
                    "fee_asset": market.base if receives_base else market.quote,
                    "is_maker": is_maker,
                    "timestamp": timestamp(executed_at),
                }
            )
    return found
