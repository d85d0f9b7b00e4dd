"""The lean ASGI handler of everything under /api/: limits the body, finds the view, identifies the caller, counts the request,
runs the view, and gives every answer its request id and limit headers.

Our views are coroutines on the event loop; others (Swagger, Redoc) run in the bounded pool of `api.threads`. No middleware,
no thread per request: Django's own async handler was measured at 1,300 µs, this one at a tenth.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Final
from uuid import uuid4

import structlog
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.urls import Resolver404, get_resolver

from api import auth, throttling
from api.counting import count_refusal, count_response
from api.errors import (
    BadInput,
    DropConnection,
    ExchangeError,
    MethodNotAllowed,
    NotHere,
    RateLimited,
    TooLarge,
    UnsupportedMediaType,
    as_exchange_error,
    error_response,
)
from api.threads import run_in_thread
from api.throttling import Allowance
from exchange_platform.telemetry import correlation
from orders.requests import Nonce

BODY_LIMIT: Final = 256 * 1024
DRAIN_LIMIT: Final = 8 * 1024 * 1024  # a longer body is not even discarded: the connection is closed
JSON: Final = b"application/json"
ABORT_EXTENSION: Final = "exchange.abort"
SLOW_S: Final = 1.0  # a request that took longer is logged; others only when the server failed

NOT_OF_THE_CONTRACT: Final = frozenset({400, 413, 415})

PUBLIC: Final = "public"  # needs no log-in; who has one is counted by it
NOBODY: Final = "nobody"  # does not look at credentials: what one logs in with

log = structlog.get_logger("api.access")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_request_id_form = re.compile(rb"[A-Za-z0-9._:-]{1,40}").fullmatch


@dataclass(slots=True)
class ApiRequest:
    """A request on its way through the handler; a tenth of the cost of Django's. `headers`: by lower-case name.

    `caller` is null where none is needed and none was told; `nonce` comes with a signed request that changes something. `began_at`:
    `time.perf_counter` at its arrival.
    """

    scope: Scope
    method: str
    headers: Mapping[bytes, bytes]
    body: bytes
    request_id: str
    address: str
    caller: auth.Caller | None = None
    nonce: Nonce | None = None
    began_at: float = field(default_factory=time.perf_counter)


class _ClientGone(Exception):
    """Nobody is left to answer."""


class ApiHandler:
    """An ASGI application."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began_at = time.perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        sent_id = headers.get(b"x-request-id")
        request_id = sent_id.decode() if sent_id is not None and _request_id_form(sent_id) else uuid4().hex
        correlation.request_id.set(request_id)
        allowance: list[Allowance] = []
        code = ""
        try:
            response = await self._respond(scope, receive, headers, request_id, allowance, began_at)
        except _ClientGone:
            return
        except DropConnection:
            await _drop(scope, receive)
            return
        except Exception as error:
            told = as_exchange_error(error, request_id=request_id)
            response, code = error_response(told, request_id=request_id), told.code
            if response.status_code in NOT_OF_THE_CONTRACT:
                count_refusal(code)
        await _send(response, send, request_id, allowance[0] if allowance else throttling.untouched(), close=_leaves_too_much(headers))
        count_response(response.status_code)
        took_s = time.perf_counter() - began_at
        if took_s > SLOW_S or response.status_code >= 500:
            log.warning(
                "request", method=scope["method"], path=scope["path"], status=response.status_code, code=code, request_id=request_id,
                duration_ms=round(took_s * 1000, 1),
            )  # fmt: skip

    async def _respond(
        self,
        scope: Scope,
        receive: Receive,
        headers: dict[bytes, bytes],
        request_id: str,
        allowance: list[Allowance],
        began_at: float,
    ) -> HttpResponseBase:
        method: str = scope["method"]
        body = await _read(receive, headers)
        view, kwargs = _find(scope["path"])
        access: Mapping[str, str] = view.cls.access
        needed = access.get("GET" if method == "HEAD" else method)
        if needed is None:
            raise MethodNotAllowed(method, allowed=list(access))
        client = scope.get("client")
        request = ApiRequest(scope, method, headers, body, request_id, client[0] if client else "", began_at=began_at)
        await _admit(request, needed, allowance)
        if body and headers.get(b"content-type") != JSON and not _is_json(headers.get(b"content-type")):
            raise UnsupportedMediaType("Send application/json.")
        if view.cls.is_lean:
            response: HttpResponseBase = await view.cls().dispatch(request, **kwargs)
            return response
        return await run_in_thread(_run_and_render, view, request, kwargs)


