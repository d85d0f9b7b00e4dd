"""What staff can do about news that could not be published, on the record. (`notifications` itself knows neither people nor audit.)"""

from collections.abc import Sequence
from typing import Any

from django.http import HttpRequest

from exchange_platform.back_office.listing import Facts, Table
from exchange_platform.back_office.operations import Operation, actor_of, add_operation
from exchange_platform.db import own
from institutions import audit
from institutions.rights import Right
from notifications import dead_letters
from notifications.models import DeadLetter


def send_again(*, dead_letter_id: int, actor: str, reason: str) -> int:
    """As `notifications.dead_letters.send_again`, audited. Returns the number of the outbox row. Owns its transaction.

    Raises: NoSuchLetter, AlreadySettled.
    """
    with own():
        row = dead_letters.send_again(dead_letter_id=dead_letter_id, actor=actor)
        subject = f"dead_letter:{dead_letter_id}"
        audit.record(actor=actor, action="dead_letter.send_again", subject=subject, reason=reason, after={"outbox": row.pk})
    return row.pk


def put_aside(*, dead_letter_id: int, actor: str, reason: str) -> None:
    """As `notifications.dead_letters.put_aside`, audited. Owns its transaction. Raises: NoSuchLetter, AlreadySettled."""
    with own():
        letter = dead_letters.put_aside(dead_letter_id=dead_letter_id, actor=actor)
        subject = f"dead_letter:{dead_letter_id}"
        audit.record(actor=actor, action="dead_letter.put_aside", subject=subject, reason=reason, after={"error": letter.error})


class OnOpenLetter(Operation):
    right = Right.DEAD_LETTERS

    def is_offered(self, row: DeadLetter) -> bool:
        return row.settled_at is None

    def effect(self, request: HttpRequest, row: DeadLetter) -> Sequence[Facts | Table]:
        about = [("Stream", row.stream), ("Events", row.events), ("Error", row.error)]
        return [Facts("The letter", about)]


class SendAgain(OnOpenLetter):
    name, title = "send-again", "Send again"
    question = (
        "Its events are published behind whatever its stream has told since, with their old sequences; those that arrived before arrive "
        "twice. Nobody waits for it. Mend the cause first: after ten more failures it comes back as a new dead letter."
    )

    def run(self, request: HttpRequest, row: DeadLetter, asked: dict[str, Any]) -> str:
        number = send_again(dead_letter_id=row.pk, actor=actor_of(request), reason=asked["reason"])
        return f"It waits in the outbox as news {number}."


class PutAside(OnOpenLetter):
    name, title, is_dangerous = "put-aside", "Put aside", True
    question = "Nobody will ever be told what it says. The letter stays here, and the alert about it ends."

    def run(self, request: HttpRequest, row: DeadLetter, asked: dict[str, Any]) -> str:
        put_aside(dead_letter_id=row.pk, actor=actor_of(request), reason=asked["reason"])
        return "It is put aside."


def register() -> None:
    for operation in (SendAgain(), PutAside()):
        add_operation("notifications.deadletter", operation)
