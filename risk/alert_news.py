"""Puts the news of alerts into words: one event per row of an alert's history. Nobody watches alerts live; pages read the tables."""

from collections.abc import Sequence
from typing import Any

from exchange_platform.ids import moment_of
from notifications.events import ALERT_CHANGED, ALERT_RAISED, Event, Words


def alert_words(payloads: Sequence[Any]) -> list[Words | Exception]:
    """Topic `alert`: `[alert id, number, at_ms, change, alert]` as `risk.alerts.tell` writes it."""
    return [_attempt(payload) for payload in payloads]


def _attempt(payload: Any) -> Words | Exception:
    try:
        alert_id, number, at_ms, change, alert = payload
        at = moment_of(at_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        kind = ALERT_RAISED if number == 1 else ALERT_CHANGED
        event = Event(kind, f"alerts.{alert_id}", number, at, "", {"alert_id": alert_id, "change": change, **alert})
        return Words(events=[event], reactions=[("alerts", str(alert_id))])
    except Exception as error:
        return error
