"""How well the detectors find what was hidden in a real day, and how seldom they call honest trading by a bad name.

The detectors were set on other seeds (below 1000). Accounts of the recorded day are drawn by chance, since the record does not name any.
"""

import pytest

from risk.surveillance.detectors import examine
from tests.risk.schemes import KINDS, Measure, make_day, measure, untouched_day

SEEDS = range(7001, 7007)
PER_KIND_AND_DAY = 6

PRECISION, RECALL = 0.8, 0.9
ALERTS_ON_AN_HONEST_DAY = 5


@pytest.fixture(scope="module")
def measured() -> dict[str, Measure]:
    found: dict[str, Measure] = {}
    for seed in SEEDS:
        day = make_day(seed, per_kind=PER_KIND_AND_DAY)
        measure(day, examine(day.scene), found)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_schemes_are_found_and_little_else_is(measured: dict[str, Measure], kind: str) -> None:
    result = measured[kind]
    assert result.hidden >= 30
    assert result.precision >= PRECISION, result
    assert result.recall >= RECALL, result


@pytest.mark.parametrize("accounts", [40, 80, 300])
def test_a_day_as_it_was_raises_next_to_nothing(accounts: int) -> None:
    found = examine(untouched_day(7100 + accounts, accounts=accounts))
    assert len(found) <= ALERTS_ON_AN_HONEST_DAY, [(finding.kind, finding.title) for finding in found]
