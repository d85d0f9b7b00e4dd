"""Scores, money-laundering rules, value at risk, portfolios: pure figures against figures reckoned by hand."""

from decimal import Decimal
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.aml import IN, OUT, Movement, examine
from risk.portfolio import Past, beyond, take
from risk.surveillance.score import DAY_MS, Signal, account_score
from risk.var import value_at_risk

HOUR = 3_600_000
_ids = count(1)

# -- scores


def test_nothing_known_is_nothing() -> None:
    assert account_score([], 0) == 0


def test_a_suspicion_halves_in_a_week() -> None:
    signal = Signal("HIGH", Decimal(1), 0)
    assert [account_score([signal], weeks * 7 * DAY_MS) for weeks in range(4)] == [Decimal(s) for s in ("0.5", "0.25", "0.12", "0.06")]


def test_suspicions_strengthen_each_other_and_stay_below_one() -> None:
    assert account_score([Signal("HIGH", Decimal(1), 0)] * 2, 0) == Decimal("0.75")
    assert account_score([Signal("CRITICAL", Decimal(1), 0)] * 100, 0) <= 1


@given(
    signals=st.lists(
        st.builds(Signal, st.sampled_from(["LOW", "MEDIUM", "HIGH", "CRITICAL"]), st.decimals(0, 1, places=2), st.integers(0, 30 * DAY_MS)),
        max_size=20,
    ),
    days=st.integers(30, 90),
)
def test_scores_only_fall_with_time_and_only_rise_with_signals(signals: list[Signal], days: int) -> None:
    now = account_score(signals, days * DAY_MS)
    assert 0 <= now <= 1
    assert account_score(signals, (days + 1) * DAY_MS) <= now
    assert account_score([*signals, Signal("LOW", Decimal(1), days * DAY_MS)], days * DAY_MS) >= now


# -- money laundering


def movement(direction: str, value: str | None, at_h: float, account: int = 1, *marks: str) -> Movement:
    return Movement(f"m{next(_ids)}", account, direction, None if value is None else Decimal(value), int(at_h * HOUR), marks)


def kinds(*movements: Movement, **more: object) -> list[str]:
    return [finding.kind for finding in examine(movements, **more)]  # type: ignore[arg-type]


@pytest.mark.parametrize("values", [("9900", "9500", "8000"), ("7000", "7000", "7000", "7000")])
def test_just_below_again_and_again_is_structuring(values: tuple[str, ...]) -> None:
    assert kinds(*[movement(IN, value, n) for n, value in enumerate(values)]) == ["AML_STRUCTURING"]
    assert kinds(*[movement(OUT, value, n) for n, value in enumerate(values)]) == ["AML_STRUCTURING"]


@pytest.mark.parametrize(
    "movements",
    [
        [movement(IN, "9900", 0), movement(IN, "9900", 1)],
        [movement(IN, "10000", n) for n in range(5)],
        [movement(IN, "5000", n) for n in range(9)],
        [movement(IN, "9900", n * 30) for n in range(5)],
        [movement(IN, "9900", n, account=n) for n in range(5)],
        [movement(IN, "9900", 0), movement(OUT, "9900", 60), movement(IN, "9900", 61)],
        [movement(IN, None, n) for n in range(5)],
    ],
    ids=["twice", "at the threshold", "far below", "30 hours apart", "of five accounts", "both ways", "without a price"],
)
def test_what_is_not_structuring(movements: list[Movement]) -> None:
    assert "AML_STRUCTURING" not in kinds(*movements)


def test_what_leaves_within_a_day_of_coming_is_rapid() -> None:
    assert kinds(movement(IN, "20000", 0), movement(OUT, "9000", 3), movement(OUT, "8000", 5)) == ["AML_RAPID_IN_OUT"]


@pytest.mark.parametrize(
    "movements",
    [
        [movement(IN, "20000", 0), movement(OUT, "20000", 25)],
        [movement(IN, "20000", 0), movement(OUT, "15000", 3)],
        [movement(OUT, "20000", 0), movement(IN, "20000", 3)],
        [movement(IN, "4000", 0), movement(OUT, "4000", 3)],
    ],
    ids=["a day later", "most of it stays", "out before in", "small"],
)
def test_what_is_not_rapid(movements: list[Movement]) -> None:
    assert kinds(*movements) == []


def test_a_watched_mark_is_found_whatever_the_value_and_the_case() -> None:
    [found] = examine([movement(OUT, None, 0, 1, "bc1QEvil", "note")], watched={"bc1qevil"})
    assert (found.kind, found.severity) == ("AML_WATCH_LIST", "CRITICAL")


