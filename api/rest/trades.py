"""Trades: everybody's without their parties, one's own with side and fee."""

from typing import Any

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema

from api import auth
from api.errors import NotHere
from api.handler import PUBLIC, ApiRequest
from api.rest import schemas
from api.rest.base import ApiView, answer
from api.rest.listing import page_of, reach
from api.rest.parsing import identity, missing
from api.rest.query import Query
from api.threads import run_in_thread
from orders import market_data, queries


class TradesView(ApiView):
    access = {"GET": PUBLIC}

    @extend_schema(**schemas.LIST_TRADES)
    async def get(self, request: ApiRequest) -> HttpResponse:
        query = Query(request, known=("symbol", "limit", "cursor"))
        limit, before, symbol = query.limit(), query.cursor(), await query.symbol()
        if symbol is None:
            raise missing("symbol")
        return page_of(await run_in_thread(market_data.trades, symbol=symbol, limit=limit, before=before))


class OwnTradesView(ApiView):
    access = {"GET": auth.READ}

    @extend_schema(**schemas.LIST_OWN_TRADES)
    async def get(self, request: ApiRequest) -> HttpResponse:
        query = Query(request, known=("symbol", "start_time", "end_time", "account", "limit", "cursor"))
        filters: dict[str, Any] = {
            "start_time": query.moment("start_time"),
            "end_time": query.moment("end_time"),
            "limit": query.limit(),
            "before": query.cursor(),
            "symbol": await query.symbol(),
        }
        within = await reach(request, query.account())
        return page_of(await run_in_thread(queries.my_trades, **filters, **within))


class TradeView(ApiView):
    access = {"GET": PUBLIC}

    @extend_schema(**schemas.GET_TRADE)
    async def get(self, request: ApiRequest, trade_id: str) -> HttpResponse:
        Query(request, known=())
        wanted = identity(trade_id)
        within: dict[str, Any] = {}
        if request.caller is not None and auth.READ in request.caller.rights:
            within = await reach(request, None)
        found = None if wanted is None else await run_in_thread(market_data.trade, trade_id=wanted, **within)
        if found is None:
            raise NotHere("There is no such trade.")
        return answer(found)
