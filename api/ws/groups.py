"""This process's place in the channel layer: groups of which some local connection needs the messages.

Each group has a channel of the layer and a task of its own, because a message does not say which group it came through and the
private channels of all accounts have the same names. Redis may be away: joining goes on trying, and nobody waits for it for long.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from channels.layers import get_channel_layer

from notifications.channels import Message

log = structlog.get_logger(__name__)

RETRY_S: Final = 1.0


@dataclass(slots=True)
class _Membership:
    needed: int = 0
    joined: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[None] | None" = None


class Groups:
    """`deliver(group, messages)` is called for what arrives, in order per group."""

    def __init__(self, deliver: Callable[[str, list[Message]], None]) -> None:
        self._deliver = deliver
        self._members: dict[str, _Membership] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._door = asyncio.Lock()

    def join(self, group: str) -> asyncio.Event:
        """Need a group once more. The event is set while messages of it arrive here."""
        member = self._members.get(group)
        if member is None:
            member = self._members[group] = _Membership()
            member.task = asyncio.create_task(self._follow(group, member.joined))
        member.needed += 1
        return member.joined

    def leave(self, group: str) -> None:
        """Need it once less; the last one ends it."""
        member = self._members[group]
        member.needed -= 1
        if not member.needed:
            del self._members[group]
            self._end(member)

    async def stop(self) -> None:
        """Leave everything."""
        for member in self._members.values():
            self._end(member)
        self._members.clear()
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=2)

    def _end(self, member: _Membership) -> None:
        assert member.task is not None
        member.task.cancel()
        self._leaving.add(member.task)
        member.task.add_done_callback(self._leaving.discard)

    async def _follow(self, group: str, joined: asyncio.Event) -> None:
        layer: Any = get_channel_layer()
        channel: str | None = None
        while True:
            try:
                if channel is None:
                    channel = await self._first(layer)
                await layer.group_add(group, channel)
                joined.set()
                while True:
                    message = await layer.receive(channel)
                    self._deliver(group, message["messages"])
            except asyncio.CancelledError:
                if channel is not None:
                    with suppress(Exception):
                        await layer.group_discard(group, channel)
                raise
            except Exception as error:
                joined.clear()
                log.warning("group_not_joined", group=group, error=repr(error))
                await asyncio.sleep(RETRY_S)

    async def _first(self, layer: Any) -> str:
        """A channel of the layer. One asks at a time: each attempt that fails leaves something behind in the layer's memory."""
        async with self._door:
            try:
                channel: str = await layer.new_channel()
            except Exception:
                await asyncio.sleep(RETRY_S)
                raise
            return channel
