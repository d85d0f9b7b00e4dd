"""Log-ins with a password to pages: each attempt is in the audit trail, and guessing is slowed down by what stands there.

In the database and not in Redis, since operators must get in while Redis is down.
"""

from datetime import timedelta
from typing import Final

from django.utils import timezone

from exchange_platform.db import own
from institutions import audit
from institutions.models import AuditEntry

WITHIN: Final = timedelta(minutes=5)
MOST_OF_ONE: Final = 10  # refused attempts of one name from one address
MOST_OF_ALL: Final = 100  # of all names from one address
LOGGED_IN: Final = "user.log_in"
REFUSED: Final = "user.log_in_refused"


def may_try(*, username: str, ip: str | None) -> bool:
    """Whether another attempt is heard: not after too many refused ones from this address. Reads the last minutes only."""
    recent = AuditEntry.objects.filter(at__gte=timezone.now() - WITHIN, action=REFUSED, ip=ip)
    subjects = list(recent.values_list("subject", flat=True)[:MOST_OF_ALL])
    return len(subjects) < MOST_OF_ALL and subjects.count(_subject(username)) < MOST_OF_ONE


def record_attempt(*, username: str, succeeded: bool) -> None:
    """Owns its transaction; where it came from is the surrounding `audit.asked_from`."""
    with own():
        actor = _subject(username) if succeeded else "nobody"
        audit.record(actor=actor, action=LOGGED_IN if succeeded else REFUSED, subject=_subject(username))


def _subject(username: str) -> str:
    return f"user:{username}"[:80]
