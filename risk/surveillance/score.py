"""How suspicions add up to the score of an account, which the pre-trade check reads: a pure function of what was found and when."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from risk.surveillance.scene import CRITICAL, HIGH, LOW, MEDIUM, NOTHING, ONE, rounded

DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Scoring:
    """`half_life_ms`: after so long a suspicion counts half. `weights`: by severity, what a suspicion of score 1 counts when it is new."""

    half_life_ms: int = 7 * DAY_MS
    weights: Mapping[str, Decimal] = field(
        default_factory=lambda: {LOW: Decimal("0.15"), MEDIUM: Decimal("0.3"), HIGH: Decimal("0.5"), CRITICAL: Decimal("0.8")}
    )


@dataclass(frozen=True, slots=True)
class Signal:
    """A suspicion as the score sees it."""

    severity: str
    score: Decimal
    at_ms: int


def account_score(signals: Iterable[Signal], now_ms: int, scoring: Scoring = Scoring()) -> Decimal:
    """0 (nothing known) to 1, two decimals: 1 − ∏(1 − weight × score × ½^(age / half-life)).

    Independent suspicions strengthen each other and never exceed 1; what is older counts less, and nothing is ever forgotten at a stroke.
    """
    clean = ONE
    for signal in signals:
        age = Decimal(max(0, now_ms - signal.at_ms)) / scoring.half_life_ms
        clean *= ONE - scoring.weights.get(signal.severity, NOTHING) * signal.score * Decimal("0.5") ** age
    return rounded(ONE - clean)
