"""Dead letters in the admin: sent again or put aside by whoever has the right, with a reason, on the record, once."""

from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.urls import reverse
from django.utils import timezone

from institutions.models import AuditEntry
from notifications.models import DeadLetter, Outbox
from tests.admin.conftest import Office, text_of


@pytest.fixture
def letter(office: Office) -> DeadLetter:
    made = {"topic": "market", "stream": "market.7", "events": 3, "payload": b"words", "attempts": 10, "error": "too large"}
    return DeadLetter.objects.create(outbox_id=41, created_at=timezone.now(), **made)


def page_of(letter: DeadLetter) -> str:
    return reverse("admin:notifications_deadletter_change", args=[letter.pk])


def do(office: Office, role: str, letter: DeadLetter, name: str, **asked: str) -> Any:
    return office.client(role).post(reverse("admin:notifications_deadletter_do", args=[letter.pk, name]), asked)


@pytest.mark.parametrize("role", ["operator", "superuser"])
def test_it_is_sent_again_in_a_lane_of_its_own(office: Office, letter: DeadLetter, role: str) -> None:
    assert do(office, role, letter, "send-again", reason="the limit was raised").status_code == 302
    letter.refresh_from_db()
    row = Outbox.objects.get(pk=letter.sent_again_as)
    assert (row.topic, row.stream, row.events, bytes(row.payload), row.attempts) == ("market", "again.market.7", 3, b"words", 0)
    entry = AuditEntry.objects.order_by("-pk")[0]
    user = office.users[role]
    assert (entry.actor, entry.action, entry.subject) == (letter.settled_by, "dead_letter.send_again", f"dead_letter:{letter.pk}")
    assert letter.settled_by == f"user:{user.pk}:{user.username}"
    assert (entry.reason, entry.after) == ("the limit was raised", {"outbox": row.pk})
    assert f"news {row.pk}, waiting" in text_of(office.client(role).get(page_of(letter)))
    Outbox.objects.filter(pk=row.pk).delete()  # as the relay does when it has published it
    assert f"news {row.pk}, published" in text_of(office.client(role).get(page_of(letter)))
    back = {"topic": "market", "stream": "market.7", "events": 3, "payload": b"words", "attempts": 10, "error": "still"}
    again = DeadLetter.objects.create(outbox_id=row.pk, created_at=timezone.now(), **back)
    assert f"dead letter {again.pk}: it failed again" in text_of(office.client(role).get(page_of(letter)))


def test_it_is_put_aside(office: Office, letter: DeadLetter) -> None:
    assert do(office, "operator", letter, "put-aside", reason="nobody needs it").status_code == 302
    letter.refresh_from_db()
    assert letter.settled_at is not None
    assert letter.sent_again_as is None
    assert not Outbox.objects.filter(stream="again.market.7").exists()
    entry = AuditEntry.objects.order_by("-pk")[0]
    assert (entry.action, entry.reason, entry.after) == ("dead_letter.put_aside", "nobody needs it", {"error": "too large"})


@pytest.mark.parametrize("name", ["send-again", "put-aside"])
def test_not_without_the_right_or_a_reason_and_not_twice(office: Office, letter: DeadLetter, name: str) -> None:
    entries = AuditEntry.objects.count()
    assert do(office, "compliance", letter, name, reason="curious").status_code == 403
    assert do(office, "institution_admin", letter, name, reason="curious").status_code in (403, 404)
    assert "required" in text_of(do(office, "operator", letter, name, reason=" "))
    letter.refresh_from_db()
    assert letter.settled_at is None
    assert AuditEntry.objects.count() == entries
    assert do(office, "operator", letter, name, reason="first").status_code == 302
    assert do(office, "operator", letter, "send-again", reason="second").status_code == 404
    assert AuditEntry.objects.count() == entries + 1


def test_buttons_are_shown_to_whoever_may_press_them(office: Office, letter: DeadLetter) -> None:
    assert "Send again" in text_of(office.client("operator").get(page_of(letter)))
    assert "Send again" not in text_of(office.client("compliance").get(page_of(letter)))


@pytest.mark.parametrize(
    "change",
    ["settled_at = NULL, settled_by = '', sent_again_as = NULL", "settled_by = 'another'", "sent_again_as = 5", "payload = 'other words'"],
)
@pytest.mark.parametrize("is_owner", [True, False])
def test_what_was_settled_stays_so(office: Office, letter: DeadLetter, change: str, is_owner: bool) -> None:
    assert do(office, "operator", letter, "put-aside", reason="nobody needs it").status_code == 302
    with psycopg.connect(settings.DATABASE_URL if is_owner else settings.ENGINE_DATABASE_URL) as session:
        with pytest.raises(psycopg.errors.RestrictViolation):
            session.execute(f"UPDATE notifications_deadletter SET {change} WHERE id = %s".encode(), [letter.pk])


@pytest.mark.parametrize("change", ["settled_at = now()", "settled_by = 'somebody'", "sent_again_as = 5"])
def test_who_settles_it_says_so(office: Office, letter: DeadLetter, change: str) -> None:
    with psycopg.connect(settings.ENGINE_DATABASE_URL) as session, pytest.raises(psycopg.errors.CheckViolation):
        session.execute(f"UPDATE notifications_deadletter SET {change} WHERE id = %s".encode(), [letter.pk])
