"""What the OpenAPI document says of every call. For documentation alone: no request passes through these serializers."""

from collections.abc import Iterable
from typing import Any, Final

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, inline_serializer
from rest_framework import serializers

from api.errors import STATUS
from api.rest import parsing
from orders.lifecycle import Status

PRICE: Final = "A decimal as a string, fixed to the symbol's number of decimals."
AMOUNT: Final = "A decimal as a string, at the asset's scale."


def _decimal(text: str = PRICE, **more: Any) -> serializers.CharField:
    return serializers.CharField(help_text=text, **more)


def _choice(values: Iterable[str], **more: Any) -> serializers.ChoiceField:
    return serializers.ChoiceField(choices=sorted(values), **more)


def _time(text: str = "RFC 3339, UTC, milliseconds.", **more: Any) -> serializers.DateTimeField:
    return serializers.DateTimeField(help_text=text, **more)


class ErrorSerializer(serializers.Serializer):
    """Every refusal, under its true status."""

    code = serializers.CharField(help_text="Stable: " + ", ".join(code for code in STATUS if code != "INTERNAL"))
    message = serializers.CharField(help_text="For a person; may change.")
    field = serializers.CharField(allow_null=True, help_text="The field or header that is at fault.")  # type: ignore[assignment]
    request_id = serializers.CharField(help_text="Also in the header X-Request-Id.")
    details = serializers.DictField(allow_null=True)


class OrderRequestSerializer(serializers.Serializer):
    symbol = serializers.CharField(help_text="BTC/USDT")
    side = _choice(parsing.SIDES)
    order_type = _choice(parsing.ORDER_TYPES)
    quantity = _decimal(required=False)
    quote_quantity = _decimal("For MARKET BUY, instead of quantity: the amount to spend.", required=False)
    price = _decimal(required=False)
    stop_price = _decimal(required=False)
    trigger_source = _choice(parsing.TRIGGER_SOURCES, required=False)
    time_in_force = _choice(parsing.TIMES_IN_FORCE, required=False)
    expire_at = _time("For GTD; in the future.", required=False)
    client_order_id = serializers.RegexField(
        r"^[A-Za-z0-9._:/-]{1,100}$",
        help_text="The idempotency key: per account, for ever. The same id with the same body is the same order.",
    )
    post_only = serializers.BooleanField(required=False, help_text="The same as order_type POST_ONLY or time_in_force GTX.")
    reduce_only = serializers.BooleanField(required=False)
    self_trade_prevention = _choice(parsing.PREVENTION_MODES, required=False)
    response_type = _choice(
        parsing.RESPONSE_TYPES, required=False, help_text="ACK: after intake, durable and funded. RESULT (default): after matching."
    )
    account = serializers.CharField(required=False, help_text="For institution keys and people: which account.")


class BatchRequestSerializer(serializers.Serializer):
    orders = OrderRequestSerializer(many=True, help_text=f"1 to {parsing.BATCH_LIMIT}; taken in this order, each for itself.")


class AmendRequestSerializer(serializers.Serializer):
    price = _decimal(required=False)
    quantity = _decimal("The new total, filled included.", required=False)


class FillSerializer(serializers.Serializer):
    trade_id = serializers.UUIDField()
    price = _decimal()
    quantity = _decimal()
    fee = _decimal(AMOUNT)
    fee_asset = serializers.CharField()
    is_maker = serializers.BooleanField()
    timestamp = _time()


