"""`/stream` as an ASGI application: accepts connections, reads them, and looks after all of them once a second."""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import structlog

from api.threads import run_in_thread
from api.ws.connection import SWITCH_MS, Connection
from api.ws.entry import Answers
from api.ws.hub import Hub
from api.ws.outgoing import Outgoing
from exchange_platform import metrics
from exchange_platform.websocket import SOCKET_EXTENSION
from orders import switch

log = structlog.get_logger(__name__)

PATH: Final = "/stream"
TURN: Final = 32
LOOK_S: Final = 1.0
HOLD_S: Final = 4.0
DEPARTURES_S: Final = 4.0

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class StreamApp:
    """The gateway of a web process. `start` and `stop` are called in the event loop that serves."""

    def __init__(self) -> None:
        self.connections: set[Connection] = set()
        self._hub: Hub | None = None
        self._answers: Answers | None = None
        self._looking: list[asyncio.Task[None]] = []
        self._departures: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self._hub, self._answers = Hub(), Answers()
        self._hub.start()
        loops = (self._look_for_ever, self._recheck_for_ever, self._hold_switches_for_ever)
        self._looking = [asyncio.create_task(loop()) for loop in loops]

    async def stop(self) -> None:
        """After the last connection has ended. Waits for the cancels that connections left behind."""
        for task in self._looking:
            task.cancel()
        if self._departures:
            await asyncio.wait(self._departures, timeout=DEPARTURES_S)
        if self._hub is not None:
            await self._hub.stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        if scope["path"] != PATH or self._hub is None or self._answers is None:
            await send({"type": "websocket.close", "code": 1000})  # before the handshake, which a client sees as 403
            return
        await send({"type": "websocket.accept"})
        outgoing = Outgoing(send, (scope.get("extensions") or {}).get(SOCKET_EXTENSION), on_slow=metrics.websocket_slow_clients.inc)
        client = scope.get("client")
        connection = Connection(self._hub, outgoing, self._answers, address=client[0] if client else "")
        self.connections.add(connection)
        metrics.websocket_connections.set(len(self.connections))
        sender = asyncio.create_task(outgoing.run())
        try:
            await _read(connection, receive)
        finally:
            self.connections.discard(connection)
            metrics.websocket_connections.set(len(self.connections))
            sender.cancel()
            if (leaves := connection.gone()) is not None:
                task = asyncio.create_task(leaves)
                self._departures.add(task)
                task.add_done_callback(self._departures.discard)

    async def _look_for_ever(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            now = time.monotonic()
            for connection in list(self.connections):
                connection.outgoing.cut_off_if_stalled(now)
                connection.beat(now + LOOK_S)  # rather a little early than late

    async def _recheck_for_ever(self) -> None:
        """Each log-in is looked up once for all its connections. While the database is away nobody is cut off."""
        while True:
            await asyncio.sleep(LOOK_S)
            for connection in list(self.connections):
                if connection.caller is not None:
                    try:
                        await connection.recheck()
                    except Exception as error:
                        log.warning("log_in_not_rechecked", error=repr(error)[:300])
                        break

    async def _hold_switches_for_ever(self) -> None:
        """The switches of connections that asked to be cancelled with are moved on for as long as this process lives."""
        while True:
            await asyncio.sleep(HOLD_S)
            holders = [c.disconnect_switch.holder for c in self.connections if c.disconnect_switch is not None]
            if holders:
                try:
                    await run_in_thread(switch.move_on, holders=holders, seconds=SWITCH_MS / 1000)
                except Exception as error:
                    log.warning("switches_not_held", holders=len(holders), error=repr(error)[:300])


async def _read(connection: Connection, receive: Receive) -> None:
    """Read and act until the connection ends. A client that does not take its answers is not read."""
    taken = 0
    while not connection.outgoing.has_ended:
        event = await receive()
        if event["type"] == "websocket.disconnect":
            return
        if connection.outgoing.is_closing:
            continue  # said good-bye: what still comes is not acted on
        raw = event.get("text")
        await connection.take(raw if raw is not None else event.get("bytes") or b"")
        await connection.room()
        taken += 1
        if taken % TURN == 0:
            await asyncio.sleep(0)  # who sends many at once has them waiting: the others are to have their turn
