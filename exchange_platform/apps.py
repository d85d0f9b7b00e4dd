from django.apps import AppConfig

from exchange_platform.celery import app as celery_app  # makes every shared_task of the apps find this application

__all__ = ["PlatformConfig", "celery_app"]


class PlatformConfig(AppConfig):
    name = "exchange_platform"
    verbose_name = "Platform"
