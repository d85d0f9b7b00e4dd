"""The public REST API as a client of its own sees it: signed calls with the keys of stack.json, nothing of the project's code."""

import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from typing import Any

import httpx

from tests.support.stacks import RunningStack


@dataclass(frozen=True, slots=True)
class Key:
    account: str
    key: str
    secret: str


def keys_of(stack: RunningStack) -> list[Key]:
    """One key without limits for each demo account."""
    return [Key(k["account"], k["key"], k["secret"]) for k in stack["api_keys"] if k["unlimited"] and k["kind"] == "hmac"]


async def call(
    http: httpx.AsyncClient, key: Key, method: str, path: str, *, body: Any = None, window: int = 20_000, params: str = ""
) -> httpx.Response:
    """`window` is part of what is signed: two equal requests in one millisecond differ by it."""
    content = b"" if body is None else json.dumps(body).encode()
    target = f"/api/v1{path}{'?' + params if params else ''}"
    stamp = time.time_ns() // 1_000_000
    text = f"{stamp}{window}{method}{target}".encode() + content
    headers = {
        "X-API-Key": key.key,
        "X-Timestamp": str(stamp),
        "X-Recv-Window": str(window),
        "X-Signature": hmac.new(key.secret.encode(), text, hashlib.sha256).hexdigest(),
    }
    if content:
        headers["Content-Type"] = "application/json"
    return await http.request(method, target, content=content, headers=headers)
