"""A lean load generator: signed requests made before the clock starts, keep-alive sockets, one request under way on each.

Orders look like a busy quiet book: one lot at up to four ticks around the middle, either side, spread over the accounts, so
that most orders trade and the book stays small.
"""

import asyncio
import hashlib
import hmac
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import uvloop

SYMBOL = "TEST/USDT"
LOT = "0.001"
RECV_WINDOW_MS = 60_000
SEED = 20190523


@dataclass(slots=True)
class Tally:
    """What came back. `delays_s` has one entry per request."""

    answered: int = 0
    orders: int = 0
    seconds: float = 0.0
    delays_s: list[float] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)

    def check(self) -> None:
        """A figure of refusals is worth nothing. Raises: RuntimeError when more than one order in a hundred was refused."""
        if sum(self.refused.values()) > self.orders // 100:
            raise RuntimeError(f"{self.orders} orders were taken, refused: {dict(self.refused)}")

    def percentiles_ms(self) -> dict[str, float]:
        ordered = sorted(self.delays_s)
        return {f"p{p}_ms": round(ordered[len(ordered) * p // 100] * 1000, 2) for p in (50, 95, 99)} if ordered else {}


class Signer:
    """Whole HTTP requests of one key, signed with a timestamp that is good for a minute."""

    def __init__(self, base_url: str, key: dict[str, Any]) -> None:
        self._netloc = urlsplit(base_url).netloc
        self._key = key["key"]
        self._mac = hmac.new(key["secret"].encode(), digestmod=hashlib.sha256)
        self.account = key["account"]

    def request(self, method: str, target: str, body: bytes, stamp_ms: int) -> bytes:
        mac = self._mac.copy()
        mac.update(f"{stamp_ms}{RECV_WINDOW_MS}{method}{target}".encode() + body)
        head = (
            f"{method} {target} HTTP/1.1\r\nHost: {self._netloc}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            f"X-API-Key: {self._key}\r\nX-Timestamp: {stamp_ms}\r\nX-Recv-Window: {RECV_WINDOW_MS}\r\n"
            f"X-Signature: {mac.hexdigest()}\r\n\r\n"
        )
        return head.encode() + body


class Orders:
    """Order bodies with client ids of their own."""

    def __init__(self, run: str, seed: int = SEED) -> None:
        self._rng = random.Random(seed)
        self._run = run
        self._count = 0

    def side(self) -> str:
        return "BUY" if self._rng.random() < 0.5 else "SELL"

    def around_the_middle(self, side: str, response_type: str) -> str:
        return self.body(side, 10_000 + self._rng.randint(-4, 4), response_type)

    def away_from_the_middle(self, side: str, response_type: str) -> str:
        """An order that rests: the sides are 2 ticks apart, 1,000 levels each."""
        away = 1 + self._rng.randrange(1_000)
        return self.body(side, 10_000 - away if side == "BUY" else 10_000 + away, response_type)

    def body(self, side: str, cents: int, response_type: str) -> str:
        self._count += 1
        return (
            f'{{"symbol":"{SYMBOL}","side":"{side}","order_type":"LIMIT","quantity":"{LOT}","price":"{cents / 100:.2f}",'
            f'"client_order_id":"{self._run}-{self._count}","response_type":"{response_type}"}}'
        )


def singles(signers: Sequence[Signer], orders: Orders, response_type: str, count: int) -> list[bytes]:
    """POST /orders, the accounts in turn."""
    stamp_ms = int(time.time() * 1000)
    return [
        signers[n % len(signers)].request(
            "POST", "/api/v1/orders", orders.around_the_middle(orders.side(), response_type).encode(), stamp_ms
        )
        for n in range(count)
    ]


def batches(
    signers: Sequence[Signer], orders: Orders, response_type: str, count: int, size: int = 50, *, resting: bool = False
) -> list[bytes]:
    """POST /orders/batch, the accounts in turn, each batch of one side (one account does not trade with itself)."""
    stamp_ms = int(time.time() * 1000)
    make = orders.away_from_the_middle if resting else orders.around_the_middle
    made = []
    for n in range(count):
        side = orders.side()
        body = '{"orders":[' + ",".join([make(side, response_type) for _ in range(size)]) + "]}"
        made.append(signers[n % len(signers)].request("POST", "/api/v1/orders/batch", body.encode(), stamp_ms))
    return made


class _Connection(asyncio.Protocol):
    """Sends the next request as soon as the last one is answered."""

    def __init__(self, requests: Iterator[bytes], tally: Tally, until: float, size: int) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._requests, self._tally, self._until, self._size = requests, tally, until, size
        self._buffer = b""
        self._sent_at = 0.0
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._next()

    def _next(self) -> None:
        now = time.perf_counter()
        request = next(self._requests, None) if now < self._until else None
        if request is None:
            self._transport.close()
            return
        self._sent_at = now
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer = self._buffer + data if self._buffer else data
        head = buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        at = buffer.index(b"content-length: ") + 16
        if len(buffer) < head + 4 + int(buffer[at : buffer.index(b"\r", at)]):
            return
        self._buffer = b""
        tally = self._tally
        tally.delays_s.append(time.perf_counter() - self._sent_at)
        tally.answered += 1
        good = buffer.count(b'"status":201') if self._size > 1 else int(buffer.startswith(b"HTTP/1.1 201"))
        tally.orders += good
        if good < self._size:
            tally.refused[_code(buffer)] += self._size - good
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None:
            self._tally.refused[type(error).__name__] += 1
        if not self.done.done():
            self.done.set_result(None)


def _code(answer: bytes) -> str:
    at = answer.find(b'"code":"')
    return answer[9:12].decode() + (" " + answer[at + 8 : answer.index(b'"', at + 8)].decode() if at >= 0 else "")


def closed_loop(base_url: str, requests: Sequence[bytes], *, connections: int, seconds: float, size: int = 1) -> Tally:
    """Send the requests over so many connections until they or the seconds are used up; every answer is waited for."""
    tally = Tally()
    parts = urlsplit(base_url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80

    async def run() -> None:
        loop = asyncio.get_running_loop()
        source = iter(requests)
        started = time.perf_counter()
        made = [
            await loop.create_connection(lambda: _Connection(source, tally, started + seconds, size), host, port)
            for _ in range(connections)
        ]
        await asyncio.gather(*(connection.done for _, connection in made))
        tally.seconds = time.perf_counter() - started

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
    return tally
