"""Fixtures of the whole suite."""

import time
from collections.abc import Iterator

import pytest

from exchange_platform import ids
from tests.support.databases import clone_template, fresh_clone
from tests.support.servers import worker_name
from tests.support.stacks import RunningStack, started_stack


@pytest.fixture(scope="session")
def django_db_setup() -> None:
    """pytest-django's hook: this worker's own clone, for tests that roll back (`db`, `@pytest.mark.django_db`)."""
    clone_template(f"test_{worker_name()}")


@pytest.fixture
def fresh_database(django_db_setup: None, django_db_blocker: "pytest.FixtureRequest") -> Iterator[str]:
    """An empty, migrated database for one test that really commits. Yields its bootstrap address."""
    with django_db_blocker.unblock(), fresh_clone() as url:  # type: ignore[attr-defined]
        yield url


@pytest.fixture(scope="module")
def module_database(django_db_setup: None, django_db_blocker: "pytest.FixtureRequest") -> Iterator[str]:
    """As `fresh_database`, shared by the tests of one module in their order. Not to be mixed with `db` in that module."""
    with django_db_blocker.unblock(), fresh_clone() as url:  # type: ignore[attr-defined]
        yield url


@pytest.fixture(scope="module")
def running_stack() -> Iterator[RunningStack]:
    """A whole stack for the module: no demo traffic, free ports. At its end nothing of it may be left."""
    with started_stack() as stack:
        yield stack


@pytest.fixture(autouse=True)
def _back_from_the_future() -> Iterator[None]:
    """A test that sets an exchange's clock ahead made ids of that day, and ids never fall back: without this all later ones were of it."""
    yield
    if ids._last_ms > time.time_ns() // 1_000_000:
        ids._last_ms = 0
