"""What the calls of `api.rest.wallet` look like in the OpenAPI document."""

from typing import Final

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse
from rest_framework import serializers

from api.rest.schemas import _ACCOUNT, _PAGING, AMOUNT, ErrorSerializer, _call, _choice, _decimal, _errors, _page, _path, _query, _time
from wallet.addresses import ADDRESS_LENGTH
from wallet.models import WithdrawalState


class WithdrawalRequestSerializer(serializers.Serializer):
    asset = serializers.CharField()
    amount = _decimal("At most the asset's number of decimals.")
    address = serializers.CharField(max_length=ADDRESS_LENGTH, help_text="One of GET /withdrawal-addresses that can be used already.")
    account = serializers.CharField(required=False, help_text="For institution keys: which account.")


class WithdrawalSerializer(serializers.Serializer):
    withdrawal_id = serializers.UUIDField()
    account = serializers.CharField()
    asset = serializers.CharField()
    amount = _decimal(AMOUNT)
    address = serializers.CharField()
    status = _choice(WithdrawalState.values)
    transfer_id = serializers.UUIDField(allow_null=True, help_text="In the ledger, once it is COMPLETED.")
    reference = serializers.CharField(allow_null=True, help_text="What the world outside calls it, once it is COMPLETED.")
    created_at = _time()
    updated_at = _time()


class AddressRequestSerializer(serializers.Serializer):
    asset = serializers.CharField()
    address = serializers.CharField(max_length=ADDRESS_LENGTH)
    label = serializers.CharField(required=False, max_length=80)  # type: ignore[assignment]
    account = serializers.CharField(required=False, help_text="For institution keys: which account.")


class AddressSerializer(serializers.Serializer):
    address_id = serializers.UUIDField()
    account = serializers.CharField()
    asset = serializers.CharField()
    address = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    added_at = _time()
    usable_at = _time("From then on money can be withdrawn to it.")
    removed_at = _time("Null: it is listed.", allow_null=True)


class DepositSerializer(serializers.Serializer):
    deposit_id = serializers.UUIDField(help_text="The transfer's id in the ledger.")
    account = serializers.CharField()
    asset = serializers.CharField()
    amount = _decimal(AMOUNT)
    reference = serializers.CharField(allow_null=True)
    timestamp = _time()


class TransferRequestSerializer(serializers.Serializer):
    from_account = serializers.CharField()
    to_account = serializers.CharField(help_text="Of the same institution.")
    asset = serializers.CharField()
    amount = _decimal("At most the asset's number of decimals.")


class TransferSerializer(serializers.Serializer):
    transfer_id = serializers.UUIDField()
    from_account = serializers.CharField()
    to_account = serializers.CharField()
    asset = serializers.CharField()
    amount = _decimal(AMOUNT)
    timestamp = _time()


class StatementAssetSerializer(serializers.Serializer):
    asset = serializers.CharField()
    opening = _decimal(AMOUNT)
    movements = _decimal(AMOUNT)
    closing = _decimal("opening + movements")


class StatementEntrySerializer(serializers.Serializer):
    timestamp = _time()
    id = serializers.UUIDField(allow_null=True, help_text="Null: the sum of a month (MONTH) of which only that is kept.")
    kind = serializers.CharField()
    asset = serializers.CharField()
    amount = _decimal("Positive: received; negative: given.")
    balance = _decimal("Of the asset, after it.")
    reference = serializers.CharField(allow_null=True)


class StatementSerializer(serializers.Serializer):
    account = serializers.CharField()
    to = _time("Without it; never later than now.")
    assets = StatementAssetSerializer(many=True)
    entries = StatementEntrySerializer(many=True)

    def get_fields(self) -> dict[str, serializers.Field]:
        return {**super().get_fields(), "from": _time("With it.")}  # a word of Python's


_WHY: Final = {
    409: "The Idempotency-Key means something else, or the withdrawal is not in a state for it.",
    422: "Refused by the rules. Nothing was stored, and the key is free.",
}


def _refusals(*statuses: int) -> dict[int, OpenApiResponse]:
    """What the calls of this room are refused with, in its own words."""
    own = {status: OpenApiResponse(ErrorSerializer, description=why) for status, why in _WHY.items() if status in statuses}
    return _errors(*statuses) | own


