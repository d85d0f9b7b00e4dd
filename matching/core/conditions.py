"""What a symbol's engine knows besides its book: the rules it watches over, the reference price, how the price went, and when the present
phase ends by itself. Kept with the checkpoint, changed by commands alone, so that replay comes to the same."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Self

from matching.core.messages import MAX_TICKS

WINDOW_S: Final = 60  # the dynamic band is around the price of so long ago
EXTENSION_MS: Final = 60_000
EXTENSIONS: Final = 3
BAND_ONE: Final = 10_000

PRICE_BAND: Final = "PRICE_BAND"  # causes of a status
AUCTION_BAND: Final = "AUCTION_BAND"
AUCTION_OVER: Final = "AUCTION_OVER"
HALT_OVER: Final = "HALT_OVER"


@dataclass(frozen=True, slots=True)
class Rules:
    """Of a symbol's trading rules what the engine itself watches over. Bands in parts of 10,000, null: off. `reference`: the price an
    operator has set for a symbol without a feed, as in `Conditions`."""

    dynamic_band: int | None = None
    static_band: int | None = None
    halt_ms: int = 60_000
    auction_ms: int = 60_000
    reference: tuple[int, int, str] | None = None

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Self:
        """From plain values."""
        reference = stored.get("reference")
        return cls(**{**stored, "reference": None if reference is None else tuple(reference)})


@dataclass(slots=True)
class Conditions:
    """`prices`: the last trade of every second that had one, as far back as the band looks, and one before that: [second, ticks], oldest
    first. `phase_ends_ms` 0: the present status ends by a command alone. `indicative`: price, lots and surplus of an auction now."""

    rules: Rules = field(default_factory=Rules)
    reference: tuple[int, int, str] | None = None  # neighbouring ticks, and the price itself
    prices: list[list[int]] = field(default_factory=list)
    phase_ends_ms: int = 0
    extensions: int = 0
    cause: str = ""
    status_number: int = 0  # of the last change of status; never below its engine sequence, and no two are equal
    indicative: tuple[int, int, int] | None = None

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Self:
        """From what `stored` gave."""
        known = dict(stored)
        known["rules"] = Rules.of(known.get("rules", {}))
        for name in ("reference", "indicative"):
            if known.get(name) is not None:
                known[name] = tuple(known[name])
        return cls(**known)

    def stored(self) -> dict[str, Any]:
        """Plain values, for the checkpoint."""
        return asdict(self)

    def traded(self, ticks: int, stamp_ms: int) -> bool:
        """A trade at this price. Returns whether a second has begun of which nothing was known."""
        second = stamp_ms // 1000
        prices = self.prices
        if prices and prices[-1][0] == second:
            self._goes_on(ticks)
            return False
        prices.append([second, ticks])
        while len(prices) > 1 and prices[1][0] <= second - WINDOW_S:
            prices.pop(0)
        return True

    def traded_last(self, ticks: int, stamp_ms: int) -> None:
        """After recovery: the second that was going on is stored with the first of its trades that was settled; this was its last."""
        if self.prices and self.prices[-1][0] == stamp_ms // 1000:
            self._goes_on(ticks)

    def _goes_on(self, ticks: int) -> None:
        """Another trade in the last second there is. The only price there is stays what it was: it is the measure, and would move with
        every batch of its second."""
        if len(self.prices) > 1:
            self.prices[-1][1] = ticks

    def begin_anew(self, ticks: int, stamp_ms: int) -> None:
        """An auction has found a price: what was before is no measure of it."""
        self.prices = [[stamp_ms // 1000, ticks]]

    def range_at(self, stamp_ms: int) -> tuple[int, int]:
        """Lowest and highest price in ticks that trades may have now: around the price of WINDOW_S ago, or the oldest one known."""
        band = self.rules.dynamic_band
        if band is None or not self.prices:
            return 0, MAX_TICKS
        since = stamp_ms // 1000 - WINDOW_S
        measure = self.prices[0][1]
        for second, ticks in self.prices:
            if second > since:
                break
            measure = ticks
        return band_around(measure, measure, band)

    def auction_range(self, last_ticks: int) -> tuple[int, int]:
        """Prices that an auction may end at: the static band around the reference, or the last trade."""
        band = self.rules.static_band
        low, high = (last_ticks, last_ticks) if self.reference is None else self.reference[:2]
        if band is None or not high:
            return 0, MAX_TICKS
        return band_around(low, high, band)


def band_around(low: int, high: int, band: int) -> tuple[int, int]:
    """Ticks within `band` parts of 10,000 around a price between two neighbouring ticks."""
    return -(-low * (BAND_ONE - band) // BAND_ONE), high * (BAND_ONE + band) // BAND_ONE
