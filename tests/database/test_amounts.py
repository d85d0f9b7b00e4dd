"""No column that counts money or quantities takes NaN, an infinity, or a number beyond its bounds."""

from typing import Any

import pytest
from psycopg import errors, sql

from tests.database.rows import ALICE, BOB, BTC, FEES, MARKET, USD, Connection, column, insert, order_id, refused

MONEY: dict[str, dict[str, Any]] = {
    "wallet_transfer": {"id": order_id(1)},
    "wallet_balance": {"account_id": ALICE, "asset_id": USD},
    "orders_order": {"id": order_id(1)},
    "orders_trade": {"id": order_id(1)},
    "orders_amend": {"id": order_id(1), "order_id": order_id(1)},
    "orders_booklevel": {},
    "markets_symbol": {"id": 999, "name": "ANOTHER/ONE"},
    "risk_limit": {"symbol_id": MARKET},
    "risk_position": {"account_id": ALICE},
    "risk_exposure": {"account_id": ALICE},
    "risk_dayresult": {"account_id": ALICE, "opening": -7, "latest": -7, "peak": -7, "high": 7},
    "wallet_supply": {"asset_id": BTC},
    "wallet_withdrawal": {"id": order_id(1)},
    "wallet_withdrawallimit": {},
    "risk_portfoliosnapshot": {},
}
STOP = {"order_type": "STOP_LIMIT", "stop_price": 90, "trigger_source": "LAST"}
# Amounts that may be zero, and those that may be below zero (fees: a rebate; rates of fees).
ZERO_ALLOWED: dict[str, set[str]] = {
    "wallet_balance": {"posted", "held"},
    "orders_order": {
        "quantity",
        "filled_quantity",
        "filled_quote",
        "prevented_quantity",
        "fee",
        "held",
        "maker_fee_rate",
        "taker_fee_rate",
    },
    "orders_trade": {"maker_fee", "taker_fee"},
    "orders_amend": {"extra_held", "extra_quantity", "extra_value"},
    "markets_symbol": {"min_notional", "maker_fee", "taker_fee", "static_band", "dynamic_band", "market_protection", "min_price"},
    "risk_limit": {"value"},
    "risk_position": {"quantity", "cost", "realised", "opening_quantity", "opening_cost", "opening_realised"},
    "risk_exposure": {"buying", "spending", "open_value", "traded"},
    "risk_dayresult": {"opening", "latest", "peak", "high", "equity"},
    "wallet_supply": {"amount"},
    "wallet_withdrawallimit": {"automatic"},
    "risk_portfoliosnapshot": {
        "equity",
        "inflow",
        "peak_gain",
        "var_historical",
        "var_parametric",
        "concentration",
        "drawdown",
        "daily_loss",
    },
}
NEGATIVE_ALLOWED = {
    "orders_order": {"fee", "maker_fee_rate", "taker_fee_rate"},
    "orders_trade": {"maker_fee", "taker_fee"},
    "markets_symbol": {"maker_fee", "taker_fee"},
    "risk_position": {"quantity", "realised", "opening_quantity", "opening_realised"},
    "risk_dayresult": {"opening", "latest", "peak", "high"},
    "wallet_supply": {"amount"},
    "risk_portfoliosnapshot": {"equity", "inflow", "peak_gain"},
}

COLUMNS = [
    (table, name)
    for table, names in {
        "wallet_transfer": "amount",
        "wallet_balance": "posted held",
        "orders_order": """quantity quote_quantity price protection_price stop_price filled_quantity filled_quote prevented_quantity fee
            held maker_fee_rate taker_fee_rate trigger_price""",
        "orders_trade": "price quantity maker_fee taker_fee",
        "orders_amend": "price quantity extra_held extra_quantity extra_value",
        "orders_booklevel": "price quantity",
        "markets_symbol": """tick_size lot_size min_quantity max_quantity min_price max_price min_notional static_band dynamic_band
            market_protection reference_price maker_fee taker_fee""",
        "risk_limit": "value",
        "risk_position": "quantity cost realised opening_quantity opening_cost opening_realised",
        "risk_exposure": "buying spending open_value traded",
        "risk_dayresult": "opening latest peak high equity",
        "wallet_supply": "amount",
        "wallet_withdrawal": "amount",
        "wallet_withdrawallimit": "automatic",
        "risk_portfoliosnapshot": "equity inflow peak_gain var_historical var_parametric concentration drawdown daily_loss",
    }.items()
    for name in names.split()
]


def refused_amounts() -> list[tuple[str, str, str]]:
    cases: list[tuple[str, str, str]] = []
    for table, name in COLUMNS:
        bad = ["NaN"]
        if name not in ZERO_ALLOWED.get(table, set()):
            bad.append("0")
        if name not in NEGATIVE_ALLOWED.get(table, set()):
            bad.append("-0.000001" if name not in {"static_band", "dynamic_band", "market_protection"} else "-0.01")
        cases += [(table, name, value) for value in bad]
    return cases


