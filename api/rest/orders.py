"""Order entry: place, cancel, amend, one by one and in batches. Each call is one submission to intake."""

import asyncio
from datetime import UTC, datetime
from typing import Any

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema

from api import auth
from api.counting import count_placements, count_refusal
from api.errors import STATUS, DropConnection, as_exchange_error, error_body, error_response
from api.handler import ApiRequest
from api.lookups import listed_symbols
from api.rest import listing, schemas
from api.rest.base import ApiView, answer, caller_of
from api.rest.parsing import (
    ParsedOrder,
    account_named,
    identity,
    parse_amend,
    parse_batch,
    parse_order,
    parse_switch,
    read_json,
    read_object,
)
from api.rest.query import Query
from api.threads import run_in_thread
from exchange_platform.errors import ExchangeError
from institutions import queries as institutions
from orders.desk import desk as process_desk
from orders.presentation import timestamp
from orders.refusals import NotTaken, OutcomeUnknown, ReplayedSignature
from orders.requests import (
    CancelAll,
    CancelledAll,
    CancelOrder,
    Decided,
    Placed,
    PlaceOrder,
    Request,
    Result,
    SetSwitch,
    Submission,
    SwitchSet,
)


def _now() -> datetime:
    return datetime.now(UTC)


async def order_of(caller: auth.Caller, data: dict[str, Any], *, request_id: str) -> ParsedOrder:
    """One order request of this caller, for every door. Raises: BadInput, NotHere, UnknownSymbol."""
    named = account_named(data)
    ids = await auth.account_ids_for(caller, {named} if named else set())
    return parse_order(
        data,
        principal=caller.principal,
        account_of=auth.account_chooser(caller, ids),
        symbols=await listed_symbols(data.get("symbol")),
        now=_now,
        request_id=request_id,
    )


async def submit(request: ApiRequest, *requests: Request, wait: bool) -> list[Result]:
    """One submission of this call. Raises: DropConnection when nobody knows whether it was committed."""
    results = await asyncio.wrap_future(process_desk().submit(Submission(requests, request.nonce), wait=wait))
    if any(isinstance(result, OutcomeUnknown) for result in results):
        raise DropConnection
    return results


async def accounts_in_reach(caller: auth.Caller, named: str | None) -> tuple[int, ...]:
    """The account that is named or that the key is of; else every account of the caller's institution. Raises: NotHere."""
    account_id = await auth.account_id_for(caller, named)
    if account_id is not None:
        return (account_id,)
    found = await run_in_thread(institutions.accounts_of, caller.principal.institution_id)
    return tuple(account.id for account in found)


def decided(result: Result) -> HttpResponse:
    """200 with the order after the engine's decision, 202 with the order as it is when that has not come. Raises what was refused."""
    if isinstance(result, ExchangeError):
        raise result
    assert isinstance(result, Decided)
    return answer(result.order, status=200 if result.decided else 202)


def placed(result: Result, *, request_id: str) -> HttpResponse:
    """201 new, 200 a replay, 422 recorded as REJECTED. Raises what was refused without a record."""
    if isinstance(result, ExchangeError):
        raise result
    assert isinstance(result, Placed)
    if result.refusal is None:
        return answer(result.order, status=200 if result.replay else 201, replay=result.replay)
    response = error_response(result.refusal, request_id=request_id)
    if result.replay:
        response.headers["Idempotent-Replay"] = "true"
    return response


def batch_item(result: Result, *, request_id: str) -> dict[str, Any]:
    """One result of a batch: its status with its order or error."""
    if isinstance(result, Placed) and result.refusal is None:
        return {"status": 200 if result.replay else 201, "order": result.order}
    refusal = result.refusal if isinstance(result, Placed) else result
    assert isinstance(refusal, ExchangeError)
    told = as_exchange_error(refusal, request_id=request_id)
    return {"status": STATUS[told.code], "error": error_body(told, request_id=request_id)}


