"""Circular trading: a quantity goes from account to account and comes back to the first, A → B → C → A, nearly whole."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from risk.surveillance.scene import BUY, NOTHING, ONE, SELL, Finding, Scene, Trade, once_per_key, rounded, severity_of

KIND: Final = "CIRCULAR_TRADING"


@dataclass(frozen=True, slots=True)
class CircularTrading:
    """`window_ms`: from the first leg to the last. `merge_ms`: trades of the same seller and buyer that follow each other so soon are one
    leg. `tolerance`: how much smaller than the largest a leg may be. `legs_at_least`, `legs_at_most`: of a circle. `share_each`: of what
    a member traded meanwhile, its part of the circle is at least so much. `steps_at_most`: how long one trade is searched for, in legs
    looked at. `alert_at`: the least score."""

    window_ms: int = 900_000
    merge_ms: int = 30_000
    tolerance: Decimal = Decimal("0.2")
    legs_at_least: int = 3
    legs_at_most: int = 6
    share_each: Decimal = Decimal("0.15")
    steps_at_most: int = 500
    alert_at: Decimal = Decimal("0.45")


@dataclass(slots=True)
class _Leg:
    seller: int
    buyer: int
    first_ms: int
    last_ms: int
    quantity: Decimal
    trades: list[Trade]


def find(scene: Scene, parameters: CircularTrading = CircularTrading()) -> list[Finding]:
    """One finding per group of owners and window: score = share of the participants' trading in the time of the circle that went round in
    it × how nearly whole it came back. Accounts that trade with everybody form circles by chance all the time; theirs are a small share.
    """
    into: dict[int, list[_Leg]] = defaultdict(list)  # by buyer, in order of their first trade
    found: list[Finding] = []
    for number, trade in enumerate(scene.trades):
        seller, buyer = scene.owner(trade.seller), scene.owner(trade.buyer)
        if seller == buyer:
            continue
        leg = _extend(into[buyer], seller, buyer, trade, parameters)
        if number < scene.first:
            continue
        for circle in _circles(scene, into, leg, trade.at_ms, parameters):
            finding = _judge(scene, into, trade.at_ms, circle, parameters)
            if finding is not None:
                found.append(finding)
    return once_per_key(found)


def _extend(legs: list[_Leg], seller: int, buyer: int, trade: Trade, parameters: CircularTrading) -> _Leg:
    for leg in reversed(legs):
        if trade.at_ms - leg.last_ms > parameters.merge_ms:
            if trade.at_ms - leg.last_ms > parameters.window_ms:
                break
            continue
        if leg.seller == seller:
            leg.last_ms, leg.quantity = trade.at_ms, leg.quantity + trade.quantity
            leg.trades.append(trade)
            return leg
    leg = _Leg(seller, buyer, trade.at_ms, trade.at_ms, trade.quantity, [trade])
    legs.append(leg)
    return leg


def _circles(scene: Scene, into: dict[int, list[_Leg]], last: _Leg, at_ms: int, parameters: CircularTrading) -> Iterator[list[_Leg]]:
    """Chains of legs, one after the other, that end with `last` where they began; each as its legs from first to last. Nobody is in it
    who trades so much otherwise that the circle would be next to nothing of it."""
    steps, since_ms = parameters.steps_at_most, at_ms - parameters.window_ms
    if not all(_matters(scene, owner, last, at_ms, parameters) for owner in (last.seller, last.buyer)):
        return
    chains: list[tuple[_Leg, ...]] = [(last,)]
    while chains:
        chain = chains.pop()
        head = chain[0]
        seen = {leg.seller for leg in chain}
        for leg in reversed(into.get(head.seller, ())):
            if leg.last_ms < since_ms:
                break
            steps -= 1
            if steps <= 0:
                return
            if leg.first_ms > head.first_ms or not _alike(leg, last, parameters.tolerance):
                continue
            if leg.seller == last.buyer:
                if len(chain) + 1 >= parameters.legs_at_least:
                    yield [leg, *chain]
            elif leg.seller not in seen and len(chain) + 2 <= parameters.legs_at_most:
                if _matters(scene, leg.seller, leg, at_ms, parameters):
                    chains.append((leg, *chain))


def _matters(scene: Scene, owner: int, leg: _Leg, at_ms: int, parameters: CircularTrading) -> bool:
    """Whether going through the owner once is at least `share_each` of what it traded from this leg on."""
    return 2 * leg.quantity >= _volume(scene, owner, leg.first_ms, at_ms) * parameters.share_each


def _volume(scene: Scene, owner: int, since_ms: int, until_ms: int) -> Decimal:
    return scene.traded[owner, BUY].volume(since_ms, until_ms) + scene.traded[owner, SELL].volume(since_ms, until_ms)


def _alike(one: _Leg, other: _Leg, tolerance: Decimal) -> bool:
    small, large = sorted((one.quantity, other.quantity))
    return small >= large * (ONE - tolerance)


def _judge(scene: Scene, into: dict[int, list[_Leg]], at_ms: int, circle: list[_Leg], parameters: CircularTrading) -> Finding | None:
    quantities = [leg.quantity for leg in circle]
    whole = min(quantities) / max(quantities)
    if whole < ONE - parameters.tolerance:
        return None
    members = {leg.seller for leg in circle}
    since_ms = circle[0].first_ms
    volume = sum((_volume(scene, owner, since_ms, at_ms) for owner in members), NOTHING)
    legs = [leg for owner in members for leg in into[owner] if leg.seller in members and leg.last_ms >= since_ms]
    inside = 2 * sum((t.quantity for leg in legs for t in leg.trades if t.at_ms >= since_ms), NOTHING)
    share = inside / volume
    score = rounded(share * whole)
    if score < parameters.alert_at:
        return None
    trades = [trade for leg in circle for trade in leg.trades]
    return Finding(
        kind=KIND,
        severity=severity_of(score),
        score=score,
        key=f"circle:{scene.symbol_id}:{'-'.join(map(str, sorted(members)))}:{at_ms // parameters.window_ms}",
        title=f"{quantities[-1]:f} went round {len(circle)} accounts and came back",
        at_ms=at_ms,
        accounts=tuple(sorted({account for trade in trades for account in (trade.seller, trade.buyer)})),
        orders=tuple(dict.fromkeys(o for t in trades for o in (t.maker_order, t.taker_order))),
        trades=tuple(t.id for t in trades),
        details={
            "chain": " → ".join(map(str, [leg.seller for leg in circle] + [circle[-1].buyer])),
            "came_back": f"{rounded(whole):f}",
            "share_of_members": f"{rounded(share):f}",
        },
    )
