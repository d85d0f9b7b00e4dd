"""The exchange of these tests: in this process, on a database of its own, reconciled at the end."""

from collections.abc import Iterator

import pytest

from tests.matching_worker.exchange import Exchange, open_exchange


@pytest.fixture
def exchange(fresh_database: str) -> Iterator[Exchange]:
    with open_exchange() as made:
        yield made
