from typing import Any

from django.apps import AppConfig
from django.db import connections
from django.db.models.signals import post_migrate

from exchange_platform.celery import app as celery_app  # makes every shared_task of the apps find this application
from exchange_platform.telemetry.library import use_our_files

use_our_files()

__all__ = ["PlatformConfig", "celery_app"]


def make_partitions_and_grants(using: str, **_: Any) -> None:
    """After every migrate: partitions exist, and rights follow from the catalog as it now is."""
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT to_regproc('exchange_grant')")
        if cursor.fetchone()[0] is not None:
            cursor.execute("SELECT exchange_ensure_partitions(2), exchange_grant()")


class PlatformConfig(AppConfig):
    name = "exchange_platform"
    verbose_name = "Platform"

    def ready(self) -> None:
        post_migrate.connect(make_partitions_and_grants, sender=self)
