"""Pages of what is to be told: the outbox, and the dead letters that could not be. For staff of the platform."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest

from exchange_platform.back_office import show
from exchange_platform.back_office.base import Reader
from exchange_platform.back_office.listing import ANY, Column, Facts, Filters, Listed, Table, newest, whole_number
from notifications.models import DeadLetter, Outbox


class OutboxFilters(Filters):
    topic = forms.CharField(required=False)
    stream = forms.CharField(required=False)
    state = forms.ChoiceField(required=False, choices=[ANY, ("waiting", "waiting"), ("failing", "failing")])


class DeadLetterFilters(Filters):
    topic = forms.CharField(required=False)
    stream = forms.CharField(required=False)
    state = forms.ChoiceField(required=False, choices=[ANY, ("open", "open"), ("settled", "settled")])


class NewsReader(Reader):
    read_right = "read_platform"
    alias = "default"

    def rows(self, request: HttpRequest) -> Any:
        return super().rows(request).defer("payload")

    def find(self, request: HttpRequest, question: dict[str, Any]) -> Listed:
        rows = self.rows(request)
        for name in ("topic", "stream"):
            if name in question:
                rows = rows.filter(**{name: question[name]})
        if "q" in question:
            rows = rows.filter(stream=question["q"])
        if "state" in question:
            rows = self.in_state(rows, question["state"])
        return newest(rows, whole_number(question.get("before")))

    def in_state(self, rows: Any, state: str) -> Any:
        raise NotImplementedError


@admin.register(Outbox)
class OutboxAdmin(NewsReader):
    plural = "Outbox"
    empty = "Everything has been published. News stands here for a moment only, unless it cannot be delivered."
    filters = OutboxFilters
    columns = (
        Column("Number", lambda row: show.link(show.url_of("notifications.outbox", row.pk), row.pk), numeric=True),
        Column("Since (UTC)", lambda row: show.moment(row.created_at)),
        Column("Topic", lambda row: row.topic),
        Column("Stream", lambda row: row.stream),
        Column("Events", lambda row: row.events, numeric=True),
        Column("State", lambda row: show.badge("failing" if row.next_try_at else "waiting")),
        Column("Tries", lambda row: row.attempts, numeric=True),
        Column("Next try (UTC)", lambda row: show.moment(row.next_try_at)),
        Column("Error", lambda row: row.error[:80] or show.NOTHING),
    )

    def in_state(self, rows: Any, state: str) -> Any:
        return rows.filter(next_try_at__isnull=state != "failing")

    def facts(self, request: HttpRequest, row: Outbox) -> Sequence[Facts]:
        about = [
            ("Number", row.pk),
            ("Topic", row.topic),
            ("Stream", row.stream),
            ("Events", row.events),
            ("Since (UTC)", show.moment(row.created_at)),
        ]
        tries = [("Tries", row.attempts), ("Next try (UTC)", show.moment(row.next_try_at)), ("Error", row.error or show.NOTHING)]
        return [Facts("News", about), Facts("Delivery", tries)]

    def tables(self, request: HttpRequest, row: Outbox) -> Sequence[Table]:
        behind = self.rows(request).filter(stream=row.stream, pk__gt=row.pk).order_by("pk")[:20]
        rows = [[show.link(show.url_of("notifications.outbox", n.pk), n.pk), show.moment(n.created_at), n.topic, n.events] for n in behind]
        return [Table("Waits behind it", ["Number", "Since (UTC)", "Topic", "Events"], rows, "Nothing waits behind it on its stream.")]

    def title_of(self, row: Outbox) -> str:
        return f"News {row.pk} on {row.stream}"


def state_of(row: DeadLetter) -> str:
    if row.settled_at is None:
        return "failing"
    return "put_aside" if row.sent_again_as is None else "sent_again"


@admin.register(DeadLetter)
class DeadLetterAdmin(NewsReader):
    empty = "No news has been given up. A letter comes here after ten tries and stays until somebody settles it."
    filters = DeadLetterFilters
    columns = (
        Column("Number", lambda row: show.link(show.url_of("notifications.deadletter", row.pk), row.pk), numeric=True),
        Column("Given up (UTC)", lambda row: show.moment(row.failed_at)),
        Column("Topic", lambda row: row.topic),
        Column("Stream", lambda row: row.stream),
        Column("Events", lambda row: row.events, numeric=True),
        Column("State", lambda row: show.badge(state_of(row))),
        Column("Error", lambda row: row.error[:80]),
    )

    def in_state(self, rows: Any, state: str) -> Any:
        return rows.filter(settled_at__isnull=state == "open")

    def facts(self, request: HttpRequest, row: DeadLetter) -> Sequence[Facts]:
        about = [
            ("Number", row.pk),
            ("Topic", row.topic),
            ("Stream", row.stream),
            ("Events", row.events),
            ("Since (UTC)", show.moment(row.created_at)),
        ]
        end = [
            ("Given up (UTC)", show.moment(row.failed_at)),
            ("Tries", row.attempts),
            ("Error", row.error),
            ("State", show.badge(state_of(row))),
            ("Settled (UTC)", show.moment(row.settled_at)),
            ("Settled by", row.settled_by or show.NOTHING),
            ("Sent again as", self._sent_again(request, row)),
        ]
        return [Facts("News", about), Facts("What became of it", end)]

    def title_of(self, row: DeadLetter) -> str:
        return f"Dead letter {row.pk}"

    def _sent_again(self, request: HttpRequest, row: DeadLetter) -> object:
        """What became of it: it waits, it is back, or it has been published."""
        if row.sent_again_as is None:
            return show.NOTHING
        if Outbox.objects.filter(pk=row.sent_again_as).exists():
            return show.link(show.url_of("notifications.outbox", row.sent_again_as), f"news {row.sent_again_as}, waiting")
        back = self.rows(request).filter(outbox_id=row.sent_again_as).first()
        if back is not None:
            return show.link(show.url_of("notifications.deadletter", back.pk), f"dead letter {back.pk}: it failed again")
        return f"news {row.sent_again_as}, published"
