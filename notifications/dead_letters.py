"""Dead letters: what could not be published ten times, and what somebody does about it."""

from django.db import connection
from django.db.models.functions import Now

from exchange_platform.db import require_transaction
from exchange_platform.errors import ExchangeError
from notifications.models import DeadLetter, Outbox
from notifications.outbox import AGAIN
from notifications.wakeups import NOTIFY_SQL, OUTBOX


class AlreadySettled(ExchangeError):
    """Somebody was faster."""

    code = "DEAD_LETTER_SETTLED"


class NoSuchLetter(ExchangeError):
    code = "NOT_FOUND"


def send_again(*, dead_letter_id: int, actor: str) -> Outbox:
    """Put the letter into the outbox once more, in a lane of its own: it is published behind everything that its stream has told since,
    with the sequences it always had, and what follows on the stream does not wait for it. What of it has been published already is
    published again. Ten failures later it is back as a new dead letter.

    Joins the caller's transaction; locks the dead letter. Returns the row of the outbox. Raises: NoSuchLetter, AlreadySettled.
    """
    letter = _open_letter(dead_letter_id)
    row = Outbox.objects.create(topic=letter.topic, stream=f"{AGAIN}{letter.stream}", events=letter.events, payload=bytes(letter.payload))
    _settle(letter, actor=actor, sent_again_as=row.pk)
    with connection.cursor() as cursor:
        cursor.execute(NOTIFY_SQL, [OUTBOX])
    return row


def put_aside(*, dead_letter_id: int, actor: str) -> DeadLetter:
    """Settle the letter without telling anybody. It stays, and says who decided so.

    Joins the caller's transaction; locks the dead letter. Raises: NoSuchLetter, AlreadySettled.
    """
    letter = _open_letter(dead_letter_id)
    _settle(letter, actor=actor, sent_again_as=None)
    return letter


def _open_letter(dead_letter_id: int) -> DeadLetter:
    require_transaction()
    letter = DeadLetter.objects.select_for_update(no_key=True).filter(pk=dead_letter_id).first()
    if letter is None:
        raise NoSuchLetter(f"There is no dead letter {dead_letter_id}.")
    if letter.settled_at is not None:
        raise AlreadySettled(f"Dead letter {dead_letter_id} has been settled by {letter.settled_by}.")
    return letter


def _settle(letter: DeadLetter, *, actor: str, sent_again_as: int | None) -> None:
    DeadLetter.objects.filter(pk=letter.pk).update(settled_at=Now(), settled_by=actor[:80], sent_again_as=sent_again_as)
