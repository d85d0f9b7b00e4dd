"""The gateway of a whole running stack, attacked: lost messages, a Redis that dies, clients that do not read, that vanish, that flood."""

import asyncio
import hashlib
import hmac
import itertools
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson
import psutil
import psycopg
import pytest
import redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.stacks import RunningStack, wait_until

pytestmark = pytest.mark.slow

SYMBOL = "TEST/USDT"
BOOK, TRADES = f"orderbook.{SYMBOL}", f"trades.{SYMBOL}"
MINE = ("user.orders", "user.trades", "user.balances")
_numbers = itertools.count(1)


class Stream:
    """A client that checks every sequence as it reads."""

    def __init__(self, stack: RunningStack, account: str | None = None, **options: Any) -> None:
        self._url = stack["ws_url"]
        keys = stack["api_keys"]
        self.key = None if account is None else next(k for k in keys if k["account"] == account and k["unlimited"])
        self._options = options
        self.last: dict[str, int] = {}
        self.snapshots: dict[str, list[Any]] = {}
        self.messages: dict[str, list[Any]] = {}
        self.problems: list[str] = []
        self.beats: list[Any] = []
        self._waiting: dict[str, asyncio.Future[Any]] = {}

    async def __aenter__(self) -> "Stream":
        self.socket: ClientConnection = await connect(self._url, compression=None, max_size=2**24, close_timeout=2, **self._options)
        self.reader = asyncio.create_task(self._read())
        if self.key is not None:
            answer = await self.ask("AUTH", **signed(self.key))
            assert answer["type"] == "ACK", answer
        return self

    async def __aexit__(self, *_: object) -> None:
        self.reader.cancel()
        await self.socket.close()

    async def _read(self) -> None:
        try:
            async for raw in self.socket:
                self._note(orjson.loads(raw))
        except ConnectionClosed:
            pass
        finally:
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(ConnectionError(f"closed with {self.socket.close_code}"))
                    future.exception()

    def _note(self, message: Any) -> None:
        kind, channel = message["type"], message.get("channel")
        if kind == "HEARTBEAT":
            self.beats.append(message)
        elif channel is not None:
            sequence = message["sequence"]
            if kind == "SNAPSHOT":
                self.snapshots.setdefault(channel, []).append(message)
            else:
                if sequence != self.last.get(channel, -2) + 1:
                    self.problems.append(f"{channel}: {kind} {sequence} after {self.last.get(channel)}")
                self.messages.setdefault(channel, []).append(message)
            self.last[channel] = sequence
        elif message.get("id") in self._waiting:
            future = self._waiting.pop(message["id"])
            if not future.done():
                future.set_result(message)

    def ask_soon(self, kind: str, **fields: Any) -> "tuple[bytes, asyncio.Future[Any]]":
        ident = f"m{next(_numbers)}"
        future = self._waiting[ident] = asyncio.get_running_loop().create_future()
        return orjson.dumps({"type": kind, "id": ident, **fields}), future

    async def ask(self, kind: str, **fields: Any) -> Any:
        raw, future = self.ask_soon(kind, **fields)
        await self.socket.send(raw.decode())
        return await asyncio.wait_for(future, 10)

    async def subscribe(self, *channels: str) -> None:
        answer = await self.ask("SUBSCRIBE", channels=list(channels))
        assert (answer["type"], answer["data"]) == ("ACK", list(channels))
        await eventually(lambda: all(channel in self.snapshots for channel in channels), what="snapshots")

    async def place(self, side: str, price: str, quantity: str = "0.001", **more: Any) -> Any:
        answer = await self.ask("PLACE_ORDER", data=order(side, price, quantity, **more))
        assert answer["type"] == "ACK", answer
        return answer["data"]


