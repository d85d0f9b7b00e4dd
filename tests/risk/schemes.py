"""Manipulation made to order and hidden in a real day: every scheme has its own accounts, so an alert can be held against what was done.

How a scheme goes is drawn at random, widely, from what such schemes are known to look like; nothing here knows what the detectors are set
to. Beside the schemes act honest participants who look like them from afar.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from matching.core.messages import BUY, SELL
from risk.surveillance.scene import Finding, Scene
from tests.risk.flow import Flow, Step

OPENS_MS: Final = (9 * 60 + 5) * 60_000
CLOSES_MS: Final = (17 * 60 + 15) * 60_000

ACCOUNTS: Final = 80
LINKED: Final = ((7, 19), (11, 28))  # honest accounts of one owner, who trade for themselves and may meet by chance


@dataclass(frozen=True)
class Scheme:
    """One manipulation, or honest trading that looks like one (`kind` ""). `groups`: of its accounts, those that have one owner.
    `came_off`: whether it did anything; an ignition that nobody followed is no ignition."""

    kind: str
    accounts: tuple[int, ...]
    groups: tuple[tuple[int, ...], ...] = ()
    came_off: Callable[[Flow], bool] = lambda flow: True


@dataclass(frozen=True)
class Day:
    scene: Scene
    schemes: list[Scheme]


def make_day(seed: int, *, per_kind: int, accounts: int = ACCOUNTS, honest: int = 3) -> Day:
    """The recorded day with so many schemes of each kind, and honest look-alikes of each sort."""
    chance = random.Random(seed)
    flow, schemes = Flow(), []
    number = 1000
    for kind, plan in PLANS.items():
        # Half of the ignitions do not come off: nobody sells to who drives, or nobody follows.
        count = honest if kind.startswith("honest") else per_kind * (2 if kind == "MOMENTUM_IGNITION" else 1)
        for _ in range(count):
            begin = chance.randrange(OPENS_MS, CLOSES_MS)
            scheme = plan(flow, random.Random(chance.random()), begin, number)
            schemes.append(scheme)
            number += 100
    flow.play()
    schemes = [scheme for scheme in schemes if scheme.came_off(flow)]
    owners = {account: min(group) for scheme in schemes for group in scheme.groups for account in group}
    owners |= {account: min(pair) for pair in LINKED for account in pair}
    return Day(flow.scene(chance, accounts=accounts, owners=owners), schemes)


def untouched_day(seed: int, *, accounts: int = ACCOUNTS) -> Scene:
    flow = Flow()
    flow.play()
    owners = {account: min(pair) for pair in LINKED for account in pair}
    return flow.scene(random.Random(seed), accounts=accounts, owners=owners)


# -- how participants trade


def other(side: int) -> int:
    return SELL if side == BUY else BUY


def worse(side: int, ticks: int, by: int) -> int:
    """A price so many ticks farther from the other side."""
    return max(1, ticks - by if side == BUY else ticks + by)


def seconds(chance: random.Random, low: float, high: float) -> int:
    """Milliseconds, spread evenly over orders of magnitude."""
    return int(1000 * low * (high / low) ** chance.random())


def nothing(flow: Flow) -> None:
    pass


def hand_over(
    flow: Flow, chance: random.Random, seller: int, buyer: int, lots: int, *, delay_ms: int, then: Step = nothing, patience: int = 20
) -> None:
    """The seller offers inside the spread, or in front of it, and the buyer takes soon after; either may be the one who rests. Where
    there is no room they wait a little for it, or take a short queue at the price along with theirs."""
    side = chance.choice((BUY, SELL))
    resting, taking = (buyer, seller) if side == BUY else (seller, buyer)
    bid, ask = flow.best(BUY), flow.best(SELL)
    if bid is None or ask is None:
        return
    inside = list(range(bid + 1, ask))
    ticks = chance.choice(inside) if inside else (bid if side == BUY else ask)
    if flow.lots_until(side, ticks) > lots and patience:
        again = partial(
            hand_over, chance=chance, seller=seller, buyer=buyer, lots=lots, delay_ms=delay_ms, then=then, patience=patience - 1
        )
        flow.at(flow.now_ms + chance.randint(200, 2_000), again)
        return
    order_id = flow.place(resting, side, ticks, lots)

    def take(flow: Flow) -> None:
        if order_id in flow.book:
            flow.place(taking, other(side), ticks, flow.lots_until(side, ticks), rests=False)
        flow.at(flow.now_ms + 2_000, lambda flow: flow.cancel(order_id))
        then(flow)

    flow.at(flow.now_ms + delay_ms, take)


def small_talk(flow: Flow, chance: random.Random, account: int, lots: int) -> None:
    """A small trade with whoever is there."""
    side = chance.choice((BUY, SELL))
    price = flow.best(other(side))
    if price is not None:
        flow.place(account, side, price, max(1, lots), rests=False)


# -- schemes


def wash(flow: Flow, chance: random.Random, begin: int, number: int) -> Scheme:
    accounts = tuple(range(number, number + chance.randint(2, 4)))
    at, lots = begin, chance.randint(5, 400)
    for _ in range(chance.randint(1, 9)):
        seller, buyer = chance.sample(accounts, 2)
        size = max(1, int(lots * chance.uniform(0.5, 1.5)))
        flow.at(at, partial(hand_over, chance=chance, seller=seller, buyer=buyer, lots=size, delay_ms=seconds(chance, 0.05, 20)))
        if chance.random() < 0.3:
            flow.at(at + 500, partial(small_talk, chance=chance, account=seller, lots=size // 5))
        at += seconds(chance, 1, 120)
    return Scheme("WASH_TRADING", accounts, (accounts,))


def circle(flow: Flow, chance: random.Random, begin: int, number: int) -> Scheme:
    accounts = tuple(range(number, number + chance.randint(3, 5)))
    lots, size = chance.randint(20, 600), 1.0
    legs: list[tuple[int, int, int]] = []
    for _ in range(chance.randint(1, 3)):
        for seller, buyer in zip(accounts, (*accounts[1:], accounts[0]), strict=True):
            parts = chance.choice((1, 1, 2, 3))
            legs += [(seller, buyer, max(1, int(lots * size / parts)))] * parts
            size *= chance.uniform(0.94, 1.02)

    def go_on(flow: Flow) -> None:
        if legs:
            seller, buyer, part = legs.pop(0)
            wait = seconds(chance, 1, 6) if legs and legs[0][:2] == (seller, buyer) else seconds(chance, 1, 100)
            if chance.random() < 0.15:
                small_talk(flow, chance, buyer, lots // 10)
            hand_over(
                flow, chance, seller, buyer, part, delay_ms=seconds(chance, 0.05, 2), then=lambda flow: flow.at(flow.now_ms + wait, go_on)
            )

    flow.at(begin, go_on)
    return Scheme("CIRCULAR_TRADING", accounts)


def press(
    flow: Flow, chance: random.Random, begin: int, number: int, *, levels: range, multiple: tuple[float, float]
) -> Callable[[Flow], bool]:
    """One or several times: show much on one side, have a little filled on the other, take away what was shown."""
    abuser, victim = number, number + 50
    at, lots = begin, chance.randint(20, 150)
    side = chance.choice((BUY, SELL))  # of what is really wanted
    cycles: list[tuple[list[str], list[str]]] = []
    for _ in range(chance.randint(1, 5)):
        cycles.append(_press_once(flow, chance, at, abuser, victim, side, lots, levels, multiple))
        if chance.random() < 0.3:
            flow.at(at + 40_000, partial(small_talk, chance=chance, account=abuser, lots=lots))
            flow.at(
                at + 50_000, partial(_large, account=abuser, side=chance.choice((BUY, SELL)), lots=lots, life_ms=seconds(chance, 1, 60))
            )
        at += 80_000 + seconds(chance, 5, 240)
        if chance.random() < 0.3:
            side = other(side)

    def came_off(flow: Flow) -> bool:
        """At least once something was bought (sold) while what was shown did not trade."""
        return any(any(map(flow.filled, wanted)) and made and not any(map(flow.filled, made)) for made, wanted in cycles)

    return came_off


def _press_once(
    flow: Flow,
    chance: random.Random,
    at: int,
    abuser: int,
    victim: int,
    side: int,
    lots: int,
    levels: range,
    multiple: tuple[float, float],
) -> tuple[list[str], list[str]]:
    """Returns the orders that are shown and those that are wanted, as they will be placed."""
    count, shown = chance.choice(levels), int(lots * chance.uniform(*multiple))
    first = at + (seconds(chance, 0.1, 8) if chance.random() < 0.7 else 0)  # of the wanted order; what is shown may come before or after
    fill = at + 8_000 + seconds(chance, 0.2, 60)
    made: list[str] = []
    wanted: list[str] = []

    def show(flow: Flow, away: int, size: int) -> None:
        best = flow.best(other(side))
        if best is not None:
            made.append(flow.place(abuser, other(side), worse(other(side), best, away), size))

    def want(flow: Flow) -> None:
        bid, ask = flow.best(BUY), flow.best(SELL)
        if bid is not None and ask is not None:
            room = ask - bid > 1
            price = (bid + room) if side == BUY else (ask - room)
            wanted.append(flow.place(abuser, side, price, lots))

    def be_filled(flow: Flow) -> None:
        for order_id in wanted:
            ticks = flow.placed[order_id].ticks
            if order_id in flow.book:
                flow.place(victim, other(side), ticks, flow.lots_until(side, ticks), rests=False)

    def look(flow: Flow) -> None:
        if flow.now_ms < fill and not any(flow.filled(order_id) == lots for order_id in wanted):
            flow.at(flow.now_ms + 200, look)
            return
        vanish = flow.now_ms + seconds(chance, 0.1, 6)
        for order_id in made:
            flow.at(vanish, partial(Flow.cancel, order_id=order_id))
            vanish += chance.randint(0, 300)
        for order_id in wanted:
            flow.at(vanish + 1_000, partial(Flow.cancel, order_id=order_id))

    away, when = chance.randint(0, 4), at
    for _ in range(count):
        size = max(1, int(shown / count * chance.uniform(0.8, 1.2)))
        flow.at(when, partial(show, away=away, size=size))
        away += chance.randint(1, 3)
        when += chance.randint(10, 700)
    flow.at(first, want)
    flow.at(fill, be_filled)
    flow.at(at + 5_000, look)
    return made, wanted


def spoof(flow: Flow, chance: random.Random, begin: int, number: int) -> Scheme:
    came_off = press(flow, chance, begin, number, levels=range(1, 3), multiple=(4, 25))
    return Scheme("SPOOFING", (number,), came_off=came_off)


def layer(flow: Flow, chance: random.Random, begin: int, number: int) -> Scheme:
    came_off = press(flow, chance, begin, number, levels=range(3, 9), multiple=(4, 30))
    return Scheme("LAYERING", (number,), came_off=came_off)


def stuff(flow: Flow, chance: random.Random, begin: int, number: int) -> Scheme:
    at, account, side = begin, number, chance.choice((BUY, SELL))
    life, away = (0.02, 0.8), chance.randint(2, 40)
    for _ in range(chance.randint(1, 4)):
        count, length = chance.randint(80, 500), seconds(chance, 0.5, 6)
        for n in range(count):
            flow.at(at + length * n // count, partial(_flash, account=account, side=side, away=away, life_ms=seconds(chance, *life)))
        at += length + seconds(chance, 1, 60)
    return Scheme("VELOCITY", (number,))


def _flash(flow: Flow, account: int, side: int, away: int, life_ms: int) -> None:
    best = flow.best(side)
    if best is not None:
        order_id = flow.place(account, side, worse(side, best, away), 1 + away)
        flow.at(flow.now_ms + life_ms, lambda flow: flow.cancel(order_id))


def ignite(flow: Flow, chance: random.Random, begin: int, number: int) -> Scheme:
    """Sweep level after level, wait for followers to take and bid (offer) behind, and sell (buy) to them at a profit."""
    abuser, side = number, chance.choice((BUY, SELL))
    made: list[str] = []
    turned: list[str] = []

    def taken(flow: Flow) -> int:
        return sum(flow.filled(order_id) for order_id in made)

    def sweep(flow: Flow) -> None:
        prices = [ticks for ticks, _ in flow.book.levels(other(side))][: chance.randint(1, 3)]
        if prices:
            made.append(flow.place(abuser, side, prices[-1], flow.lots_until(other(side), prices[-1]), rests=False))

    def follow(flow: Flow) -> None:
        best, lots = flow.best(other(side)), max(1, int(taken(flow) * chance.uniform(0.1, 0.4)))
        if best is not None:
            bids = chance.random() < 0.8
            flow.place(number + 50 + chance.randint(0, 9), side, worse(side, best, bids), lots if bids else max(1, lots // 10))

    def turn(flow: Flow) -> None:
        best, done = flow.best(side), taken(flow)
        if best is not None and done:
            paid = sum(flow.filled(order_id) * flow.placed[order_id].ticks for order_id in made) // done
            if best > paid if side == BUY else best < paid:
                turned.append(flow.place(abuser, other(side), worse(other(side), paid, 1), max(1, int(done * share)), rests=False))

    at, share = begin, chance.uniform(0.2, 0.5)
    for _ in range(chance.randint(3, 8)):
        flow.at(at, sweep)
        at += seconds(chance, 0.3, 6)
    for _ in range(chance.randint(5, 12)):
        flow.at(at, follow)
        at += seconds(chance, 0.2, 5)
    at += seconds(chance, 0.5, 20)
    for _ in range(chance.randint(3, 5)):
        flow.at(at, turn)
        at += seconds(chance, 0.2, 5)
    return Scheme("MOMENTUM_IGNITION", (abuser,), came_off=lambda flow: sum(map(flow.filled, turned)) * 3 >= taken(flow) > 0)


# -- honest participants


def maker(flow: Flow, chance: random.Random, begin: int, number: int) -> Scheme:
    """Quotes both sides at several prices, and after every fill takes all away and quotes anew; all day long."""
    at, levels, lots = OPENS_MS + chance.randint(0, 600_000), chance.randint(1, 5), chance.randint(50, 600)
    quotes: list[str] = []

    def quote(flow: Flow) -> None:
        bid, ask = flow.best(BUY), flow.best(SELL)
        for side, best in ((BUY, bid), (SELL, ask)):
            if best is not None:
                quotes.extend(flow.place(number, side, worse(side, best, n), lots) for n in range(levels))

    def look(flow: Flow) -> None:
        if any(flow.filled(q) for q in quotes):
            for order_id in quotes:
                flow.cancel(order_id)
            quotes.clear()
            flow.at(flow.now_ms + 1_000, quote)
        if flow.now_ms < CLOSES_MS:
            flow.at(flow.now_ms + 500, look)

    flow.at(at, quote)
    flow.at(at + 100, look)
    return Scheme("", (number,))


def hesitant(flow: Flow, chance: random.Random, begin: int, number: int) -> Scheme:
    """Places large orders and thinks better of it, and buys a little now and then."""
    at = begin
    for _ in range(20):
        side = chance.choice((BUY, SELL))
        flow.at(at, partial(_large, account=number, side=side, lots=chance.randint(300, 2_000), life_ms=seconds(chance, 2, 120)))
        at += seconds(chance, 20, 400)
        flow.at(at, partial(small_talk, chance=chance, account=number, lots=chance.randint(5, 50)))
        at += seconds(chance, 20, 400)
    return Scheme("", (number,))


def _large(flow: Flow, account: int, side: int, lots: int, life_ms: int) -> None:
    best = flow.best(side)
    if best is not None:
        order_id = flow.place(account, side, worse(side, best, 1), lots)
        flow.at(flow.now_ms + life_ms, lambda flow: flow.cancel(order_id))


def slicer(flow: Flow, chance: random.Random, begin: int, number: int) -> Scheme:
    """Works a large order through the day in slices that follow the best price: many cancels, one direction."""
    side, lots = chance.choice((BUY, SELL)), chance.randint(20, 200)
    current: list[str] = []

    def follow(flow: Flow) -> None:
        best = flow.best(side)
        for order_id in current:
            flow.cancel(order_id)
        if best is not None:
            current[:] = [flow.place(number, side, best, lots)]
        if flow.now_ms < min(CLOSES_MS, begin + 3_600_000):
            flow.at(flow.now_ms + seconds(chance, 1, 15), follow)

    flow.at(begin, follow)
    return Scheme("", (number,))


def sweeper(flow: Flow, chance: random.Random, begin: int, number: int) -> Scheme:
    """Buys (sells) a lot at once in several sweeps, and keeps it."""
    side = chance.choice((BUY, SELL))
    for n in range(4):
        flow.at(begin + n * 5_000, partial(_sweep, account=number, side=side, levels=3))
    return Scheme("", (number,))


def _sweep(flow: Flow, account: int, side: int, levels: int) -> None:
    prices = [ticks for ticks, _ in flow.book.levels(other(side))][:levels]
    if prices:
        flow.place(account, side, prices[-1], flow.lots_until(other(side), prices[-1]), rests=False)


Plan = Callable[[Flow, random.Random, int, int], Scheme]

PLANS: Final[dict[str, Plan]] = {
    "WASH_TRADING": wash,
    "CIRCULAR_TRADING": circle,
    "SPOOFING": spoof,
    "LAYERING": layer,
    "VELOCITY": stuff,
    "MOMENTUM_IGNITION": ignite,
    "honest: maker": maker,
    "honest: hesitant": hesitant,
    "honest: slicer": slicer,
    "honest: sweeper": sweeper,
}
KINDS: Final = tuple(kind for kind in PLANS if not kind.startswith("honest"))


# -- measuring


@dataclass(slots=True)
class Measure:
    """Of one kind: schemes hidden, schemes found, alerts, alerts about a scheme of this kind."""

    hidden: int = 0
    found: int = 0
    alerts: int = 0
    right: int = 0

    @property
    def precision(self) -> float:
        return self.right / self.alerts if self.alerts else 1.0

    @property
    def recall(self) -> float:
        return self.found / self.hidden if self.hidden else 1.0


def measure(day: Day, findings: list[Finding], into: dict[str, Measure]) -> None:
    """Hold alerts against what was done: an alert is right when it names an account of a scheme of its kind."""
    for kind in KINDS:
        total = into.setdefault(kind, Measure())
        alerts = [set(finding.accounts) for finding in findings if finding.kind == kind]
        schemes = [set(scheme.accounts) for scheme in day.schemes if scheme.kind == kind]
        total.hidden += len(schemes)
        total.alerts += len(alerts)
        total.found += sum(any(accounts & scheme for accounts in alerts) for scheme in schemes)
        total.right += sum(any(accounts & scheme for scheme in schemes) for accounts in alerts)