_KEY: Final = OpenApiParameter(
    "Idempotency-Key",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    required=True,
    description="1 to 100 of A-Z a-z 0-9 . _ : / -; per key and path, for ever. The same request again is answered as the first.",
)
_KEY_IF_WANTED: Final = OpenApiParameter("Idempotency-Key", OpenApiTypes.STR, OpenApiParameter.HEADER, description=_KEY.description)
_ASSET: Final = _query("asset", "Its code.")
_WITHDRAWAL_ID: Final = _path("withdrawal_id", "The withdrawal's id.")

LIST_WITHDRAWALS: Final = _call(
    "list_withdrawals",
    "Money",
    "Withdrawals, newest first",
    parameters=[_query("status", "Repeatable.", many=True, enum=sorted(WithdrawalState.values)), _ASSET, _ACCOUNT, *_PAGING],
    responses={200: _page("Withdrawal", WithdrawalSerializer)} | _refusals(400, 401, 403, 404, 429, 503),
)
REQUEST_WITHDRAWAL: Final = _call(
    "request_withdrawal",
    "Money",
    "Withdraw: the amount is held until it is sent, or given back",
    parameters=[_KEY],
    request=WithdrawalRequestSerializer,
    responses={201: WithdrawalSerializer, 200: OpenApiResponse(WithdrawalSerializer, description="A replay: it, as it is now.")}
    | _refusals(400, 401, 403, 404, 409, 413, 415, 422, 429, 503),
    examples=[
        OpenApiExample("A withdrawal", value={"asset": "USDT", "amount": "250.00", "address": "TQn9Y2khEsLJW1ChVW"}, request_only=True)
    ],
)
GET_WITHDRAWAL: Final = _call(
    "get_withdrawal",
    "Money",
    "One withdrawal",
    parameters=[_WITHDRAWAL_ID],
    responses={200: WithdrawalSerializer} | _refusals(400, 401, 403, 404, 429, 503),
)
CANCEL_WITHDRAWAL: Final = _call(
    "cancel_withdrawal",
    "Money",
    "Cancel a withdrawal that is not approved yet",
    parameters=[_WITHDRAWAL_ID],
    responses={200: WithdrawalSerializer} | _refusals(400, 401, 403, 404, 409, 429, 503),
)
LIST_ADDRESSES: Final = _call(
    "list_withdrawal_addresses",
    "Money",
    "Addresses that are listed, newest first",
    parameters=[_ASSET, _ACCOUNT, *_PAGING],
    responses={200: _page("WithdrawalAddress", AddressSerializer)} | _refusals(400, 401, 403, 404, 429, 503),
)
ADD_ADDRESS: Final = _call(
    "add_withdrawal_address",
    "Money",
    "List an address; it can be used from usable_at on",
    parameters=[_KEY_IF_WANTED],
    request=AddressRequestSerializer,
    responses={201: AddressSerializer, 200: OpenApiResponse(AddressSerializer, description="It was listed before.")}
    | _refusals(400, 401, 403, 404, 409, 413, 415, 422, 429, 503),
)
REMOVE_ADDRESS: Final = _call(
    "remove_withdrawal_address",
    "Money",
    "Take an address off the list",
    parameters=[_path("address_id", "The address's id.")],
    responses={200: AddressSerializer} | _refusals(400, 401, 403, 404, 429, 503),
)
LIST_DEPOSITS: Final = _call(
    "list_deposits",
    "Money",
    "Deposits, newest first",
    parameters=[_ACCOUNT, *_PAGING],
    responses={200: _page("Deposit", DepositSerializer)} | _refusals(400, 401, 403, 404, 429, 503),
)
TRANSFER: Final = _call(
    "transfer",
    "Money",
    "Move money between two accounts of the institution",
    parameters=[_KEY],
    request=TransferRequestSerializer,
    responses={201: TransferSerializer, 200: OpenApiResponse(TransferSerializer, description="A replay: it had happened before.")}
    | _refusals(400, 401, 403, 404, 409, 413, 415, 422, 429, 503),
)
GET_STATEMENT: Final = _call(
    "get_statement",
    "Money",
    "What an account owned, what moved, what it owned then",
    parameters=[
        _query("from", "With this time.", OpenApiTypes.DATETIME, required=True),
        _query("to", "Without this time; default: now.", OpenApiTypes.DATETIME),
        _query("format", "json (default) or csv.", enum=["csv", "json"]),
        _ACCOUNT,
    ],
    responses={(200, "application/json"): StatementSerializer, (200, "text/csv"): OpenApiTypes.STR}
    | _refusals(400, 401, 403, 404, 429, 503),
)
