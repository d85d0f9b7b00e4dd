"""Wash trading: both sides of a trade belong to the same beneficial owner, so nothing changed hands but the tape."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from risk.surveillance.scene import HALF, NOTHING, ONE, Finding, Scene, once_per_key, rounded, severity_of

KIND: Final = "WASH_TRADING"


@dataclass(frozen=True, slots=True)
class WashTrading:
    """`window_ms`: how far back an owner's trades count. `prompt_ms`: a maker's order that was met so soon after it was placed was meant
    to be met; one that had stood longer may have been met by chance and counts `by_chance`. `alert_at`: the least score."""

    window_ms: int = 600_000
    prompt_ms: int = 60_000
    by_chance: Decimal = Decimal("0.6")
    alert_at: Decimal = Decimal("0.4")


def find(scene: Scene, parameters: WashTrading = WashTrading()) -> list[Finding]:
    """One finding per owner, window and severity that it rises to: score = ⁿ√share × (1 − ½ⁿ) × how prompt the promptest was, for n
    trades of the owner with itself that are this share of its volume: the more often it happens, the less it matters what else the owner
    does. Accounts of one owner that meet once by chance, among much other trading, stay below."""
    placed_ms = {order.id: order.placed_ms for order in scene.orders}
    found: list[Finding] = []
    for number in range(scene.first, len(scene.trades)):
        trade = scene.trades[number]
        owner = scene.owner(trade.maker_account)
        if owner != scene.owner(trade.taker_account):
            continue
        since = trade.at_ms - parameters.window_ms
        recent = scene.own_trades(owner, number, since)
        own = [t for t in recent if scene.owner(t.maker_account) == scene.owner(t.taker_account)]
        washed = sum((t.quantity for t in own), NOTHING)
        share = washed / sum((t.quantity for t in recent), NOTHING)
        ages = [t.at_ms - placed_ms[t.maker_order] for t in own if t.maker_order in placed_ms]
        prompt = ONE if ages and min(ages) <= parameters.prompt_ms else parameters.by_chance
        score = share ** (ONE / len(own)) * (ONE - HALF ** len(own)) * prompt
        if score < parameters.alert_at:
            continue
        accounts = tuple(sorted({a for t in own for a in (t.maker_account, t.taker_account)}))
        score = rounded(score)
        found.append(
            Finding(
                kind=KIND,
                severity=severity_of(score),
                score=score,
                key=f"wash:{scene.symbol_id}:{owner}:{trade.at_ms // parameters.window_ms}:{severity_of(score).lower()}",
                title=f"{len(own)} trades between accounts of one owner",
                at_ms=trade.at_ms,
                accounts=accounts,
                orders=tuple(dict.fromkeys(o for t in own for o in (t.maker_order, t.taker_order))),
                trades=tuple(t.id for t in own),
                details={"owner": str(owner), "washed": f"{washed:f}", "share_of_owner": f"{rounded(share):f}", "trades": str(len(own))},
            )
        )
    return once_per_key(found)
