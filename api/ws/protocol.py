"""Messages of `/stream`: what a client may send, in which form, and how the gateway's own messages are written.

A message that goes out is one whole WebSocket frame, made once however many clients it is for.
"""

import struct
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import orjson

from api.counting import count_refusal
from api.errors import STATUS, BadInput, as_exchange_error, error_body
from api.handler import NOT_OF_THE_CONTRACT
from api.rest.parsing import missing, only_known
from orders.presentation import timestamp

# What each type of message may carry beside `type` and `id`.
FIELDS: Final[dict[str, frozenset[str]]] = {
    "AUTH": frozenset({"token", "api_key", "timestamp", "recv_window", "signature", "account"}),
    "SUBSCRIBE": frozenset({"channels", "account"}),
    "UNSUBSCRIBE": frozenset({"channels"}),
    "RESYNC": frozenset({"channel", "last_sequence"}),
    "PING": frozenset(),
    "PLACE_ORDER": frozenset({"data"}),
    "CANCEL_ORDER": frozenset({"data"}),
    "AMEND_ORDER": frozenset({"data"}),
    "CANCEL_ON_DISCONNECT": frozenset({"enabled"}),
}
ID_LENGTH: Final = 100
ID_BOUND: Final = 2**63

_ENVELOPE: Final = frozenset({"type", "id"})
_TEXT: Final = 0x81  # the first byte of a text message in a single frame

Id = str | int | None


class Incoming(NamedTuple):
    """A message of a known type. `fields`: everything in it, `type` and `id` included."""

    kind: str
    id: Id
    fields: dict[str, Any]


class Junk(BadInput):
    """Not a message at all: unparseable, or without a known type. `id` is echoed where there is one."""

    def __init__(self, message: str, *, code: str, field: str | None = None, id: Id = None) -> None:
        super().__init__(message, code=code, field=field)
        self.id = id


def read(raw: str | bytes) -> Incoming:
    """The message a client sent. Raises: Junk."""
    try:
        fields = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise Junk("The message is not valid JSON in UTF-8.", code="MALFORMED") from None
    if type(fields) is not dict:
        raise Junk("A message must be a JSON object.", code="MALFORMED")
    ident = fields.get("id")
    if not _is_id(ident):
        ident = None
    if "type" not in fields:
        raise Junk("type is missing.", code="MISSING_FIELD", field="type", id=ident)
    kind = fields["type"]
    if type(kind) is not str or kind not in FIELDS:
        raise Junk(f"type must be one of {', '.join(FIELDS)}.", code="INVALID_FIELD", field="type", id=ident)
    return Incoming(kind, ident, fields)


def check(message: Incoming) -> None:
    """Raises: BadInput for an id of a wrong form or a field the type does not have."""
    if not _is_id(message.fields.get("id")):
        raise BadInput(f"id must be a string of at most {ID_LENGTH} characters or an integer of 64 bits.", field="id")
    only_known(message.fields, FIELDS[message.kind] | _ENVELOPE)


def data_of(message: Incoming) -> dict[str, Any]:
    """What stands under `data`. Raises: BadInput."""
    if "data" not in message.fields:
        raise missing("data")
    data = message.fields["data"]
    if type(data) is not dict:
        raise BadInput("data must be a JSON object.", field="data")
    return data


def _is_id(value: object) -> bool:
    if type(value) is str:
        return len(value) <= ID_LENGTH
    return value is None or (type(value) is int and -ID_BOUND <= value < ID_BOUND)


# -- what goes out


def frame(payload: bytes) -> bytes:
    """A text message as a server writes it: one final frame, not masked."""
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", _TEXT, size) + payload
    if size < 65_536:
        return struct.pack("!BBH", _TEXT, 126, size) + payload
    return struct.pack("!BBQ", _TEXT, 127, size) + payload


def payload_of(made: bytes) -> bytes:
    """The payload of a frame that `frame` made."""
    return made[{126: 4, 127: 10}.get(made[1], 2) :]


def encoded(kind: str, **parts: Any) -> bytes:
    """The frame of a message of this type."""
    return frame(orjson.dumps({"type": kind, **parts}, default=str))


def acknowledged(ident: Id, data: Any) -> bytes:
    return encoded("ACK", id=ident, timestamp=now_text(), data=data)


def refusal(ident: Id, error: BaseException, *, request_id: str) -> bytes:
    """ERROR with the contract's body of whatever was raised; counted as REST counts it."""
    told = as_exchange_error(error, request_id=request_id)
    if STATUS[told.code] in NOT_OF_THE_CONTRACT:
        count_refusal(told.code)
    return encoded("ERROR", id=ident, timestamp=now_text(), data=error_body(told, request_id=request_id))


def snapshot(channel: str, sequence: int | None, data: Any, **more: Any) -> bytes:
    return encoded("SNAPSHOT", channel=channel, sequence=sequence, timestamp=now_text(), data=data, **more)


def now_text() -> str:
    return timestamp(datetime.now(UTC))
