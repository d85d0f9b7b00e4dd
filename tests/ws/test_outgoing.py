"""What one client's lag may cost: order is kept, memory is bounded, and who takes nothing is cut off."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from api.ws import outgoing as outgoing_module
from api.ws.outgoing import CLOSE_TOO_SLOW, MOST_BYTES, MOST_MESSAGES, Outgoing
from api.ws.protocol import frame


class FakeSocket:
    """Takes `free` frames, then none until it is told that the client has read."""

    def __init__(self, free: int = 0) -> None:
        self.free = free
        self.written: list[bytes] = []
        self.cut: list[int] = []
        self._writable = asyncio.Event()
        if free:
            self._writable.set()

    def write_frame(self, made: bytes) -> bool:
        if not self.free:
            self._writable.clear()
            return False
        self.free -= 1
        self.written.append(made)
        return True

    async def until_writable(self) -> None:
        await self._writable.wait()

    def read(self, more: int) -> None:
        self.free += more
        self._writable.set()

    def cut_off(self, code: int, reason: str = "") -> None:
        self.cut.append(code)

    def abort(self) -> None:
        self.cut.append(0)


class Plain:
    """Plain ASGI: each message is awaited; `gate` holds it up."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, message: Any) -> None:
        await self.gate.wait()
        self.sent.append(dict(message))


FRAMES = [frame(b"%d" % n) for n in range(20_000)]


def run(act: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(act())  # type: ignore[arg-type]


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_while_the_client_reads_frames_go_straight_to_the_socket() -> None:
    async def act() -> None:
        socket = FakeSocket(free=3)
        outgoing = Outgoing(Plain(), socket)
        for made in FRAMES[:3]:
            outgoing.put(made)
        assert socket.written == FRAMES[:3]
        assert outgoing.waiting == 0

    run(act)


def test_what_waited_is_written_first_and_in_order() -> None:
    async def act() -> None:
        socket = FakeSocket(free=2)
        outgoing = Outgoing(Plain(), socket)
        sender = asyncio.create_task(outgoing.run())
        for made in FRAMES[:5]:
            outgoing.put(made)
        await turns()
        assert (socket.written, outgoing.waiting) == (FRAMES[:2], 3)
        socket.free = 1  # room, but the sender has not been there: what comes now may not overtake
        outgoing.put(FRAMES[5])
        assert socket.written == FRAMES[:2]
        socket.read(9)
        await turns()
        assert socket.written == FRAMES[:6]
        outgoing.put(FRAMES[6])
        assert socket.written == FRAMES[:7]
        sender.cancel()

    run(act)


def test_a_client_with_too_many_messages_waiting_is_cut_off_and_its_memory_freed() -> None:
    async def act() -> None:
        slow: list[int] = []
        socket = FakeSocket()
        outgoing = Outgoing(Plain(), socket, on_slow=lambda: slow.append(1))
        for made in FRAMES[:MOST_MESSAGES]:
            outgoing.put(made)
        assert (socket.cut, outgoing.waiting) == ([], MOST_MESSAGES)
        outgoing.put(FRAMES[0])
        assert (socket.cut, outgoing.waiting, slow) == ([CLOSE_TOO_SLOW], 0, [1])
        outgoing.put(FRAMES[0])
        assert (socket.cut, outgoing.waiting) == ([CLOSE_TOO_SLOW], 0)

    run(act)


def test_a_client_with_too_many_bytes_waiting_is_cut_off_but_one_large_snapshot_is_not_too_many() -> None:
    async def act() -> None:
        socket = FakeSocket()
        outgoing = Outgoing(Plain(), socket)
        outgoing.put(frame(b"x" * (MOST_BYTES + 1)))
        assert socket.cut == []
        outgoing.put(FRAMES[0])
        assert socket.cut == [CLOSE_TOO_SLOW]

    run(act)


def test_a_client_is_not_read_while_its_answers_wait() -> None:
    async def act() -> None:
        socket = FakeSocket()
        outgoing = Outgoing(Plain(), socket)
        sender = asyncio.create_task(outgoing.run())
        for made in FRAMES[: outgoing_module.FULL_MESSAGES - 1]:
            outgoing.put(made)
        await asyncio.wait_for(outgoing.room(), 1)
        outgoing.put(FRAMES[0])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(outgoing.room(), 0.05)
        socket.read(100)
        await asyncio.wait_for(outgoing.room(), 1)
        sender.cancel()

    run(act)


def test_a_client_that_takes_nothing_for_some_seconds_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    async def act() -> None:
        now = [1000.0]
        monkeypatch.setattr(outgoing_module.time, "monotonic", lambda: now[0])
        socket = FakeSocket()
        outgoing = Outgoing(Plain(), socket)
        sender = asyncio.create_task(outgoing.run())
        outgoing.put(FRAMES[0])
        outgoing.put(FRAMES[1])
        now[0] += 9
        outgoing.cut_off_if_stalled(now[0])
        socket.read(1)
        await turns()  # it took one: it has another ten seconds for the next
        now[0] += 9
        outgoing.cut_off_if_stalled(now[0])
        assert socket.cut == []
        now[0] += 2
        outgoing.cut_off_if_stalled(now[0])
        assert socket.cut == [CLOSE_TOO_SLOW]
        await asyncio.wait_for(outgoing.room(), 1)
        sender.cancel()

    run(act)


def test_an_idle_client_is_never_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    async def act() -> None:
        socket = FakeSocket(free=1)
        outgoing = Outgoing(Plain(), socket)
        outgoing.put(FRAMES[0])
        outgoing.cut_off_if_stalled(1e12)
        assert socket.cut == []

    run(act)


def test_the_connection_closes_behind_what_was_put_before() -> None:
    async def act() -> None:
        plain = Plain()
        outgoing = Outgoing(plain, None)
        outgoing.put(FRAMES[1])
        outgoing.close(4401, "wrong AUTH")
        outgoing.put(FRAMES[2])
        await asyncio.wait_for(outgoing.run(), 1)
        assert plain.sent == [{"type": "websocket.send", "text": "1"}, {"type": "websocket.close", "code": 4401, "reason": "wrong AUTH"}]
        assert outgoing.has_ended

    run(act)


def test_a_client_that_has_gone_ends_the_sender() -> None:
    async def act() -> None:
        async def gone(_: Any) -> None:
            raise ConnectionResetError

        outgoing = Outgoing(gone, None)
        outgoing.put(FRAMES[0])
        await asyncio.wait_for(outgoing.run(), 1)
        assert (outgoing.has_ended, outgoing.waiting) == (True, 0)

    run(act)
