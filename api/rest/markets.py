"""What everybody may see of the markets. No log-in."""

import time
from datetime import UTC, datetime

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema

from api.handler import PUBLIC, ApiRequest
from api.rest import schemas
from api.rest.base import ApiView, answer, page
from api.rest.query import Query
from api.threads import run_in_thread
from markets import queries as markets
from orders.presentation import timestamp


class TimeView(ApiView):
    access = {"GET": PUBLIC}

    @extend_schema(**schemas.GET_TIME)
    async def get(self, request: ApiRequest) -> HttpResponse:
        now_ms = time.time_ns() // 1_000_000
        return answer({"timestamp": timestamp(datetime.fromtimestamp(now_ms / 1000, UTC)), "timestamp_ms": now_ms})


class SymbolsView(ApiView):
    access = {"GET": PUBLIC}

    @extend_schema(**schemas.LIST_SYMBOLS)
    async def get(self, request: ApiRequest) -> HttpResponse:
        Query(request, known=())
        return page(await run_in_thread(markets.symbols))
