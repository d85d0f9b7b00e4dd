"""Velocity: an account that places and cancels faster than anybody who means to trade (quote stuffing)."""

from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from risk.surveillance.scene import Finding, Order, Scene, once_per_key, rounded, severity_of

KIND: Final = "VELOCITY"


@dataclass(frozen=True, slots=True)
class Velocity:
    """`orders`: placed within `window_ms` by one account, at least; the pre-trade limit of 10 a second, kept up for the whole window, is
    the default. `life_ms`: an order cancelled so soon was not meant to trade. `brief_share`: such orders among them, at least.
    `pause_ms`: one alert per so long."""

    window_ms: int = 5_000
    orders: int = 50
    life_ms: int = 2_000
    brief_share: Decimal = Decimal("0.8")
    pause_ms: int = 60_000


def find(scene: Scene, parameters: Velocity = Velocity()) -> list[Finding]:
    """One finding per account and pause: score = share of brief orders × half the pace over the bound, at most 1."""
    by_account: dict[int, list[Order]] = defaultdict(list)
    for order in sorted(scene.orders, key=lambda order: (order.placed_ms, order.id)):
        by_account[order.account].append(order)
    found: list[Finding] = []
    for account, orders in by_account.items():
        brief = [_is_brief(order, parameters) for order in orders]
        start = hurried = 0
        most: dict[int, int] = {}  # by pause: of the surest so far
        for end, order in enumerate(orders):
            hurried += brief[end]
            while order.placed_ms - orders[start].placed_ms >= parameters.window_ms:
                hurried -= brief[start]
                start += 1
            count = end + 1 - start
            pause = order.placed_ms // parameters.pause_ms
            if count >= parameters.orders and hurried > most.get(pause, 0) and Decimal(hurried) / count >= parameters.brief_share:
                most[pause] = hurried
                found.append(_told(scene.symbol_id, account, orders[start : end + 1], hurried, parameters))
    return once_per_key(found)


def _is_brief(order: Order, parameters: Velocity) -> bool:
    return order.cancelled and order.ended_ms is not None and order.ended_ms - order.placed_ms <= parameters.life_ms


def _told(symbol_id: int, account: int, orders: list[Order], brief: int, parameters: Velocity) -> Finding:
    share = Decimal(brief) / len(orders)
    score = rounded(share * min(Decimal(1), Decimal(len(orders)) / (2 * parameters.orders)))
    at_ms = orders[-1].placed_ms
    return Finding(
        kind=KIND,
        severity=severity_of(score),
        score=score,
        key=f"velocity:{symbol_id}:{account}:{at_ms // parameters.pause_ms}",
        title=f"{len(orders)} orders within {parameters.window_ms / 1000:g} s, {brief} of them cancelled at once",
        at_ms=at_ms,
        accounts=(account,),
        orders=tuple(order.id for order in orders),
        details={"orders": str(len(orders)), "brief_share": f"{rounded(share):f}"},
    )
