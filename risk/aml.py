"""Anti-money-laundering rules on what comes in and goes out. Pure: movements are valued in one currency by the caller."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from risk.surveillance.scene import CRITICAL, HIGH, NOTHING, ONE, Finding, once_per_key, rounded, severity_of

STRUCTURING: Final = "AML_STRUCTURING"
RAPID: Final = "AML_RAPID_IN_OUT"
WATCH_LIST: Final = "AML_WATCH_LIST"

IN: Final = "IN"
OUT: Final = "OUT"


@dataclass(frozen=True, slots=True)
class Movement:
    """Money that came in or went out. `value`: in the reporting currency, null where no price is known (then only the watch list looks at
    it). `marks`: what names its other end: reference, address."""

    id: str
    account: int
    direction: str
    value: Decimal | None
    at_ms: int
    marks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Laundering:
    """`threshold`: above it a movement is reported by law, in the reporting currency. `near`: from this share of it on a movement is just
    below it. `times`: such movements, at least, within `structuring_ms`; together above the threshold. `rapid_ms`: between coming in and
    going out. `rapid_share`: of what came in, at least so much went out again. `rapid_value`: what came in, at least."""

    threshold: Decimal = Decimal(10_000)
    near: Decimal = Decimal("0.7")
    times: int = 3
    structuring_ms: int = 48 * 3_600_000
    rapid_ms: int = 24 * 3_600_000
    rapid_share: Decimal = Decimal("0.8")
    rapid_value: Decimal = Decimal(5_000)

    @property
    def context_ms(self) -> int:
        return max(self.structuring_ms, self.rapid_ms)


def examine(
    movements: Iterable[Movement],
    *,
    watched: Collection[str] = (),
    since_ms: int = 0,
    parameters: Laundering = Laundering(),
) -> list[Finding]:
    """What the rules find among the movements from `since_ms` on (earlier ones are context), in order of time. `watched`: marks on the
    watch list, lower case."""
    by_account: dict[int, list[Movement]] = defaultdict(list)
    for movement in sorted(movements, key=lambda m: (m.at_ms, m.id)):
        by_account[movement.account].append(movement)
    found: list[Finding] = []
    for account, own in by_account.items():
        for number, movement in enumerate(own):
            if movement.at_ms < since_ms:
                continue
            past = own[: number + 1]
            found += [f for f in (_structured(account, past, parameters), _rapid(account, past, parameters)) if f is not None]
            hits = sorted(mark for mark in movement.marks if mark.casefold() in watched)
            if hits:
                found.append(_watched(movement, hits))
    return once_per_key(found)


def _structured(account: int, past: Sequence[Movement], parameters: Laundering) -> Finding | None:
    """Just below the threshold, again and again, in one direction."""
    last = past[-1]
    low = parameters.threshold * parameters.near
    near = [
        m
        for m in past
        if m.direction == last.direction
        and m.value is not None
        and low <= m.value < parameters.threshold
        and m.at_ms >= last.at_ms - parameters.structuring_ms
    ]
    total = sum((m.value for m in near if m.value is not None), NOTHING)
    if last not in near or len(near) < parameters.times or total <= parameters.threshold:
        return None
    score = rounded(ONE - Decimal("0.5") ** (len(near) - 1))
    return Finding(
        kind=STRUCTURING,
        severity=severity_of(score),
        score=score,
        key=f"structuring:{account}:{last.direction}:{last.at_ms // parameters.structuring_ms}",
        title=f"{len(near)} movements just below {parameters.threshold:f}, together {total:.2f}",
        at_ms=last.at_ms,
        accounts=(account,),
        details={"direction": last.direction, "movements": ", ".join(m.id for m in near), "total": f"{total:.2f}"},
    )


def _rapid(account: int, past: Sequence[Movement], parameters: Laundering) -> Finding | None:
    """What came in leaves at once."""
    last = past[-1]
    if last.direction != OUT:
        return None
    recent = [m for m in past if m.at_ms >= last.at_ms - parameters.rapid_ms and m.value is not None]
    came = sum((m.value for m in recent if m.direction == IN and m.value is not None), NOTHING)
    left = NOTHING  # what went out after something had come in
    arrived = NOTHING
    for m in recent:
        value = m.value or NOTHING
        if m.direction == IN:
            arrived += value
        else:
            left = min(arrived, left + value)
    if came < parameters.rapid_value or left < came * parameters.rapid_share:
        return None
    share = left / came
    score = rounded(share * Decimal("0.8"))
    return Finding(
        kind=RAPID,
        severity=severity_of(score),
        score=score,
        key=f"rapid:{account}:{last.at_ms // parameters.rapid_ms}",
        title=f"{left:.2f} of {came:.2f} that came in went out again within {parameters.rapid_ms // 3_600_000} h",
        at_ms=last.at_ms,
        accounts=(account,),
        details={"came_in": f"{came:.2f}", "went_out": f"{left:.2f}", "movements": ", ".join(m.id for m in recent)},
    )


def _watched(movement: Movement, hits: list[str]) -> Finding:
    return Finding(
        kind=WATCH_LIST,
        severity=CRITICAL if movement.direction == OUT else HIGH,
        score=ONE,
        key=f"watched:{movement.id}",
        title=f"{movement.direction.lower()}: {hits[0]} is on the watch list",
        at_ms=movement.at_ms,
        accounts=(movement.account,),
        details={"movements": movement.id, "marks": ", ".join(hits)},
    )
