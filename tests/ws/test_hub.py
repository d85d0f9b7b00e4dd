"""The hub: a snapshot, then every message once and in order, whatever the channel layer loses, repeats or delays."""

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import orjson
import pytest

from api.ws import hub as hub_module
from api.ws.channels import Channel
from api.ws.hub import KEPT_MESSAGES, Hub
from api.ws.protocol import payload_of
from notifications.channels import Message
from orders import snapshots
from orders.snapshots import Persisted

GROUP = "market.7"


class FakeGroups:
    """The channel layer, in the hands of the test."""

    made: "list[FakeGroups]" = []

    def __init__(self, deliver: Callable[[str, list[Message]], None]) -> None:
        self.deliver = deliver
        self.joined: dict[str, int] = {}
        self.event = asyncio.Event()
        self.event.set()
        FakeGroups.made.append(self)

    def join(self, group: str) -> asyncio.Event:
        self.joined[group] = self.joined.get(group, 0) + 1
        return self.event

    def leave(self, group: str) -> None:
        self.joined[group] -= 1

    async def stop(self) -> None:
        pass


class Source:
    """A channel whose state is the number of its last message. `held`: reads wait for the test."""

    def __init__(self, sequence: int = 10, name: str = "orderbook.TEST/USDT") -> None:
        self.sequence = sequence
        self.reads = 0
        self.fails = 0
        self.before_read = threading.Event()
        self.may_read = threading.Event()
        self.may_read.set()
        self.old: int | None = None
        self.channel = Channel(name, name, GROUP, self.load, symbol_id=7)

    def load(self) -> tuple[int, Any]:
        self.reads += 1
        found = self.sequence if self.old is None else self.old
        self.before_read.set()
        assert self.may_read.wait(5)
        if self.fails:
            self.fails -= 1
            raise RuntimeError("the database is away")
        return found, {"at": found}


