"""From JSON to an order, strictly: what the contract does not name is refused, and nothing here knows about HTTP.

WebSocket and gRPC use the same functions. Every field is checked for its form first, in the order sent; then for what is
missing; then for what contradicts; then for whose account and which symbol it is.
"""

import re
from collections.abc import Callable, Container, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson

from api.errors import BadInput
from orders.refusals import UnknownSymbol
from orders.requests import AmendOrder, PlaceOrder, Principal

SIDES: Final = frozenset({"BUY", "SELL"})
STOP_MARKET_TYPES: Final = frozenset({"STOP", "TAKE_PROFIT"})
STOP_LIMIT_TYPES: Final = frozenset({"STOP_LIMIT", "TAKE_PROFIT_LIMIT"})
STOP_TYPES: Final = STOP_MARKET_TYPES | STOP_LIMIT_TYPES
ORDER_TYPES: Final = frozenset({"MARKET", "LIMIT", "POST_ONLY"}) | STOP_TYPES
TIMES_IN_FORCE: Final = frozenset({"GTC", "IOC", "FOK", "GTX", "GTD"})
PREVENTION_MODES: Final = frozenset({"CANCEL_NEWEST", "CANCEL_OLDEST", "CANCEL_BOTH", "DECREMENT"})
TRIGGER_SOURCES: Final = frozenset({"LAST", "REFERENCE"})
RESPONSE_TYPES: Final = frozenset({"ACK", "RESULT"})

BATCH_LIMIT: Final = 50
ACCOUNT_LENGTH: Final = 60

_number = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,18})?").fullmatch
_client_order_id = re.compile(r"[A-Za-z0-9._:/-]{1,100}").fullmatch
_uuid = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}").fullmatch
_moment = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:[0-9]{2})").fullmatch
_field_name = re.compile(r"[A-Za-z0-9_.-]{1,60}").fullmatch


class ParsedOrder(NamedTuple):
    """`wait`: answer after matching (response_type RESULT), not after intake."""

    order: PlaceOrder
    wait: bool


