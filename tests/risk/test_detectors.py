"""Each detector on a scene that fits on a page: what it finds, what it leaves alone, and that the same facts have the same key."""

from dataclasses import replace
from decimal import Decimal
from itertools import count

import pytest

from risk.surveillance import circles, momentum, pressure, velocity, wash
from risk.surveillance.detectors import examine
from risk.surveillance.owners import owners
from risk.surveillance.scene import BUY, SELL, Order, Scene, Trade, severity_of

NOON = 43_200_000
_ids = count(1)


def trade(at_ms: int, seller: int, buyer: int, quantity: int = 10, price: str = "100", *, taker: str = BUY, **change: str) -> Trade:
    number = next(_ids)
    maker_account, taker_account = (seller, buyer) if taker == BUY else (buyer, seller)
    return Trade(
        id=f"t{number}",
        at_ms=NOON + at_ms,
        price=Decimal(price),
        quantity=Decimal(quantity),
        taker_side=taker,
        maker_order=change.get("maker_order", f"m{number}"),
        taker_order=change.get("taker_order", f"k{number}"),
        maker_account=maker_account,
        taker_account=taker_account,
    )


def order(
    account: int, side: str, quantity: int, placed_ms: int, ended_ms: int | None, price: str = "100", *, filled: int = 0, name: str = ""
) -> Order:
    return Order(
        id=name or f"o{next(_ids)}",
        account=account,
        side=side,
        price=Decimal(price),
        quantity=Decimal(quantity),
        filled=Decimal(filled),
        placed_ms=NOON + placed_ms,
        ended_ms=None if ended_ms is None else NOON + ended_ms,
        cancelled=ended_ms is not None and filled < quantity,
    )


def scene(*trades: Trade, orders: tuple[Order, ...] = (), same: dict[int, int] | None = None, first: int = 0) -> Scene:
    return Scene(symbol_id=1, trades=trades, orders=orders, owners=same or {}, first=first)


# -- owners


def test_owners_are_grouped_by_name_and_by_link_and_links_carry_on() -> None:
    beneficial = {1: "Ada  Lovelace", 2: "ada lovelace ", 3: "", 4: "", 5: "Charles", 6: "Grace"}
    assert owners(beneficial, [(3, 5), (2, 3)]) == {1: 1, 2: 1, 3: 1, 5: 1}


# -- wash trading


def test_two_accounts_of_one_owner_that_trade_together_wash() -> None:
    orders = tuple(order(1, SELL, 10, n * 1_000, n * 1_000, filled=10, name=f"m-{n}") for n in range(3))
    trades = [trade(n * 1_000, 1, 2, maker_order=f"m-{n}") for n in range(3)]
    [low, medium, high] = wash.find(scene(*trades, orders=orders, same={1: 1, 2: 1}))
    assert [finding.severity for finding in (low, medium, high)] == ["LOW", "MEDIUM", "HIGH"]
    assert high.trades == tuple(t.id for t in trades)
    assert high.accounts == (1, 2)


def test_accounts_of_one_owner_that_meet_once_among_much_else_do_not() -> None:
    elsewhere = [trade(n * 1_000, 1, 9) for n in range(20)]
    assert wash.find(scene(*elsewhere, trade(30_000, 1, 2), same={1: 1, 2: 1})) == []


def test_strangers_do_not_wash() -> None:
    assert wash.find(scene(*[trade(n, 1, 2) for n in range(9)])) == []


# -- circles


def test_a_quantity_that_comes_back_went_in_a_circle() -> None:
    ring = [trade(0, 1, 2, 100), trade(20_000, 2, 3, 60), trade(22_000, 2, 3, 38), trade(60_000, 3, 1, 97)]
    [found] = circles.find(scene(trade(-5_000, 8, 9), *ring))
    assert found.accounts == (1, 2, 3)
    assert found.details["chain"] == "1 → 2 → 3 → 1"
    assert found.trades == tuple(t.id for t in ring)


@pytest.mark.parametrize(
    "last",
    [trade(60_000, 3, 1, 50), trade(60_000, 3, 4, 100), trade(3_600_000, 3, 1, 100), trade(60_000, 1, 3, 100)],
    ids=["half of it", "to somebody else", "an hour later", "the other way round"],
)
def test_what_does_not_come_back_did_not(last: Trade) -> None:
    assert circles.find(scene(trade(0, 1, 2, 100), trade(20_000, 2, 3, 100), last)) == []


def test_who_trades_with_everybody_is_in_no_circle() -> None:
    others = [trade(n * 500, 2, 20 + n, 100) for n in range(40)]
    assert circles.find(scene(trade(0, 1, 2, 100), *others, trade(21_000, 2, 3, 100), trade(22_000, 3, 1, 100))) == []


# -- spoofing and layering


