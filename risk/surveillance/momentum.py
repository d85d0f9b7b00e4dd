"""Momentum ignition: somebody drives the price with a burst of aggressive orders, others follow, and he trades the other way against
them."""

from bisect import bisect_left
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from risk.surveillance.scene import BUY, NOTHING, OPPOSITE, SELL, Finding, Scene, Trade, once_per_key, rounded, severity_of

KIND: Final = "MOMENTUM_IGNITION"


@dataclass(frozen=True, slots=True)
class MomentumIgnition:
    """`burst_ms`: how long driving lasts at most. `takers`: aggressive orders it takes, at least. `move`: of the price during it, as a
    share, at least. `share`: of the taken volume in this direction that was his, at least. `reverse_ms`: how soon after the burst he
    turned. `reversed`: of what he had taken, at least so much traded back, at a better price than he had paid on average. `alert_at`: the
    least score."""

    burst_ms: int = 60_000
    takers: int = 3
    move: Decimal = Decimal("0.0005")
    share: Decimal = Decimal("0.5")
    reverse_ms: int = 180_000
    reversed: Decimal = Decimal("0.5")
    alert_at: Decimal = Decimal("0.4")


def find(scene: Scene, parameters: MomentumIgnition = MomentumIgnition()) -> list[Finding]:
    """One finding per owner, direction and stretch of `reverse_ms`, made when the trade that completes the turn is judged: score = his
    share of the driving × how much of it he turned round."""
    found: list[Finding] = []
    for number in range(scene.first, len(scene.trades)):
        trade = scene.trades[number]
        for side, account in ((BUY, trade.buyer), (SELL, trade.seller)):
            finding = _judge(scene, number, scene.owner(account), OPPOSITE[side], parameters)
            if finding is not None:
                found.append(finding)
    return once_per_key(found)


def _judge(scene: Scene, number: int, owner: int, driven: str, parameters: MomentumIgnition) -> Finding | None:
    """`driven`: the direction in which the owner is asked to have driven the price, before it traded the other way."""
    last = scene.trades[number]
    tally = scene.taken.get((owner, driven))
    if tally is None or (reached := tally.until(number)) < parameters.takers:
        return None
    end = tally.times[reached - 1]
    if last.at_ms - end > parameters.reverse_ms:
        return None
    start = bisect_left(tally.times, end - parameters.burst_ms)
    begin = tally.times[start]
    bought = tally.volume(begin, end)
    share = bought / scene.taken[None, driven].volume(begin, end)
    if share < parameters.share:
        return None
    burst = [scene.trades[n] for n in tally.numbers[start:reached]]
    if len({t.taker_order for t in burst}) < parameters.takers:
        return None
    sign = 1 if driven == BUY else -1
    farthest = max(burst, key=lambda t: t.price * sign).price
    if (farthest - burst[0].price) * sign < burst[0].price * parameters.move:
        return None
    back = [t for t in scene.own_trades(owner, number, end) if scene.owner(t.seller if driven == BUY else t.buyer) == owner]
    sold = _volume(back)
    if sold == 0 or sold < bought * parameters.reversed or (_average(back) - _average(burst)) * sign <= 0:
        return None
    score = rounded(share * min(Decimal(1), sold / bought))
    if score < parameters.alert_at:
        return None
    return Finding(
        kind=KIND,
        severity=severity_of(score),
        score=score,
        key=f"momentum:{scene.symbol_id}:{owner}:{driven}:{end // parameters.reverse_ms}",
        title=f"drove the price from {burst[0].price:f} to {farthest:f}, then traded {sold:f} the other way",
        at_ms=last.at_ms,
        accounts=tuple(sorted({_account_of(scene, t, owner) for t in (*burst, *back)})),
        orders=tuple(dict.fromkeys([t.taker_order for t in burst])),
        trades=tuple(t.id for t in (*burst, *back)),
        details={"share_of_taken": f"{rounded(share):f}", "taken": f"{bought:f}", "turned": f"{sold:f}"},
    )


def _account_of(scene: Scene, trade: Trade, owner: int) -> int:
    return trade.maker_account if scene.owner(trade.maker_account) == owner else trade.taker_account


def _volume(trades: list[Trade]) -> Decimal:
    return sum((t.quantity for t in trades), NOTHING)


def _average(trades: list[Trade]) -> Decimal:
    return sum((t.price * t.quantity for t in trades), NOTHING) / _volume(trades)
