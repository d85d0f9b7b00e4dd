"""What the simulated participants follow and where they quote. Pure."""

from decimal import Decimal
from itertools import islice, pairwise
from random import Random

import pytest

from api.demo.quotes import BUY, FINE_LEVELS, SELL, Level, is_too_far, lots_at, step_ticks, wanted
from api.demo.recording import bitcoin, ether


def test_the_recording_has_no_end_and_no_jump() -> None:
    prices = [moment.price for moment in islice(bitcoin(every_rows=4), 1000)]
    assert len(prices) == 1000
    assert all(abs(after - before) / before < Decimal("0.002") for before, after in pairwise(prices))
    assert prices[:345] == prices[690 : 690 + 310] + prices[310:345], "forwards, backwards, forwards"


def test_ether_follows_bitcoin_with_a_mind_of_its_own() -> None:
    pairs = list(islice(zip(bitcoin(every_rows=4), ether(Random(1), every_rows=4), strict=False), 2000))
    ratios = [eth.price / btc.price for btc, eth in pairs]
    assert Decimal("0.0430") < min(ratios) < max(ratios) < Decimal("0.0438")
    assert len(set(ratios)) > 100


@pytest.mark.parametrize(("price_ticks", "step"), [(6_180_000, 200), (268_000, 10), (10_000, 1), (10, 1)])
def test_the_ladder_has_round_steps(price_ticks: int, step: int) -> None:
    assert step_ticks(price_ticks) == step


def test_both_sides_are_quoted_around_the_middle_and_never_cross() -> None:
    middle, step = 6_180_055, 100
    levels = list(wanted(middle, step))
    bids, asks = ([level.price_ticks for level in levels if level.side == side] for side in (BUY, SELL))
    assert max(bids) < middle < min(asks)
    assert len(bids) == len(set(bids)) > 2 * FINE_LEVELS
    assert len(asks) == len(set(asks)) > 2 * FINE_LEVELS
    assert len({level.index for level in levels}) == len(levels), "one order per step"


def test_what_is_far_from_the_price_is_taken_back_and_shows_more() -> None:
    near, far = Level(61_801, SELL, 6_180_101), Level(62_500, SELL, 6_250_000)
    assert not is_too_far(near, 6_180_055, 100)
    assert is_too_far(far, 6_180_055, 100)
    shown = {level: sum(lots_at(level, 6_180_055, 100, Random(n), 30_000) for n in range(50)) for level in (near, far)}
    assert shown[far] > 10 * shown[near]
