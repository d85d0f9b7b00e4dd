"""Background work of the platform itself."""

import psycopg
from celery import shared_task
from django.conf import settings

MONTHS_AHEAD = 2


@shared_task(name="exchange_platform.tasks.ensure_partitions")
def ensure_partitions() -> int:
    """Make missing partitions as the maintenance login. Returns how many were made.

    Raises: psycopg.errors.LockNotAvailable, when a table was locked for 2 s; nothing is made then, the next run tries again.
    """
    with psycopg.connect(settings.DATABASE_URL, application_name="partitions", connect_timeout=5) as connection:
        row = connection.execute("SELECT exchange_ensure_partitions(%s)", [MONTHS_AHEAD]).fetchone()
        assert row is not None
        return int(row[0])
