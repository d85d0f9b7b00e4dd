"""A lean WebSocket client: frames by hand, no masking worth the name (a key of zeros), messages handed over as bytes."""

import asyncio
import base64
import hashlib
import hmac
import os
import struct
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import orjson

from bench.load import RECV_WINDOW_MS

NO_MASK = b"\0\0\0\0"


def frame(payload: bytes) -> bytes:
    """A client's text message in one frame."""
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", 0x81, 0x80 | size) + NO_MASK + payload
    return struct.pack("!BBH", 0x81, 0x80 | 126, size) + NO_MASK + payload


class Stream(asyncio.Protocol):
    """One connection. `take(payload)` is called for every text message."""

    def __init__(self, url: str, take: Callable[[bytes], None]) -> None:
        self._url = urlsplit(url)
        self.take = take
        self._buffer = bytearray()
        self._is_open = asyncio.get_running_loop().create_future()
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: Any = None

    async def open(self) -> "Stream":
        """Connect and shake hands."""
        await asyncio.get_running_loop().create_connection(lambda: self, self._url.hostname, self._url.port or 80)
        await self._is_open
        return self

    def send(self, message: dict[str, Any]) -> None:
        self.transport.write(frame(orjson.dumps(message)))

    def auth(self, key: dict[str, Any]) -> None:
        """AUTH with a signature that is good for a minute."""
        stamp_ms = int(time.time() * 1000)
        signed = f"{stamp_ms}{RECV_WINDOW_MS}GET/stream".encode()
        signature = hmac.new(key["secret"].encode(), signed, hashlib.sha256).hexdigest()
        self.send({"type": "AUTH", "api_key": key["key"], "timestamp": stamp_ms, "recv_window": RECV_WINDOW_MS, "signature": signature})

    def close(self) -> None:
        self.transport.close()

    # -- asyncio.Protocol

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        head = f"GET {self._url.path} HTTP/1.1\r\nHost: {self._url.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        transport.write(f"{head}Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        if not self._is_open.done():
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            if not buffer.startswith(b"HTTP/1.1 101"):
                self._is_open.set_exception(ConnectionError(bytes(buffer[:200]).decode()))
                return
            del buffer[: end + 4]
            self._is_open.set_result(None)
        at = 0
        while len(buffer) - at >= 2:
            size, start = buffer[at + 1], at + 2
            if size == 126:
                if len(buffer) < start + 2:
                    break
                size, start = int.from_bytes(buffer[start : start + 2]), start + 2
            elif size == 127:
                if len(buffer) < start + 8:
                    break
                size, start = int.from_bytes(buffer[start : start + 8]), start + 8
            if len(buffer) < start + size:
                break
            kind, payload = buffer[at] & 0x0F, bytes(buffer[start : start + size])
            at = start + size
            if kind == 1:
                self.take(payload)
            elif kind == 9:
                self.transport.write(struct.pack("!BB", 0x8A, 0x80 | size) + NO_MASK + payload)
        if at:
            del buffer[:at]

    def connection_lost(self, error: Exception | None) -> None:
        if not self._is_open.done():
            self._is_open.set_exception(ConnectionError("closed during the handshake"))
        if not self.closed.done():
            self.closed.set_result(None)
