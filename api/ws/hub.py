"""The hub of a web process: every channel that a local connection follows, once, and its messages to all who follow it.

A follower gets a SNAPSHOT with sequence S, then S+1, S+2 … without a gap. What arrives is at most once (Redis forgets) and may be
behind the database (the relay tells what was committed before), so each follower has a position of its own: what is not above it
is dropped, what leaves a gap makes it wait for a new snapshot. A loss behind which nothing follows is noticed by nobody, so the
database is asked every two seconds how far the channels are; who stands behind what was there two seconds ago gets a new snapshot.
"""

import asyncio
from collections import deque
from typing import Final, Protocol

import structlog

from api.threads import run_in_thread
from api.ws.channels import Channel
from api.ws.groups import Groups
from api.ws.protocol import frame, snapshot
from notifications.channels import Message
from orders import snapshots

log = structlog.get_logger(__name__)

KEPT_MESSAGES: Final = 512  # per channel, for RESYNC
WAITING: Final = 1 << 62  # the position of a follower that has no snapshot yet: above every sequence
JOIN_PATIENCE_S: Final = 0.5  # a snapshot waits so long for the group; without Redis it comes all the same
RETRY_S: Final = 0.5
CHECK_S: Final = 2.0
ATTEMPTS: Final = 3


class Follower(Protocol):
    """Who takes frames: a connection's `Outgoing`."""

    def put(self, frame: bytes) -> None: ...


