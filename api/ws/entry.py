"""Order entry over a connection: the parsing, rights, limits and desk of REST, pipelined.

Requests are handed to the desk in the order sent and not waited for, so one connection can have hundreds under way; intake takes
them in that order. Answers come when they come, told apart by their `id`.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, Final, Protocol
from uuid import UUID

import structlog

from api import auth
from api.auth import Caller
from api.counting import count_placements
from api.errors import BadInput, ExchangeError
from api.rest import parsing
from api.rest.listing import order_not_found
from api.rest.orders import order_of
from api.threads import run_in_thread
from api.ws.protocol import Id, acknowledged, refusal
from orders import queries
from orders.desk import desk as process_desk
from orders.refusals import NotTaken, OutcomeUnknown
from orders.requests import CancelAll, CancelOrder, Decided, Placed, Request, Result, SetSwitch, Submission

MOST_UNDER_WAY: Final = 512  # per connection; behind so many unanswered requests nothing more is read from it

CANCEL_ATTEMPTS: Final = 60
CANCEL_RETRY_S: Final = 1.0
CANCEL_FIELDS: Final = frozenset({"order_id", "client_order_id", "account"})


log = structlog.get_logger(__name__)


class Client(Protocol):
    """The connection that answers go to."""

    def put(self, frame: bytes) -> None: ...

    def abandon(self) -> None:
        """Drop the connection: nobody knows whether a request was taken, and any answer would be a guess."""


class Answers:
    """Brings what intake and the watch decide in their threads to the event loop, with one wake-up for all that is there."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._done: deque[Callable[[], None]] = deque()
        self._is_called = False

    def bring(self, answer: Callable[[], None]) -> None:
        """Have `answer` called in the event loop. From any thread."""
        self._done.append(answer)
        if not self._is_called:
            self._is_called = True
            self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._is_called = False  # before looking, so that what comes from now on calls again
        while self._done:
            self._done.popleft()()


