"""The OpenAPI document describes every call, is valid, and its readers need nothing from outside; so does the home page."""

import re
from typing import Any

import httpx
import pytest
from django.urls import get_resolver
from drf_spectacular.validation import validate_schema

from exchange_platform.asgi import application
from tests.api.conftest import Client


@pytest.fixture(scope="module")
def document() -> Any:
    import orjson

    from api.rest.documents import _document

    return orjson.loads(_document())


def test_the_document_is_valid(document: Any) -> None:
    validate_schema(document)
    assert document["openapi"].startswith("3.")


def test_every_call_is_described(document: Any) -> None:
    described = {(path, method.upper()) for path, calls in document["paths"].items() for method in calls if method != "parameters"}
    served: set[tuple[str, str]] = set()
    for resolver in get_resolver().url_patterns:
        if str(resolver.pattern) != "api/v1/":
            continue
        for pattern in resolver.url_patterns:
            cls: Any = pattern.callback.cls
            path = "/api/v1/" + re.sub(r"<\w+:(\w+)>", r"{\1}", str(pattern.pattern))
            served |= {(path, method) for method in cls.access}
    hidden = {("/api/v1/schema", "GET"), ("/api/v1/docs", "GET"), ("/api/v1/redoc", "GET")}
    assert described == served - hidden


def test_every_call_has_a_name_an_answer_and_its_errors(document: Any) -> None:
    names = []
    for calls in document["paths"].values():
        for call in calls.values():
            names.append(call["operationId"])
            assert call["summary"]
            assert call["tags"]
            assert "coroutine" not in call.get("description", "")
            assert "429" in call["responses"]
            for status, response in call["responses"].items():
                if int(status) >= 400:
                    assert response["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Error"}
    assert len(names) == len(set(names))


def test_security_is_told_where_it_is_needed(document: Any) -> None:
    place = document["paths"]["/api/v1/orders"]["post"]
    assert place["security"] == [
        {"ApiKey": [], "ApiTimestamp": [], "ApiRecvWindow": [], "ApiSignature": []},
        {"AccessToken": []},
    ]
    assert "security" not in document["paths"]["/api/v1/symbols"]["get"]
    assert set(document["components"]["securitySchemes"]) == {"ApiKey", "ApiTimestamp", "ApiRecvWindow", "ApiSignature", "AccessToken"}


def test_the_schema_is_served(run_api: Any, document: Any) -> None:
    reply = run_api(lambda client: client.call("GET", "/schema", key=None))
    assert reply.json() == document


@pytest.mark.parametrize("path", ["/api/v1/docs", "/api/v1/redoc", "/"])
def test_pages_need_nothing_from_outside(run_api: Any, path: str) -> None:
    async def act(client: Client) -> list[httpx.Response]:
        page = await client.http.get(path)
        assert page.headers["content-type"].startswith("text/html")
        assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert not [url for url in assets if url.startswith(("http:", "https:", "//"))]
        return [page, *[await client.http.get(url) for url in assets if url.startswith("/static/")]]

    replies = run_api(act)
    assert [reply.status_code for reply in replies] == [200] * len(replies)
    if path == "/":
        assert "/api/v1/docs" in replies[0].text
    else:
        assert len(replies) > 1


def test_a_websocket_is_refused_before_the_handshake() -> None:
    import asyncio

    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(application({"type": "websocket", "path": "/stream"}, receive, send))
    assert [message["type"] for message in sent] == ["websocket.close"]


def test_the_desk_lives_as_long_as_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    from orders import desk as desks

    told: list[str] = []
    fake = type("Desk", (), {"start": lambda self: told.append("start"), "stop": lambda self: told.append("stop")})()
    monkeypatch.setattr(desks, "desk", lambda: fake)
    messages = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> Any:
        return {"type": next(messages)}

    async def send(message: Any) -> None:
        told.append(message["type"])

    asyncio.run(application({"type": "lifespan"}, receive, send))
    assert told == ["start", "lifespan.startup.complete", "stop", "lifespan.shutdown.complete"]
