"""Value at risk of a portfolio. Money goes in and comes out as Decimal; returns, which are no money, are reckoned in floats by numpy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_UP, Decimal
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

_CENT: Final = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class ValueAtRisk:
    """Losses that are not exceeded with the given confidence over one period of the price history; not negative. `periods`: how many
    returns they stand on."""

    historical: Decimal
    parametric: Decimal
    periods: int


def value_at_risk(
    positions: Mapping[str, Decimal], prices: Mapping[str, Sequence[Decimal]], *, confidence: float = 0.99, horizon: int = 1
) -> ValueAtRisk:
    """Historical: what the portfolio as it is now would have lost in the past periods, its empirical quantile (the lower sample, so that
    the loss is not understated). Parametric: mean and covariance of the same returns under a normal distribution.

    Args: positions: value of each holding in one currency (of now; negative is short). prices: per holding, oldest first, all equally
    many; a holding without prices is not at risk. horizon: periods ahead; losses grow with its square root.
    Returns money rounded up to cents (the prudent side). Zero when fewer than two returns are known.
    """
    names = [name for name in positions if len(prices.get(name, ())) >= 3 and positions[name] != 0]
    if not names:
        return ValueAtRisk(Decimal(0), Decimal(0), 0)
    length = min(len(prices[name]) for name in names)
    history: NDArray[np.float64] = np.array([[float(p) for p in prices[name][-length:]] for name in names])
    returns = history[:, 1:] / history[:, :-1] - 1.0
    values: NDArray[np.float64] = np.array([float(positions[name]) for name in names])
    profits = values @ returns
    quantile = float(np.quantile(profits, 1.0 - confidence, method="lower"))
    covariance = np.atleast_2d(np.cov(returns))
    deviation = float(np.sqrt(values @ covariance @ values))
    mean = float(values @ returns.mean(axis=1))
    z = NormalDist().inv_cdf(confidence)
    scale = float(np.sqrt(horizon))
    return ValueAtRisk(_money(-quantile * scale), _money(z * deviation * scale - mean * horizon), returns.shape[1])


def _money(loss: float) -> Decimal:
    return max(Decimal(0), Decimal(repr(round(float(loss), 6)))).quantize(_CENT, rounding=ROUND_UP)  # less is noise of the floats
