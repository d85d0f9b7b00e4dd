"""The exchange of these tests, and as many intakes on connections of their own as there would be web processes."""

from collections.abc import Callable, Iterator

import pytest

from exchange_platform.db import connect_direct
from orders.intake import Intake
from tests.matching_worker.exchange import Exchange, open_exchange


@pytest.fixture
def exchange(fresh_database: str) -> Iterator[Exchange]:
    with open_exchange() as made:
        yield made


@pytest.fixture
def intakes(exchange: Exchange) -> Iterator[Callable[[int], list[Intake]]]:
    """Started intakes, as of so many web processes."""
    started: list[Intake] = []

    def start(number: int) -> list[Intake]:
        exchange.keep_lease()
        made = [Intake(connect=lambda: connect_direct(name="intake")) for _ in range(number)]
        for intake in made:
            intake.start()
        started.extend(made)
        return made

    yield start
    for intake in started:
        intake.stop()
