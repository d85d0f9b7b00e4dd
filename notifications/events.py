"""What leaves the outbox: messages for whoever watches live, and events for whoever keeps them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from notifications.channels import Message

TRADE_EXECUTED: Final = "TRADE_EXECUTED"
ORDER_STATUS_CHANGED: Final = "ORDER_STATUS_CHANGED"
ORDER_TRIGGERED: Final = "ORDER_TRIGGERED"
BALANCE_CHANGED: Final = "BALANCE_CHANGED"
SYMBOL_STATUS_CHANGED: Final = "SYMBOL_STATUS_CHANGED"
ALERT_RAISED: Final = "ALERT_RAISED"
ALERT_CHANGED: Final = "ALERT_CHANGED"


@dataclass(frozen=True, slots=True)
class Event:
    """`sequence` rises within `stream`, so the two name the event, for ever. `at`: RFC 3339. `payload`: JSON values, decimals as
    strings."""

    event_type: str
    stream: str
    sequence: int
    at: str
    trace_id: str
    payload: dict[str, Any]

    @property
    def event_id(self) -> str:
        return f"{self.stream}:{self.sequence}"

    @property
    def symbol(self) -> str:
        """Of the market it is about, or of the order it tells of; empty when it is of none."""
        return str(self.payload.get("order", self.payload).get("symbol", ""))

    def envelope(self) -> bytes:
        """JSON: `event_id, event_type, timestamp, trace_id, stream, sequence, payload`."""
        return orjson.dumps(
            {
                "event_id": self.event_id,
                "event_type": self.event_type,
                "timestamp": self.at,
                "trace_id": self.trace_id,
                "stream": self.stream,
                "sequence": self.sequence,
                "payload": self.payload,
            }
        )

    @classmethod
    def read(cls, envelope: bytes) -> "Event":
        """An event as a consumer gets it. Raises: ValueError, KeyError."""
        told = orjson.loads(envelope)
        return cls(told["event_type"], told["stream"], told["sequence"], told["timestamp"], told["trace_id"], told["payload"])


@dataclass(slots=True)
class Words:
    """A letter put into words. `group`: of the channel layer. `reactions`: (topic, key) that tasks may react to."""

    group: str | None = None
    messages: list[Message] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    reactions: list[tuple[str, str]] = field(default_factory=list)

    def message(self, kind: str, channel: str, sequence: int, at: str, data: Any) -> None:
        """A live message in its final words."""
        text = orjson.dumps({"type": kind, "channel": channel, "sequence": sequence, "timestamp": at, "data": data}).decode()
        self.messages.append((channel, sequence, text))


# Puts letters of one topic into words: payloads unpacked, in order; one result per payload, or the exception it met.
Renderer = Callable[[Sequence[Any]], list[Words | Exception]]