def _is_json(content_type: bytes | None) -> bool:
    """Parameters are allowed; a client that tells no type is taken to send JSON."""
    return content_type is None or content_type.partition(b";")[0].strip().lower() == JSON


async def _read(receive: Receive, headers: Mapping[bytes, bytes]) -> bytes:
    """The body. Raises: TooLarge, as soon as that is clear."""
    declared = headers.get(b"content-length", b"0")
    if len(declared) > 12 or (declared.isdigit() and int(declared) > BODY_LIMIT):
        raise TooLarge(f"A body may have {BODY_LIMIT} bytes.")
    message = await receive()
    if message["type"] == "http.disconnect":
        raise _ClientGone
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        if len(body) > BODY_LIMIT:
            raise TooLarge(f"A body may have {BODY_LIMIT} bytes.")
        return body
    parts, size = [body], len(body)
    while message.get("more_body"):
        if size > BODY_LIMIT:
            raise TooLarge(f"A body may have {BODY_LIMIT} bytes.")
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientGone
        part = message.get("body", b"")
        parts.append(part)
        size += len(part)
    if size > BODY_LIMIT:
        raise TooLarge(f"A body may have {BODY_LIMIT} bytes.")
    return b"".join(parts)


def _leaves_too_much(headers: Mapping[bytes, bytes]) -> bool:
    """Whether the rest of an unread body is better cut off with the connection than discarded by the server."""
    declared = headers.get(b"content-length")
    if declared is None:
        return b"transfer-encoding" in headers
    return len(declared) > 12 or (declared.isdigit() and int(declared) > DRAIN_LIMIT)


_plain_paths: dict[str, Any] = {}


def _find(path: str) -> tuple[Any, dict[str, Any]]:
    """The view of a path and what the path names. Raises: NotHere."""
    known = _plain_paths.get(path)
    if known is not None:
        return known, {}
    try:
        match = get_resolver().resolve(path)
    except Resolver404:
        raise NotHere("There is nothing under this path.") from None
    if not match.kwargs and not match.args:
        _plain_paths[path] = match.func  # there are only so many paths without a part that varies
    return match.func, match.kwargs


async def _admit(request: ApiRequest, access: str, allowance: list[Allowance]) -> None:
    """Identifies the caller, counts the request, checks the right. What is counted goes into `allowance`.

    Raises: Unauthenticated, Forbidden, RateLimited.
    """
    if access == NOBODY or (access == PUBLIC and not auth.has_credentials(request.headers)):
        _count(allowance, "address", request.address)
        return
    query = request.scope.get("query_string") or b""
    target = request.scope["raw_path"] + (b"?" + query if query else b"")
    try:
        caller, request.nonce = await auth.identify(
            request.headers, method=request.method, target=target, body=request.body, address=request.address
        )
    except ExchangeError:
        _count(allowance, "address", request.address)
        raise
    request.caller = caller
    if caller.principal.unlimited:
        allowance.append(throttling.unlimited())
    else:
        _count(allowance, "user" if caller.key_id is None else "key", caller.identity)
    if access != PUBLIC:
        auth.require(caller, access)


def _count(allowance: list[Allowance], kind: str, identity: str) -> None:
    try:
        allowance.append(throttling.take(kind, identity))
    except RateLimited as error:
        allowance.append(error.allowance)
        raise


def _run_and_render(view: Callable[..., Any], request: ApiRequest, kwargs: dict[str, Any]) -> HttpResponseBase:
    """A view that is not ours, given the request that Django's views know."""
    try:
        theirs = ASGIRequest(request.scope, BytesIO(request.body))
    except UnicodeDecodeError:
        raise BadInput("The query is not UTF-8.", code="MALFORMED") from None
    response = view(theirs, **kwargs)
    if hasattr(response, "render") and not response.is_rendered:
        response = response.render()
    result: HttpResponseBase = response
    return result


async def _send(response: HttpResponseBase, send: Send, request_id: str, allowance: Allowance, *, close: bool) -> None:
    assert isinstance(response, HttpResponse)
    content = response.content
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.items()]
    headers += allowance.headers()
    headers += [(b"x-request-id", request_id.encode()), (b"content-length", b"%d" % len(content)), (b"cache-control", b"no-store")]
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def _drop(scope: Scope, receive: Receive) -> None:
    """Ends the connection without an answer. Raises: DropConnection where the server offers no way but failing."""
    abort = (scope.get("extensions") or {}).get(ABORT_EXTENSION)
    if abort is None:
        raise DropConnection
    abort()
    while True:  # returning before the server has seen the end would make it answer 500
        message = await asyncio.wait_for(receive(), timeout=5)
        if message["type"] == "http.disconnect":
            return
