"""What everybody may see of the markets. No log-in."""

import time
from typing import Any, Final

from django.db import InterfaceError, OperationalError
from django.http import HttpResponse
from drf_spectacular.utils import extend_schema

from api.handler import PUBLIC, ApiRequest
from api.rest import schemas
from api.rest.base import ApiView, answer, page
from api.rest.query import Query, symbol_named
from api.threads import run_in_thread
from exchange_platform.ids import moment_of
from markets import queries as markets
from orders import book_snapshots, candles, market_data
from orders.presentation import timestamp

DEPTH_DEFAULT: Final = 100
DEPTH_MAX: Final = 1000


class TimeView(ApiView):
    access = {"GET": PUBLIC}

    @extend_schema(**schemas.GET_TIME)
    async def get(self, request: ApiRequest) -> HttpResponse:
        now_ms = time.time_ns() // 1_000_000
        return answer({"timestamp": timestamp(moment_of(now_ms)), "timestamp_ms": now_ms})


class SymbolsView(ApiView):
    access = {"GET": PUBLIC}

    @extend_schema(**schemas.LIST_SYMBOLS)
    async def get(self, request: ApiRequest) -> HttpResponse:
        Query(request, known=())
        return page(await run_in_thread(markets.symbols))


class BookView(ApiView):
    access = {"GET": PUBLIC}

    @extend_schema(**schemas.GET_BOOK)
    async def get(self, request: ApiRequest, symbol: str) -> HttpResponse:
        depth = _depth(request)
        return answer(await run_in_thread(_book, symbol=await symbol_named(symbol), depth=depth))


def _book(*, symbol: str, depth: int) -> dict[str, Any]:
    """While the database is away, its last copy: whoever reads sees by the timestamp how old it is."""
    try:
        return market_data.book(symbol=symbol, depth=depth)
    except (OperationalError, InterfaceError):
        copy = book_snapshots.kept(symbol=symbol, depth=depth)
        if copy is None:
            raise
        return copy


class DepthView(ApiView):
    access = {"GET": PUBLIC}

    @extend_schema(**schemas.GET_DEPTH)
    async def get(self, request: ApiRequest, symbol: str) -> HttpResponse:
        depth = _depth(request)
        return answer(await run_in_thread(market_data.cumulative_depth, symbol=await symbol_named(symbol), depth=depth))


class TickerView(ApiView):
    access = {"GET": PUBLIC}

    @extend_schema(**schemas.GET_TICKER)
    async def get(self, request: ApiRequest, symbol: str) -> HttpResponse:
        Query(request, known=())
        return answer(await run_in_thread(market_data.ticker, symbol=await symbol_named(symbol)))


class TickersView(ApiView):
    access = {"GET": PUBLIC}

    @extend_schema(**schemas.LIST_TICKERS)
    async def get(self, request: ApiRequest) -> HttpResponse:
        Query(request, known=())
        return page(await run_in_thread(market_data.tickers))


class CandlesView(ApiView):
    access = {"GET": PUBLIC}

    @extend_schema(**schemas.LIST_CANDLES)
    async def get(self, request: ApiRequest, symbol: str) -> HttpResponse:
        query = Query(request, known=("interval", "start_time", "end_time", "limit"))
        interval = query.choice("interval", frozenset(candles.INTERVALS)) or "1m"
        filters: dict[str, Any] = {
            "start": query.moment("start_time"),
            "end": query.moment("end_time"),
            "limit": query.whole("limit", default=500, most=500),
        }
        return page(await run_in_thread(candles.candles, symbol=await symbol_named(symbol), interval=interval, **filters))


def _depth(request: ApiRequest) -> int:
    return Query(request, known=("depth",)).whole("depth", default=DEPTH_DEFAULT, most=DEPTH_MAX)
