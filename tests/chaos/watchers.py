"""Those who listen while processes are killed: a reader of the event streams, and WebSocket clients that rebuild a book."""

import asyncio
import json
import threading
import time
import zlib
from collections import Counter, defaultdict
from decimal import Decimal
from typing import Any

import orjson
import redis
import websockets

from tests.support.stacks import RunningStack

PREFIX = "events:"

# What has not been read yet, and nothing is there any more: in one step, so that nothing can come in between.
READ_AND_FORGET = """
    local found = {}
    local last = cjson.decode(ARGV[1])
    for _, key in ipairs(redis.call('KEYS', 'events:*')) do
        table.insert(found, {key, redis.call('XRANGE', key, last[key] and '(' .. last[key] .. '-0' or '-', '+')})
    end
    redis.call('FLUSHALL')
    return found"""


class EventReader:
    """Reads every event stream of Redis to its end, again and again, from `start` to `stop`; keeps each stream's sequences as they came."""

    def __init__(self, stack: RunningStack) -> None:
        self.sequences: dict[str, list[int]] = defaultdict(list)
        self.types: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.met: Exception | None = None
        self._url = stack["redis_url"]
        self._over = threading.Event()
        self._forget = threading.Event()
        self._forgotten = threading.Event()
        self._thread = threading.Thread(target=self._run, name="event-reader")

    def start(self) -> "EventReader":
        self._thread.start()
        return self

    def stop(self) -> None:
        self._over.set()
        self._thread.join(30)

    def make_redis_forget(self) -> None:
        """FLUSHALL, of everything, when this reader has read everything."""
        self._forget.set()
        assert self._forgotten.wait(30), f"the reader of events last met {self.met}; alive: {self._thread.is_alive()}"

    def _run(self) -> None:
        client = redis.Redis.from_url(self._url, socket_timeout=2, socket_connect_timeout=2)
        is_over = False
        while not is_over:
            is_over = self._over.is_set()  # read once more after that
            try:
                if self._forget.is_set() and not self._forgotten.is_set():
                    last = orjson.dumps({PREFIX + stream: known[-1] for stream, known in self.sequences.items() if known})
                    for key, entries in client.eval(READ_AND_FORGET, 0, last):
                        self._keep(key, [(identity, dict(zip(fields[::2], fields[1::2], strict=True))) for identity, fields in entries])
                    self._forgotten.set()
                for key in sorted(client.scan_iter(f"{PREFIX}*", count=1000)):
                    self._read(client, key)
            except redis.RedisError as error:
                self.met = error
                client.close()
            time.sleep(0.1)
        client.close()

    def _read(self, client: "redis.Redis", key: bytes) -> None:
        known = self.sequences[key.decode().removeprefix(PREFIX)]
        while entries := client.xrange(key, min=f"({known[-1]}-0" if known else "-", count=1000):
            self._keep(key, entries)

    def _keep(self, key: bytes, entries: list[Any]) -> None:
        stream = key.decode().removeprefix(PREFIX)
        for identity, fields in entries:
            event = orjson.loads(fields[b"event"])
            sequence = int(identity.split(b"-")[0])
            if (event["stream"], event["sequence"], event["event_id"]) != (stream, sequence, f"{stream}:{sequence}"):
                self.wrong.append(f"{stream} {identity!r}: {event}")
            self.types[event["event_type"]] += 1
            self.sequences[stream].append(sequence)


class BookWatcher:
    """A WebSocket client that keeps a symbol's book, and connects again when it is cut off. Within a connection every message must
    follow the one before, or be a SNAPSHOT; every checksum must be right."""

    def __init__(self, url: str, symbol: str) -> None:
        self.url = url
        self.symbol = symbol
        self.sides: dict[str, dict[str, str]] = {"bids": {}, "asks": {}}
        self.sequence = 0
        self.trades = 0
        self.connections = 0
        self.snapshots = 0
        self.wrong: list[str] = []

    async def run(self) -> None:
        while True:
            try:
                async with websockets.connect(self.url, compression=None, open_timeout=5, close_timeout=1, max_size=None) as socket:
                    self.connections += 1
                    await self._listen(socket)
            except (OSError, TimeoutError, websockets.WebSocketException):
                await asyncio.sleep(0.2)

    async def _listen(self, socket: Any) -> None:
        book, trades = f"orderbook.{self.symbol}", f"trades.{self.symbol}"
        await socket.send(json.dumps({"type": "SUBSCRIBE", "channels": [book, trades]}))
        last: dict[str, int] = {}
        async for raw in socket:
            message = orjson.loads(raw)
            channel, kind = message.get("channel"), message["type"]
            if channel not in (book, trades) or kind in ("ACK", "ERROR"):
                if kind == "ERROR":
                    self.wrong.append(str(message))
                continue
            sequence = message["sequence"]
            if kind != "SNAPSHOT" and sequence != last.get(channel, -1) + 1:
                self.wrong.append(f"{channel}: {last.get(channel)} is followed by {sequence}")
            last[channel] = sequence
            if channel == book:
                self._take(message)
            else:
                self.trades += kind == "TRADE"

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "SNAPSHOT":
            self.sides = {"bids": {}, "asks": {}}
            self.snapshots += 1
        for name, side in self.sides.items():
            for price, quantity in message["data"][name]:
                if Decimal(quantity) == 0:
                    side.pop(price, None)
                else:
                    side[price] = quantity
        self.sequence = message["sequence"]
        if message["data"]["checksum"] != self.checksum():
            self.wrong.append(f"{message['type']} {self.sequence}: checksum {message['data']['checksum']}, computed {self.checksum()}")

    def levels(self, name: str) -> list[list[str]]:
        """Best first."""
        side = self.sides[name]
        return [[price, side[price]] for price in sorted(side, key=Decimal, reverse=name == "bids")]

    def checksum(self) -> int:
        best = [f"{price}:{quantity}" for name in ("bids", "asks") for price, quantity in self.levels(name)[:10]]
        return zlib.crc32("|".join(best).encode()) if best else 0


class Watchers:
    """Some book watchers in a thread of their own."""

    def __init__(self, stack: RunningStack, symbol: str, count: int = 3) -> None:
        self.watchers = [BookWatcher(stack["ws_url"], symbol) for _ in range(count)]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="watchers")

    def start(self) -> "Watchers":
        self._thread.start()
        return self

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._tasks = [self._loop.create_task(watcher.run()) for watcher in self.watchers]
        self._loop.run_forever()
        for task in self._tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*self._tasks, return_exceptions=True))
        self._loop.close()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