class Client:
    """A follower that checks what the contract promises to it."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []
        self.last: int | None = None
        self.problems: list[str] = []

    def put(self, frame: bytes) -> None:
        message = orjson.loads(payload_of(frame))
        kind, sequence = message["type"], message["sequence"]
        if kind != "SNAPSHOT" and (self.last is None or sequence != self.last + 1):
            self.problems.append(f"{kind} {sequence} after {self.last}")
        self.last = sequence
        self.told.append(("S" if kind == "SNAPSHOT" else "M", sequence))


def message(sequence: int, name: str = "orderbook.TEST/USDT") -> Message:
    return (name, sequence, orjson.dumps({"type": "ORDERBOOK_UPDATE", "channel": name, "sequence": sequence}).decode())


@pytest.fixture(autouse=True)
def _fake_groups(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    FakeGroups.made.clear()
    monkeypatch.setattr(hub_module, "Groups", FakeGroups)
    monkeypatch.setattr(hub_module, "RETRY_S", 0.01)
    yield
    from api.threads import shut_down

    shut_down()


def run(act: Callable[[Hub, Callable[..., None]], Awaitable[None]]) -> None:
    async def main() -> None:
        hub = Hub()
        groups = FakeGroups.made[0]
        await act(hub, lambda *sequences: groups.deliver(GROUP, [message(n) for n in sequences]))

    asyncio.run(main())


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)


def test_a_snapshot_then_only_what_follows_it() -> None:
    async def act(hub: Hub, relay: Callable[..., None]) -> None:
        source, client = Source(10), Client()
        hub.follow(source.channel, client)
        await until(lambda: client.told)
        relay(8, 9, 10, 11, 11, 12)
        relay(10, 12, 13)
        assert client.told == [("S", 10), ("M", 11), ("M", 12), ("M", 13)]

    run(act)


def test_what_arrives_while_the_snapshot_is_read_is_not_lost() -> None:
    async def act(hub: Hub, relay: Callable[..., None]) -> None:
        source, client = Source(10), Client()
        source.may_read.clear()
        hub.follow(source.channel, client)
        await until(source.before_read.is_set)
        relay(9, 10, 11)
        relay(12)
        source.may_read.set()
        await until(lambda: client.told)
        relay(13)
        assert client.told == [("S", 10), ("M", 11), ("M", 12), ("M", 13)]

    run(act)


def test_a_snapshot_older_than_what_arrived_is_read_again() -> None:
    async def act(hub: Hub, relay: Callable[..., None]) -> None:
        source, client = Source(10), Client()
        source.may_read.clear()
        source.old = 10
        hub.follow(source.channel, client)
        await until(source.before_read.is_set)
        relay(14, 15)  # 11, 12, 13 were lost before the group was joined
        source.old = None
        source.sequence = 15
        source.may_read.set()
        await until(lambda: client.told)
        relay(16)
        assert client.told == [("S", 15), ("M", 16)]
        assert source.reads == 2

    run(act)


def test_a_gap_brings_a_new_snapshot_to_those_who_have_it_and_to_nobody_else() -> None:
    async def act(hub: Hub, relay: Callable[..., None]) -> None:
        source, early, late = Source(10), Client(), Client()
        hub.follow(source.channel, early)
        await until(lambda: early.told)
        source.sequence = 14
        hub.follow(source.channel, late)
        await until(lambda: late.told)
        relay(11)
        relay(15)  # 12 to 14 were lost; `late` has them in its snapshot
        source.sequence = 15
        await until(lambda: len(early.told) == 3)
        relay(16)
        assert early.told == [("S", 10), ("M", 11), ("S", 15), ("M", 16)]
        assert late.told == [("S", 14), ("M", 15), ("M", 16)]

    run(act)


def test_many_who_come_at_once_share_the_reading() -> None:
    async def act(hub: Hub, relay: Callable[..., None]) -> None:
        source, clients = Source(10), [Client() for _ in range(300)]
        for client in clients:
            hub.follow(source.channel, client)
        await until(lambda: all(client.told for client in clients))
        assert source.reads <= 2
        relay(11)
        assert {tuple(client.told) for client in clients} == {(("S", 10), ("M", 11))}

    run(act)


def test_who_comes_while_a_snapshot_is_read_gets_the_next_one() -> None:
    """Otherwise a client would not find in it what was committed before it asked."""

    async def act(hub: Hub, relay: Callable[..., None]) -> None:
        source, first, second = Source(10), Client(), Client()
        source.may_read.clear()
        hub.follow(source.channel, first)
        await until(source.before_read.is_set)
        source.sequence = 11
        hub.follow(source.channel, second)
        source.may_read.set()
        await until(lambda: second.told)
        assert (first.told, second.told) == ([("S", 10)], [("S", 11)])

    run(act)


def test_a_failed_reading_is_tried_again() -> None:
    async def act(hub: Hub, relay: Callable[..., None]) -> None:
        source, client = Source(10), Client()
        source.fails = 3
        hub.follow(source.channel, client)
        await until(lambda: client.told)
        assert (client.told, source.reads) == ([("S", 10)], 4)

    run(act)


def test_without_the_channel_layer_the_snapshot_comes_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "JOIN_PATIENCE_S", 0.05)

    async def act(hub: Hub, relay: Callable[..., None]) -> None:
        FakeGroups.made[0].event.clear()
        source, client = Source(10), Client()
        hub.follow(source.channel, client)
        await until(lambda: client.told)

    run(act)


def test_the_last_one_who_leaves_leaves_the_group_and_ends_the_reading() -> None:
    async def act(hub: Hub, relay: Callable[..., None]) -> None:
        book, trades = Source(10), Source(5, "trades.TEST/USDT")
        one, two = Client(), Client()
        source_count = FakeGroups.made[0].joined
        for client in (one, two):
            hub.follow(book.channel, client)
        hub.follow(trades.channel, one)
        await until(lambda: one.told and two.told and len(one.told) == 2)
        hub.leave(book.channel, one)
        hub.leave(trades.channel, one)
        relay(11)
        assert len(one.told) == 2
        assert two.told == [("S", 10), ("M", 11)]
        assert source_count == {GROUP: 1}
        hub.leave(book.channel, two)
        assert source_count == {GROUP: 0}
        relay(12)

    run(act)


# -- RESYNC


def test_resync_replays_what_is_kept() -> None:
    async def act(hub: Hub, relay: Callable[..., None]) -> None:
        source, client = Source(10), Client()
        hub.follow(source.channel, client)
        await until(lambda: client.told)
        relay(11, 12, 13)
        client.told.clear()
        client.last = 11
        hub.resync(source.channel, client, 11)
        relay(14)
        assert client.told == [("M", 12), ("M", 13), ("M", 14)]
        assert (client.problems, source.reads) == ([], 1)

    run(act)


def test_resync_of_one_who_has_everything_sends_nothing() -> None:
    async def act(hub: Hub, relay: Callable[..., None]) -> None:
        source, client = Source(10), Client()
        hub.follow(source.channel, client)
        await until(lambda: client.told)
        hub.resync(source.channel, client, 10)
        relay(11)
        hub.resync(source.channel, client, 11)
        await asyncio.sleep(0.02)
        assert client.told == [("S", 10), ("M", 11)]

    run(act)


@pytest.mark.parametrize("last_sequence", [None, 0, 9, 99])
def test_resync_from_where_nothing_is_kept_is_a_snapshot(last_sequence: int | None) -> None:
    async def act(hub: Hub, relay: Callable[..., None]) -> None:
        source, client = Source(10), Client()
        hub.follow(source.channel, client)
        await until(lambda: client.told)
        relay(11, 12)
        source.sequence = 12
        client.told.clear()
        hub.resync(source.channel, client, last_sequence)
        await until(lambda: client.told)
        relay(13)
        assert client.told == [("S", 12), ("M", 13)]

    run(act)


def test_resync_does_not_replay_into_a_gap_before_the_snapshot() -> None:
    """The snapshot is ahead of the relay: what lies between the two is not kept yet."""

    async def act(hub: Hub, relay: Callable[..., None]) -> None:
        source, client = Source(10), Client()
        hub.follow(source.channel, client)
        await until(lambda: client.told)
        relay(11)
        source.sequence = 15
        hub.follow(source.channel, client)
        await until(lambda: client.last == 15)
        client.told.clear()
        hub.resync(source.channel, client, 10)
        await until(lambda: client.told)
        assert client.told == [("S", 15)]

    run(act)


def test_only_so_many_messages_are_kept() -> None:
    async def act(hub: Hub, relay: Callable[..., None]) -> None:
        source, client = Source(0), Client()
        hub.follow(source.channel, client)
        await until(lambda: client.told)
        relay(*range(1, KEPT_MESSAGES + 11))
        source.sequence = KEPT_MESSAGES + 10
        client.told.clear()
        client.last = 10
        hub.resync(source.channel, client, 10)
        assert len(client.told) == KEPT_MESSAGES
        client.told.clear()
        hub.resync(source.channel, client, 9)
        await until(lambda: client.told)
        assert client.told == [("S", KEPT_MESSAGES + 10)]

    run(act)


# -- looking whether something was lost behind which nothing follows


def test_who_stands_behind_what_the_database_had_at_the_last_look_gets_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(hub: Hub, relay: Callable[..., None]) -> None:
        source, client = Source(10), Client()
        monkeypatch.setattr(snapshots, "persisted", lambda **_: Persisted({7: {"orderbook": source.sequence}}, {}))
        hub.follow(source.channel, client)
        await until(lambda: client.told)
        await hub.check()
        source.sequence = 12  # committed; the relay's messages are lost
        await hub.check()
        await asyncio.sleep(0.02)
        assert client.told == [("S", 10)], "it may still be under way"
        await hub.check()
        await until(lambda: len(client.told) == 2)
        assert client.told == [("S", 10), ("S", 12)]
        relay(11, 12, 13)
        await hub.check()
        await hub.check()
        await asyncio.sleep(0.02)
        assert client.told == [("S", 10), ("S", 12), ("M", 13)]

    run(act)


def test_candles_are_compared_by_interval() -> None:
    channel = Channel("candles.TEST/USDT.5m", "k", GROUP, lambda: (0, []), symbol_id=7)
    assert channel.reached(Persisted({7: {"candles.5m": 4, "candles.1m": 9}}, {})) == 4
    assert channel.reached(Persisted({}, {})) == 0
    mine = Channel("user.balances", "3/user.balances", "account.3", lambda: (0, []), account_id=3)
    assert mine.reached(Persisted({}, {3: {"orders": 1, "trades": 2, "balances": 3}})) == 3


# -- everything at once


@pytest.mark.parametrize("seed", range(8))
def test_no_gap_whatever_is_lost_repeated_and_delayed(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)

    async def act(hub: Hub, relay: Callable[..., None]) -> None:
        source = Source(0)
        monkeypatch.setattr(snapshots, "persisted", lambda **_: Persisted({7: {"orderbook": source.sequence}}, {}))
        clients: list[Client] = []
        following: set[int] = set()
        relayed = 0
        for step in range(1500):
            source.sequence += rng.random() < 0.7
            dice = rng.random()
            if dice < 0.5 and relayed < source.sequence:
                upto = rng.randint(relayed + 1, source.sequence)
                relay(*range(relayed + 1, upto + 1))
                relayed = upto
            elif dice < 0.53:
                relayed = source.sequence  # Redis forgot
            elif dice < 0.56 and relayed:
                relay(*range(max(1, relayed - 5), relayed + 1))  # at least once
            elif dice < 0.60 and len(following) < 12:
                clients.append(Client())
                following.add(len(clients) - 1)
                hub.follow(source.channel, clients[-1])
            elif dice < 0.63 and following:
                gone = rng.choice(sorted(following))
                following.discard(gone)
                hub.leave(source.channel, clients[gone])
            elif dice < 0.66 and following:
                one = clients[rng.choice(sorted(following))]
                if one.last is not None:
                    one.last = max(0, one.last - rng.randint(0, 3))
                    hub.resync(source.channel, one, one.last)
            if step % 7 == 0:
                await asyncio.sleep(0)
            if step % 50 == 0:
                await asyncio.sleep(0.005)
        relay(*range(max(1, relayed - 2), source.sequence + 1))
        for _ in range(3):
            await hub.check()
            await asyncio.sleep(0.02)
        await until(lambda: all(clients[n].last == source.sequence for n in following))
        assert [client.problems for client in clients if client.problems] == []
        assert len(following) > 1

    run(act)
