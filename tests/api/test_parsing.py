"""An order request, field by field: what is taken, how it is normalised, and under which code everything else is refused."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.errors import STATUS, NotHere
from api.rest.parsing import ORDER_FIELDS, ParsedOrder, parse_amend, parse_batch, parse_order, read_json
from exchange_platform.errors import ExchangeError
from exchange_platform.ids import uuid7
from orders.requests import Principal

PRINCIPAL = Principal("key:test", 1, 11)
NOW = datetime(2026, 3, 1, tzinfo=UTC)
LIMIT = {
    "symbol": "BTC/USDT",
    "side": "BUY",
    "order_type": "LIMIT",
    "quantity": "1.50",
    "price": "100",
    "time_in_force": "GTC",
    "client_order_id": "c-1",
}
MARKET = {"symbol": "BTC/USDT", "side": "BUY", "order_type": "MARKET", "quantity": "1", "client_order_id": "c-1"}
STOP = MARKET | {"order_type": "STOP", "stop_price": "120"}


def account_of(name: str | None) -> int:
    if name not in (None, "alpha-1"):
        raise NotHere("no such account", field="account")
    return 11


def parse(data: object) -> ParsedOrder:
    return parse_order(data, principal=PRINCIPAL, account_of=account_of, symbols={"BTC/USDT"}, now=lambda: NOW, request_id="r-1")


def without(order: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in order.items() if name not in names}


def test_a_limit_order_is_taken_as_it_is() -> None:
    order, wait = parse(LIMIT)
    assert wait
    assert (order.principal, order.account_id, order.request_id) == (PRINCIPAL, 11, "r-1")
    assert (order.symbol, order.side, order.order_type, order.time_in_force) == ("BTC/USDT", "BUY", "LIMIT", "GTC")
    assert (order.quantity, order.price, order.client_order_id) == (Decimal("1.50"), Decimal(100), "c-1")
    assert (order.stop_price, order.quote_quantity, order.expire_at, order.reduce_only) == (None, None, None, False)


NORMALISED = {
    "GTC is the default of a limit order": (without(LIMIT, "time_in_force"), "LIMIT", "GTC"),
    "POST_ONLY is LIMIT and GTX": (LIMIT | {"order_type": "POST_ONLY"}, "LIMIT", "GTX"),
    "post_only is GTX": (LIMIT | {"post_only": True}, "LIMIT", "GTX"),
    "GTX is post-only": (LIMIT | {"time_in_force": "GTX"}, "LIMIT", "GTX"),
    "all three together": (LIMIT | {"order_type": "POST_ONLY", "post_only": True, "time_in_force": "GTX"}, "LIMIT", "GTX"),
    "post_only false changes nothing": (LIMIT | {"post_only": False}, "LIMIT", "GTC"),
    "a market order is IOC": (MARKET, "MARKET", "IOC"),
    "a market order may be FOK": (MARKET | {"time_in_force": "FOK"}, "MARKET", "FOK"),
    "a stop has no price": (STOP, "STOP", "GTC"),
    "a stop-limit has one": (STOP | {"order_type": "STOP_LIMIT", "price": "121"}, "STOP_LIMIT", "GTC"),
    "take profit": (STOP | {"order_type": "TAKE_PROFIT"}, "TAKE_PROFIT", "GTC"),
    "GTD": (LIMIT | {"time_in_force": "GTD", "expire_at": "2026-03-01T00:00:00.001Z"}, "LIMIT", "GTD"),
}


@pytest.mark.parametrize("name", NORMALISED)
def test_spellings_of_one_order_are_one_order(name: str) -> None:
    data, order_type, time_in_force = NORMALISED[name]
    order = parse(data).order
    assert (order.order_type, order.time_in_force) == (order_type, time_in_force)


def test_a_market_buy_may_name_the_amount_to_spend() -> None:
    order = parse(without(MARKET, "quantity") | {"quote_quantity": "500"}).order
    assert (order.quantity, order.quote_quantity) == (None, Decimal(500))


def test_a_stop_is_triggered_by_the_last_trade_unless_told_otherwise() -> None:
    assert parse(STOP).order.trigger_source == "LAST"
    assert parse(STOP | {"trigger_source": "REFERENCE"}).order.trigger_source == "REFERENCE"
    assert parse(LIMIT).order.trigger_source is None


def test_response_type_tells_whether_to_wait() -> None:
    assert parse(LIMIT | {"response_type": "RESULT"}).wait
    assert not parse(LIMIT | {"response_type": "ACK"}).wait


def test_expire_at_is_utc_to_the_millisecond() -> None:
    order = parse(LIMIT | {"time_in_force": "GTD", "expire_at": "2026-03-01T03:00:00.123987+02:00"}).order
    assert order.expire_at == datetime(2026, 3, 1, 1, 0, 0, 123000, tzinfo=UTC)


NUMBERS = ["quantity", "price", "stop_price", "quote_quantity"]
BAD_NUMBERS = [
    "NaN",
    "sNaN",
    "Infinity",
    "-Infinity",
    "1e4",
    "1E+9",
    "0",
    "0.0",
    "-0",
    "-1",
    "+1",
    "",
    " 1",
    "1 ",
    "1_000",
    "１０",
    "٣",
    "0x10",
    "1,5",
    "1.",
    ".5",
    "1.2.3",
    "1\x00",
    "1\n",
    "9" * 21,
    "1." + "0" * 18 + "1",
    "9" * 5000,
]


@pytest.mark.parametrize("field", NUMBERS)
@pytest.mark.parametrize("value", BAD_NUMBERS, ids=lambda value: ascii(value)[:20])
def test_a_decimal_is_plain_and_positive(field: str, value: str) -> None:
    refused(LIMIT | {field: value}, "INVALID_NUMBER", field)


@pytest.mark.parametrize("field", NUMBERS)
@pytest.mark.parametrize("value", [1, 1.5, True, None, [], {}, ["1"]], ids=repr)
def test_a_decimal_is_a_string(field: str, value: object) -> None:
    refused(LIMIT | {field: value}, "INVALID_FIELD", field)


@pytest.mark.parametrize("value", ["0.000000000000000001", "9" * 20, "007.50", "12345678901234567890.123456789012345678"])
def test_every_number_within_reach_is_taken_exactly(value: str) -> None:
    assert parse(LIMIT | {"quantity": value}).order.quantity == Decimal(value)


@pytest.mark.parametrize("field", sorted(ORDER_FIELDS))
@pytest.mark.parametrize("value", [None, 5, [], {}, 1.5], ids=repr)
def test_a_value_of_another_type_is_refused_with_the_name_of_its_field(field: str, value: object) -> None:
    refused(LIMIT | {field: value}, "INVALID_FIELD", field)


UNKNOWN_VALUES = {
    "side": ["HOLD", "buy", ""],
    "order_type": ["ICEBERG", "limit", ""],
    "time_in_force": ["GTQ", "DAY", ""],
    "self_trade_prevention": ["MAYBE", ""],
    "response_type": ["FULL", ""],
    "trigger_source": ["MARK", ""],
    "post_only": ["yes", "true", 1, 0],
    "reduce_only": ["no", "false"],
    "client_order_id": ["", "x" * 101, "a b", "a\x00b", "ä", "a\n", "a?"],
    "expire_at": [
        "tomorrow",
        "",
        "2026-13-01T00:00:00Z",
        "99999-01-01T00:00:00Z",
        "2026-03-02",
        "2026-03-02T00:00:00",
        "20260302T000000Z",
        "0001-01-01T00:00:00+23:59",
        "2026-03-02T00:00:60Z",
        "2026-03-02T00:00:00+24:00",
        "2026-W10-1T00:00:00Z",
        "２０２６-03-02T00:00:00Z",
    ],
    "account": ["", "x" * 61, "a\x00b"],
}


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, values in UNKNOWN_VALUES.items() for v in values], ids=lambda v: ascii(v)[:30])
def test_an_unknown_value_is_refused_with_the_name_of_its_field(field: str, value: object) -> None:
    refused(LIMIT | {"time_in_force": "GTD" if field == "expire_at" else "GTC"} | {field: value}, "INVALID_FIELD", field)


@pytest.mark.parametrize("field", ["symbol", "side", "order_type", "quantity", "price", "client_order_id"])
def test_what_an_order_needs_is_named_when_it_is_missing(field: str) -> None:
    refused(without(LIMIT, field), "MISSING_FIELD", field)


def test_some_types_need_more() -> None:
    refused(without(STOP, "stop_price"), "MISSING_FIELD", "stop_price")
    refused(STOP | {"order_type": "STOP_LIMIT"}, "MISSING_FIELD", "price")
    refused(LIMIT | {"time_in_force": "GTD"}, "MISSING_FIELD", "expire_at")


CONFLICTS = {
    "post_only IOC": LIMIT | {"post_only": True, "time_in_force": "IOC"},
    "post_only GTD": LIMIT | {"post_only": True, "time_in_force": "GTD", "expire_at": "2027-01-01T00:00:00Z"},
    "POST_ONLY FOK": LIMIT | {"order_type": "POST_ONLY", "time_in_force": "FOK"},
    "POST_ONLY but post_only false": LIMIT | {"order_type": "POST_ONLY", "post_only": False},
    "GTX but post_only false": LIMIT | {"time_in_force": "GTX", "post_only": False},
    "market post_only": MARKET | {"post_only": True},
    "market GTX": MARKET | {"time_in_force": "GTX"},
    "market GTC": MARKET | {"time_in_force": "GTC"},
    "market with a price": MARKET | {"price": "1"},
    "stop with a price": STOP | {"price": "1"},
    "stop post_only": STOP | {"post_only": True},
    "stop-limit GTX": STOP | {"order_type": "STOP_LIMIT", "price": "1", "time_in_force": "GTX"},
    "limit with a stop_price": LIMIT | {"stop_price": "1"},
    "limit with a trigger_source": LIMIT | {"trigger_source": "LAST"},
    "both amounts": MARKET | {"quote_quantity": "50"},
    "quote_quantity of a limit order": without(LIMIT, "quantity") | {"quote_quantity": "50"},
    "quote_quantity of a sale": without(MARKET, "quantity") | {"quote_quantity": "50", "side": "SELL"},
    "expire_at without GTD": LIMIT | {"expire_at": "2027-01-01T00:00:00Z"},
}


@pytest.mark.parametrize("name", CONFLICTS)
def test_fields_that_contradict_each_other_are_refused(name: str) -> None:
    refused(CONFLICTS[name], "CONFLICTING_FIELDS")


@pytest.mark.parametrize("name", CONFLICTS)
@pytest.mark.parametrize("field", ["stop_price", "price"])
def test_form_comes_before_conflict(name: str, field: str) -> None:
    refused(CONFLICTS[name] | {field: "NaN"}, "INVALID_NUMBER", field)


def test_the_past_is_no_time_to_expire() -> None:
    for past in ("2026-03-01T00:00:00Z", "1999-01-01T00:00:00Z"):
        refused(LIMIT | {"time_in_force": "GTD", "expire_at": past}, "INVALID_FIELD", "expire_at")


def test_unknown_fields_symbols_and_accounts() -> None:
    refused(LIMIT | {"no_such_field": "1"}, "UNKNOWN_FIELD", "no_such_field")
    refused(LIMIT | {"\x00": "1"}, "UNKNOWN_FIELD")
    for symbol in ("NO/SUCH", "BTC-USDT", "btc/usdt", "", "BTC\x00/USDT", "BTC/USDT' OR 1=1--"):
        refused(LIMIT | {"symbol": symbol}, "UNKNOWN_SYMBOL", "symbol")
    refused(LIMIT | {"account": "beta-1"}, "NOT_FOUND", "account")


@pytest.mark.parametrize("data", [None, 1, "order", [], [LIMIT], True, 1.5], ids=repr)
def test_an_order_is_an_object(data: object) -> None:
    refused(data, "MALFORMED")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"{",
        b"[" * 100000,
        b'{"a":' * 30000 + b"1" + b"}" * 30000,
        b"{}}",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        "{}".encode("utf-16"),
        b"\xef\xbb\xbf{}",
        b"a=b",
    ],
    ids=lambda raw: ascii(raw)[:24],
)
def test_what_is_no_json_in_utf8_is_malformed(raw: bytes) -> None:
    with pytest.raises(ExchangeError) as caught:
        read_json(raw)
    assert caught.value.code == "MALFORMED"


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=30)
    | st.sampled_from(["BUY", "LIMIT", "GTD", "1.5", "STOP"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)
plausible = st.sampled_from(
    [
        "BTC/USDT",
        "BUY",
        "SELL",
        "LIMIT",
        "MARKET",
        "POST_ONLY",
        "STOP",
        "GTC",
        "IOC",
        "GTX",
        "GTD",
        "1",
        "0",
        "c-1",
        True,
        False,
        "2030-01-01T00:00:00Z",
        "LAST",
        "ACK",
        "CANCEL_BOTH",
        "alpha-1",
    ]
)


def refusal_of(act: Callable[[], object]) -> str | None:
    """The code under which this was refused; None when it was taken."""
    try:
        act()
    except ExchangeError as error:
        return error.code if error.message else "no message"
    return None


@settings(max_examples=600, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(ORDER_FIELDS)) | st.text(max_size=12), json_values | plausible, max_size=12) | json_values)
def test_whatever_is_sent_is_an_order_or_an_error_of_the_table(data: object) -> None:
    for candidate in (data, LIMIT | data, MARKET | data) if isinstance(data, dict) else (data,):
        code = refusal_of(lambda candidate=candidate: parse(candidate).order.fingerprint())  # type: ignore[misc]
        assert code is None or STATUS[code] in (400, 404)


@settings(max_examples=300, deadline=None)
@given(json_values | st.dictionaries(st.sampled_from(["price", "quantity", "orders"]), json_values | plausible, max_size=2))
def test_whatever_is_sent_to_amend_or_in_a_batch_is_answered_by_the_table(data: object) -> None:
    for act in (lambda: parse_amend(data, principal=PRINCIPAL, order_id=uuid7()), lambda: parse_batch(data)):
        code = refusal_of(act)
        assert code is None or STATUS[code] == 400


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_whatever_the_bytes_are_they_are_json_or_malformed(raw: bytes) -> None:
    assert refusal_of(lambda: read_json(raw)) in (None, "MALFORMED")


def test_an_amend_needs_something_to_change() -> None:
    for data, code in (
        ({}, "MISSING_FIELD"),
        ({"price": "NaN"}, "INVALID_NUMBER"),
        ({"quantity": "0"}, "INVALID_NUMBER"),
        ({"quantity": "-1"}, "INVALID_NUMBER"),
        ({"price": 1.5}, "INVALID_FIELD"),
        ({"price": None, "quantity": None}, "INVALID_FIELD"),
        ({"side": "SELL"}, "UNKNOWN_FIELD"),
        (None, "MALFORMED"),
    ):
        with pytest.raises(ExchangeError) as caught:
            parse_amend(data, principal=PRINCIPAL, order_id=uuid7())
        assert caught.value.code == code
    amend = parse_amend({"price": "1.5"}, principal=PRINCIPAL, order_id=(wanted := uuid7()), request_id="r")
    assert (amend.order_id, amend.price, amend.quantity, amend.request_id) == (wanted, Decimal("1.5"), None, "r")


def test_numbers_spelled_otherwise_are_one_order() -> None:
    one, two = parse(LIMIT).order, parse(LIMIT | {"quantity": "1.5", "price": "100.000"}).order
    assert one.fingerprint() == two.fingerprint()
    assert one.fingerprint() != parse(LIMIT | {"quantity": "1.51"}).order.fingerprint()
    assert parse(orjson.loads(orjson.dumps(LIMIT))).order.fingerprint() == one.fingerprint()


def refused(data: object, code: str, field: str | None = None) -> None:
    with pytest.raises(ExchangeError) as caught:
        parse(data)
    assert caught.value.code == code
    if field is not None:
        assert caught.value.field == field
