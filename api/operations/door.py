"""GET /health, /health/live, /health/ready and /metrics as one small ASGI application."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import orjson
import structlog

from api.handler import Receive, Scope, Send
from api.operations.addresses import is_internal
from api.operations.health import UNHEALTHY, Health
from api.operations.readings import readings
from exchange_platform import metrics
from exchange_platform.telemetry import buffers, text

log = structlog.get_logger(__name__)

PATHS: Final = frozenset({"/health", "/health/live", "/health/ready", "/metrics"})
JSON: Final = "application/json"

Answer = tuple[int, str, bytes]  # status, content type, body


class OperationsDoor:
    """Answers `PATHS`; the health checks are made with the first question."""

    def __init__(self) -> None:
        self._health: Health | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, content_type, body = await self._answer(scope)
        headers = [
            (b"content-type", content_type.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answer(self, scope: Scope) -> Answer:
        if scope["method"] not in ("GET", "HEAD"):
            return _json(405, {"status": "ask with GET"})
        headers: Mapping[bytes, bytes] = dict(scope["headers"])
        match scope["path"]:
            case "/health/live":
                return _json(200, {"status": "alive"})
            case "/health/ready":
                is_ready = (await self.health().report()).is_ready
                return _json(200 if is_ready else 503, {"status": "ready" if is_ready else "not ready"})
            case "/health":
                report = await self.health().report()
                return _json(503 if report.status == UNHEALTHY else 200, report.document(for_operators=is_internal(scope, headers)))
            case _ if is_internal(scope, headers):
                buffers.flush()
                body = await asyncio.to_thread(text.exposition, metrics.FAMILIES, await readings())
                return 200, text.CONTENT_TYPE, body
            case _:
                return _json(404, {"status": "nothing is here"})

    def health(self) -> Health:
        if self._health is None:
            self._health = Health()
        return self._health


def _json(status: int, content: dict[str, Any]) -> Answer:
    return status, JSON, orjson.dumps(content)