class OrdersView(ApiView):
    access = {"GET": auth.READ, "POST": auth.TRADE, "DELETE": auth.TRADE}

    @extend_schema(**schemas.LIST_ORDERS)
    async def get(self, request: ApiRequest) -> HttpResponse:
        return await listing.orders(request)

    @extend_schema(**schemas.PLACE_ORDER)
    async def post(self, request: ApiRequest) -> HttpResponse:
        order, wait = await order_of(caller_of(request), read_object(request.body), request_id=request.request_id)
        [result] = await submit(request, order, wait=wait)
        count_placements(request.began_at, (order.symbol,))
        return placed(result, request_id=request.request_id)

    @extend_schema(**schemas.CANCEL_ALL)
    async def delete(self, request: ApiRequest) -> HttpResponse:
        caller = caller_of(request)
        query = Query(request, known=("symbol", "account"))
        symbol = await query.symbol()
        account_ids = await accounts_in_reach(caller, query.account())
        [result] = await submit(request, CancelAll(caller.principal, account_ids, symbol, request_id=request.request_id), wait=True)
        if isinstance(result, ExchangeError):
            raise result
        assert isinstance(result, CancelledAll)
        return answer({"requested": result.requested, "cancelled": result.cancelled})


class CancelAllAfterView(ApiView):
    access = {"POST": auth.TRADE}

    @extend_schema(**schemas.CANCEL_ALL_AFTER)
    async def post(self, request: ApiRequest) -> HttpResponse:
        caller = caller_of(request)
        timeout_ms, account = parse_switch(read_object(request.body))
        account_ids = await accounts_in_reach(caller, account)
        [result] = await submit(request, SetSwitch(caller.principal, account_ids, timeout_ms), wait=False)
        if isinstance(result, ExchangeError):
            raise result
        assert isinstance(result, SwitchSet)
        return answer({"timeout_ms": result.timeout_ms, "deadline": timestamp(result.deadline) if result.deadline else None})


class BatchView(ApiView):
    access = {"POST": auth.TRADE}

    @extend_schema(**schemas.PLACE_BATCH)
    async def post(self, request: ApiRequest) -> HttpResponse:
        caller = caller_of(request)
        items = parse_batch(read_json(request.body))
        ids = await auth.account_ids_for(caller, {named for item in items if (named := account_named(item))})
        symbols = await listed_symbols(*{item["symbol"] for item in items if type(item) is dict and type(item.get("symbol")) is str})
        account_of = auth.account_chooser(caller, ids)
        requests: list[Request] = []
        outcomes: list[Result | None] = []
        wait = False
        for item in items:
            try:
                order, waits = parse_order(
                    item, principal=caller.principal, account_of=account_of, symbols=symbols, now=_now, request_id=request.request_id
                )
            except ExchangeError as error:
                count_refusal(error.code)
                outcomes.append(error)
            else:
                requests.append(order)
                outcomes.append(None)
                wait = wait or waits
        if requests:
            answers = await submit(request, *requests, wait=wait)
            count_placements(request.began_at, [order.symbol for order in requests if isinstance(order, PlaceOrder)])
            if all(isinstance(result, ReplayedSignature | NotTaken) for result in answers):
                raise answers[0]  # type: ignore[misc]  # the call as a whole was not taken
            taken = iter(answers)
            outcomes = [next(taken) if outcome is None else outcome for outcome in outcomes]
        return answer({"results": [batch_item(outcome, request_id=request.request_id) for outcome in outcomes if outcome is not None]})


class OrderView(ApiView):
    access = {"GET": auth.READ, "DELETE": auth.TRADE, "PATCH": auth.TRADE}

    @extend_schema(**schemas.GET_ORDER)
    async def get(self, request: ApiRequest, order_id: str) -> HttpResponse:
        return await listing.order(request, order_id)

    @extend_schema(**schemas.CANCEL_ORDER)
    async def delete(self, request: ApiRequest, order_id: str) -> HttpResponse:
        Query(request, known=())
        found = identity(order_id)
        if found is None:
            raise listing.order_not_found()
        cancel = CancelOrder(caller_of(request).principal, found, request_id=request.request_id)
        [result] = await submit(request, cancel, wait=True)
        return decided(result)

    @extend_schema(**schemas.AMEND_ORDER)
    async def patch(self, request: ApiRequest, order_id: str) -> HttpResponse:
        found = identity(order_id)
        if found is None:
            raise listing.order_not_found()
        amend = parse_amend(
            read_object(request.body), principal=caller_of(request).principal, order_id=found, request_id=request.request_id
        )
        [result] = await submit(request, amend, wait=True)
        return decided(result)


class OrderByClientIdView(ApiView):
    access = {"GET": auth.READ}

    @extend_schema(**schemas.GET_ORDER_BY_CLIENT_ID)
    async def get(self, request: ApiRequest, client_order_id: str) -> HttpResponse:
        return await listing.order_by_client_id(request, client_order_id)
