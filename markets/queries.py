"""Reads: what can be traded, as clients see it. Public, so as the engine's role."""

from decimal import Decimal
from typing import Any

from exchange_platform.db import plain_text
from markets.models import Symbol
from markets.units import decimals_of


def symbols() -> list[dict[str, Any]]:
    """The listed symbols by name, as rows of the API. One statement.

    Prices have the tick's number of decimals, quantities the lot's, `min_notional` the quote asset's scale, fees no trailing
    zeros; a bound, band or reference that is not set is null. `halt_s` and `auction_s` in seconds; `opens_at`: time of day in UTC at which
    the daily opening auction ends, null without one.
    """
    return [_row(symbol) for symbol in Symbol.objects.filter(is_listed=True).select_related("base", "quote").order_by("name")]


def _row(symbol: Symbol) -> dict[str, Any]:
    price, quantity = decimals_of(symbol.tick_size), decimals_of(symbol.lot_size)
    return {
        "symbol": symbol.name,
        "base": symbol.base.code,
        "quote": symbol.quote.code,
        "status": symbol.status,
        "route": symbol.route,
        "reference_price": fixed_text(symbol.reference_price, price),
        "tick_size": fixed_text(symbol.tick_size, price),
        "lot_size": fixed_text(symbol.lot_size, quantity),
        "min_quantity": fixed_text(symbol.min_quantity, quantity),
        "max_quantity": fixed_text(symbol.max_quantity, quantity),
        "min_price": fixed_text(symbol.min_price, price),
        "max_price": fixed_text(symbol.max_price, price),
        "min_notional": fixed_text(symbol.min_notional, symbol.quote.scale),
        "maker_fee": plain_text(symbol.maker_fee),
        "taker_fee": plain_text(symbol.taker_fee),
        "order_types": list(symbol.order_types),
        "dynamic_band": None if symbol.dynamic_band is None else plain_text(symbol.dynamic_band),
        "halt_s": symbol.halt_s,
        "auction_s": symbol.auction_s,
        "resumes_by_auction": symbol.resumes_by_auction,
        "opens_at": None if symbol.opens_at is None else symbol.opens_at.isoformat(timespec="seconds"),
    }


def fixed_text(value: Decimal | None, decimals: int) -> str | None:
    """Never rounds: what is stored is on the grid that `decimals` comes from, or keeps its own digits when finer."""
    return None if value is None else f"{value:.{max(decimals, decimals_of(value))}f}"