@pytest.mark.parametrize(("table", "name", "value"), refused_amounts())
def test_the_database_refuses(ground: Connection, table: str, name: str, value: str) -> None:
    with pytest.raises(errors.CheckViolation), ground.transaction():
        insert(ground, table, **{**MONEY[table], name: value})


@pytest.mark.parametrize("value", ["Infinity", "-Infinity"])
@pytest.mark.parametrize(("table", "name"), COLUMNS)
def test_no_amount_is_infinite(ground: Connection, table: str, name: str, value: str) -> None:
    with refused(ground, errors.NumericValueOutOfRange, saying="cannot hold an infinite value"):
        insert(ground, table, **{**MONEY[table], name: value})


@pytest.mark.parametrize("table", MONEY)
def test_the_row_that_is_refused_for_one_bad_amount_is_taken_with_a_good_one(ground: Connection, table: str) -> None:
    insert(ground, table, **MONEY[table])


def test_no_column_of_these_tables_was_forgotten(owner: Connection) -> None:
    numeric = column(
        owner,
        """SELECT table_name || '.' || column_name FROM information_schema.columns
           WHERE table_schema = 'public' AND data_type = 'numeric' AND table_name = ANY (%s) ORDER BY 1""",
        list(MONEY),
    )
    assert numeric == sorted(f"{table}.{name}" for table, name in COLUMNS)


@pytest.mark.parametrize(
    ("table", "values", "constraint"),
    [
        ("wallet_transfer", {"amount": "NaN"}, "transfer_amount_positive"),
        ("wallet_transfer", {"amount": 0}, "transfer_amount_positive"),
        ("wallet_transfer", {"debit_account_id": ALICE}, "transfer_two_accounts"),
        ("wallet_transfer", {"leg": 4}, "transfer_leg_known"),
        ("wallet_transfer", {"kind": "GIFT"}, "transfer_kind_known"),
        ("wallet_transfer", {"kind": "MAKER_FEE", "leg": 0}, "transfer_leg_matches_kind"),
        ("wallet_transfer", {"kind": "DEPOSIT", "leg": 1}, "transfer_leg_matches_kind"),
        ("wallet_transfer", {"kind": "TRADE", "leg": 2}, "transfer_leg_matches_kind"),
        ("wallet_transfer", {"kind": "DEPOSIT", "leg": 3}, "transfer_leg_matches_kind"),
        ("wallet_balance", {"posted": 5, "held": "5.000000000000000001"}, "balance_covers_hold"),
        ("wallet_balance", {"posted": -1}, "balance_covers_hold"),
        ("wallet_balance", {"posted": 1, "held": -1}, "balance_held_not_negative"),
        ("wallet_balance", {"posted": "NaN"}, "balance_covers_hold"),
        ("wallet_balance", {"posted": "NaN", "held": "NaN"}, "balance_covers_hold"),
        ("orders_order", {"held": "NaN"}, "order_held_sane"),
        ("orders_order", {"held": -1}, "order_held_sane"),
        ("orders_order", {"quantity": "NaN"}, "order_quantity_sane"),
        ("orders_order", {"price": 0}, "order_price_sane"),
        ("orders_order", {"filled_quantity": "0.7", "prevented_quantity": "0.4"}, "order_parts_within_whole"),
        ("orders_order", {"quantity": None}, "order_has_a_size"),
        ("orders_order", {"status": "REJECTED", "reason": "INSUFFICIENT_FUNDS", "held": "0.000001"}, "order_ended_holds_nothing"),
        ("orders_order", {"status": "REJECTED", "held": 0}, "order_end_has_a_reason"),
        ("orders_order", {"side": "HOLD"}, "order_side_known"),
        ("orders_order", {"time_in_force": "DAY"}, "order_time_in_force_known"),
        ("orders_order", {"order_type": "ICEBERG"}, "order_type_known"),
        ("orders_order", {"stop_price": 90}, "order_stop_has_a_trigger"),
        ("orders_order", {**STOP, "trigger_source": None}, "order_stop_has_a_trigger"),
        ("orders_order", {**STOP, "trigger_source": "RUMOUR"}, "order_trigger_source_known"),
        ("orders_order", {**STOP, "trigger_price": 90}, "order_triggered_whole"),
        ("orders_order", {"time_in_force": "GTD"}, "order_gtd_has_an_end"),
        ("orders_order", {"reduce_only": True}, "order_reduces_by_selling"),
        ("orders_order", {**STOP, "stop_price": "NaN"}, "order_stop_price_sane"),
        ("orders_order", {**STOP, "stop_price": "0"}, "order_stop_price_sane"),
        ("orders_order", {"maker_fee_rate": "NaN"}, "order_fee_rates_sane"),
        ("orders_order", {"taker_fee_rate": "1"}, "order_fee_rates_sane"),
        ("orders_order", {"taker_fee_rate": "-1"}, "order_fee_rates_sane"),
        ("orders_order", {"self_trade_prevention": "NONE"}, "order_prevention_known"),
        ("orders_order", {"price": None}, "order_limit_has_a_price"),
        ("orders_order", {**STOP, "order_type": "STOP_LIMIT", "price": None}, "order_limit_has_a_price"),
        ("orders_order", {**STOP, "order_type": "TAKE_PROFIT_LIMIT", "price": None}, "order_limit_has_a_price"),
        ("orders_trade", {"taker_account_id": BOB}, "trade_never_with_oneself"),
        ("orders_trade", {"taker_order_id": order_id(2)}, "trade_never_with_oneself"),
        ("orders_trade", {"price": "NaN"}, "trade_price_sane"),
        ("orders_trade", {"quantity": "-1"}, "trade_quantity_sane"),
        ("orders_trade", {"maker_fee": "NaN"}, "trade_fees_sane"),
        ("orders_trade", {"taker_side": "BOTH"}, "trade_side_known"),
        ("orders_amend", {"price": "NaN"}, "amend_price_sane"),
        ("orders_amend", {"price": 0}, "amend_price_sane"),
        ("orders_amend", {"quantity": "NaN"}, "amend_quantity_sane"),
        ("orders_amend", {"quantity": -1}, "amend_quantity_sane"),
        ("orders_amend", {"status": "APPLIED", "extra_held": 1}, "amend_decided_holds_nothing"),
        ("orders_amend", {"status": "LOST"}, "amend_status_known"),
        ("orders_booklevel", {"quantity": 0}, "booklevel_sane"),
    ],
)
def test_the_constraint_that_refuses_is_the_one_meant(ground: Connection, table: str, values: dict[str, Any], constraint: str) -> None:
    with refused(ground, errors.CheckViolation, constraint=constraint):
        insert(ground, table, **{**MONEY[table], **values})


