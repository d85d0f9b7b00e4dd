"""The price of an uncross by trying every price: the rules of `matching.core.messages`, as slow and as plain as they read."""

from collections.abc import Sequence
from typing import Protocol

from matching.core.messages import BUY, SELL


class Limited(Protocol):
    """What counts of an order here: its limit (of a market order: its protection price) and its open lots."""

    price: int
    left: int


def reaches(side: int, limit: int, price: int) -> bool:
    """Whether an order of this side with this limit may trade at this price."""
    return price <= limit if side == BUY else price >= limit


def lots_accepting(orders: Sequence[Limited], side: int, price: int) -> int:
    """Open lots of those orders of this side that may trade at this price."""
    return sum(order.left for order in orders if reaches(side, order.price, price))


def best_price(bids: Sequence[Limited], asks: Sequence[Limited], near: tuple[int, int] | None) -> tuple[int, int, int] | None:
    """(price, lots, surplus) of an uncross, surplus positive when more would buy; None when nothing would trade.

    Args:
        near: the neighbouring ticks between which the price lies that breaks ties; None when there is no such price.
    """
    limits = [order.price for order in [*bids, *asks]]
    found, found_rank = None, None
    for price in range(min(limits, default=1), max(limits, default=0) + 1):
        buying, selling = lots_accepting(bids, BUY, price), lots_accepting(asks, SELL, price)
        lots, surplus = min(buying, selling), buying - selling
        distance = 0 if near is None else abs(price - near[0]) + abs(price - near[1])
        rank = (lots, -abs(surplus), -distance, price)
        if lots > 0 and (found_rank is None or rank > found_rank):
            found, found_rank = (price, lots, surplus), rank
    return found
