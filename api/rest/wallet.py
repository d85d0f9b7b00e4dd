"""Money that comes, goes and moves without a trade."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, ParamSpec, TypeVar
from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema

from api import auth
from api.errors import DropConnection, NotHere
from api.handler import ApiRequest
from api.rest import parsing, wallet_schemas
from api.rest.base import ApiView, answer, caller_of, page
from api.rest.listing import reach
from api.rest.query import Query, cursor_text
from api.rest.wallet_parsing import asked_by, asset, parse_address, parse_transfer, parse_withdrawal
from api.threads import run_in_thread
from orders.presentation import timestamp
from wallet import addresses, movement_queries, statements, transfers, withdrawals
from wallet.asking import OutcomeUnknown
from wallet.models import WithdrawalState
from wallet.movement_queries import AddressRow, DepositRow, TransferBetween, WithdrawalRow
from wallet.queries import amount_text, asset_id_of, assets

FORMATS: Final = frozenset({"json", "csv"})
STATES: Final = frozenset(WithdrawalState.values)
LISTED: Final = ("account", "asset", "limit", "cursor")

P = ParamSpec("P")
R = TypeVar("R")


async def committed(act: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """A service in the pool. Raises: DropConnection when nobody knows whether it was committed: ask again with the same key."""
    try:
        return await run_in_thread(act, *args, **kwargs)
    except OutcomeUnknown:
        raise DropConnection from None


async def one_account(caller: auth.Caller, named: str | None) -> int:
    """The account that is named or that the key is of. Raises: BadInput MISSING_FIELD, NotHere."""
    ids = await auth.account_ids_for(caller, {named} if named else set())
    return auth.one_account(caller, ids, named)


async def asset_asked(query: Query) -> int | None:
    """The id of the asset of the filter; 0, which no asset has, when there is none of that code. Raises: BadInput."""
    value = query.one("asset")
    if value is None:
        return None
    return await run_in_thread(asset_id_of, asset("asset", value)) or 0


# -- how it looks


def withdrawal_view(row: WithdrawalRow) -> dict[str, Any]:
    known = assets([row.asset_id])[row.asset_id]
    return {
        "withdrawal_id": str(row.id),
        "account": row.account,
        "asset": known.code,
        "amount": amount_text(row.amount, known.scale),
        "address": row.address,
        "status": row.state,
        "transfer_id": None if row.transfer_id is None else str(row.transfer_id),
        "reference": row.reference,
        "created_at": timestamp(row.created_at),
        "updated_at": timestamp(row.changed_at),
    }


def address_view(row: AddressRow) -> dict[str, Any]:
    return {
        "address_id": str(row.id),
        "account": row.account,
        "asset": assets([row.asset_id])[row.asset_id].code,
        "address": row.address,
        "label": row.label,
        "added_at": timestamp(row.added_at),
        "usable_at": timestamp(row.usable_at),
        "removed_at": None if row.removed_at is None else timestamp(row.removed_at),
    }


def deposit_view(row: DepositRow) -> dict[str, Any]:
    known = assets([row.asset_id])[row.asset_id]
    return {
        "deposit_id": str(row.id),
        "account": row.account,
        "asset": known.code,
        "amount": amount_text(row.amount, known.scale),
        "reference": row.reference,
        "timestamp": timestamp(row.created_at),
    }


def transfer_view(row: TransferBetween) -> dict[str, Any]:
    known = assets([row.asset_id])[row.asset_id]
    return {
        "transfer_id": str(row.id),
        "from_account": row.from_account,
        "to_account": row.to_account,
        "asset": known.code,
        "amount": amount_text(row.amount, known.scale),
        "timestamp": timestamp(row.created_at),
    }


async def listed(read: Callable[..., list[R]], view: Callable[[R], dict[str, Any]], *, limit: int, **asked: Any) -> HttpResponse:
    """A page of at most `limit` rows. Read and shown in the pool: an asset that this process meets first is read too."""

    def rows() -> tuple[list[dict[str, Any]], str | None]:
        found: list[Any] = read(limit=limit + 1, **asked)
        more = cursor_text(found[limit - 1].id) if len(found) > limit else None
        return [view(row) for row in found[:limit]], more

    results, more = await run_in_thread(rows)
    return page(results, next_cursor=more)


async def shown(read: Callable[..., R | None], view: Callable[[R], dict[str, Any]], what: str, **asked: Any) -> dict[str, Any]:
    """One row, read and shown in the pool. Raises: NotHere."""

    def row() -> dict[str, Any] | None:
        found = read(**asked)
        return None if found is None else view(found)

    told = await run_in_thread(row)
    if told is None:
        raise NotHere(f"There is no such {what}.")
    return told


async def withdrawal(within: dict[str, Any], withdrawal_id: UUID | None) -> dict[str, Any]:
    """As clients see it. Raises: NotHere."""
    if withdrawal_id is None:
        raise NotHere("There is no such withdrawal.")
    return await shown(movement_queries.withdrawal, withdrawal_view, "withdrawal", withdrawal_id=withdrawal_id, **within)


async def address(within: dict[str, Any], address_id: UUID | None) -> dict[str, Any]:
    """As clients see it, listed or removed. Raises: NotHere."""
    if address_id is None:
        raise NotHere("There is no such address.")
    return await shown(movement_queries.address, address_view, "address", address_id=address_id, **within)


# -- withdrawals


class WithdrawalsView(ApiView):
    access = {"GET": auth.READ, "POST": auth.WITHDRAW}

    @extend_schema(**wallet_schemas.LIST_WITHDRAWALS)
    async def get(self, request: ApiRequest) -> HttpResponse:
        query = Query(request, known=LISTED, repeatable=("status",))
        states, limit, before = query.choices("status", STATES), query.limit(), query.cursor()
        asset_id, within = await asset_asked(query), await reach(request, query.account())
        return await listed(
            movement_queries.withdrawals, withdrawal_view, limit=limit, states=states, asset_id=asset_id, before=before, **within
        )

    @extend_schema(**wallet_schemas.REQUEST_WITHDRAWAL)
    async def post(self, request: ApiRequest) -> HttpResponse:
        caller = caller_of(request)
        wanted = parse_withdrawal(parsing.read_object(request.body))
        asked = asked_by(request, caller, path="POST /withdrawals")
        account_id = await one_account(caller, wanted.account)
        made = await committed(
            withdrawals.request_withdrawal,
            account_id=account_id,
            asset=wanted.asset,
            amount=wanted.amount,
            address=wanted.address,
            asked=asked,
        )
        told = await withdrawal(await reach(request, None), made.withdrawal_id)
        return answer(told, status=200 if made.replay else 201, replay=made.replay)


class WithdrawalView(ApiView):
    access = {"GET": auth.READ, "DELETE": auth.WITHDRAW}

    @extend_schema(**wallet_schemas.GET_WITHDRAWAL)
    async def get(self, request: ApiRequest, withdrawal_id: str) -> HttpResponse:
        Query(request, known=())
        return answer(await withdrawal(await reach(request, None), parsing.identity(withdrawal_id)))

    @extend_schema(**wallet_schemas.CANCEL_WITHDRAWAL)
    async def delete(self, request: ApiRequest, withdrawal_id: str) -> HttpResponse:
        Query(request, known=())
        wanted, within = parsing.identity(withdrawal_id), await reach(request, None)
        await withdrawal(within, wanted)
        assert wanted is not None  # else there was none
        asked = asked_by(request, caller_of(request), path="DELETE /withdrawals", needs_key=False)
        await committed(withdrawals.cancel, withdrawal_id=wanted, asked=asked, reason="asked by the client")
        return answer(await withdrawal(within, wanted))


# -- where to


class AddressesView(ApiView):
    access = {"GET": auth.READ, "POST": auth.WITHDRAW}

    @extend_schema(**wallet_schemas.LIST_ADDRESSES)
    async def get(self, request: ApiRequest) -> HttpResponse:
        query = Query(request, known=LISTED)
        limit, before = query.limit(), query.cursor()
        asset_id, within = await asset_asked(query), await reach(request, query.account())
        return await listed(movement_queries.addresses, address_view, limit=limit, asset_id=asset_id, before=before, **within)

    @extend_schema(**wallet_schemas.ADD_ADDRESS)
    async def post(self, request: ApiRequest) -> HttpResponse:
        caller = caller_of(request)
        wanted = parse_address(parsing.read_object(request.body))
        asked = asked_by(request, caller, path="POST /withdrawal-addresses", needs_key=False)
        account_id = await one_account(caller, wanted.account)
        address_id, replay = await committed(
            addresses.add_address, account_id=account_id, asset=wanted.asset, address=wanted.address, label=wanted.label, asked=asked
        )
        told = await address(await reach(request, None), address_id)
        return answer(told, status=200 if replay else 201, replay=replay)


class AddressView(ApiView):
    access = {"DELETE": auth.WITHDRAW}

    @extend_schema(**wallet_schemas.REMOVE_ADDRESS)
    async def delete(self, request: ApiRequest, address_id: str) -> HttpResponse:
        Query(request, known=())
        caller, wanted, within = caller_of(request), parsing.identity(address_id), await reach(request, None)
        found = await address(within, wanted)
        assert wanted is not None  # else there was none
        account_id = await one_account(caller, found["account"])
        asked = asked_by(request, caller, path="DELETE /withdrawal-addresses", needs_key=False)
        await committed(addresses.remove_address, account_id=account_id, address_id=wanted, asked=asked)
        return answer(await address(within, wanted))


# -- deposits and transfers


class DepositsView(ApiView):
    access = {"GET": auth.READ}

    @extend_schema(**wallet_schemas.LIST_DEPOSITS)
    async def get(self, request: ApiRequest) -> HttpResponse:
        query = Query(request, known=("account", "limit", "cursor"))
        limit, before = query.limit(), query.cursor()
        within = await reach(request, query.account())
        return await listed(movement_queries.deposits, deposit_view, limit=limit, before=before, **within)


class TransfersView(ApiView):
    access = {"POST": auth.TRADE}

    @extend_schema(**wallet_schemas.TRANSFER)
    async def post(self, request: ApiRequest) -> HttpResponse:
        caller = caller_of(request)
        wanted = parse_transfer(parsing.read_object(request.body))
        asked = asked_by(request, caller, path="POST /transfers")
        from_account_id = await one_account(caller, wanted.from_account)
        to_account_id = await sibling(caller, wanted.to_account)
        made = await committed(
            transfers.transfer,
            from_account_id=from_account_id,
            to_account_id=to_account_id,
            asset=wanted.asset,
            amount=wanted.amount,
            asked=asked,
        )
        institution_id = caller.principal.institution_id
        told = await shown(
            movement_queries.transfer_between, transfer_view, "transfer", institution_id=institution_id, transfer_id=made.transfer_id
        )
        return answer(told, status=200 if made.replay else 201, replay=made.replay)


async def sibling(caller: auth.Caller, named: str) -> int:
    """The id of a trading account of the caller's institution, be the key of another of its accounts. Raises: NotHere."""
    found = await auth.accounts.get(named)
    if found is None or found.kind != auth.TRADING_KIND or found.institution_id != caller.principal.institution_id:
        raise NotHere("There is no such account.", field="to_account")
    return found.id


# -- statements


class StatementsView(ApiView):
    access = {"GET": auth.READ}

    @extend_schema(**wallet_schemas.GET_STATEMENT)
    async def get(self, request: ApiRequest) -> HttpResponse:
        query = Query(request, known=("account", "from", "to", "format"))
        start, end, told_as = query.moment("from"), query.moment("to"), query.choice("format", FORMATS) or "json"
        now = datetime.now(UTC)
        if start is None:
            raise parsing.missing("from")
        caller = caller_of(request)
        account_id = await one_account(caller, query.account())
        institution_id = caller.principal.institution_id
        asked: dict[str, Any] = {"institution_id": institution_id, "account_id": account_id, "start": start, "end": end or now, "now": now}
        if told_as == "json":
            return answer(await run_in_thread(lambda: statements.as_json(statements.statement(**asked))))

        def sheet() -> tuple[str, str]:
            found = statements.statement(**asked)
            return statements.as_csv(found), statements.file_name(found)

        content, name = await run_in_thread(sheet)
        response = HttpResponse(content, content_type="text/csv; charset=utf-8")
        response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
        return response