def read_json(body: bytes) -> Any:
    """Raises: BadInput MALFORMED (NaN, UTF-16, trailing garbage, lone surrogates and 1,000 levels included)."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadInput("The body is not valid JSON in UTF-8.", code="MALFORMED") from None


def read_object(body: bytes) -> dict[str, Any]:
    """Raises: BadInput MALFORMED, also for JSON that is no object."""
    data = read_json(body)
    if type(data) is not dict:
        raise BadInput("The body must be a JSON object.", code="MALFORMED")
    return data


def only_known(data: Mapping[str, Any], known: Container[str]) -> None:
    """Raises: BadInput UNKNOWN_FIELD."""
    for name in data:
        if name not in known:
            raise unknown_field(name)


def unknown_field(name: str) -> BadInput:
    shown = name if _field_name(name) else None
    return BadInput(
        "This field is not part of the contract." if shown is None else f"There is no field {shown}.", code="UNKNOWN_FIELD", field=shown
    )


def missing(name: str, why: str = "") -> BadInput:
    return BadInput(f"{name} is missing{why}.", code="MISSING_FIELD", field=name)


def _conflict(name: str, message: str) -> BadInput:
    return BadInput(message, code="CONFLICTING_FIELDS", field=name)


# -- the form of one field


def decimal(name: str, value: object) -> Decimal:
    """A positive decimal in plain notation. Raises: BadInput INVALID_FIELD when it is no string, else INVALID_NUMBER."""
    if type(value) is not str:
        raise BadInput(f'{name} must be a string, like "1.50".', field=name)
    if _number(value) is None:
        raise BadInput(
            f"{name} must be a plain positive decimal: at most 20 digits, and 18 decimals after a point.", code="INVALID_NUMBER", field=name
        )
    number = Decimal(value)
    if not number:
        raise BadInput(f"{name} must be greater than zero.", code="INVALID_NUMBER", field=name)
    return number


def choice(name: str, value: object, allowed: frozenset[str]) -> str:
    """Raises: BadInput INVALID_FIELD."""
    if type(value) is not str or value not in allowed:
        raise BadInput(f"{name} must be one of {', '.join(sorted(allowed))}.", field=name)
    return value


def flag(name: str, value: object) -> bool:
    """Raises: BadInput INVALID_FIELD."""
    if type(value) is not bool:
        raise BadInput(f"{name} must be true or false.", field=name)
    return value


def text(name: str, value: object, *, longest: int) -> str:
    """A string of 1 to `longest` characters without control characters. Raises: BadInput INVALID_FIELD."""
    if type(value) is not str or not 0 < len(value) <= longest or not value.isprintable():
        raise BadInput(f"{name} must be a string of 1 to {longest} printable characters.", field=name)
    return value


def moment(name: str, value: object) -> datetime:
    """RFC 3339, cut to milliseconds, in UTC. Raises: BadInput INVALID_FIELD."""
    if type(value) is str and _moment(value):
        try:
            found = datetime.fromisoformat(value).astimezone(UTC)
            return found.replace(microsecond=found.microsecond // 1000 * 1000)
        except (ValueError, OverflowError):
            pass
    raise BadInput(f"{name} must be a time like 2026-01-02T03:04:05.678Z.", field=name)


def client_order_id(value: object) -> str:
    """Raises: BadInput INVALID_FIELD."""
    if type(value) is not str or _client_order_id(value) is None:
        raise BadInput("client_order_id must be 1 to 100 characters of A-Z a-z 0-9 . _ : / -", field="client_order_id")
    return value


def identity(value: str) -> UUID | None:
    """The UUID that an id in a path spells; None when it spells none, so that nothing can have it."""
    return UUID(value) if _uuid(value) else None


def _symbol(value: object) -> str:
    if type(value) is not str:
        raise BadInput("symbol must be a string like BTC/USDT.", field="symbol")
    return value


_FORMS: Final[dict[str, Callable[[Any], Any]]] = {
    "symbol": _symbol,
    "side": lambda v: choice("side", v, SIDES),
    "order_type": lambda v: choice("order_type", v, ORDER_TYPES),
    "quantity": lambda v: decimal("quantity", v),
    "quote_quantity": lambda v: decimal("quote_quantity", v),
    "price": lambda v: decimal("price", v),
    "stop_price": lambda v: decimal("stop_price", v),
    "trigger_source": lambda v: choice("trigger_source", v, TRIGGER_SOURCES),
    "time_in_force": lambda v: choice("time_in_force", v, TIMES_IN_FORCE),
    "expire_at": lambda v: moment("expire_at", v),
    "client_order_id": client_order_id,
    "post_only": lambda v: flag("post_only", v),
    "reduce_only": lambda v: flag("reduce_only", v),
    "self_trade_prevention": lambda v: choice("self_trade_prevention", v, PREVENTION_MODES),
    "response_type": lambda v: choice("response_type", v, RESPONSE_TYPES),
    "account": lambda v: text("account", v, longest=ACCOUNT_LENGTH),
}
ORDER_FIELDS: Final = frozenset(_FORMS)
MAX_TIMEOUT_MS: Final = 86_400_000
AMEND_FIELDS: Final = frozenset({"price", "quantity"})


# -- the order


def parse_order(
    data: object,
    *,
    principal: Principal,
    account_of: Callable[[str | None], int],
    symbols: Container[str],
    now: Callable[[], datetime],
    request_id: str = "",
) -> ParsedOrder:
    """One order request, normalised (POST_ONLY is LIMIT with GTX; MARKET is IOC unless FOK).

    Args:
        data: what `read_json` gave.
        account_of: the id of the account named, or of the caller's own (None); raises the ExchangeError to answer.
        symbols: the listed ones.
        now: only asked when there is an expire_at.
    Raises: BadInput with a code of 400, UnknownSymbol, and what `account_of` raises; nothing else, whatever `data` is.
    """
    if type(data) is not dict:
        raise BadInput("An order is a JSON object.", code="MALFORMED")
    forms = _FORMS
    fields: dict[str, Any] = {}
    for name, value in data.items():
        form = forms.get(name)
        if form is None:
            raise unknown_field(name)
        fields[name] = form(value)
    get = fields.get
    expire_at = get("expire_at")
    if expire_at is not None and expire_at <= now():
        raise BadInput("expire_at must be in the future.", field="expire_at")
    try:
        symbol, side, asked_type, client_id = fields["symbol"], fields["side"], fields["order_type"], fields["client_order_id"]
    except KeyError as absent:
        raise missing(absent.args[0]) from None

    order_type, time_in_force = _type_and_time(asked_type, get("time_in_force"), get("post_only"))
    quantity, quote_quantity, price, stop_price = get("quantity"), get("quote_quantity"), get("price"), get("stop_price")
    is_market = order_type == "MARKET"
    is_stop = order_type in STOP_TYPES
    _check_amounts(side, is_market=is_market, quantity=quantity, quote_quantity=quote_quantity)
    _check_prices(order_type, is_market=is_market, is_stop=is_stop, price=price, stop_price=stop_price)
    if (time_in_force == "GTD") != (expire_at is not None):
        if expire_at is None:
            raise missing("expire_at", ", which time_in_force GTD needs")
        raise _conflict("expire_at", "expire_at goes with time_in_force GTD alone.")
    trigger_source = get("trigger_source")
    if is_stop:
        trigger_source = trigger_source or "LAST"
    elif trigger_source is not None:
        raise _conflict("trigger_source", "trigger_source goes with stop and take-profit orders alone.")

    account_id = account_of(get("account"))
    if symbol not in symbols:
        raise unknown_symbol()
    return ParsedOrder(
        PlaceOrder(
            principal,
            account_id,
            symbol,
            client_id,
            side,
            order_type,
            time_in_force,
            quantity,
            quote_quantity,
            price,
            stop_price,
            trigger_source,
            expire_at,
            get("reduce_only", False),
            get("self_trade_prevention"),
            request_id,
        ),
        get("response_type") != "ACK",
    )


def _type_and_time(asked_type: str, asked_time: str | None, post_only: bool | None) -> tuple[str, str]:
    """Order type and time in force as the engine knows them. Raises: BadInput CONFLICTING_FIELDS."""
    if asked_type == "POST_ONLY" or post_only or asked_time == "GTX":
        if asked_type not in ("LIMIT", "POST_ONLY"):
            raise _conflict("order_type", "A post-only order is a LIMIT order.")
        if asked_time not in (None, "GTC", "GTX"):
            raise _conflict("time_in_force", f"A post-only order cannot be {asked_time}.")
        if post_only is False:
            raise _conflict("post_only", "post_only is false, but the order type or time in force says post-only.")
        return "LIMIT", "GTX"
    if asked_type == "MARKET":
        if asked_time not in (None, "IOC", "FOK"):
            raise _conflict("time_in_force", "A MARKET order is IOC or FOK.")
        return "MARKET", asked_time or "IOC"
    return asked_type, asked_time or "GTC"


def _check_amounts(side: str, *, is_market: bool, quantity: Decimal | None, quote_quantity: Decimal | None) -> None:
    if quote_quantity is None:
        if quantity is None:
            raise missing("quantity")
    elif quantity is not None:
        raise _conflict("quote_quantity", "Give quantity or quote_quantity, not both.")
    elif not is_market or side != "BUY":
        raise _conflict("quote_quantity", "quote_quantity goes with MARKET BUY orders alone.")


def _check_prices(order_type: str, *, is_market: bool, is_stop: bool, price: Decimal | None, stop_price: Decimal | None) -> None:
    if is_market or order_type in STOP_MARKET_TYPES:
        if price is not None:
            raise _conflict("price", f"A {order_type} order has no price.")
    elif price is None:
        raise missing("price")
    if is_stop:
        if stop_price is None:
            raise missing("stop_price")
    elif stop_price is not None:
        raise _conflict("stop_price", "stop_price goes with stop and take-profit orders alone.")


def unknown_symbol() -> UnknownSymbol:
    return UnknownSymbol("This symbol is not listed here. GET /api/v1/symbols tells which are.", field="symbol")


def parse_batch(data: object) -> list[Any]:
    """The items of a batch, not yet looked at. Raises: BadInput."""
    if type(data) is not dict:
        raise BadInput("The body must be a JSON object with orders.", code="MALFORMED")
    only_known(data, ("orders",))
    if "orders" not in data:
        raise missing("orders")
    items = data["orders"]
    if type(items) is not list or not 0 < len(items) <= BATCH_LIMIT:
        raise BadInput(f"orders must be a list of 1 to {BATCH_LIMIT} orders.", field="orders")
    return items


def account_named(item: object) -> str | None:
    """The account that an order request names, as far as its form is right; `parse_order` tells what is wrong with it."""
    named = item.get("account") if type(item) is dict else None
    return named if type(named) is str and 0 < len(named) <= ACCOUNT_LENGTH and named.isprintable() else None


def parse_switch(data: Mapping[str, Any]) -> tuple[int, str | None]:
    """A dead man's switch: milliseconds from now (0: off), and the account it names. Raises: BadInput."""
    only_known(data, ("timeout_ms", "account"))
    if "timeout_ms" not in data:
        raise missing("timeout_ms")
    timeout_ms = data["timeout_ms"]
    if type(timeout_ms) is not int or not 0 <= timeout_ms <= MAX_TIMEOUT_MS:
        raise BadInput(f"timeout_ms must be a whole number from 0 (off) to {MAX_TIMEOUT_MS} (a day).", field="timeout_ms")
    if "account" in data and account_named(data) is None:
        raise BadInput("account must be an account's name.", field="account")
    return timeout_ms, account_named(data)


def parse_amend(data: object, *, principal: Principal, order_id: UUID, request_id: str = "") -> AmendOrder:
    """A new price, a new total quantity, or both. Raises: BadInput."""
    if type(data) is not dict:
        raise BadInput("An amendment is a JSON object.", code="MALFORMED")
    only_known(data, AMEND_FIELDS)
    fields = {name: decimal(name, value) for name, value in data.items()}
    if not fields:
        raise BadInput("Give price, quantity or both.", code="MISSING_FIELD", field="price")
    return AmendOrder(principal, order_id, fields.get("price"), fields.get("quantity"), request_id)