def test_movements_before_the_stretch_are_context_only() -> None:
    past = [movement(IN, "9900", n) for n in range(3)]
    assert kinds(*past, since_ms=10 * HOUR) == []
    assert kinds(*past, movement(IN, "9900", 11), since_ms=10 * HOUR) == ["AML_STRUCTURING"]


# -- value at risk


def prices(*returns: float) -> list[Decimal]:
    made = [Decimal(100)]
    for change in returns:
        made.append(made[-1] * (1 + Decimal(str(change))))
    return made


def test_historical_value_at_risk_is_the_worst_of_a_hundred_days() -> None:
    history = prices(*([0.01] * 50 + [-0.08] + [0.002] * 49))
    risk = value_at_risk({"BTC": Decimal(1000)}, {"BTC": history})
    assert (risk.historical, risk.periods) == (Decimal("80.00"), 100)


def test_parametric_value_at_risk_is_the_quantile_of_a_normal_distribution() -> None:
    history = prices(*([0.02, -0.02] * 50))
    risk = value_at_risk({"BTC": Decimal(1000)}, {"BTC": history})
    # standard deviation of 100 returns of ±2 %: 0.0201008; 2.3263479 of them of 1000
    assert risk.parametric == Decimal("46.77")


def test_what_goes_opposite_ways_is_no_risk_together() -> None:
    up, down = prices(*([0.02, -0.02] * 30)), prices(*([-0.02, 0.02] * 30))
    alone = value_at_risk({"A": Decimal(1000)}, {"A": up})
    both = value_at_risk({"A": Decimal(1000), "B": Decimal(1000)}, {"A": up, "B": down})
    assert alone.historical == Decimal("20.00")
    assert both.historical == 0


def test_without_a_history_there_is_no_figure() -> None:
    assert value_at_risk({"A": Decimal(1000)}, {"A": prices(0.1)}) == value_at_risk({}, {})


def test_it_grows_with_the_root_of_time_and_with_confidence() -> None:
    history = {"A": prices(*[0.001 * ((n * 37) % 41 - 20) for n in range(200)])}
    one, four = (value_at_risk({"A": Decimal(1000)}, history, horizon=days) for days in (1, 4))
    assert abs(four.historical - 2 * one.historical) <= Decimal("0.02")
    assert value_at_risk({"A": Decimal(1000)}, history, confidence=0.95).historical <= one.historical


# -- portfolios


def test_a_portfolio_is_its_holdings_less_what_came_in() -> None:
    past = Past(day_equity=Decimal(110_000), day_inflow=Decimal(100_000), peak_gain=Decimal(20_000))
    now = take(
        holdings={"USDT": Decimal(60_000), "BTC": Decimal(50_000)}, prices={}, inflow=Decimal(105_000), past=past, cash="USDT"
    )  # fmt: skip
    assert now.equity == 110_000
    assert now.daily_loss == 5_000  # 10,000 ahead at midnight, 5,000 now
    assert now.drawdown == Decimal(15_000) / 125_000  # 20,000 ahead at the peak
    assert (now.concentrated_in, now.concentration) == ("BTC", Decimal(50) / 110)


def test_money_that_leaves_is_no_loss() -> None:
    past = Past(day_equity=Decimal(100), day_inflow=Decimal(100), peak_gain=Decimal(0))
    now = take(holdings={"USDT": Decimal(10)}, prices={}, inflow=Decimal(10), past=past, cash="USDT")
    assert (now.drawdown, now.daily_loss) == (0, 0)


def test_each_limit_is_told_once_a_day() -> None:
    past = Past(day_equity=Decimal(100_000), day_inflow=Decimal(100_000), peak_gain=Decimal(0))
    now = take(holdings={"BTC": Decimal(80_000)}, prices={}, inflow=Decimal(100_000), past=past, cash="USDT")
    found = beyond(now, account=7, at_ms=0, day="2026-11-21")
    assert {finding.kind: finding.score for finding in found} == {
        "PORTFOLIO_CONCENTRATION": 1, "PORTFOLIO_DRAWDOWN": 1, "PORTFOLIO_DAILY_LOSS": 1,
    }  # fmt: skip
    assert found[0].key == "portfolio:concentration:7:2026-11-21"


def test_within_the_limits_nothing_is_told() -> None:
    now = take(holdings={"USDT": Decimal(90_000), "BTC": Decimal(10_000)}, prices={}, inflow=Decimal(100_000), past=None, cash="USDT")
    assert beyond(now, account=7, at_ms=0, day="2026-11-21") == []
