"""For whoever consumes events: apply each one's effect once, although it may be delivered any number of times.

    for message in …:                                     # from a consumer group, unacknowledged ones come again
        apply_once(consumer="positions", event=Event.read(message.data), effect=book)
        message.ack()                                     # after the commit; killed before it, the event comes again and has no effect

The event's id is recorded by the transaction of its effect, in PostgreSQL: both are there or neither is. Sequences rise by one within a
stream, so a consumer also learns when it has missed something. Effects outside PostgreSQL (an e-mail, a venue) cannot be had exactly
once by anybody; give them the event's id to recognise it by.

Work that reads what there is to do from PostgreSQL by itself (`orders.candles`) needs none of this.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Final

from django.db import connection
from django.db.backends.utils import CursorWrapper

from exchange_platform.db import own, require_transaction
from exchange_platform.errors import ExchangeError
from notifications.events import Event

KNOWN_FOR_DAYS: Final = 35  # the database refuses to forget earlier; brokers keep events for 30
PURGED_AFTER_DAYS: Final = 36
PURGED_AT_ONCE: Final = 10_000

# Two deliveries of one stream at the same time wait here for each other.
LOCK_POSITION_SQL: Final = "SELECT sequence FROM notifications_consumerposition WHERE consumer = %s AND stream = %s FOR UPDATE"

RECEIVE_SQL: Final = """
    INSERT INTO notifications_receipt (consumer, event_id) VALUES (%s, %s) ON CONFLICT (consumer, event_id) DO NOTHING"""

BEGIN_SQL: Final = """
    INSERT INTO notifications_consumerposition (consumer, stream, sequence) VALUES (%s, %s, 0) ON CONFLICT (consumer, stream) DO NOTHING"""

MOVE_POSITION_SQL: Final = "UPDATE notifications_consumerposition SET sequence = %s WHERE consumer = %s AND stream = %s"

IS_TOO_OLD_SQL: Final = "SELECT %s::timestamptz < now() - make_interval(days => %s)"

PURGE_SQL: Final = """
    DELETE FROM notifications_receipt WHERE (consumer, event_id) IN (
        SELECT consumer, event_id FROM notifications_receipt WHERE received_at < now() - make_interval(days => %s) LIMIT %s)"""


class MissingEvents(ExchangeError):
    """The event is ahead of its turn: what comes before it has not been applied."""

    code = "EVENTS_MISSING"


class TooOldToTell(ExchangeError):
    """The event is so old that its receipt, if there was one, is gone: nobody can say whether it has been applied."""

    code = "EVENT_TOO_OLD"


class Arrival(StrEnum):
    """How an event stands to what its consumer has applied of the stream before."""

    FIRST = "first"  # of this stream, for this consumer
    NEXT = "next"
    AHEAD = "ahead"  # something is missing in between
    LATE = "late"  # after ones with a higher sequence: missed before, or a dead letter sent again
    REPEATED = "repeated"  # it has been applied


def apply_once(*, consumer: str, event: Event, effect: Callable[[Event, Arrival], None], in_order: bool = False) -> Arrival:
    """Apply the event's effect unless it has been. Returns how it arrived; acknowledge it afterwards, REPEATED or not.

    Args: consumer: a name of its own, at most 60 characters; what shares it, shares the work. effect: writes through the same connection,
    and joins the transaction. in_order: as in `receive`.
    Owns its transaction; what `effect` raises undoes it, and the event can come again.
    Raises: MissingEvents, TooOldToTell.
    """
    with own():
        arrival = receive(consumer=consumer, event=event, in_order=in_order)
        if arrival is not Arrival.REPEATED:
            effect(event, arrival)
    return arrival


def receive(*, consumer: str, event: Event, in_order: bool = False) -> Arrival:
    """Record that the consumer applies the event in this transaction. REPEATED: it has, so leave it alone.

    Joins the caller's transaction; locks the consumer's position in the stream until its end.
    Args: in_order: refuse an event that is ahead of its turn, for effects that need every one before. Such a consumer stands still while
    an event is a dead letter, until that is sent again; others go on and see AHEAD, then LATE.
    Raises: MissingEvents (only `in_order`), TooOldToTell; nothing is recorded then.
    """
    require_transaction()
    with connection.cursor() as cursor:
        last = _locked_position(cursor, consumer, event.stream)
        if event.sequence <= last:
            cursor.execute(IS_TOO_OLD_SQL, [event.at, KNOWN_FOR_DAYS])
            is_too_old = cursor.fetchone()[0]
        else:
            is_too_old = False
        cursor.execute(RECEIVE_SQL, [consumer, event.event_id])
        if not cursor.rowcount:
            return Arrival.REPEATED
        if is_too_old:
            raise TooOldToTell(f"{event.event_id} is of {event.at}; what {consumer} applied then is no longer known.")
        if event.sequence < last:
            return Arrival.LATE
        if last and event.sequence > last + 1 and in_order:
            raise MissingEvents(f"{event.event_id} is ahead of its turn: {consumer} has applied {event.stream} up to {last}.")
        cursor.execute(MOVE_POSITION_SQL, [event.sequence, consumer, event.stream])
    if not last:
        return Arrival.FIRST
    return Arrival.NEXT if event.sequence == last + 1 else Arrival.AHEAD


def purge_receipts() -> int:
    """Forget receipts that no sink can ask for again, in small transactions. Returns how many. Owns its transactions."""
    purged = 0
    while True:
        with own(), connection.cursor() as cursor:
            cursor.execute(PURGE_SQL, [PURGED_AFTER_DAYS, PURGED_AT_ONCE])
            some = cursor.rowcount
        purged += some
        if some < PURGED_AT_ONCE:
            return purged


def _locked_position(cursor: CursorWrapper, consumer: str, stream: str) -> int:
    """The highest sequence applied, 0 when none has been; locked until the transaction ends."""
    cursor.execute(LOCK_POSITION_SQL, [consumer, stream])
    found = cursor.fetchone()
    if found is None:
        cursor.execute(BEGIN_SQL, [consumer, stream])
        cursor.execute(LOCK_POSITION_SQL, [consumer, stream])
        found = cursor.fetchone()
    return int(found[0])
