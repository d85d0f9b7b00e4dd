"""uvicorn's WebSocket protocol with what a gateway to many clients needs: whole frames are written as they are, who does not read is
not read either, and a client that takes nothing can be cut off.

The application finds it under `scope["extensions"]["exchange.socket"]`.
"""

from typing import Any, Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.protocol import State

SOCKET_EXTENSION: Final = "exchange.socket"
MESSAGE_LIMIT: Final = 256 * 1024  # a longer message of a client closes the connection with 1009
LAST_WORDS_S: Final = 5.0  # how long a client that is cut off has for reading the close frame


class DirectWebSocketProtocol(WebSocketsSansIOProtocol):
    """One client. Besides ASGI, the application may write frames that it has made itself: the same bytes for all clients."""

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if not self.transport.is_closing():
            extensions: dict[str, Any] = {**(self.scope.get("extensions") or {}), SOCKET_EXTENSION: self}
            self.scope["extensions"] = extensions  # the application runs from the next turn of the loop on

    def write_frame(self, frame: bytes) -> bool:
        """Write one whole frame. False: the client has not taken what came before, and nothing was written. To one that has gone
        writing is in vain, not an error."""
        if self.disconnected or self.close_sent or self.conn.state is not State.OPEN:
            return True
        if not self.writable.is_set():
            return False
        self.transport.write(frame)
        return True

    async def until_writable(self) -> None:
        """Returns when the client has taken what was written, or has gone."""
        await self.writable.wait()

    def cut_off(self, code: int, reason: str = "") -> None:
        """Close without waiting for the client to read: it may still find the close frame behind what is written already."""
        if not self.close_sent and not self.transport.is_closing():
            try:
                self.conn.send_close(code, reason)
            except InvalidState:
                pass
            else:
                self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
            self.stop_keepalive()
            self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.loop.call_later(LAST_WORDS_S, self.transport.abort)

    def abort(self) -> None:
        """Break the connection off without a word."""
        self.transport.abort()

    def pause_writing(self) -> None:
        """Who does not read cannot make us answer: neither messages nor pings are read meanwhile."""
        super().pause_writing()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.read_paused:
            self.transport.resume_reading()

    def keepalive_timeout(self) -> None:
        """Without the abort a peer that acknowledges but never reads would keep the connection for ever."""
        super().keepalive_timeout()
        self.loop.call_later(LAST_WORDS_S, self.transport.abort)

    async def receive(self) -> Any:
        message = await self.queue.get()
        if self.read_paused and self.queue.empty():
            self.read_paused = False
            if self.writable.is_set():
                self.transport.resume_reading()
        return message
