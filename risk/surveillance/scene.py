"""What a detector sees, and what it says."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from functools import cached_property
from typing import Final

BUY: Final = "BUY"
SELL: Final = "SELL"
OPPOSITE: Final = {BUY: SELL, SELL: BUY}

LOW, MEDIUM, HIGH, CRITICAL = "LOW", "MEDIUM", "HIGH", "CRITICAL"

NOTHING: Final = Decimal(0)
ONE: Final = Decimal(1)
HALF: Final = Decimal("0.5")
_HUNDREDTH: Final = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Trade:
    """Two orders met. Times in milliseconds since 1970 or any other beginning; all of a scene from the same one."""

    id: str
    at_ms: int
    price: Decimal
    quantity: Decimal
    taker_side: str
    maker_order: str
    taker_order: str
    maker_account: int
    taker_account: int

    @property
    def buyer(self) -> int:
        return self.taker_account if self.taker_side == BUY else self.maker_account

    @property
    def seller(self) -> int:
        return self.maker_account if self.taker_side == BUY else self.taker_account


@dataclass(frozen=True, slots=True)
class Order:
    """An order as it stood when the scene was read. `ended_ms` is null while it is open; `cancelled`: how it ended."""

    id: str
    account: int
    side: str
    price: Decimal | None
    quantity: Decimal
    filled: Decimal
    placed_ms: int
    ended_ms: int | None
    cancelled: bool

    @property
    def unfilled(self) -> Decimal:
        return self.quantity - self.filled

    def was_open(self, at_ms: int) -> bool:
        return self.placed_ms <= at_ms and (self.ended_ms is None or self.ended_ms > at_ms)


class Tally:
    """Some of a scene's trades in order, and how much they come to between two times: reckoned by differences, not by adding up again."""

    __slots__ = ("_sums", "numbers", "times")

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.times: list[int] = []
        self._sums: list[Decimal] = [NOTHING]

    def add(self, number: int, trade: Trade) -> None:
        self.numbers.append(number)
        self.times.append(trade.at_ms)
        self._sums.append(self._sums[-1] + trade.quantity)

    def until(self, number: int) -> int:
        """How many of them there are up to and with this number."""
        return bisect_right(self.numbers, number)

    def volume(self, since_ms: int, until_ms: int) -> Decimal:
        """Both times included."""
        return self._sums[bisect_right(self.times, until_ms)] - self._sums[bisect_left(self.times, since_ms)]


