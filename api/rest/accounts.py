"""What an account owns, what moved, what it pays."""

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema

from api import auth
from api.handler import ApiRequest
from api.rest import schemas
from api.rest.base import ApiView, caller_of, page
from api.rest.parsing import missing
from api.rest.query import Query
from api.threads import run_in_thread
from wallet import queries as wallet


async def account_asked_for(request: ApiRequest, query: Query) -> int:
    """The one account a call is about. Raises: BadInput MISSING_FIELD for who is not bound to one, NotHere."""
    account_id = await auth.account_id_for(caller_of(request), query.account())
    if account_id is None:
        raise missing("account", ": this log-in is not bound to one account")
    return account_id


class BalancesView(ApiView):
    access = {"GET": auth.READ}

    @extend_schema(**schemas.LIST_BALANCES)
    async def get(self, request: ApiRequest) -> HttpResponse:
        query = Query(request, known=("account",))
        account_id = await account_asked_for(request, query)
        institution_id = caller_of(request).principal.institution_id
        return page(await run_in_thread(wallet.balances, institution_id=institution_id, account_ids=[account_id]))
