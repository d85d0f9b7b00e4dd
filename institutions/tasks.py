"""Background work of institutions."""

from celery import shared_task
from django.core.management import call_command

from institutions.requests import expire_due


@shared_task(name="institutions.tasks.clear_sessions")
def clear_sessions() -> None:
    """Remove the sessions of pages that have run out. May run any number of times."""
    call_command("clearsessions")


@shared_task(name="institutions.tasks.expire_requests")
def expire_requests() -> None:
    """End the requests that nobody decided in time. May run any number of times."""
    expire_due()