class OrderSerializer(serializers.Serializer):
    order_id = serializers.UUIDField()
    client_order_id = serializers.CharField()
    exchange_order_id = serializers.CharField(allow_null=True)
    account = serializers.CharField()
    symbol = serializers.CharField()
    side = _choice(parsing.SIDES)
    order_type = _choice(parsing.ORDER_TYPES - {"POST_ONLY"})
    time_in_force = _choice(parsing.TIMES_IN_FORCE)
    status = _choice(list(Status))
    quantity = _decimal(allow_null=True)
    quote_quantity = _decimal(AMOUNT, allow_null=True)
    filled_quantity = _decimal()
    remaining_quantity = _decimal(allow_null=True)
    prevented_quantity = _decimal()
    price = _decimal(allow_null=True)
    stop_price = _decimal(allow_null=True)
    average_price = _decimal("At the quote asset's scale, rounded down.", allow_null=True)
    fee = _decimal(AMOUNT)
    fee_asset = serializers.CharField()
    reason = serializers.CharField(allow_null=True, help_text="Why it ended without being filled.")
    created_at = _time()
    updated_at = _time()
    sequence = serializers.IntegerField(help_text="The engine sequence of the last change.")
    fills = FillSerializer(many=True, help_text="In RESULT and when one order is asked for.")


class BatchItemSerializer(serializers.Serializer):
    status = serializers.IntegerField(help_text="As the status of a single call.")
    order = OrderSerializer(required=False)
    error = ErrorSerializer(required=False)


class BatchResponseSerializer(serializers.Serializer):
    results = BatchItemSerializer(many=True)


class CancelledAllSerializer(serializers.Serializer):
    requested = serializers.IntegerField(help_text="Orders that were open when asked.")
    cancelled = serializers.IntegerField(help_text="Orders that ended by it.")


class PublicTradeSerializer(serializers.Serializer):
    trade_id = serializers.UUIDField()
    symbol = serializers.CharField()
    price = _decimal()
    quantity = _decimal()
    side = _choice(parsing.SIDES, help_text="Of the taker.")
    is_buyer_maker = serializers.BooleanField()
    timestamp = _time()


class OwnTradeSerializer(PublicTradeSerializer):
    account = serializers.CharField()
    order_id = serializers.UUIDField()
    fee = _decimal(AMOUNT)
    fee_asset = serializers.CharField()
    is_maker = serializers.BooleanField()


class AuctionSerializer(serializers.Serializer):
    """What the auction would come to now; all but `ends_at` null while nothing would trade."""

    price = _decimal("At which all of it would trade.", allow_null=True)
    quantity = _decimal("That would trade.", allow_null=True)
    surplus = _decimal("Left over at that price, on `surplus_side`.", allow_null=True)
    surplus_side = _choice(parsing.SIDES, allow_null=True, help_text="Null: nothing is left over.")
    ends_at = _time("When it ends by itself, unless its price is beyond the band then: it goes on for a minute.", allow_null=True)


class BookSerializer(serializers.Serializer):
    symbol = serializers.CharField()
    sequence = serializers.IntegerField()
    checksum = serializers.IntegerField(help_text="CRC32 of `price:quantity` of up to ten bids, then up to ten asks, joined by `|`.")
    bids = serializers.ListField(child=serializers.ListField(child=serializers.CharField()), help_text="[price, quantity], best first.")
    asks = serializers.ListField(child=serializers.ListField(child=serializers.CharField()), help_text="[price, quantity], best first.")
    auction = AuctionSerializer(allow_null=True, help_text="Always there; null unless the symbol's status is AUCTION.")
    timestamp = _time()


class TickerSerializer(serializers.Serializer):
    """The last 24 hours."""

    symbol = serializers.CharField()
    last_price = _decimal(allow_null=True)
    price_change = _decimal(allow_null=True)
    price_change_percent = serializers.CharField(allow_null=True)
    open = _decimal(allow_null=True)
    high = _decimal(allow_null=True)
    low = _decimal(allow_null=True)
    volume = _decimal()
    quote_volume = _decimal(AMOUNT)
    best_bid = _decimal(allow_null=True)
    best_ask = _decimal(allow_null=True)
    trade_count = serializers.IntegerField()
    status = _choice(["TRADING", "POST_ONLY", "CANCEL_ONLY", "HALTED", "AUCTION", "DELISTED"], allow_null=True)
    timestamp = _time()