class OrderEntry:
    """The requests of one connection."""

    def __init__(self, client: Client, answers: Answers) -> None:
        self._client = client
        self._answers = answers
        self._under_way = 0
        self._room = asyncio.Event()
        self._room.set()
        self._placing: dict[str, Future[list[Result]]] = {}  # by client_order_id

    async def room(self) -> None:
        """Returns when one more request may be sent."""
        await self._room.wait()

    async def place(self, caller: Caller, data: dict[str, Any], ident: Id, *, request_id: str) -> None:
        """Raises: BadInput, Forbidden, NotHere, UnknownSymbol."""
        began_at = time.perf_counter()
        auth.require(caller, auth.TRADE)
        order, wait = await order_of(caller, data, request_id=request_id)
        future = self._submit(order, ident, request_id, wait=wait, client_id=order.client_order_id)
        future.add_done_callback(lambda _: count_placements(began_at, (order.symbol,)))

    async def cancel(self, caller: Caller, data: dict[str, Any], ident: Id, *, request_id: str) -> None:
        """By `order_id`, or by `client_order_id` (institution keys name the `account` with it).

        Raises: BadInput, Forbidden, NotHere, and what the database raises.
        """
        auth.require(caller, auth.TRADE)
        parsing.only_known(data, CANCEL_FIELDS)
        if "client_order_id" in data:
            if "order_id" in data:
                raise BadInput("Give order_id or client_order_id, not both.", code="CONFLICTING_FIELDS", field="client_order_id")
            order_id = await self._by_client_id(caller, data)
        else:
            order_id = _order_id(data)
        self._submit(CancelOrder(caller.principal, order_id, request_id=request_id), ident, request_id, wait=True)

    async def amend(self, caller: Caller, data: dict[str, Any], ident: Id, *, request_id: str) -> None:
        """Raises: BadInput, Forbidden, NotHere."""
        auth.require(caller, auth.TRADE)
        parsing.only_known(data, parsing.AMEND_FIELDS | {"order_id"})
        order_id = _order_id(data)
        change = {name: value for name, value in data.items() if name != "order_id"}
        amend = parsing.parse_amend(change, principal=caller.principal, order_id=order_id, request_id=request_id)
        self._submit(amend, ident, request_id, wait=True)

    async def set_switch(self, switch: SetSwitch) -> None:
        """Durable when this returns. Raises what refused it."""
        [result] = await asyncio.wrap_future(process_desk().submit(Submission((switch,)), wait=False))
        if isinstance(result, ExchangeError):
            raise result

    async def leave(self, cancel: CancelAll, switch: SetSwitch) -> None:
        """Cancel what is open, with what this connection has sent before, and take its switch off. Goes on trying while no engine or
        database is there; should it give up, the switch fires."""
        if self._placing:  # a batch of intake reads what is open before it takes what is in it
            await asyncio.wait([asyncio.wrap_future(future) for future in self._placing.values()])
        for _ in range(CANCEL_ATTEMPTS):
            both = Submission((cancel, replace(switch, timeout_ms=0)))
            results = await asyncio.wrap_future(process_desk().submit(both, wait=False))
            if not any(isinstance(result, NotTaken | OutcomeUnknown) for result in results):
                return
            await asyncio.sleep(CANCEL_RETRY_S)
        log.error("orders_not_cancelled_on_disconnect", accounts=cancel.account_ids)

    def _submit(self, request: Request, ident: Id, request_id: str, *, wait: bool, client_id: str | None = None) -> "Future[list[Result]]":
        future = process_desk().submit(Submission((request,)), wait=wait)
        self._under_way += 1
        if self._under_way >= MOST_UNDER_WAY:
            self._room.clear()
        if client_id is not None:
            self._placing[client_id] = future
        future.add_done_callback(lambda done: self._answers.bring(lambda: self._answer(done, ident, request_id, client_id)))
        return future

    def _answer(self, done: "Future[list[Result]]", ident: Id, request_id: str, client_id: str | None) -> None:
        self._under_way -= 1
        if self._under_way < MOST_UNDER_WAY:
            self._room.set()
        if client_id is not None and self._placing.get(client_id) is done:
            del self._placing[client_id]
        try:
            [result] = done.result()
            if isinstance(result, OutcomeUnknown):
                self._client.abandon()
                return
            told = _told(result, ident, request_id)
        except Exception as error:
            told = refusal(ident, error, request_id=request_id)
        self._client.put(told)

    async def _by_client_id(self, caller: Caller, data: dict[str, Any]) -> UUID:
        client_id = parsing.client_order_id(data["client_order_id"])
        named = parsing.text("account", data["account"], longest=parsing.ACCOUNT_LENGTH) if "account" in data else None
        account_id = await auth.account_id_for(caller, named)
        under_way = self._placing.get(client_id)
        if under_way is not None:  # the order was sent before: what comes behind it finds it
            await asyncio.wait([asyncio.wrap_future(under_way)])
        found = await run_in_thread(
            queries.order_by_client_id,
            institution_id=caller.principal.institution_id,
            account_ids=None if account_id is None else [account_id],
            client_order_id=client_id,
        )
        if found is None:
            raise order_not_found()
        return UUID(found["order_id"])


def _order_id(data: dict[str, Any]) -> UUID:
    """Raises: BadInput; NotHere for what no order can have as its id."""
    if "order_id" not in data:
        raise parsing.missing("order_id")
    value = data["order_id"]
    if type(value) is not str:
        raise BadInput("order_id must be a string.", field="order_id")
    found = parsing.identity(value)
    if found is None:
        raise order_not_found()
    return found


def _told(result: Result, ident: Id, request_id: str) -> bytes:
    """ACK with the order: new, replayed, decided or as it stands. ERROR with what was refused."""
    match result:
        case Placed(refusal=None) | Decided():
            return acknowledged(ident, result.order)
        case Placed(refusal=why) if why is not None:
            return refusal(ident, why, request_id=request_id)
        case ExchangeError():
            return refusal(ident, result, request_id=request_id)
        case _:
            raise TypeError(f"an answer of an unknown kind: {type(result).__name__}")
