"""The reference price of a symbol as a feed gives it: a command in the worker's sequence, so that replay triggers the same stops.

An operator's price for a symbol without a feed is one of its trading rules instead (`markets.services.change_symbol`): the worker adopts
it within a second.
"""

from decimal import Decimal

from django.db import connections

from exchange_platform.db import own
from markets.units import neighbours
from matching.core.messages import MAX_TICKS
from orders import commands, inbox
from orders.queries import market_named
from orders.refusals import Refusal


def publish_price(*, symbol: str, price: Decimal, source: str) -> None:
    """Tell the symbol's engine what the reference price is now; `source` names the feed. Owns its transaction.

    Raises: UnknownSymbol, Refusal PRICE_OUT_OF_RANGE when the price is not positive or beyond what the engine counts.
    """
    market = market_named(symbol)
    low, high = neighbours(price, market.tick) if price.is_finite() else (0, 0)
    if not 0 < low <= high <= MAX_TICKS:
        raise Refusal(f"{price} is no price that {symbol} counts in ticks of {market.tick:f}.", code="PRICE_OUT_OF_RANGE", field="price")
    with own(), connections["default"].cursor() as cursor:
        inbox.post(cursor, {market.id: [[commands.REFERENCE, low, high, f"{price:f}", source, ""]]})