class SymbolSerializer(serializers.Serializer):
    symbol = serializers.CharField()
    base = serializers.CharField()
    quote = serializers.CharField()
    status = _choice(["TRADING", "POST_ONLY", "CANCEL_ONLY", "HALTED", "AUCTION", "DELISTED"])
    route = _choice(["INTERNAL", "VENUE", "SMART"])
    reference_price = _decimal(allow_null=True)
    tick_size = _decimal()
    lot_size = _decimal()
    min_quantity = _decimal()
    max_quantity = _decimal(allow_null=True)
    min_price = _decimal(allow_null=True)
    max_price = _decimal(allow_null=True)
    min_notional = _decimal(AMOUNT)
    maker_fee = serializers.CharField(help_text="A fraction: 0.001 is 0.1 %.")
    taker_fee = serializers.CharField(help_text="A fraction: 0.001 is 0.1 %.")
    order_types = serializers.ListField(child=serializers.CharField(), help_text="Empty: all.")
    dynamic_band = serializers.CharField(
        allow_null=True, help_text="A fraction: 0.05 halts the symbol before a trade beyond 5 % of the price a minute ago. Null: off."
    )
    halt_s = serializers.IntegerField(help_text="How long such a halt lasts, in seconds; an auction follows.")
    auction_s = serializers.IntegerField(help_text="How long an auction collects orders, in seconds.")
    resumes_by_auction = serializers.BooleanField(help_text="Whether an operator's resumption after a halt goes through an auction.")
    opens_at = serializers.TimeField(allow_null=True, help_text="UTC, when the daily opening auction ends; null: there is none.")


class TimeSerializer(serializers.Serializer):
    timestamp = _time("The server's clock.")
    timestamp_ms = serializers.IntegerField(help_text="The same, as X-Timestamp wants it.")


class BalanceSerializer(serializers.Serializer):
    account = serializers.CharField()
    asset = serializers.CharField()
    posted = _decimal("What is owned, held amounts included.")
    held = _decimal("Reserved by open orders.")
    available = _decimal("posted − held")


class PositionSerializer(serializers.Serializer):
    account = serializers.CharField()
    symbol = serializers.CharField()
    quantity = _decimal("Bought less sold, in base; negative when more was sold.")
    average_entry_price = _decimal("In quote; null when nothing is open.", allow_null=True)
    realised_pnl = _decimal("In quote, without fees.")
    unrealised_pnl = _decimal("At the last price; null when nothing is open or nothing was traded yet.", allow_null=True)


class SwitchRequestSerializer(serializers.Serializer):
    timeout_ms = serializers.IntegerField(min_value=0, max_value=86_400_000, help_text="From now; 0 takes the switch off.")
    account = serializers.CharField(required=False, help_text="For keys of an institution; without: all its accounts.")


class SwitchSerializer(serializers.Serializer):
    timeout_ms = serializers.IntegerField()
    deadline = _time("When everything open is cancelled unless the switch is set anew; null: it is off.", allow_null=True)


class LedgerEntrySerializer(serializers.Serializer):
    """A transfer as the account sees it."""

    id = serializers.UUIDField(help_text="The transfers of one trade have one id.")
    account = serializers.CharField()
    kind = serializers.CharField()
    asset = serializers.CharField()
    amount = _decimal("Positive: received; negative: given.")
    counterpart = serializers.CharField(allow_null=True)
    reference = serializers.CharField(allow_null=True)
    timestamp = _time()


class FeeSerializer(serializers.Serializer):
    symbol = serializers.CharField()
    maker_fee = serializers.CharField(help_text="A fraction: 0.001 is 0.1 %.")
    taker_fee = serializers.CharField(help_text="A fraction: 0.001 is 0.1 %.")


class LogInSerializer(serializers.Serializer):
    username = serializers.CharField()
    password = serializers.CharField()
    otp = serializers.CharField(required=False, help_text="Six digits, where a second factor is set.")


