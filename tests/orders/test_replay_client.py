"""The signing client, against a server that writes down what it got."""

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from api.client import RestClient, Unanswered

SECRET = "s" * 64


class Server:
    """Answers requests in turn with what it was given; None: closes the connection."""

    def __init__(self, *answers: tuple[int, str, str] | None) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self.answer(reader, writer):
                pass
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        method, target, _ = first.split()
        self.requests.append((method, target, headers, await reader.readexactly(int(headers["content-length"]))))
        answer = self.answers.pop(0)
        if answer is None:
            return False
        status, extra, body = answer
        writer.write(f"HTTP/1.1 {status} X\r\n{extra}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        return True


def with_client(server: Server, use: Callable[[RestClient], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        try:
            async with RestClient(f"http://127.0.0.1:{port}", key="ak_1", secret=SECRET, connections=2) as client:
                return await use(client)
        finally:
            listening.close()
            await asyncio.sleep(0.01)  # the server's side sees the end

    return asyncio.run(run())


def test_a_request_is_signed_as_the_contract_says() -> None:
    server = Server((201, "", '{"order_id": "1"}'))
    reply = with_client(server, lambda client: client.place({"symbol": "ANA/EUR", "quantity": "1"}))
    assert (reply.status, reply.data, reply.code) == (201, {"order_id": "1"}, "")
    [(method, target, headers, body)] = server.requests
    assert (method, target) == ("POST", "/api/v1/orders")
    text = headers["x-timestamp"] + headers["x-recv-window"] + method + target
    assert headers["x-signature"] == hmac.new(SECRET.encode(), text.encode() + body, hashlib.sha256).hexdigest()
    assert headers["x-api-key"] == "ak_1"


def test_the_query_is_part_of_what_is_signed() -> None:
    server = Server((200, "", "[]"))
    with_client(server, lambda client: client.call("GET", "/orders", query={"symbol": "ANA/EUR", "status": ["OPEN", "PENDING"]}))
    [(method, target, headers, _)] = server.requests
    assert target == "/api/v1/orders?symbol=ANA%2FEUR&status=OPEN&status=PENDING"
    text = headers["x-timestamp"] + headers["x-recv-window"] + method + target
    assert headers["x-signature"] == hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()


def test_equal_requests_get_different_signatures() -> None:
    server = Server(*[(200, "", "{}")] * 5)

    async def use(client: RestClient) -> None:
        for _ in range(5):
            await client.cancel("1")

    with_client(server, use)
    assert len({headers["x-signature"] for _, _, headers, _ in server.requests}) == 5


def test_what_was_not_taken_is_asked_again() -> None:
    server = Server((503, "Retry-After: 0\r\n", '{"code": "OVERLOADED"}'), (429, "Retry-After: 0\r\n", "{}"), (200, "", '{"a": 1}'))
    reply = with_client(server, lambda client: client.order("1"))
    assert (reply.status, reply.data) == (200, {"a": 1})
    assert len({headers["x-signature"] for _, _, headers, _ in server.requests}) == 3


def test_a_refusal_is_an_answer_with_its_code() -> None:
    reply = with_client(Server((409, "", '{"code": "ORDER_NOT_OPEN"}')), lambda client: client.cancel("1"))
    assert (reply.is_good, reply.code) == (False, "ORDER_NOT_OPEN")


def test_a_broken_connection_is_told_and_the_next_request_takes_a_new_one() -> None:
    server = Server(None, (200, "", "{}"))

    async def use(client: RestClient) -> int:
        with pytest.raises(Unanswered, match="DELETE"):
            await client.cancel("1")
        return (await client.cancel("1")).status

    assert with_client(server, use) == 200


def test_pages_are_followed_to_the_end() -> None:
    first, last = '{"results": [{"n": 1}], "next_cursor": "c"}', '{"results": [{"n": 2}], "next_cursor": null}'
    server = Server((200, "", first), (200, "", last))

    async def use(client: RestClient) -> list[dict[str, Any]]:
        return [row async for row in client.pages("/trades/my", limit=1)]

    assert with_client(server, use) == [{"n": 1}, {"n": 2}]
    assert server.requests[1][1] == "/api/v1/trades/my?limit=1&cursor=c"
