"""What a client may send, and how what goes out is framed."""

import struct

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from api.errors import BadInput
from api.ws import protocol
from api.ws.protocol import Junk

JUNK = {
    b"not json": "MALFORMED",
    b"": "MALFORMED",
    b"[]": "MALFORMED",
    b"5": "MALFORMED",
    b'"x"': "MALFORMED",
    b"[" * 20_000: "MALFORMED",
    b'{"type": NaN}': "MALFORMED",
    b'\xff{"type": "PING"}': "MALFORMED",
    b'{"type": "\\ud800"}': "MALFORMED",
    b"{}": "MISSING_FIELD",
    b'{"channels": []}': "MISSING_FIELD",
    b'{"type": 5}': "INVALID_FIELD",
    b'{"type": null}': "INVALID_FIELD",
    b'{"type": ["PING"]}': "INVALID_FIELD",
    b'{"type": "ping"}': "INVALID_FIELD",
}


@pytest.mark.parametrize("raw", JUNK, ids=lambda raw: raw[:20].decode("latin-1"))
def test_what_is_no_message_is_junk(raw: bytes) -> None:
    with pytest.raises(Junk) as caught:
        protocol.read(raw)
    assert caught.value.code == JUNK[raw]


def test_junk_with_an_id_is_answered_under_it() -> None:
    with pytest.raises(Junk) as caught:
        protocol.read(b'{"type": "DANCE", "id": "a"}')
    assert caught.value.id == "a"


@pytest.mark.parametrize("ident", ["", "x" * 100, 0, -(2**63), 2**63 - 1, None])
def test_an_id_is_a_short_string_or_an_integer(ident: object) -> None:
    message = protocol.read(orjson.dumps({"type": "PING", "id": ident}))
    protocol.check(message)
    assert message.id == ident


@pytest.mark.parametrize("ident", ["x" * 101, 2**63, True, 1.5, [], {"a": 1}])
def test_an_id_of_another_form_is_refused_and_not_echoed(ident: object) -> None:
    message = protocol.read(orjson.dumps({"type": "PING", "id": ident}))
    assert message.id is None
    with pytest.raises(BadInput) as caught:
        protocol.check(message)
    assert (caught.value.code, caught.value.field) == ("INVALID_FIELD", "id")


@pytest.mark.parametrize("kind", protocol.FIELDS)
def test_a_field_that_a_type_does_not_have_is_refused(kind: str) -> None:
    with pytest.raises(BadInput) as caught:
        protocol.check(protocol.read(orjson.dumps({"type": kind, "nothing": 1})))
    assert (caught.value.code, caught.value.field) == ("UNKNOWN_FIELD", "nothing")


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 300_000])
def test_a_frame_is_what_a_websocket_library_writes(size: int) -> None:
    payload = b"x" * size
    made = protocol.frame(payload)
    assert made == Frame(Opcode.TEXT, payload).serialize(mask=False)
    assert protocol.payload_of(made) == payload


@given(st.dictionaries(st.text(), st.none() | st.text() | st.integers(-(2**63), 2**63 - 1)))
def test_whatever_is_told_arrives(data: dict[str, object]) -> None:
    try:
        made = protocol.acknowledged("a", data)
    except TypeError:  # lone surrogates have no UTF-8
        return
    told = orjson.loads(protocol.payload_of(made))
    assert (told["type"], told["id"], told["data"]) == ("ACK", "a", data)
    assert struct.unpack("!B", made[:1]) == (0x81,)