class RefreshSerializer(serializers.Serializer):
    refresh = serializers.CharField()


class TokensSerializer(serializers.Serializer):
    access = serializers.CharField(help_text="5 minutes; claims user, institution, role, permissions.")
    refresh = serializers.CharField()


def _page(name: str, row: type[serializers.Serializer]) -> serializers.Serializer:
    return inline_serializer(
        f"{name}List",
        {
            "results": row(many=True),
            "next_cursor": serializers.CharField(allow_null=True, help_text="For the next page; null: this was the last."),
        },
    )


_CANDLES: Final = inline_serializer(
    "CandleList",
    {
        "results": serializers.ListField(
            child=serializers.ListField(child=serializers.JSONField(), min_length=9, max_length=9),
            help_text="[open_time, open, high, low, close, volume, quote_volume, trade_count, closed], oldest first.",
        ),
        "next_cursor": serializers.CharField(allow_null=True),
    },
)

_WHY: Final = {
    400: "The request has not the form of the contract.",
    401: "Nobody we know, or no proof of it.",
    403: "Known, but not allowed.",
    404: "Not there, or somebody else's.",
    409: "Another order has this id, or the order is not in a state for it.",
    413: "A body over 256 KB.",
    415: "Not application/json.",
    422: "Refused by the rules and recorded as REJECTED.",
    429: "Too many requests: see Retry-After.",
    503: "Nothing was committed; ask again after Retry-After.",
}
_ERROR_EXAMPLE: Final = OpenApiExample(
    "Refused",
    value={
        "code": "INVALID_NUMBER",
        "message": "quantity must be greater than zero.",
        "field": "quantity",
        "request_id": "5f2c…",
        "details": None,
    },
    response_only=True,
)


def _errors(*statuses: int) -> dict[int, OpenApiResponse]:
    return {
        status: OpenApiResponse(ErrorSerializer, description=_WHY[status], examples=[_ERROR_EXAMPLE] if status == 400 else None)
        for status in statuses
    }


def _query(name: str, description: str, kind: Any = OpenApiTypes.STR, **more: Any) -> OpenApiParameter:
    return OpenApiParameter(name, kind, description=description, **more)


def _path(name: str, description: str, kind: Any = OpenApiTypes.STR) -> OpenApiParameter:
    return OpenApiParameter(name, kind, OpenApiParameter.PATH, description=description)


_SYMBOL_PATH: Final = _path("symbol", "BTC-USDT, or BTC/USDT percent-encoded.")
_SYMBOL: Final = _query("symbol", "BTC/USDT")
_ACCOUNT: Final = _query("account", "For institution keys and people: which account; without: all in reach.")
_TIMES: Final = [
    _query("start_time", "From this time on.", OpenApiTypes.DATETIME),
    _query("end_time", "Up to and with this time.", OpenApiTypes.DATETIME),
]
_PAGING: Final = [
    _query("limit", "1 to 500, default 100.", OpenApiTypes.INT),
    _query("cursor", "The next_cursor of the page before."),
]

_ORDER_EXAMPLE: Final = OpenApiExample(
    "A limit order",
    value={
        "symbol": "BTC/USDT",
        "side": "BUY",
        "order_type": "LIMIT",
        "quantity": "0.25",
        "price": "61250.10",
        "time_in_force": "GTC",
        "client_order_id": "desk-7:2026-03-02/000131",
    },
    request_only=True,
)
_MARKET_EXAMPLE: Final = OpenApiExample(
    "A market order by amount",
    value={"symbol": "BTC/USDT", "side": "BUY", "order_type": "MARKET", "quote_quantity": "500", "client_order_id": "m-42"},
    request_only=True,
)


def _call(operation_id: str, tag: str, summary: str, **more: Any) -> dict[str, Any]:
    return {"operation_id": operation_id, "tags": [tag], "summary": summary, **more}


