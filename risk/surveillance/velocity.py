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
        start = 0
        for end, order in enumerate(orders):
            while order.placed_ms - orders[start].placed_ms >= parameters.window_ms:
                start += 1
            count = end + 1 - start
            if count >= parameters.orders:
                finding = _judge(scene.symbol_id, account, orders[start : end + 1], parameters)
                if finding is not None:
                    found.append(finding)
    return once_per_key(found)


def _judge(symbol_id: int, account: int, orders: list[Order], parameters: Velocity) -> Finding | None:
    brief = sum(o.cancelled and o.ended_ms is not None and o.ended_ms - o.placed_ms <= parameters.life_ms for o in orders)
    share = Decimal(brief) / len(orders)
    if share < parameters.brief_share:
        return None
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
