"""What an account owns, what moved, what it pays."""

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema

from api import auth
from api.handler import ApiRequest
from api.rest import schemas
from api.rest.base import ApiView, page
from api.rest.listing import page_of, reach
from api.rest.query import Query
from api.threads import run_in_thread
from orders import queries
from orders.positions import positions
from wallet import queries as wallet


class BalancesView(ApiView):
    access = {"GET": auth.READ}

    @extend_schema(**schemas.LIST_BALANCES)
    async def get(self, request: ApiRequest) -> HttpResponse:
        within = await reach(request, Query(request, known=("account",)).account())
        return page(await run_in_thread(wallet.balances, **within))


class PositionsView(ApiView):
    access = {"GET": auth.READ}

    @extend_schema(**schemas.LIST_POSITIONS)
    async def get(self, request: ApiRequest) -> HttpResponse:
        within = await reach(request, Query(request, known=("account",)).account())
        return page(await run_in_thread(positions, **within))


class LedgerView(ApiView):
    access = {"GET": auth.READ}

    @extend_schema(**schemas.LIST_LEDGER)
    async def get(self, request: ApiRequest) -> HttpResponse:
        query = Query(request, known=("account", "limit", "cursor"))
        limit, before = query.limit(), query.cursor()
        within = await reach(request, query.account())
        return page_of(await run_in_thread(queries.ledger, limit=limit, before=before, **within))


class FeesView(ApiView):
    access = {"GET": auth.READ}

    @extend_schema(**schemas.LIST_FEES)
    async def get(self, request: ApiRequest) -> HttpResponse:
        within = await reach(request, Query(request, known=("account",)).account())
        return page(await run_in_thread(queries.fees, **within))
