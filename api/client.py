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
from urllib.parse import quote, urlencode

import httpx
import orjson

PREFIX: Final = "/api/v1"
RECV_WINDOW_MS: Final = 5_000
TIMEOUT_S: Final = 30.0
ATTEMPTS: Final = 20
REMEMBERED: Final = 4_096  # own signatures of the last moments, since each works once
PAGE: Final = 500


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


class RestClient:
    """The calls of one API key (HMAC), at most `connections` of them under way at once."""

    def __init__(self, base_url: str, *, key: str, secret: str, connections: int = 16) -> None:
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        self._http = httpx.AsyncClient(base_url=base_url, limits=limits, timeout=TIMEOUT_S, trust_env=False)
        self._slots = asyncio.Semaphore(connections)
        self._key = key
        self._mac = hmac.new(secret.encode(), digestmod=hashlib.sha256)
        self._used: set[str] = set()
        self._order: deque[str] = deque()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._http.aclose()

    async def call(self, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: Any = None) -> Reply:
        """One call; `path` follows /api/v1. 429 and 503, which changed nothing, are asked again when Retry-After says so.

        Raises: Unanswered. A call that changes something may then have happened or not.
        """
        target = PREFIX + path + ("?" + urlencode(query, doseq=True, quote_via=quote, safe="") if query else "")
        content = b"" if body is None else orjson.dumps(body)
        for _ in range(ATTEMPTS):
            async with self._slots:
                started = time.perf_counter()
                try:
                    answer = await self._http.request(method, target, content=content, headers=self._headers(method, target, content))
                except httpx.HTTPError as problem:
                    raise Unanswered(f"{method} {target}: {type(problem).__name__} {problem}") from None
                took_s = time.perf_counter() - started
            if answer.status_code not in (429, 503):
                return Reply(answer.status_code, orjson.loads(answer.content) if answer.content else None, took_s)
            await asyncio.sleep(float(answer.headers.get("Retry-After", 1)))
        raise Unanswered(f"{method} {target}: still {answer.status_code} after {ATTEMPTS} attempts")

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
