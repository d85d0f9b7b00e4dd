"""Spoofing and layering: orders that are there to be seen. They press on one side of the book until the other side trades, then vanish.

The two are one manoeuvre and differ in shape: spoofing is large orders at one or two prices, layering a staircase over three prices or
more.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from risk.surveillance.scene import (
    HALF,
    NOTHING,
    ONE,
    OPPOSITE,
    Finding,
    Order,
    Scene,
    Trade,
    once_per_key,
    rounded,
    saturating,
    severity_of,
)

SPOOFING: Final = "SPOOFING"
LAYERING: Final = "LAYERING"


@dataclass(frozen=True, slots=True)
class Pressure:
    """`life_ms`: the longest that an order stood before the other side traded. `cancel_ms`: how soon after that trade it was cancelled.
    `distance`: farthest from the trade's price, as a share of it. `filled_at_most`: share of it that may have traded. `ratio`: what was
    cancelled against what the other side traded, at least. `imbalance`: against what the owner had on the other side in all, at least.
    `large`: against the usual size of a trade, at least. `levels`: from how many prices on it is layering. `again_ms`: episodes of one
    owner so near each other strengthen each other, and what it ordered in so long is what they are held against. `alert_at`: the least
    score."""

    life_ms: int = 90_000
    cancel_ms: int = 10_000
    distance: Decimal = Decimal("0.01")
    filled_at_most: Decimal = Decimal("0.2")
    ratio: Decimal = Decimal("2.5")
    imbalance: Decimal = Decimal("2.5")
    large: Decimal = Decimal(2)
    levels: int = 3
    again_ms: int = 1_800_000
    alert_at: Decimal = Decimal("0.31")


@dataclass(frozen=True, slots=True)
class _Episode:
    trade: Trade
    owner: int
    side: str  # of what was cancelled
    cancelled: tuple[Order, ...]
    volume: Decimal
    traded: Decimal
    ratio: Decimal
    imbalance: Decimal
    levels: int
    score: Decimal


def find(scene: Scene, parameters: Pressure = Pressure()) -> list[Finding]:
    """One finding per order that traded under pressure: score = how lopsided the owner's orders were × how soon they were gone × share of
    all it ordered that was for show × (1 − ½ⁿ) for n episodes (a staircase counts as one more). A market maker who takes all quotes away
    after a fill is not lopsided, and who trades much otherwise changes his mind by chance."""
    usual = _usual(scene)
    episodes: dict[int, list[_Episode]] = {}
    found: list[Finding] = []
    done: set[str] = set()
    suspects = {
        scene.owner(account)
        for trade in scene.trades[scene.first :]
        for account, order_id, side in _parties(trade)
        if _episode(scene, trade, scene.owner(account), order_id, side, usual, parameters) is not None
    }
    for number, trade in enumerate(scene.trades if suspects else ()):
        for account, order_id, side in _parties(trade):
            owner = scene.owner(account)
            if owner not in suspects or order_id in done:
                continue
            episode = _episode(scene, trade, owner, order_id, side, usual, parameters)
            if episode is None:
                continue
            done.add(order_id)
            past = [e for e in episodes.setdefault(owner, []) if trade.at_ms - e.trade.at_ms <= parameters.again_ms]
            fresh = {order.id for order in episode.cancelled} - {order.id for e in past for order in e.cancelled}
            if not fresh:
                continue  # the same orders, seen from another trade
            episodes[owner] = [*past, episode]
            finding = _told(scene, [*past, episode], order_id, parameters)
            if finding is not None and number >= scene.first:
                found.append(finding)
    return once_per_key(found)


def _parties(trade: Trade) -> tuple[tuple[int, str, str], tuple[int, str, str]]:
    """Account, order and side of the maker and of the taker."""
    return (
        (trade.maker_account, trade.maker_order, OPPOSITE[trade.taker_side]),
        (trade.taker_account, trade.taker_order, trade.taker_side),
    )


def _usual(scene: Scene) -> Decimal:
    quantities = sorted(trade.quantity for trade in scene.trades)
    return quantities[len(quantities) // 2] if quantities else NOTHING


def _episode(scene: Scene, trade: Trade, owner: int, order_id: str, side: str, usual: Decimal, parameters: Pressure) -> _Episode | None:
    shown = OPPOSITE[side]
    times, orders = scene.shown_by_owner.get((owner, shown), ((), ()))
    low, high = bisect_left(times, trade.at_ms), bisect_right(times, trade.at_ms + parameters.cancel_ms)
    cancelled = tuple(order for order in orders[low:high] if _vanished(order, trade, parameters))
    if not cancelled:
        return None
    volume = sum((order.unfilled for order in cancelled), NOTHING)
    if volume < parameters.large * usual:
        return None
    since, until = min(order.placed_ms for order in cancelled), max(order.ended_ms or 0 for order in cancelled)
    traded = scene.traded[owner, side].volume(since, until)
    ratio = volume / traded
    if ratio < parameters.ratio:
        return None
    own = scene.own_orders(owner, trade.at_ms - parameters.again_ms, until)
    other_side = sum((o.unfilled for o in own if o.side == side and (o.id == order_id or o.was_open(trade.at_ms))), traded)
    stayed = sum((o.unfilled for o in own if o.side == shown and o.was_open(until)), NOTHING)
    imbalance = volume / other_side
    if imbalance < parameters.imbalance or stayed > volume:
        return None
    lag = Decimal(until - trade.at_ms) / parameters.cancel_ms
    score = saturating(imbalance, half_at=ONE) * (ONE - lag * HALF * HALF)
    levels = len({order.price for order in cancelled})
    return _Episode(trade, owner, shown, cancelled, volume, traded, ratio, imbalance, levels, score)


def _vanished(order: Order, trade: Trade, parameters: Pressure) -> bool:
    return (
        trade.at_ms - parameters.life_ms <= order.placed_ms <= trade.at_ms
        and order.price is not None
        and order.filled <= order.quantity * parameters.filled_at_most
        and abs(order.price - trade.price) <= trade.price * parameters.distance
    )


def _told(scene: Scene, episodes: Sequence[_Episode], order_id: str, parameters: Pressure) -> Finding | None:
    last = episodes[-1]
    share = _share(scene, episodes, parameters)
    score = last.score * share * (ONE - HALF ** (len(episodes) + (last.levels >= parameters.levels)))
    if score < parameters.alert_at:
        return None
    kind = LAYERING if last.levels >= parameters.levels else SPOOFING
    score = rounded(score)
    return Finding(
        kind=kind,
        severity=severity_of(score),
        score=score,
        key=f"{kind.lower()}:{scene.symbol_id}:{order_id}",
        title=f"{last.volume:f} to {last.side.lower()} at {last.levels} prices cancelled once {last.traded:f} had traded on the other side",
        at_ms=max(order.ended_ms or 0 for order in last.cancelled),
        accounts=tuple(sorted({order.account for order in last.cancelled} | {_account(last, order_id)})),
        orders=tuple(order.id for episode in episodes for order in episode.cancelled),
        trades=tuple(episode.trade.id for episode in episodes),
        details={
            "ratio": f"{last.ratio:.1f}",
            "share_of_owner": f"{rounded(share):f}",
            "imbalance": f"{last.imbalance:.1f}",
            "episodes": str(len(episodes)),
            "levels": str(last.levels),
        },
    )


def _share(scene: Scene, episodes: Sequence[_Episode], parameters: Pressure) -> Decimal:
    """Of what the owner ordered in the time, on both sides: how much was there to be seen only."""
    last = episodes[-1]
    since, until = last.trade.at_ms - parameters.again_ms, last.trade.at_ms
    ordered = sum((o.quantity for o in scene.own_orders(last.owner, since, until)), NOTHING)
    shown = {order.id: order.unfilled for episode in episodes for order in episode.cancelled if since <= order.placed_ms}
    return sum(shown.values(), NOTHING) / ordered


def _account(episode: _Episode, order_id: str) -> int:
    trade = episode.trade
    return trade.maker_account if trade.maker_order == order_id else trade.taker_account
