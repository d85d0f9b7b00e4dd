"""The small exchange in a transaction that is rolled back."""

from collections.abc import Iterator

import psycopg
import pytest
from django.conf import settings

from tests.database.rows import Connection
from tests.orders import small_exchange


@pytest.fixture
def exchange(django_db_setup: None) -> Iterator[Connection]:
    """The maintenance login in a transaction that holds the small exchange and is rolled back."""
    with psycopg.connect(settings.DATABASE_URL, application_name="tests") as connection:
        small_exchange.write(connection)
        yield connection
        connection.rollback()
