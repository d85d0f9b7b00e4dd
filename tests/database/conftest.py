"""One transaction per test on a raw connection of the maintenance login, rolled back at its end."""

from collections.abc import Iterator

import psycopg
import pytest
from django.conf import settings

from tests.database.rows import Connection, lay_the_ground


@pytest.fixture
def owner(django_db_setup: None) -> Iterator[Connection]:
    """The maintenance login, which owns the tables, in a transaction that is rolled back."""
    with psycopg.connect(settings.DATABASE_URL, application_name="tests") as connection:
        yield connection
        connection.rollback()


@pytest.fixture
def ground(owner: Connection) -> Connection:
    """The same, with a house, two institutions, their accounts and a market."""
    lay_the_ground(owner)
    return owner
