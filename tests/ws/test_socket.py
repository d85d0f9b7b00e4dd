"""The server's side of one socket, on a transport in the hands of the test: frames as they are, and no mercy for who does not read."""

import asyncio
from typing import Any

import pytest
from uvicorn.config import Config
from uvicorn.server import ServerState

from api.ws.protocol import frame
from exchange_platform import websocket
from exchange_platform.websocket import SOCKET_EXTENSION, DirectWebSocketProtocol

HANDSHAKE = (
    b"GET /stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
PING = bytes([0x89, 0x80]) + b"\0\0\0\0"
TEXT = bytes([0x81, 0x82]) + b"\0\0\0\0{}"


class Transport:
    def __init__(self) -> None:
        self.written = b""
        self.reads = True
        self.ended = ""

    def write(self, data: bytes) -> None:
        self.written += data

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def is_closing(self) -> bool:
        return bool(self.ended)

    def close(self) -> None:
        self.ended = self.ended or "close"

    def abort(self) -> None:
        self.ended = "abort"


async def opened() -> tuple[DirectWebSocketProtocol, Transport, dict[str, Any]]:
    """A connection whose application has accepted and waits."""
    seen: dict[str, Any] = {}
    never = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.update(scope["extensions"])
        await receive()
        await send({"type": "websocket.accept"})
        await never.wait()

    config = Config(app, ws_ping_interval=None, log_config=None)
    config.load()
    protocol = DirectWebSocketProtocol(config, ServerState(), {})
    transport = Transport()
    protocol.connection_made(transport)  # type: ignore[arg-type]
    protocol.data_received(HANDSHAKE)
    for _ in range(5):
        await asyncio.sleep(0)
    assert transport.written.startswith(b"HTTP/1.1 101")
    transport.written = b""
    return protocol, transport, seen


def test_the_application_finds_the_socket_and_writes_frames_as_they_are() -> None:
    async def act() -> None:
        protocol, transport, seen = await opened()
        assert seen[SOCKET_EXTENSION] is protocol
        assert protocol.write_frame(frame(b"one"))
        assert protocol.write_frame(frame(b"two"))
        assert transport.written == frame(b"one") + frame(b"two")

    asyncio.run(act())


def test_while_the_client_does_not_read_nothing_is_written_and_it_is_not_read() -> None:
    async def act() -> None:
        protocol, transport, _ = await opened()
        protocol.pause_writing()
        assert not transport.reads
        assert not protocol.write_frame(frame(b"one"))
        assert transport.written == b""
        protocol.data_received(TEXT)  # was under way
        await protocol.receive()
        assert not transport.reads, "taking a message does not begin to read again"
        waiting = asyncio.create_task(protocol.until_writable())
        await asyncio.sleep(0)
        assert not waiting.done()
        protocol.resume_writing()
        assert transport.reads
        await asyncio.wait_for(waiting, 1)
        assert protocol.write_frame(frame(b"one"))

    asyncio.run(act())


def test_a_message_not_yet_taken_keeps_reading_paused() -> None:
    async def act() -> None:
        protocol, transport, _ = await opened()
        protocol.data_received(TEXT)
        protocol.pause_writing()
        protocol.resume_writing()
        assert not transport.reads
        await protocol.receive()
        assert transport.reads

    asyncio.run(act())


def test_who_is_cut_off_finds_the_close_frame_behind_what_was_written_and_is_gone_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "LAST_WORDS_S", 0.05)

    async def act() -> None:
        protocol, transport, _ = await opened()
        protocol.write_frame(frame(b"one"))
        protocol.pause_writing()
        protocol.cut_off(1013, "too slow")
        assert transport.written == frame(b"one") + b"\x88\x0a\x03\xf5too slow"
        assert (await protocol.receive())["code"] == 1013
        assert protocol.write_frame(frame(b"two")), "in vain, and no error"
        assert transport.written.endswith(b"too slow")
        assert transport.ended == ""
        await asyncio.sleep(0.1)
        assert transport.ended == "abort"

    asyncio.run(act())


def test_who_does_not_answer_pings_does_not_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "LAST_WORDS_S", 0.05)

    async def act() -> None:
        protocol, transport, _ = await opened()
        protocol.keepalive_timeout()
        await asyncio.sleep(0.1)
        assert transport.ended == "abort"

    asyncio.run(act())


def test_a_client_that_went_by_itself_is_no_error() -> None:
    async def act() -> None:
        protocol, _, _ = await opened()
        protocol.connection_lost(ConnectionResetError())
        assert protocol.write_frame(frame(b"one"))
        await asyncio.wait_for(protocol.until_writable(), 1)
        protocol.cut_off(1013)

    asyncio.run(act())