def pressed(levels: int, *, cancelled_ms: int = 1_000, size: int = 60, both: bool = False) -> Scene:
    shown = [order(1, SELL, size, -3_000 + n, cancelled_ms, f"100.{10 + n}") for n in range(levels)]
    if both:
        shown += [order(1, BUY, size, -3_000 + n, cancelled_ms, f"99.{10 + n}") for n in range(levels)]
    wanted = order(1, BUY, 10, -2_000, 0, filled=10, name="wanted")
    return scene(trade(0, 2, 1, 10, taker=SELL, maker_order="wanted"), orders=(*shown, wanted))


def test_a_staircase_that_vanishes_after_a_fill_is_layering() -> None:
    [found] = pressure.find(pressed(4))
    assert (found.kind, found.key) == ("LAYERING", "layering:1:wanted")
    assert len(found.orders) == 4


def test_one_large_order_that_does_so_is_spoofing() -> None:
    [found] = pressure.find(pressed(1, size=300))
    assert found.kind == "SPOOFING"


@pytest.mark.parametrize(
    "harmless",
    [pressed(4, cancelled_ms=60_000), pressed(4, both=True), pressed(1, size=15), pressed(3, cancelled_ms=-500)],
    ids=["cancelled a minute later", "quotes on both sides", "small", "cancelled before"],
)
def test_what_is_not_pressure(harmless: Scene) -> None:
    assert pressure.find(harmless) == []


def test_doing_it_again_makes_it_surer() -> None:
    once = pressed(1, size=100)
    moved = [replace(t, id="again", at_ms=t.at_ms + 60_000, maker_order="wanted-2") for t in once.trades]
    orders = [
        replace(o, id=f"{o.id}-2", placed_ms=o.placed_ms + 60_000, ended_ms=(o.ended_ms or 0) + 60_000) for o in once.orders
    ]  # fmt: skip
    found = pressure.find(scene(*once.trades, *moved, orders=(*once.orders, *orders)))
    assert len(found) == 2
    assert found[1].score > found[0].score
    assert found[1].details["episodes"] == "2"


# -- velocity


def test_fifty_brief_orders_in_five_seconds_are_too_fast() -> None:
    burst = tuple(order(1, BUY, 1, n * 90, n * 90 + 200) for n in range(55))
    [found] = velocity.find(scene(orders=burst))
    assert found.accounts == (1,)
    assert found.score == Decimal("0.55")


@pytest.mark.parametrize(
    "orders",
    [
        tuple(order(1, BUY, 1, n * 90, n * 90 + 200) for n in range(49)),
        tuple(order(1, BUY, 1, n * 110, n * 110 + 200) for n in range(60)),
        tuple(order(1, BUY, 1, n * 50, n * 50 + 60_000) for n in range(80)),
        tuple(order(n % 2, BUY, 1, n * 60, n * 60 + 200) for n in range(80)),
    ],
    ids=["49", "slower than 10 a second", "left standing", "of two accounts"],
)
def test_what_is_not_too_fast(orders: tuple[Order, ...]) -> None:
    assert velocity.find(scene(orders=orders)) == []


# -- momentum ignition


def ignited(*, back_at: str = "100.40", back: int = 30, driver: int = 1) -> Scene:
    prices = ["100.00", "100.10", "100.30"]
    drive = [trade(n * 2_000, 9, driver if n == 2 else 1, 10, price) for n, price in enumerate(prices)]
    return scene(*drive, trade(6_000, 9, 7, 5, "100.45"), trade(20_000, 1, 7, back, back_at, taker=SELL))


def test_driving_the_price_and_turning_round_at_a_profit_is_ignition() -> None:
    [found] = momentum.find(ignited())
    assert found.accounts == (1,)
    assert found.score == 1


@pytest.mark.parametrize(
    "harmless",
    [ignited(back_at="100.05"), ignited(back=5), ignited(driver=3)],
    ids=["at a loss", "keeps it", "two aggressive orders only"],
)
def test_what_is_no_ignition(harmless: Scene) -> None:
    assert momentum.find(harmless) == []


# -- all of them


@pytest.mark.parametrize("told", [pressed(4), ignited(), scene(trade(0, 1, 2), trade(5_000, 1, 2), same={1: 1, 2: 1})])
def test_what_was_judged_before_is_not_told_again_and_keys_do_not_change(told: Scene) -> None:
    whole = examine(told)
    assert whole
    assert [finding.key for finding in examine(told)] == [finding.key for finding in whole]
    again = replace(told, first=len(told.trades))
    assert [finding for finding in examine(again) if finding.kind != "VELOCITY"] == []


def test_severities_follow_the_score() -> None:
    assert [severity_of(Decimal(score)) for score in ("0.59", "0.6", "0.79", "0.8")] == ["LOW", "MEDIUM", "MEDIUM", "HIGH"]
