"""Background work of institutions."""

from celery import shared_task
from django.core.management import call_command


@shared_task(name="institutions.tasks.clear_sessions")
def clear_sessions() -> None:
    """Remove the sessions of pages that have run out. May run any number of times."""
    call_command("clearsessions")
