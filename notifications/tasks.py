"""Background work of the outbox and of consumers."""

import structlog
from celery import shared_task

from notifications import consumers
from notifications.relay import Relay, Unavailable, drain_once

log = structlog.get_logger(__name__)


@shared_task(name="notifications.tasks.sweep_outbox")
def sweep_outbox() -> int:
    """Do the relay's work when its thread does not. Returns how many letters were published. Harmless to repeat."""
    try:
        swept = drain_once(Relay())
    except Unavailable as error:
        log.warning("sweep_waits", error=str(error))
        return 0
    if swept:
        log.warning("outbox_swept", letters=swept)
    return swept


@shared_task(name="notifications.tasks.purge_receipts")
def purge_receipts() -> int:
    """Forget which events were applied so long ago that nobody can deliver them again. Returns how many. Harmless to repeat."""
    return consumers.purge_receipts()