@dataclass(frozen=True)
class Scene:
    """One symbol over a stretch of time.

    `trades` in order; those before number `first` are context and have been judged before. `orders`: at least those of every account that
    traded from `first` on, as far back as the detectors look. `owners`: account → the lowest account of its beneficial owner
    (`risk.surveillance.owners`); an account that is not in it stands for itself.
    """

    symbol_id: int
    trades: Sequence[Trade]
    orders: Sequence[Order] = ()
    owners: Mapping[int, int] = field(default_factory=dict)
    first: int = 0

    def owner(self, account: int) -> int:
        return self.owners.get(account, account)

    @cached_property
    def times(self) -> list[int]:
        return [trade.at_ms for trade in self.trades]

    def before(self, number: int, window_ms: int) -> range:
        """Numbers of the trades up to and with this one that are not older than the window."""
        return range(bisect_left(self.times, self.times[number] - window_ms), number + 1)

    @cached_property
    def orders_of_owner(self) -> dict[int, list[Order]]:
        """By owner, in order of placing."""
        found: dict[int, list[Order]] = defaultdict(list)
        for order in sorted(self.orders, key=lambda order: (order.placed_ms, order.id)):
            found[self.owner(order.account)].append(order)
        return found

    @cached_property
    def shown_by_owner(self) -> dict[tuple[int, str], tuple[list[int], list[Order]]]:
        """By owner and side: its cancelled orders with a price, in order of their ends, and beside them when each ended."""
        found: dict[tuple[int, str], tuple[list[int], list[Order]]] = {}
        cancelled = [(o.ended_ms, o.id, o) for o in self.orders if o.cancelled and o.ended_ms is not None and o.price is not None]
        for ended_ms, _, order in sorted(cancelled, key=lambda entry: entry[:2]):
            times, kept = found.setdefault((self.owner(order.account), order.side), ([], []))
            times.append(ended_ms)
            kept.append(order)
        return found

    @cached_property
    def traded(self) -> dict[tuple[int, str], "Tally"]:
        """By owner and side, what it bought (sold)."""
        found: dict[tuple[int, str], Tally] = defaultdict(Tally)
        for number, trade in enumerate(self.trades):
            found[self.owner(trade.buyer), BUY].add(number, trade)
            found[self.owner(trade.seller), SELL].add(number, trade)
        return found

    @cached_property
    def taken(self) -> dict[tuple[int | None, str], "Tally"]:
        """By owner and side, what it took from others' orders; under null what anybody took."""
        found: dict[tuple[int | None, str], Tally] = defaultdict(Tally)
        for number, trade in enumerate(self.trades):
            owner = self.owner(trade.taker_account)
            if owner != self.owner(trade.maker_account):
                found[owner, trade.taker_side].add(number, trade)
            found[None, trade.taker_side].add(number, trade)
        return found

    @cached_property
    def _placed_by_owner(self) -> dict[int, list[int]]:
        return {owner: [order.placed_ms for order in orders] for owner, orders in self.orders_of_owner.items()}

    def own_orders(self, owner: int, since_ms: int, until_ms: int) -> list[Order]:
        """The owner's orders placed between two times, both included."""
        times = self._placed_by_owner.get(owner, [])
        return self.orders_of_owner[owner][bisect_left(times, since_ms) : bisect_right(times, until_ms)]

    def own_trades(self, owner: int, number: int, since_ms: int) -> list[Trade]:
        """The owner's trades from a time on up to and with this number."""
        numbers = self.trades_of_owner.get(owner, [])
        low = bisect_left(numbers, bisect_left(self.times, since_ms))
        return [self.trades[n] for n in numbers[low : bisect_right(numbers, number)]]

    @cached_property
    def trades_of_owner(self) -> dict[int, list[int]]:
        """By owner, numbers of the trades it had a part in, in order, each once."""
        found: dict[int, list[int]] = defaultdict(list)
        for number, trade in enumerate(self.trades):
            maker, taker = self.owner(trade.maker_account), self.owner(trade.taker_account)
            found[maker].append(number)
            if taker != maker:
                found[taker].append(number)
        return found


@dataclass(frozen=True, slots=True)
class Finding:
    """A suspicion. The same facts give the same `key`, whoever looks and when: an alert is raised once per key. `at_ms`: of what
    completed it. `score`: 0 to 1, two decimals; how sure the detector is, not how bad it is."""

    kind: str
    severity: str
    score: Decimal
    key: str
    title: str
    at_ms: int
    accounts: tuple[int, ...]
    orders: tuple[str, ...] = ()
    trades: tuple[str, ...] = ()
    details: Mapping[str, str] = field(default_factory=dict)


def rounded(score: Decimal) -> Decimal:
    """A score as it is told: 0 to 1, two decimals, half to even (nobody gains)."""
    return min(ONE, max(NOTHING, score)).quantize(_HUNDREDTH, rounding=ROUND_HALF_EVEN)


def severity_of(score: Decimal) -> str:
    """How a score is ranked in the queue: HIGH from 0.8, MEDIUM from 0.6, LOW below."""
    if score >= Decimal("0.8"):
        return HIGH
    return MEDIUM if score >= Decimal("0.6") else LOW


def median(values: Iterable[Decimal]) -> Decimal:
    """The middle one, of an even number the upper of the two; 0 of none."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2] if ordered else NOTHING


def once_per_key(findings: Iterable[Finding]) -> list[Finding]:
    """The surest of each key (of equals the first), in order of time."""
    found: dict[str, Finding] = {}
    for finding in sorted(findings, key=lambda finding: finding.at_ms):
        known = found.get(finding.key)
        if known is None or finding.score > known.score:
            found[finding.key] = finding
    return sorted(found.values(), key=lambda finding: finding.at_ms)


def saturating(value: Decimal, *, half_at: Decimal) -> Decimal:
    """0 at 0, 0.5 at `half_at`, towards 1 beyond: how a ratio without an upper end becomes a part of a score."""
    return value / (value + half_at) if value > 0 else NOTHING
