"""Questions to the operations door, without a server."""

import json
from typing import Any

from api.operations.door import OperationsDoor

LOOPBACK = ("127.0.0.1", 40_000)
OUTSIDE = ("203.0.113.5", 40_000)


class Answer:
    def __init__(self, sent: list[dict[str, Any]]) -> None:
        self.status: int = sent[0]["status"]
        self.headers: dict[bytes, bytes] = dict(sent[0]["headers"])
        self.body: bytes = sent[1]["body"]

    @property
    def json(self) -> dict[str, Any]:
        content = json.loads(self.body)
        assert isinstance(content, dict)
        return content


async def ask(
    door: OperationsDoor,
    path: str,
    *,
    method: str = "GET",
    client: tuple[str, int] | None = LOOPBACK,
    headers: dict[bytes, bytes] | None = None,
) -> Answer:
    """`headers` by lower-case name, as a server gives them."""
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    scope = {"type": "http", "method": method, "path": path, "headers": list((headers or {}).items()), "client": client}
    await door(scope, receive, send)
    return Answer(sent)