PLACE_ORDER: Final = _call(
    "place_order",
    "Orders",
    "Place an order",
    request=OrderRequestSerializer,
    responses={201: OrderSerializer, 200: OpenApiResponse(OrderSerializer, description="A replay: the original order as it is now.")}
    | _errors(400, 401, 403, 404, 409, 413, 415, 422, 429, 503),
    examples=[_ORDER_EXAMPLE, _MARKET_EXAMPLE],
)
LIST_ORDERS: Final = _call(
    "list_orders",
    "Orders",
    "List orders, newest first",
    parameters=[
        _SYMBOL,
        _query("status", "Repeatable; `open` is PENDING, OPEN, PARTIALLY_FILLED and PENDING_TRIGGER.", many=True),
        _query("side", "BUY or SELL", enum=sorted(parsing.SIDES)),
        *_TIMES,
        _ACCOUNT,
        *_PAGING,
    ],
    responses={200: _page("Order", OrderSerializer)} | _errors(400, 401, 403, 404, 429, 503),
)
CANCEL_ALL: Final = _call(
    "cancel_all_orders",
    "Orders",
    "Cancel all open orders",
    parameters=[_query("symbol", "Without: all symbols."), _ACCOUNT],
    responses={200: CancelledAllSerializer} | _errors(400, 401, 403, 404, 429, 503),
)
CANCEL_ALL_AFTER: Final = _call(
    "cancel_all_after",
    "Orders",
    "Dead man's switch: cancel everything open after a time, unless it is set anew",
    request=SwitchRequestSerializer,
    responses={200: SwitchSerializer} | _errors(400, 401, 403, 404, 413, 415, 429, 503),
)
PLACE_BATCH: Final = _call(
    "place_batch",
    "Orders",
    "Place up to 50 orders",
    request=BatchRequestSerializer,
    responses={200: BatchResponseSerializer} | _errors(400, 401, 403, 413, 415, 429, 503),
)
_ORDER_ID: Final = _path("order_id", "The order's id.")
GET_ORDER: Final = _call(
    "get_order",
    "Orders",
    "One order with its fills",
    parameters=[_ORDER_ID],
    responses={200: OrderSerializer} | _errors(401, 403, 404, 429, 503),
)
_UNDECIDED: Final = {202: OpenApiResponse(OrderSerializer, description="Not decided within 2 s: the order as it is.")}
CANCEL_ORDER: Final = _call(
    "cancel_order",
    "Orders",
    "Cancel an order",
    parameters=[_ORDER_ID],
    responses={200: OrderSerializer} | _UNDECIDED | _errors(401, 403, 404, 409, 429, 503),
)
AMEND_ORDER: Final = _call(
    "amend_order",
    "Orders",
    "Change price, quantity or both",
    parameters=[_ORDER_ID],
    request=AmendRequestSerializer,
    responses={200: OrderSerializer} | _UNDECIDED | _errors(400, 401, 403, 404, 409, 413, 415, 422, 429, 503),
    examples=[OpenApiExample("A new price", value={"price": "61300.00"}, request_only=True)],
)
GET_ORDER_BY_CLIENT_ID: Final = _call(
    "get_order_by_client_id",
    "Orders",
    "One order by the client's id",
    parameters=[_path("client_order_id", "May hold slashes."), _ACCOUNT],
    responses={200: OrderSerializer} | _errors(400, 401, 403, 404, 429, 503),
)
_DEPTH: Final = _query("depth", "Levels a side, 1 to 1000, default 100.", OpenApiTypes.INT)
GET_BOOK: Final = _call(
    "get_order_book",
    "Market data",
    "The order book",
    parameters=[_SYMBOL_PATH, _DEPTH],
    responses={200: BookSerializer} | _errors(400, 404, 429, 503),
)
GET_DEPTH: Final = _call(
    "get_order_book_depth",
    "Market data",
    "The order book, quantities added up from the best price",
    parameters=[_SYMBOL_PATH, _DEPTH],
    responses={200: BookSerializer} | _errors(400, 404, 429, 503),
)
LIST_TRADES: Final = _call(
    "list_trades",
    "Market data",
    "Public trades of a symbol, newest first",
    parameters=[_query("symbol", "BTC/USDT", required=True), *_PAGING],
    responses={200: _page("PublicTrade", PublicTradeSerializer)} | _errors(400, 404, 429, 503),
)
LIST_OWN_TRADES: Final = _call(
    "list_own_trades",
    "Account",
    "Own trades, newest first",
    parameters=[_SYMBOL, *_TIMES, _ACCOUNT, *_PAGING],
    responses={200: _page("OwnTrade", OwnTradeSerializer)} | _errors(400, 401, 403, 404, 429, 503),
)
GET_TRADE: Final = _call(
    "get_trade",
    "Market data",
    "One trade; its owner also sees order, fee and side",
    parameters=[_path("trade_id", "The trade's id.")],
    responses={200: PublicTradeSerializer} | _errors(404, 429, 503),
)
GET_TICKER: Final = _call(
    "get_ticker",
    "Market data",
    "The last 24 hours of a symbol",
    parameters=[_SYMBOL_PATH],
    responses={200: TickerSerializer} | _errors(404, 429, 503),
)
LIST_TICKERS: Final = _call(
    "list_tickers",
    "Market data",
    "The last 24 hours of every symbol",
    responses={200: _page("Ticker", TickerSerializer)} | _errors(429, 503),
)
LIST_CANDLES: Final = _call(
    "list_candles",
    "Market data",
    "Candles of the intervals in which something traded, oldest first",
    parameters=[
        _SYMBOL_PATH,
        _query("interval", "1m (default), 5m, 15m, 1h, 4h or 1d."),
        *_TIMES,
        _query("limit", "1 to 500, default 500: the last ones, or the first ones from start_time on.", OpenApiTypes.INT),
    ],
    responses={200: _CANDLES} | _errors(400, 404, 429, 503),
)
LIST_SYMBOLS: Final = _call(
    "list_symbols", "Market data", "Symbols and their trading rules", responses={200: _page("Symbol", SymbolSerializer)} | _errors(429, 503)
)
GET_TIME: Final = _call("get_time", "Market data", "The server's clock", responses={200: TimeSerializer} | _errors(429))
LIST_BALANCES: Final = _call(
    "list_balances",
    "Account",
    "Balances by asset",
    parameters=[_ACCOUNT],
    responses={200: _page("Balance", BalanceSerializer)} | _errors(400, 401, 403, 404, 429, 503),
)
LIST_POSITIONS: Final = _call(
    "list_positions",
    "Account",
    "Positions by symbol",
    parameters=[_ACCOUNT],
    responses={200: _page("Position", PositionSerializer)} | _errors(400, 401, 403, 404, 429, 503),
)
LIST_LEDGER: Final = _call(
    "list_ledger",
    "Account",
    "Transfers seen from the account, newest first",
    parameters=[_ACCOUNT, *_PAGING],
    responses={200: _page("LedgerEntry", LedgerEntrySerializer)} | _errors(400, 401, 403, 404, 429, 503),
)
LIST_FEES: Final = _call(
    "list_fees",
    "Account",
    "Own fee rates",
    parameters=[_ACCOUNT],
    responses={200: _page("Fee", FeeSerializer)} | _errors(400, 401, 403, 404, 429, 503),
)
LOG_IN: Final = _call(
    "log_in",
    "Log-in",
    "Tokens for a person",
    request=LogInSerializer,
    responses={200: TokensSerializer} | _errors(400, 401, 415, 429, 503),
)
REFRESH: Final = _call(
    "refresh_token",
    "Log-in",
    "A new access token",
    request=RefreshSerializer,
    responses={200: TokensSerializer} | _errors(400, 401, 415, 429, 503),
)
