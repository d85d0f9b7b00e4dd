"""What waits to be written to one client, and what that may cost: bounded in messages, bytes and time.

A frame goes straight to the socket while the client takes what it is sent, without waking a task. Only for one that lags is it
queued, and written by the connection's one sender task when the client has made room.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, Protocol

from api.ws.protocol import payload_of

MOST_MESSAGES: Final = 8192
MOST_BYTES: Final = 4 * 1024 * 1024
FULL_MESSAGES: Final = 256  # from here on nothing more is read from the client
FULL_BYTES: Final = 256 * 1024
STALLED_S: Final = 10.0

CLOSE_FAILED: Final = 1011
CLOSE_TOO_SLOW: Final = 1013

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Socket(Protocol):
    """What our server offers beside ASGI (`exchange_platform.websocket`)."""

    def write_frame(self, frame: bytes) -> bool: ...

    async def until_writable(self) -> None: ...

    def cut_off(self, code: int, reason: str = "") -> None: ...

    def abort(self) -> None: ...


class Outgoing:
    """The way to one client. `socket` null: plain ASGI, each message through `send`. `on_slow` is called when it is cut off as slow."""

    def __init__(self, send: Send, socket: Socket | None, *, on_slow: Callable[[], None] = lambda: None) -> None:
        self._send = send
        self._socket = socket
        self._on_slow = on_slow
        self._queue: deque[bytes] = deque()
        self._bytes = 0
        self._waits_since = 0.0
        self._closing: tuple[int, str] | None = None
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self.has_ended = False

    def put(self, frame: bytes) -> None:
        """Hand over one frame. A client that has too much waiting is cut off instead."""
        if self.has_ended or self._closing is not None:
            return
        queue = self._queue
        if not queue:
            if self._socket is not None and self._socket.write_frame(frame):
                return
            self._waits_since = time.monotonic()
        elif len(queue) >= MOST_MESSAGES or self._bytes >= MOST_BYTES:
            self._cut_off_as_slow()
            return
        queue.append(frame)
        self._bytes += len(frame)
        if len(queue) >= FULL_MESSAGES or self._bytes >= FULL_BYTES:
            self._room.clear()
        self._wake.set()

    async def room(self) -> None:
        """Returns when so little waits that the client may ask for more."""
        await self._room.wait()

    @property
    def waiting(self) -> int:
        """How many messages wait."""
        return len(self._queue)

    def close(self, code: int, reason: str = "") -> None:
        """Close when everything before has been written."""
        if self._closing is None:
            self._closing = (code, reason)
            self._wake.set()

    def cut_off_if_stalled(self, now: float) -> None:
        """Cut off a client that has taken nothing for `STALLED_S`. `now`: time.monotonic()."""
        if not self.has_ended and self._queue and now - self._waits_since > STALLED_S:
            self._cut_off_as_slow()

    @property
    def is_closing(self) -> bool:
        """Whether the connection is being closed from this side."""
        return self._closing is not None

    def abandon(self) -> None:
        """Drop the connection without a word."""
        self._end()
        if self._socket is not None:
            self._socket.abort()
        else:
            self._close_at_once(CLOSE_FAILED, "")

    async def run(self) -> None:
        """The sender task: writes what waits, in order, until the connection ends."""
        try:
            while not self.has_ended:
                await self._wake.wait()
                self._wake.clear()
                while self._queue:
                    await self._write()
                if self._closing is not None and not self.has_ended:
                    code, reason = self._closing
                    await self._send({"type": "websocket.close", "code": code, "reason": reason})
                    return
        except OSError:  # the client has gone
            pass
        finally:
            self._end()

    async def _write(self) -> None:
        if self._socket is None:
            frame = self._queue[0]
            await self._send({"type": "websocket.send", "text": payload_of(frame).decode()})
            self._took(frame)
            return
        await self._socket.until_writable()
        while self._queue and self._socket.write_frame(self._queue[0]):
            self._took(self._queue[0])

    def _took(self, frame: bytes) -> None:
        if self._queue and self._queue[0] is frame:  # it may have been cut off meanwhile
            self._queue.popleft()
            self._bytes -= len(frame)
            self._waits_since = time.monotonic()
            if not self._room.is_set() and len(self._queue) < FULL_MESSAGES and self._bytes < FULL_BYTES:
                self._room.set()

    def _cut_off_as_slow(self) -> None:
        self._end()
        self._on_slow()
        if self._socket is not None:
            self._socket.cut_off(CLOSE_TOO_SLOW, "too slow")
        else:
            self._close_at_once(CLOSE_TOO_SLOW, "too slow")

    def _close_at_once(self, code: int, reason: str) -> None:
        """Plain ASGI has no way past what is written already, so nobody waits for this."""
        self._closer = asyncio.ensure_future(self._send({"type": "websocket.close", "code": code, "reason": reason}))

    def _end(self) -> None:
        self.has_ended = True
        self._queue.clear()
        self._bytes = 0
        self._room.set()
        self._wake.set()