def signed(key: dict[str, Any]) -> dict[str, Any]:
    """The fields of AUTH."""
    stamp = int(time.time() * 1000)
    signature = hmac.new(key["secret"].encode(), f"{stamp}5000GET/stream".encode(), hashlib.sha256).hexdigest()
    return {"api_key": key["key"], "timestamp": stamp, "recv_window": 5000, "signature": signature}


def order(side: str, price: str, quantity: str = "0.001", **more: Any) -> dict[str, Any]:
    body = {"symbol": SYMBOL, "side": side, "order_type": "LIMIT", "price": price, "quantity": quantity}
    return body | {"client_order_id": f"ws-{os.getpid()}-{next(_numbers)}"} | more


async def eventually(condition: Callable[[], object], *, within_s: float = 10.0, what: str = "it") -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s:.0f} s: {what}"
        await asyncio.sleep(0.02)


def run(act: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(act())  # type: ignore[arg-type]


def number(stack: RunningStack, sql: str, *parameters: object) -> int:
    with psycopg.connect(stack["database_url"]) as connection:
        row = connection.execute(sql.encode(), parameters).fetchone()
    assert row is not None
    return int(row[0] or 0)


def book_sequence(stack: RunningStack) -> int:
    return number(
        stack, "SELECT book_sequence FROM orders_checkpoint c JOIN markets_symbol s ON s.id = c.symbol_id WHERE s.name = %s", SYMBOL
    )


def rest_book(stack: RunningStack) -> Any:
    return httpx.get(f"{stack['base_url']}/api/v1/orderbook/TEST-USDT?depth=100", trust_env=False, timeout=30).json()


def book_of(stream: Stream) -> dict[str, dict[str, str]]:
    """The book as this subscriber has it."""
    snapshot = stream.snapshots[BOOK][-1]
    sides = {side: dict(snapshot["data"][side]) for side in ("bids", "asks")}
    for message in stream.messages.get(BOOK, []):
        if message["sequence"] > snapshot["sequence"]:
            for side, levels in sides.items():
                for price, quantity in message["data"][side]:
                    if float(quantity):
                        levels[price] = quantity
                    else:
                        levels.pop(price, None)
    return sides


async def same_as_rest(stack: RunningStack, stream: Stream, *, within_s: float = 10.0) -> None:
    await eventually(lambda: stream.last[BOOK] == book_sequence(stack), within_s=within_s, what="the book's last sequence")
    rest = rest_book(stack)
    assert book_of(stream) == {side: dict(rest[side]) for side in ("bids", "asks")}
    assert stream.problems == []


@pytest.fixture(autouse=True)
def _an_empty_book(running_stack: RunningStack) -> None:
    async def act() -> None:
        for account in ("alpha-1", "beta-1"):
            async with Stream(running_stack, account) as stream:
                await stream.ask("CANCEL_ON_DISCONNECT", enabled=True)

    run(act)
    wait_until(lambda: number(running_stack, "SELECT count(*) FROM orders_openorder") == 0, within_s=20, what="no open orders")


def test_two_traders_are_told_everything_once_and_in_order(running_stack: RunningStack) -> None:
    async def act() -> None:
        async with Stream(running_stack, "alpha-1") as seller, Stream(running_stack, "beta-1") as buyer, Stream(running_stack) as public:
            await public.subscribe(BOOK, TRADES, f"ticker.{SYMBOL}", f"candles.{SYMBOL}.1m")
            await seller.subscribe(*MINE)
            await buyer.subscribe(*MINE)
            for n in range(20):
                await seller.place("SELL", f"{100 + n % 5}.00")
                await buyer.place("BUY", f"{100 + n % 3}.00")
            await same_as_rest(running_stack, public)
            for stream in (seller, buyer):
                await eventually(lambda s=stream: s.messages.get("user.trades"), what="own trades")  # type: ignore[misc]
            await asyncio.sleep(1)
            assert len(public.messages[TRADES]) == len(seller.messages["user.trades"]) == len(buyer.messages["user.trades"]) > 10
            assert public.messages.get(f"ticker.{SYMBOL}")
            assert public.messages.get(f"candles.{SYMBOL}.1m")
            assert seller.problems + buyer.problems + public.problems == []
            names = {m["data"]["account"] for m in seller.messages["user.orders"]}
            assert names == {"alpha-1"}

    run(act)


def test_subscribing_and_leaving_over_and_over_ends_where_it_should(running_stack: RunningStack) -> None:
    async def act() -> None:
        async with Stream(running_stack, "alpha-1") as trader, Stream(running_stack) as fickle, Stream(running_stack) as steady:
            await steady.subscribe(BOOK)
            sent = []
            for n in range(60):
                kind = "UNSUBSCRIBE" if n % 2 else "SUBSCRIBE"
                raw, future = fickle.ask_soon(kind, channels=[BOOK, TRADES])
                await fickle.socket.send(raw.decode())
                sent.append(future)
                if n % 10 == 0:
                    await trader.place("SELL", f"{100 + n}.00")
            answers = await asyncio.gather(*sent)
            assert {answer["type"] for answer in answers} <= {"ACK", "ERROR"}
            await fickle.ask("UNSUBSCRIBE", channels=[BOOK, TRADES])
            count = len(fickle.messages.get(BOOK, [])) + len(fickle.snapshots.get(BOOK, []))
            await trader.place("SELL", "200.00")
            await eventually(lambda: steady.last[BOOK] == book_sequence(running_stack))
            await asyncio.sleep(0.3)
            assert len(fickle.messages.get(BOOK, [])) + len(fickle.snapshots.get(BOOK, [])) == count
            fickle.snapshots.clear()
            fickle.messages.clear()
            await fickle.subscribe(BOOK)
            await trader.place("SELL", "201.00")
            await same_as_rest(running_stack, fickle)
            await same_as_rest(running_stack, steady)

    run(act)


@pytest.mark.parametrize("how", ["killed", "flushed", "hung"])
def test_subscribers_catch_up_by_themselves_whatever_happens_to_redis(running_stack: RunningStack, how: str) -> None:
    async def act() -> None:
        async with Stream(running_stack, "alpha-1") as trader, Stream(running_stack) as public:
            await public.subscribe(BOOK)
            await trader.subscribe(*MINE)
            await trader.place("SELL", "150.00")
            pid = running_stack.pid("redis")
            if how == "killed":
                os.kill(pid, signal.SIGKILL)
            elif how == "flushed":
                with redis.Redis.from_url(running_stack["redis_url"]) as client:
                    client.flushall()
                    client.client_kill_filter(_type="pubsub", skipme=True)
            else:
                os.kill(pid, signal.SIGSTOP)
            try:
                for n in range(5):
                    await trader.place("SELL", f"{151 + n}.00")
                await same_as_rest(running_stack, public, within_s=8)
                await eventually(lambda: len(own_prices(trader)) == 6, within_s=8, what="own orders")
            finally:
                if how == "hung":
                    os.kill(pid, signal.SIGCONT)
            if how == "killed":
                await asyncio.to_thread(running_stack.wait_until_replaced, "redis", pid)
            await asyncio.sleep(3)
            before = live(public, BOOK), live(trader, "user.orders")
            for n in range(5):
                await trader.place("SELL", f"{161 + n}.00")
            await same_as_rest(running_stack, public, within_s=8)
            await eventually(
                lambda: live(public, BOOK) > before[0] and live(trader, "user.orders") > before[1], within_s=8, what="live messages again"
            )
            assert trader.problems == []

    def live(stream: Stream, channel: str) -> int:
        return len(stream.messages.get(channel, []))

    def own_prices(trader: Stream) -> set[str]:
        snapshot = trader.snapshots["user.orders"][-1]
        told = [*snapshot["data"], *(m["data"] for m in trader.messages.get("user.orders", []))]
        return {one["price"] for one in told if one["status"] == "OPEN"}

    run(act)


def test_a_client_that_never_reads_is_cut_off_with_1013_and_slows_nobody(running_stack: RunningStack) -> None:
    web = psutil.Process(running_stack.pid("web-0"))

    async def act() -> None:
        before = web.memory_info().rss
        stuck = await asyncio.to_thread(never_reading, running_stack)
        try:
            async with Stream(running_stack, "alpha-1") as trader:
                for n in range(60):
                    await trader.place("SELL", f"{120 + n}.00", response_type="ACK")
                ask = masked(orjson.dumps({"type": "RESYNC", "channel": BOOK, "last_sequence": 0}))
                flooding = asyncio.create_task(asyncio.to_thread(flood, stuck, ask, 40.0))
                slowest = 0.0
                while not flooding.done():
                    started = time.monotonic()
                    await trader.ask("PING")
                    slowest = max(slowest, time.monotonic() - started)
                    await asyncio.sleep(0.05)
                assert await flooding, "the connection was never cut off"
                assert slowest < 3
                assert web.memory_info().rss - before < 64 * 1024 * 1024
        finally:
            stuck.close()

    run(act)
    figures = httpx.get(f"{running_stack['base_url']}/metrics", trust_env=False, timeout=30).text
    told = [line for line in figures.splitlines() if line.startswith("websocket_slow_clients_total")]
    assert told
    assert float(told[0].rpartition(" ")[2]) >= 1


def never_reading(stack: RunningStack) -> socket.socket:
    """A raw socket of an unlimited key, subscribed, that has read its handshake and its first answers and then nothing more."""
    parts = urlsplit(stack["ws_url"])
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.connect((parts.hostname, parts.port))
    head = f"GET /stream HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    made.sendall(f"{head}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
    assert made.recv(1000).startswith(b"HTTP/1.1 101")
    made.sendall(masked(orjson.dumps({"type": "AUTH", **signed(next(k for k in stack["api_keys"] if k["unlimited"]))})))
    assert b'"ACK"' in made.recv(1000)
    made.sendall(masked(orjson.dumps({"type": "SUBSCRIBE", "channels": [BOOK, TRADES]})))
    made.recv(100)
    return made


def masked(payload: bytes) -> bytes:
    """A client's frame with a mask of zeros."""
    size = len(payload)
    head = bytes([0x81, 0x80 | size]) if size < 126 else bytes([0x81, 0x80 | 126]) + size.to_bytes(2)
    return head + b"\0\0\0\0" + payload


def flood(stuck: socket.socket, frame: bytes, within_s: float) -> bool:
    """Ask and ask without reading. True when the server has ended it."""
    stuck.settimeout(1.0)
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            stuck.sendall(frame * 50)
            time.sleep(0.02)
        except TimeoutError:  # it has stopped reading us
            continue
        except OSError:
            return True
    return False


def test_a_frame_that_is_too_large_closes_with_1009(running_stack: RunningStack) -> None:
    async def act() -> None:
        async with Stream(running_stack) as stream:
            answer = await stream.ask("SUBSCRIBE", channels=[f"orderbook.N{n}" for n in range(10_000)])
            assert answer["data"]["code"] == "INVALID_FIELD"
            await stream.socket.send("x" * (256 * 1024 + 1))
            await asyncio.wait_for(stream.reader, 5)
            assert stream.socket.close_code == 1009

    run(act)


@pytest.mark.parametrize("how", ["abort", "close"])
def test_who_vanishes_in_the_middle_of_placing_leaves_no_order_behind(running_stack: RunningStack, how: str) -> None:
    idents: list[str] = []

    async def act() -> None:
        async with Stream(running_stack, "alpha-1") as stream:
            await stream.ask("CANCEL_ON_DISCONNECT", enabled=True)
            for n in range(100):
                body = order("SELL", f"{200 + n}.00", response_type="ACK")
                idents.append(body["client_order_id"])
                raw, _ = stream.ask_soon("PLACE_ORDER", data=body)
                await stream.socket.send(raw.decode())
            if how == "abort":
                stream.socket.transport.abort()

    run(act)
    quiet_since = time.monotonic()

    def nothing_is_open_any_more() -> bool:
        """Not just not yet: what was sent last may still be on its way in."""
        nonlocal quiet_since
        if number(running_stack, "SELECT count(*) FROM orders_openorder"):
            quiet_since = time.monotonic()
        return time.monotonic() - quiet_since > 3

    wait_until(nothing_is_open_any_more, within_s=40, what="every order is cancelled")
    with psycopg.connect(running_stack["database_url"]) as connection:
        rows = connection.execute(
            "SELECT status, reason, count(*) FROM orders_order WHERE client_order_id = ANY(%s) GROUP BY 1, 2", [idents]
        ).fetchall()
    assert {(status, reason) for status, reason, _ in rows} <= {("CANCELLED", "DISCONNECT")}
    assert how == "abort" or sum(count for *_, count in rows) == 100


def test_a_disabled_key_is_cut_off_within_five_seconds(running_stack: RunningStack) -> None:
    async def act() -> None:
        async with Stream(running_stack, "beta-2") as stream, Stream(running_stack, "alpha-1") as other:
            assert stream.key is not None
            await stream.subscribe("user.orders")
            with psycopg.connect(running_stack["database_url"], autocommit=True) as connection:
                connection.execute("UPDATE institutions_apikey SET is_active = false WHERE key = %s", [stream.key["key"]])
            await asyncio.wait_for(stream.reader, 5.5)
            assert stream.socket.close_code == 4401
            assert (await other.ask("PING"))["type"] == "PONG"

    run(act)


def test_many_idle_connections_cost_little(running_stack: RunningStack) -> None:
    web = psutil.Process(running_stack.pid("web-0"))
    count = 400

    async def act() -> None:
        before, used = web.memory_info().rss, sum(web.cpu_times()[:2])
        streams = [await Stream(running_stack).__aenter__() for _ in range(count)]
        await asyncio.gather(*(stream.subscribe(BOOK) for stream in streams))
        cost = web.memory_info().rss - before
        used = sum(web.cpu_times()[:2])
        await asyncio.sleep(3)
        idle = sum(web.cpu_times()[:2]) - used
        async with Stream(running_stack, "alpha-1") as trader:
            await trader.place("SELL", "400.00")
        await eventually(lambda: len({stream.last[BOOK] for stream in streams}) == 1 and all(s.messages for s in streams), within_s=20)
        assert [stream.problems for stream in streams if stream.problems] == []
        for stream in streams:
            await stream.__aexit__()
        assert cost / count < 128 * 1024
        assert idle < 1  # of three seconds

    run(act)


def test_a_web_process_that_stops_says_1012_cancels_what_was_asked_and_its_successor_serves(running_stack: RunningStack) -> None:
    async def act() -> None:
        async with Stream(running_stack, "alpha-1") as stream, Stream(running_stack) as public:
            await public.subscribe(BOOK)
            await stream.ask("CANCEL_ON_DISCONNECT", enabled=True)
            await stream.place("SELL", "500.00")
            web = running_stack.pid("web-0")
            os.kill(web, signal.SIGTERM)
            await asyncio.wait_for(asyncio.gather(stream.reader, public.reader), 10)
            assert (stream.socket.close_code, public.socket.close_code) == (1012, 1012)
            await asyncio.to_thread(running_stack.wait_until_replaced, "web-0", web)
        await eventually(lambda: number(running_stack, "SELECT count(*) FROM orders_openorder") == 0, what="the order is cancelled")
        deadline = time.monotonic() + 60
        while True:
            try:
                async with Stream(running_stack, "alpha-1") as again:
                    await again.subscribe(BOOK)
                    await again.place("SELL", "501.00")
                    await same_as_rest(running_stack, again)
                return
            except OSError:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.2)

    run(act)
