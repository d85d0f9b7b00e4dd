"""Where the market makers want to stand: a ladder of prices around the middle. Pure; in ticks and lots."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

BUY: Final = "BUY"
SELL: Final = "SELL"
FINE_LEVELS: Final = 10  # steps of one around the middle, then
COARSE_LEVELS: Final = 18  # steps of `COARSE` further out
COARSE: Final = 5
KEPT_WITHIN: Final = (COARSE_LEVELS + 6) * COARSE  # steps from the middle; what is further out is taken back
LADDER: Final = 0.00005  # a step, as a part of the price: finer looks busier, and costs orders and trades in proportion


@dataclass(frozen=True, slots=True)
class Level:
    """A place on the ladder: which step it is, its price, the side that stands there."""

    index: int
    side: str
    price_ticks: int


def step_ticks(price_ticks: int) -> int:
    """The ladder's step: 1, 2 or 5 times a power of ten, near a twenty-thousandth of the price."""
    wanted = max(1, int(price_ticks * LADDER))
    power = int(10 ** (len(str(wanted)) - 1))
    return max(nice * power for nice in (1, 2, 5) if nice * power <= wanted)


def wanted(middle_ticks: int, step: int) -> Iterator[Level]:
    """The levels that should be in the book, nearest first."""
    centre = middle_ticks // step
    fine = [*range(1, FINE_LEVELS + 1)]
    for away in fine:
        yield _level(centre - away, BUY, step)
        yield _level(centre + away, SELL, step)
    for away in range(1, COARSE_LEVELS + 1):
        below, above = (centre // COARSE - away) * COARSE, (centre // COARSE + away) * COARSE
        if centre - below > FINE_LEVELS:
            yield _level(below, BUY, step)
        if above - centre > FINE_LEVELS:
            yield _level(above, SELL, step)


def is_too_far(level: Level, middle_ticks: int, step: int) -> bool:
    return abs(level.index - middle_ticks // step) > KEPT_WITHIN


def lots_at(level: Level, middle_ticks: int, step: int, chance: Random, unit_lots: int) -> int:
    """How much to show there: more further out, never the same twice."""
    away = abs(level.index - middle_ticks // step)
    return max(1, int(unit_lots * chance.lognormvariate(-0.4, 0.7) * (1 + away / 12)))


def _level(index: int, side: str, step: int) -> Level:
    """Prices stand a little off the grid, always the same for one index."""
    return Level(index, side, index * step + (index * 7919) % step)
