"""The WebSocket gateway: order entry (ACK, many under way per connection), own orders told after their acknowledgement, and many
subscribers of one busy book."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Coroutine
from datetime import datetime
from typing import Any, TypeVar

import orjson
import uvloop

from bench import Emit
from bench.load import SYMBOL, Orders
from bench.measure import machine
from bench.stack import Stack, cpu_of, cpu_per_order, running_stack
from bench.stream import Stream, frame

CONNECTIONS = 8
UNDER_WAY = 64
WARM_UP_S = 3.0
SECONDS = 10.0
RATE_PER_S = 500
SUBSCRIBERS = 200
PACE_S = 0.004

T = TypeVar("T")


def run(emit: Emit) -> None:
    """Each part on the same stack, one after the other."""
    with running_stack() as stack:
        order_entry(stack, emit)
        own_orders(stack, emit)
        for subscribers in (SUBSCRIBERS, 5 * SUBSCRIBERS):
            busy_book(stack, emit, subscribers)


def _run(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def _placing(body: str) -> bytes:
    return frame(b'{"type":"PLACE_ORDER","id":1,"data":' + body.encode() + b"}")


# -- order entry


class Placer:
    """One connection that keeps a number of orders under way. Answers come in any order, so delays are by how many were before."""

    def __init__(self, stack: Stack, key: dict[str, Any], orders: Orders, under_way: int) -> None:
        self._key = key
        self._orders = orders
        self._under_way = under_way
        self._url = stack.file["ws_url"]
        self._sent_at: deque[float] = deque()
        self.until = 0.0
        self.acknowledged = 0
        self.refused: Counter[str] = Counter()
        self.delays_s: list[float] = []
        self.done = asyncio.get_running_loop().create_future()

    async def open(self) -> None:
        ready = asyncio.get_running_loop().create_future()
        self.stream = await Stream(self._url, lambda payload: ready.set_result(payload)).open()
        self.stream.auth(self._key)
        answer = await ready
        assert answer.startswith(b'{"type":"ACK"'), answer
        self.stream.take = self._take

    def start(self, until: float) -> None:
        self.until = until
        for _ in range(self._under_way):
            self._place()

    def _place(self) -> None:
        self._sent_at.append(time.perf_counter())
        self.stream.transport.write(_placing(self._orders.around_the_middle(self._orders.side(), "ACK")))

    def _take(self, payload: bytes) -> None:
        now = time.perf_counter()
        if payload.startswith(b'{"type":"ACK"'):
            self.acknowledged += 1
        elif payload.startswith(b'{"type":"ERROR"'):
            self.refused[orjson.loads(payload)["data"]["code"]] += 1
        else:
            return
        self.delays_s.append(now - self._sent_at.popleft())
        if now < self.until:
            self._place()
        elif not self._sent_at and not self.done.done():
            self.done.set_result(None)


async def _place_for(stack: Stack, name: str, seconds: float) -> tuple[list[Placer], float]:
    keys = stack.unlimited_keys()
    placers = [Placer(stack, keys[n % len(keys)], Orders(f"{name}-{time.time_ns()}-{n}", seed=n), UNDER_WAY) for n in range(CONNECTIONS)]
    for placer in placers:
        await placer.open()
    started = time.perf_counter()
    for placer in placers:
        placer.start(started + seconds)
    await asyncio.gather(*(placer.done for placer in placers))
    took_s = time.perf_counter() - started
    for placer in placers:
        placer.stream.close()
    return placers, took_s


def order_entry(stack: Stack, emit: Emit) -> None:
    """Durable orders per second: each ACK comes after its commit."""
    _run(_place_for(stack, "ws-warm", WARM_UP_S))
    stack.wait_until_settled()
    before = cpu_of(stack)
    placers, took_s = _run(_place_for(stack, "ws-entry", SECONDS))
    drained_s = stack.wait_until_settled()
    after = cpu_of(stack)
    orders = sum(placer.acknowledged for placer in placers)
    refused: Counter[str] = sum((placer.refused for placer in placers), Counter())
    if sum(refused.values()) > orders // 100:
        raise RuntimeError(f"{orders} orders were taken, refused: {dict(refused)}")
    costs = cpu_per_order(before, after, orders)
    others = costs.pop("others on this machine", 0.0)
    in_all = sum(cost for process, cost in costs.items() if "/" not in process)
    emit(
        "entry_ack",
        round(orders / took_s),
        "orders/s",
        **_percentiles_ms([delay for placer in placers for delay in placer.delays_s]),
        settled_per_s=round(orders / (took_s + drained_s)),
        orders=orders,
        refused=dict(refused),
        connections=CONNECTIONS,
        under_way=UNDER_WAY,
        cpu_us_per_order=costs,
        cpu_us_in_all=round(in_all, 1),
        at_two_free_cores=round(2e6 / in_all),
        machine=machine(others * orders / 1e6 / (took_s + drained_s)),
    )


# -- own orders


def own_orders(stack: Stack, emit: Emit) -> None:
    """From the acknowledgement of an order to its first message on user.orders, at a fixed rate over all accounts."""
    acknowledged: dict[str, float] = {}
    heard: dict[str, float] = {}

    def note(payload: bytes) -> None:
        now = time.perf_counter()
        if payload.startswith(b'{"type":"ACK"'):
            found = acknowledged
        elif payload.startswith(b'{"type":"ORDER_UPDATE"'):
            found = heard
        else:
            return
        data = orjson.loads(payload)["data"]
        if isinstance(data, dict) and "client_order_id" in data:
            found.setdefault(data["client_order_id"], now)

    async def act() -> int:
        streams = []
        for key in stack.unlimited_keys():
            stream = await Stream(stack.file["ws_url"], note).open()
            stream.auth(key)
            stream.send({"type": "SUBSCRIBE", "channels": ["user.orders"]})
            streams.append(stream)
        await asyncio.sleep(1)
        orders = Orders(f"ws-own-{time.time_ns()}")
        sent = await _at_rate(streams, orders, SECONDS)
        await asyncio.sleep(3)
        for stream in streams:
            stream.close()
        return sent

    sent = _run(act())
    delays = [max(0.0, heard[ident] - at) for ident, at in acknowledged.items() if ident in heard]
    emit(
        "own_orders",
        _percentiles_ms(delays).get("p99_ms", -1),
        "ms",
        **_percentiles_ms(delays),
        orders=sent,
        acknowledged=len(acknowledged),
        unheard=len(acknowledged.keys() - heard.keys()),
        rate_per_s=RATE_PER_S,
        machine=machine(None),
    )


async def _at_rate(streams: list[Stream], orders: Orders, seconds: float) -> int:
    """Orders at `RATE_PER_S`, the connections in turn."""
    started, sent = time.perf_counter(), 0
    while (now := time.perf_counter() - started) < seconds:
        while sent < now * RATE_PER_S:
            stream = streams[sent % len(streams)]
            stream.transport.write(_placing(orders.around_the_middle(orders.side(), "ACK")))
            sent += 1
        await asyncio.sleep(PACE_S)
    return sent


# -- many subscribers


class Subscriber:
    """Counts the messages of one channel, and every gap."""

    def __init__(self) -> None:
        self.last: int | None = None
        self.messages = 0
        self.snapshots = 0
        self.gaps = 0

    def take(self, payload: bytes, delays_s: list[float]) -> None:
        if payload.startswith((b'{"type":"ACK"', b'{"type":"HEARTBEAT"')):
            return
        at = payload.index(b'"sequence":') + 11
        sequence = int(payload[at : payload.index(b",", at)])
        if payload.startswith(b'{"type":"SNAPSHOT"'):
            self.snapshots += 1
        else:
            self.messages += 1
            if self.last is None or sequence != self.last + 1:
                self.gaps += 1
            at = payload.index(b'"timestamp":"') + 13
            delays_s.append(time.time() - datetime.fromisoformat(payload[at : at + 24].decode()).timestamp())
        self.last = sequence


def busy_book(stack: Stack, emit: Emit, count: int) -> None:
    """Deltas of one book at `RATE_PER_S` orders to so many subscribers: from the settlement's time to the client's hands.

    The subscribers are in this one process, so its own work is part of the delay."""
    delays: list[float] = []

    async def act() -> list[Subscriber]:
        subscribers, streams = [], []
        for _ in range(count):
            subscriber = Subscriber()
            stream = await Stream(stack.file["ws_url"], lambda payload, to=subscriber: to.take(payload, delays)).open()  # type: ignore[misc]
            stream.send({"type": "SUBSCRIBE", "channels": [f"orderbook.{SYMBOL}"]})
            subscribers.append(subscriber)
            streams.append(stream)
        traders = []
        for key in stack.unlimited_keys():
            trader = await Stream(stack.file["ws_url"], lambda _: None).open()
            trader.auth(key)
            traders.append(trader)
        await asyncio.sleep(2)
        delays.clear()
        await _at_rate(traders, Orders(f"ws-busy-{time.time_ns()}"), SECONDS)
        await asyncio.sleep(4)
        for stream in [*streams, *traders]:
            stream.close()
        return subscribers

    before = cpu_of(stack)
    subscribers = _run(act())
    after = cpu_of(stack)
    messages = sum(subscriber.messages for subscriber in subscribers)
    used = after.since(before)
    emit(
        f"busy_book_{count}",
        messages,
        "messages",
        **_percentiles_ms(delays),
        gaps=sum(subscriber.gaps for subscriber in subscribers),
        resynced=sum(subscriber.snapshots - 1 for subscriber in subscribers),
        at_one_sequence=len({subscriber.last for subscriber in subscribers}) == 1,
        per_s=round(messages / SECONDS),
        web_cores=round(used["web-0"] / SECONDS, 2),
        generator_cores=round(used["generator"] / SECONDS, 2),
        rate_per_s=RATE_PER_S,
        machine=machine(None),
    )


def _percentiles_ms(delays_s: list[float]) -> dict[str, float]:
    ordered = sorted(delays_s)
    return {f"p{p}_ms": round(ordered[len(ordered) * p // 100] * 1000, 2) for p in (50, 95, 99)} if ordered else {}