def test_a_balance_cannot_be_spent_below_its_hold_or_below_zero(ground: Connection) -> None:
    insert(ground, "wallet_balance", account_id=ALICE, asset_id=BTC, posted=10, held=4)
    for change in ("posted = posted - 6.000000000000000001", "posted = -1, held = 0", "held = 11"):
        with refused(ground, errors.CheckViolation, constraint="balance_covers_hold"):
            ground.execute(sql.SQL("UPDATE wallet_balance SET ") + sql.SQL(change))
    ground.execute("UPDATE wallet_balance SET posted = posted - 6")


@pytest.mark.parametrize("end", ["FILLED", "CANCELLED", "EXPIRED", "REJECTED"])
def test_an_order_cannot_end_with_a_hold(ground: Connection, end: str) -> None:
    insert(ground, "orders_order", id=order_id(1))
    with refused(ground, errors.CheckViolation, constraint="order_ended_holds_nothing"):
        ground.execute("UPDATE orders_order SET status = %s, reason = 'USER_CANCEL', filled_quantity = 1", [end])
    ground.execute("UPDATE orders_order SET status = %s, reason = 'USER_CANCEL', filled_quantity = 1, held = 0", [end])


def test_an_order_that_traded_nothing_is_not_filled(ground: Connection) -> None:
    insert(ground, "orders_order", id=order_id(1))
    with refused(ground, errors.CheckViolation, constraint="order_filled_is_filled"):
        ground.execute("UPDATE orders_order SET status = 'FILLED', held = 0")


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        ({"filled_quantity": "0.6"}, False),
        ({"filled_quantity": "0.6", "prevented_quantity": "0.399999999999999999"}, False),
        ({"filled_quantity": "0.6", "prevented_quantity": "0.4"}, True),
        ({"filled_quantity": "1"}, True),
        ({"filled_quantity": "0.6", "quantity": None, "quote_quantity": 60, "price": None, "order_type": "MARKET"}, True),
    ],
    ids=["something left", "hardly anything left", "the rest prevented", "all traded", "by quote amount"],
)
def test_a_filled_order_has_nothing_left(ground: Connection, parts: dict[str, Any], whole: bool) -> None:
    insert(ground, "orders_order", **{"id": order_id(1), "quantity": 1, "held": 0, **parts})
    if whole:
        ground.execute("UPDATE orders_order SET status = 'FILLED'")
    else:
        with refused(ground, errors.CheckViolation, constraint="order_filled_is_whole"):
            ground.execute("UPDATE orders_order SET status = 'FILLED'")


@pytest.mark.parametrize("order_type", ["MARKET", "STOP", "TAKE_PROFIT"])
def test_an_order_at_the_market_needs_no_price(ground: Connection, order_type: str) -> None:
    stop = {} if order_type == "MARKET" else {"stop_price": 100, "trigger_source": "LAST"}
    insert(ground, "orders_order", id=order_id(1), order_type=order_type, price=None, **stop)


def test_the_house_may_owe_but_has_no_balance_to_guard(ground: Connection) -> None:
    """Fees and deposits leave no row to lock: what the house owes is the sum of its transfers."""
    insert(ground, "wallet_transfer", id=order_id(1), debit_account_id=FEES, credit_account_id=ALICE, kind="MAKER_FEE", leg=3)
    assert column(ground, "SELECT account_id FROM wallet_balance WHERE account_id = %s", FEES) == []
