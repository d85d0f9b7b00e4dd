"""Reads of orders, as the views of `api.rest.orders` answer them."""

from collections.abc import Callable
from typing import Any, Final

from django.http import HttpResponse

from api import auth
from api.errors import BadInput, NotHere
from api.handler import ApiRequest
from api.rest import parsing
from api.rest.base import answer, caller_of, page
from api.rest.query import Query, cursor_text
from api.threads import run_in_thread
from orders import queries
from orders.lifecycle import Status

STATUSES: Final = frozenset(Status) | {queries.OPEN}
LIST_FILTERS: Final = ("symbol", "side", "start_time", "end_time", "account", "limit", "cursor")


async def reach(request: ApiRequest, account: str | None) -> dict[str, Any]:
    """`institution_id` and `account_ids` as the queries take them: the account named or the key's own, else all in reach.

    Raises: NotHere for an account that is unknown or somebody else's.
    """
    caller = caller_of(request)
    account_id = await auth.account_id_for(caller, account)
    return {"institution_id": caller.principal.institution_id, "account_ids": None if account_id is None else [account_id]}


def page_of(found: queries.Page) -> HttpResponse:
    return page(found.results, next_cursor=None if found.next_before is None else cursor_text(found.next_before))


def order_not_found() -> NotHere:
    return NotHere("There is no such order.")


async def orders(request: ApiRequest) -> HttpResponse:
    query = Query(request, known=LIST_FILTERS, repeatable=("status",))
    filters: dict[str, Any] = {
        "statuses": query.choices("status", STATUSES),
        "side": query.choice("side", parsing.SIDES),
        "start_time": query.moment("start_time"),
        "end_time": query.moment("end_time"),
        "limit": query.limit(),
        "before": query.cursor(),
        "symbol": await query.symbol(),
    }
    within = await reach(request, query.account())
    return page_of(await run_in_thread(queries.orders, **filters, **within))


async def order(request: ApiRequest, order_id: str) -> HttpResponse:
    Query(request, known=())
    identity = parsing.identity(order_id)
    if identity is None:
        raise order_not_found()
    within = await reach(request, None)
    return await _one(queries.order_by_id, order_id=identity, **within)


async def order_by_client_id(request: ApiRequest, client_order_id: str) -> HttpResponse:
    query = Query(request, known=("account",))
    try:
        parsing.client_order_id(client_order_id)
    except BadInput:
        raise order_not_found() from None
    within = await reach(request, query.account())
    return await _one(queries.order_by_client_id, client_order_id=client_order_id, **within)


async def _one(read: Callable[..., dict[str, Any] | None], **wanted: Any) -> HttpResponse:
    found = await run_in_thread(read, **wanted)
    if found is None:
        raise order_not_found()
    return answer(found)
