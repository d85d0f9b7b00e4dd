"""A portfolio as a whole: what it is worth, how much of it is one asset, how far it fell. Pure; values in the reporting currency."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from risk.surveillance.scene import HIGH, MEDIUM, NOTHING, ONE, Finding, rounded
from risk.var import ValueAtRisk, value_at_risk


@dataclass(frozen=True, slots=True)
class PortfolioLimits:
    """`concentration`: largest share of one asset that is not cash. `drawdown`: from the highest equity. `daily_loss`: since midnight
    UTC, money. `var_share`: historical value at risk against equity. `equity_at_least`: portfolios below are too small to alert on."""

    concentration: Decimal = Decimal("0.3")
    drawdown: Decimal = Decimal("0.1")
    daily_loss: Decimal = Decimal(5_000)
    var_share: Decimal = Decimal("0.15")
    equity_at_least: Decimal = Decimal(1_000)


@dataclass(frozen=True, slots=True)
class Past:
    """What is known of a portfolio from before: equity and money that had come in net at the start of the day, and the most that it was
    ever up to (`peak`: highest equity, less what had come in net since the beginning)."""

    day_equity: Decimal
    day_inflow: Decimal
    peak_gain: Decimal


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`inflow`: all that ever came in net. Money in the reporting currency; shares 0 to 1."""

    equity: Decimal
    inflow: Decimal
    peak_gain: Decimal
    concentration: Decimal
    concentrated_in: str
    drawdown: Decimal
    daily_loss: Decimal
    risk: ValueAtRisk


def take(
    *,
    holdings: Mapping[str, Decimal],
    prices: Mapping[str, Sequence[Decimal]],
    inflow: Decimal,
    past: Past | None,
    cash: str,
) -> Snapshot:
    """A portfolio now. `holdings`: value by asset. `cash`: the reporting asset, which is neither concentrated nor at risk. Money that
    comes in is no profit, money that goes out no loss: gains are equity less net inflow. Drawdown: how far the gain fell below its peak,
    against the equity at that peak."""
    equity = sum(holdings.values(), NOTHING)
    gain = equity - inflow
    peak_gain = max(gain, past.peak_gain) if past else gain
    at_peak = peak_gain + inflow
    drawdown = (peak_gain - gain) / at_peak if at_peak > 0 else NOTHING
    assets = {asset: value for asset, value in holdings.items() if asset != cash}
    largest = max(assets, key=lambda asset: (assets[asset], asset), default="")
    concentration = assets[largest] / equity if largest and equity > 0 else NOTHING
    lost = (past.day_equity - past.day_inflow) - gain if past else NOTHING
    return Snapshot(
        equity=equity,
        inflow=inflow,
        peak_gain=peak_gain,
        concentration=min(ONE, max(NOTHING, concentration)),
        concentrated_in=largest,
        drawdown=min(ONE, max(NOTHING, drawdown)),
        daily_loss=max(NOTHING, lost),
        risk=value_at_risk(assets, prices),
    )


def beyond(snapshot: Snapshot, *, account: int, at_ms: int, day: str, limits: PortfolioLimits = PortfolioLimits()) -> list[Finding]:
    """One finding per limit, account and day (`day`: its date, part of the key). The score is how far beyond it is: 0.5 at the limit, 1
    at twice the limit."""
    if snapshot.equity < limits.equity_at_least and snapshot.daily_loss < limits.daily_loss:
        return []
    var_share = snapshot.risk.historical / snapshot.equity if snapshot.equity > 0 else NOTHING
    cases = (
        (
            "CONCENTRATION",
            MEDIUM,
            snapshot.concentration,
            limits.concentration,
            f"{snapshot.concentrated_in} is {_percent(snapshot.concentration)}",
        ),
        ("DRAWDOWN", HIGH, snapshot.drawdown, limits.drawdown, f"down {_percent(snapshot.drawdown)} from the highest"),
        ("DAILY_LOSS", HIGH, snapshot.daily_loss, limits.daily_loss, f"lost {snapshot.daily_loss:.2f} today"),
        ("VALUE_AT_RISK", MEDIUM, var_share, limits.var_share, f"{_percent(var_share)} of the portfolio at risk in one day"),
    )
    return [
        Finding(
            kind=f"PORTFOLIO_{name}",
            severity=severity,
            score=rounded(value / limit / 2),
            key=f"portfolio:{name.lower()}:{account}:{day}",
            title=title,
            at_ms=at_ms,
            accounts=(account,),
            details={"value": f"{value:.4f}", "limit": f"{limit:f}", "equity": f"{snapshot.equity:.2f}"},
        )
        for name, severity, value, limit, title in cases
        if value > limit
    ]


def _percent(share: Decimal) -> str:
    return f"{share * 100:.1f} %"
