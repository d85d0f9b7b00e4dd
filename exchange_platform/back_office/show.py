"""How things look on a page: labels with a colour, times in UTC, identifiers, links."""

import json
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from exchange_platform.ids import moment_of, uuid_ms

NOTHING: Final = SafeString('<span class="bo-none">–</span>')

# What a reader should feel about a word; anything else is neutral.
_TONES: Final[dict[str, str]] = {
    **dict.fromkeys(("TRADING", "FILLED", "active", "listed", "sent"), "good"),
    **dict.fromkeys(("OPEN", "PARTIALLY_FILLED", "AUCTION", "TRIGGERED"), "live"),
    **dict.fromkeys(("PENDING", "PENDING_TRIGGER", "POST_ONLY", "CANCEL_ONLY", "waiting", "unlimited", "HIGH", "ESCALATED"), "warn"),
    **dict.fromkeys(("REJECTED", "HALTED", "DELISTED", "frozen", "failing", "REFUSED", "CRITICAL", "overdue"), "bad"),
    "BUY": "up",
    "SELL": "down",
}


def badge(word: object) -> SafeString:
    """A word as a coloured label."""
    if word is None or word == "":
        return NOTHING
    return format_html('<span class="bo-badge {}">{}</span>', _TONES.get(str(word), "quiet"), str(word).replace("_", " "))


def moment(at: datetime | None) -> SafeString:
    """A time of the database (UTC) to the millisecond."""
    if at is None:
        return NOTHING
    text = at.isoformat(sep=" ", timespec="milliseconds")[:23]
    return format_html('<time datetime="{}Z"><span class="bo-date">{}</span> {}</time>', text.replace(" ", "T"), text[:10], text[11:])


def code(text: object) -> SafeString:
    """An identifier, whole."""
    return NOTHING if text is None or text == "" else format_html("<code>{}</code>", str(text))


def short(identity: UUID | str) -> SafeString:
    """An identifier with its middle left out; the whole of it on hover."""
    text = str(identity)
    return format_html('<code title="{}">{}…{}</code>', text, text[:8], text[-6:])


def yes(value: bool, word: str) -> SafeString:
    """The word as a label when it is so, a dash when not."""
    return badge(word) if value else NOTHING


def url_of(model: str, pk: object) -> str:
    """The page of a row. `model`: "app.model"."""
    return reverse(f"admin:{model.replace('.', '_')}_change", args=[str(pk)])


def list_url(model: str, **filters: object) -> str:
    """The list of a model, with some filters set."""
    return page_url(f"{model.replace('.', '_')}_changelist", **filters)


def page_url(name: str, **filters: object) -> str:
    """A page of the admin by its url name."""
    query = urlencode({key: str(value) for key, value in filters.items() if value is not None})
    return reverse(f"admin:{name}") + (f"?{query}" if query else "")


def link(url: str, text: object) -> SafeString:
    return format_html('<a class="bo-link" href="{}">{}</a>', url, text)


def data(value: Any) -> SafeString:
    """A JSON value, readable."""
    if value is None:
        return NOTHING
    return format_html('<pre class="bo-data">{}</pre>', json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True))


def page_url_of(name: str, *args: object) -> str:
    """A page of the admin about something, by its url name."""
    return reverse(f"admin:{name}", args=[str(arg) for arg in args])


def time_of(identity: UUID) -> str:
    """The time that a UUIDv7 carries, to the second, UTC."""
    return moment_of(uuid_ms(identity)).isoformat(sep=" ")[:19]