class Feed:
    """One channel in this process: who follows it from where, and the last messages.

    `last` is the newest message that arrived, and `ring` what arrived without a gap up to it.
    """

    def __init__(self, channel: Channel, joined: asyncio.Event) -> None:
        self.channel = channel
        self.positions: dict[Follower, int] = {}
        self.ring: deque[tuple[int, bytes]] = deque(maxlen=KEPT_MESSAGES)
        self.last: int | None = None
        self._joined = joined
        self._reading: asyncio.Task[None] | None = None

    def follow(self, follower: Follower) -> None:
        """Begin, or begin anew, with a snapshot."""
        self.positions[follower] = WAITING
        self.read()

    def take(self, sequence: int, text: str) -> None:
        """A message from the relay."""
        if self.last is not None and sequence <= self.last:
            return
        made = frame(text.encode())
        if self.last is not None and sequence != self.last + 1:
            self.ring.clear()
        self.ring.append((sequence, made))
        self.last = sequence
        before, lost = sequence - 1, False
        positions = self.positions
        for follower, position in positions.items():
            if position == before:
                positions[follower] = sequence
                follower.put(made)
            elif position < before:
                positions[follower] = WAITING
                lost = True
        if lost:
            self.read()

    def resync(self, follower: Follower, last_sequence: int | None) -> None:
        """What is kept behind `last_sequence`, or a snapshot."""
        position = self.positions[follower]
        if position == WAITING:
            return  # a snapshot is on its way
        if last_sequence is None or not self._replay(follower, last_sequence, at_least=position):
            self.follow(follower)

    def catch_up(self, reached: int) -> None:
        """Whoever has not been told what the database had a while ago gets a snapshot."""
        behind = [follower for follower, position in self.positions.items() if position < reached]
        for follower in behind:
            self.positions[follower] = WAITING
        if behind:
            self.read()

    def position(self, follower: Follower) -> int | None:
        """The last sequence this follower was sent; null before the first snapshot."""
        found = self.positions[follower]
        return None if found == WAITING else found

    def read(self) -> None:
        """Read a snapshot for everybody who waits for one. Who comes while one is being read gets the next."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_while_wanted())

    def stop(self) -> None:
        if self._reading is not None:
            self._reading.cancel()

    async def _read_while_wanted(self) -> None:
        try:
            attempt = 0
            while wanted := [follower for follower, position in self.positions.items() if position == WAITING]:
                if not self._joined.is_set():
                    try:
                        await asyncio.wait_for(self._joined.wait(), JOIN_PATIENCE_S)
                    except TimeoutError:
                        pass
                    wanted = [follower for follower, position in self.positions.items() if position == WAITING]
                attempt += 1
                try:
                    sequence, made = await run_in_thread(self._load)
                except Exception as error:
                    log.warning("snapshot_not_read", channel=self.channel.name, error=repr(error)[:300])
                    await asyncio.sleep(RETRY_S)
                    continue
                if self.ring and self.ring[0][0] > sequence + 1:
                    if attempt < ATTEMPTS:
                        continue  # older than what has arrived since: the next message would leave a gap
                    self.ring.clear()  # the database has gone back: its word counts
                    self.last = None
                attempt = 0
                for follower in wanted:
                    if self.positions.get(follower) == WAITING:
                        follower.put(made)
                        self.positions[follower] = sequence
                        self._replay(follower, sequence)
        finally:
            self._reading = None

    def _load(self) -> tuple[int, bytes]:
        sequence, data = self.channel.load()
        return sequence, snapshot(self.channel.name, sequence, data)

    def _replay(self, follower: Follower, last_sequence: int, *, at_least: int = 0) -> bool:
        """Send what is kept behind `last_sequence`. False, and nothing sent, when that does not reach up to `at_least`."""
        if last_sequence == self.positions[follower] and (self.last is None or self.last <= last_sequence):
            return True
        if self.last is None or not self.ring or not self.ring[0][0] <= last_sequence + 1 <= self.last or self.last < at_least:
            return False
        for sequence, made in self.ring:
            if sequence > last_sequence:
                follower.put(made)
        self.positions[follower] = self.last
        return True


class Hub:
    """All feeds of this process. Used from its event loop alone."""

    def __init__(self) -> None:
        self._feeds: dict[str, Feed] = {}
        self._by_group: dict[str, dict[str, Feed]] = {}
        self._groups = Groups(self._deliver)
        self._checking: asyncio.Task[None] | None = None
        self._reached: dict[str, int] = {}

    def start(self) -> None:
        self._checking = asyncio.create_task(self._check_for_ever())

    async def stop(self) -> None:
        """Leave the channel layer and end all reading."""
        if self._checking is not None:
            self._checking.cancel()
        for feed in self._feeds.values():
            feed.stop()
        await self._groups.stop()

    def follow(self, channel: Channel, follower: Follower) -> None:
        """Send a snapshot, then every message. For one that follows already: a new snapshot."""
        feed = self._feeds.get(channel.key)
        if feed is None:
            feed = self._feeds[channel.key] = Feed(channel, self._groups.join(channel.group))
            self._by_group.setdefault(channel.group, {})[channel.name] = feed
        feed.follow(follower)

    def leave(self, channel: Channel, follower: Follower) -> None:
        feed = self._feeds[channel.key]
        del feed.positions[follower]
        if not feed.positions:
            feed.stop()
            del self._feeds[channel.key]
            self._reached.pop(channel.key, None)
            del self._by_group[channel.group][channel.name]
            if not self._by_group[channel.group]:
                del self._by_group[channel.group]
            self._groups.leave(channel.group)

    def resync(self, channel: Channel, follower: Follower, last_sequence: int | None) -> None:
        self._feeds[channel.key].resync(follower, last_sequence)

    def position(self, channel: Channel, follower: Follower) -> int | None:
        return self._feeds[channel.key].position(follower)

    def _deliver(self, group: str, messages: list[Message]) -> None:
        feeds = self._by_group.get(group)
        if feeds is None:
            return
        for name, sequence, text in messages:
            feed = feeds.get(name)
            if feed is not None:
                feed.take(sequence, text)

    async def _check_for_ever(self) -> None:
        while True:
            await asyncio.sleep(CHECK_S)
            try:
                await self.check()
            except Exception as error:
                log.warning("feeds_not_checked", error=repr(error)[:300])

    async def check(self) -> None:
        """Compare every feed with what the database had at the last check."""
        feeds = list(self._feeds.values())
        if not feeds:
            self._reached = {}
            return
        found = await run_in_thread(
            snapshots.persisted,
            symbol_ids={feed.channel.symbol_id for feed in feeds if feed.channel.symbol_id is not None},
            account_ids={feed.channel.account_id for feed in feeds if feed.channel.account_id is not None},
        )
        before, self._reached = self._reached, {}
        for feed in feeds:
            key = feed.channel.key
            if self._feeds.get(key) is feed:
                self._reached[key] = feed.channel.reached(found)
                if key in before:
                    feed.catch_up(before[key])
