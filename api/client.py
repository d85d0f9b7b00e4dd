"""A small client of the REST API: it signs, keeps connections open and asks again when the server says that nothing was taken.

For the project's own programs (replay of recorded days, later tools). It knows the contract and nothing of Django.
"""

import asyncio
import hashlib
import hmac
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote, urlencode, urlsplit

import orjson

PREFIX: Final = "/api/v1"
RECV_WINDOW_MS: Final = 5_000
TIMEOUT_S: Final = 30.0
IDLE_S: Final = 20.0  # servers keep an idle connection open for a minute or so
ATTEMPTS: Final = 20
REMEMBERED: Final = 4_096  # own signatures of the last moments, since each works once


class Unanswered(Exception):
    """The server was not there, or asked to come again too often."""


@dataclass(frozen=True, slots=True)
class Reply:
    """`took_s`: from sending to the whole answer, of the attempt that was answered. `data`: its JSON."""

    status: int
    data: Any
    took_s: float

    @property
    def is_good(self) -> bool:
        return 200 <= self.status < 300

    @property
    def code(self) -> str:
        """The error's code, empty when there is none."""
        return str(self.data.get("code", "")) if isinstance(self.data, dict) and not self.is_good else ""


class _Connection:
    """One keep-alive HTTP/1.1 connection, one request at a time. A general client costs ten times as much processor as this."""

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or (443 if self._secure else 80)
        self._netloc = parts.netloc
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._used_at = 0.0

    async def exchange(self, method: str, target: str, headers: Mapping[str, str], content: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
        """Status, headers by lower-case name, content. Raises: OSError, EOFError, ValueError; then the connection is closed."""
        if time.monotonic() - self._used_at > IDLE_S:
            self.close()  # before the server does, which would look as if the request had got lost
        try:
            async with asyncio.timeout(TIMEOUT_S):
                if self._streams is None:
                    self._streams = await asyncio.open_connection(self._host, self._port, ssl=self._secure or None)
                reader, writer = self._streams
                lines = [f"{method} {target} HTTP/1.1", f"Host: {self._netloc}", f"Content-Length: {len(content)}"]
                lines += [f"{name}: {value}" for name, value in headers.items()]
                writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + content)
                first, *rest = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
                told = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in rest if line)}
                body = await reader.readexactly(int(told.get(b"content-length", b"")))
        except BaseException:
            self.close()
            raise
        if told.get(b"connection", b"").lower() == b"close":
            self.close()
        self._used_at = time.monotonic()
        return int(first.split(b" ", 2)[1]), told, body

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class RestClient:
    """The calls of one API key (HMAC), at most `connections` of them under way at once. For one event loop."""

    def __init__(self, base_url: str, *, key: str, secret: str, connections: int = 16) -> None:
        self._all = [_Connection(base_url) for _ in range(connections)]
        self._idle: asyncio.LifoQueue[_Connection] = asyncio.LifoQueue()
        for connection in self._all:
            self._idle.put_nowait(connection)
        self._key = key
        self._mac = hmac.new(secret.encode(), digestmod=hashlib.sha256)
        self._used: set[str] = set()
        self._order: deque[str] = deque()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for connection in self._all:
            connection.close()

    async def call(self, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: Any = None) -> Reply:
        """One call; `path` follows /api/v1. 429 and 503, which changed nothing, are asked again when Retry-After says so.

        Raises: Unanswered. A call that changes something may then have happened or not.
        """
        target = PREFIX + path + ("?" + urlencode(query, doseq=True, quote_via=quote, safe="") if query else "")
        content = b"" if body is None else orjson.dumps(body)
        for _ in range(ATTEMPTS):
            connection = await self._idle.get()
            try:
                started = time.perf_counter()
                status, headers, answer = await connection.exchange(method, target, self._headers(method, target, content), content)
                took_s = time.perf_counter() - started
            except (OSError, EOFError, ValueError) as problem:
                raise Unanswered(f"{method} {target}: {type(problem).__name__} {problem}") from None
            finally:
                self._idle.put_nowait(connection)
            if status not in (429, 503):
                return Reply(status, orjson.loads(answer) if answer else None, took_s)
            await asyncio.sleep(float(headers.get(b"retry-after", b"1")))
        raise Unanswered(f"{method} {target}: still {status} after {ATTEMPTS} attempts")

    def _headers(self, method: str, target: str, content: bytes) -> dict[str, str]:
        stamp_ms = int(time.time() * 1000)
        while True:
            mac = self._mac.copy()
            mac.update(f"{stamp_ms}{RECV_WINDOW_MS}{method}{target}".encode() + content)
            signature = mac.hexdigest()
            if signature not in self._used:
                break
            stamp_ms += 1  # the same request again within a millisecond
        self._used.add(signature)
        self._order.append(signature)
        if len(self._order) > REMEMBERED:
            self._used.discard(self._order.popleft())
        return {
            "X-API-Key": self._key,
            "X-Timestamp": str(stamp_ms),
            "X-Recv-Window": str(RECV_WINDOW_MS),
            "X-Signature": signature,
            "Content-Type": "application/json",
        }

    # -- the contract's calls

    async def place(self, order: Mapping[str, Any]) -> Reply:
        return await self.call("POST", "/orders", body=order)

    async def place_batch(self, orders: Sequence[Mapping[str, Any]]) -> Reply:
        """At most 50 orders."""
        return await self.call("POST", "/orders/batch", body={"orders": orders})

    async def amend(self, order_id: str, *, quantity: str) -> Reply:
        """`quantity`: the new total, what is filled included."""
        return await self.call("PATCH", f"/orders/{order_id}", body={"quantity": quantity})

    async def cancel(self, order_id: str) -> Reply:
        return await self.call("DELETE", f"/orders/{order_id}")

    async def order(self, order_id: str) -> Reply:
        return await self.call("GET", f"/orders/{order_id}")

    async def balances(self) -> list[dict[str, Any]]:
        return [row async for row in self.pages("/balances")]

    async def pages(self, path: str, **query: Any) -> AsyncIterator[dict[str, Any]]:
        """The rows of a list, page after page. Raises: Unanswered, also when the server refuses."""
        cursor: str | None = None
        while True:
            asked = {**query, **({"cursor": cursor} if cursor else {})}
            reply = await self.call("GET", path, query=asked)
            if not reply.is_good:
                raise Unanswered(f"GET {path}: {reply.status} {reply.code}")
            for row in reply.data["results"]:
                yield row
            cursor = reply.data["next_cursor"]
            if not cursor:
                return
