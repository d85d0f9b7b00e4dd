"""An exchange in this process, a relay that publishes when a test says so, and a listener on the channel layer."""

import asyncio
from collections.abc import Iterator

import pytest

from orders import feeds
from tests.matching_worker.exchange import Exchange, open_exchange
from wallet import queries as wallet


@pytest.fixture
def exchange(fresh_database: str) -> Iterator[Exchange]:
    wallet.forget()  # the assets of another test's database
    feeds._orders._rows.clear()
    with open_exchange() as made:
        yield made


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as made:
        yield made
