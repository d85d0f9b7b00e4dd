"""A world in which everything agrees has no break; every single disagreement is found and named to its row, and nothing else is."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest
import structlog
from django.core.management import CommandError, call_command
from psycopg import errors

from exchange_platform.db import connect_direct
from orders import reconcile as module
from orders.guards import GUARDED
from orders.invariants import CHECKS, Check
from orders.reconcile import Report, reconcile
from orders.tasks import run_reconciliation
from tests.database.rows import (
    ALICE,
    BOB,
    BTC,
    FEES,
    MARKET,
    NOW,
    OUTSIDE,
    USD,
    Connection,
    drop_checks,
    insert,
    one,
    order_id,
    without_triggers,
)
from tests.orders import small_exchange
from tests.orders.small_exchange import DEPOSIT_OF_ALICE, DEPOSIT_OF_BOB, FIRST_TRADE, QUIET_MARKET, SECOND_TRADE

PROJECT = Path(__file__).resolve().parent.parent.parent


def balance(account: int, asset: int) -> str:
    return f"wallet_balance account_id={account} asset_id={asset}"


def asset(identifier: int) -> str:
    return f"markets_asset id={identifier}"


def order(number: int) -> str:
    return f"orders_order id={order_id(number)}"


def trade(identifier: Any) -> str:
    return f"orders_trade id={identifier}"


def position(account_id: int) -> str:
    return f"risk_position account_id={account_id} symbol_id={MARKET}"


def exposure(account_id: int) -> str:
    return f"risk_exposure account_id={account_id} symbol_id={MARKET}"


def leg(identifier: Any, number: int) -> str:
    return f"wallet_transfer id={identifier} leg={number}"


def step(number: int, sequence: int, to_status: str) -> str:
    return f"orders_transition order_id={order_id(number)} sequence={sequence} to_status={to_status}"


def open_order(number: int, symbol: int = MARKET) -> str:
    return f"orders_openorder symbol_id={symbol} order_id={order_id(number)}"


def level(side: str, price: str) -> str:
    return f"orders_booklevel symbol_id={MARKET} side={side} price={price}"


def key(account: int, name: str) -> str:
    return f"orders_orderkey account_id={account} client_order_id={name}"


CHECKPOINT = f"orders_checkpoint symbol_id={MARKET}"
THIS_LOG = f"orders_commandlog symbol_id={MARKET} first_sequence="

# What is planted (a sentence, the SQL), and which checks must name which rows; every other check must stay silent.
PLANTS: list[tuple[str, str, dict[str, set[str]]]] = [
    (
        "a deposit came from an account that does not exist",
        f"UPDATE wallet_transfer SET debit_account_id = 999 WHERE id = '{DEPOSIT_OF_BOB}'",
        {"sums": {asset(BTC)}, "balances": {balance(999, BTC)}, "supply": {f"wallet_supply asset_id={BTC}"}},
    ),
    (
        "a balance has a satoshi too much",
        f"UPDATE wallet_balance SET posted = posted + 0.00000001 WHERE account_id = {ALICE} AND asset_id = {BTC}",
        {"sums": {asset(BTC)}, "balances": {balance(ALICE, BTC)}},
    ),
    (
        "money moved from one balance to another without a transfer",
        f"UPDATE wallet_balance SET posted = posted + CASE account_id WHEN {ALICE} THEN 5 ELSE -5 END WHERE asset_id = {USD}",
        {"balances": {balance(ALICE, USD), balance(BOB, USD)}},
    ),
    (
        "a balance is gone",
        f"DELETE FROM wallet_balance WHERE account_id = {BOB} AND asset_id = {USD}",
        {"sums": {asset(USD)}, "balances": {balance(BOB, USD)}},
    ),
    (
        "a house account has a balance",
        f"INSERT INTO wallet_balance (account_id, asset_id, posted, held) VALUES ({FEES}, {BTC}, 0, 0)",
        {"balances": {balance(FEES, BTC)}},
    ),
    (
        "a deposit is gone",
        f"DELETE FROM wallet_transfer WHERE id = '{DEPOSIT_OF_ALICE}'",
        {"sums": {asset(USD)}, "balances": {balance(ALICE, USD)}, "supply": {f"wallet_supply asset_id={USD}"}},
    ),
    (
        "a balance holds more than its orders",
        f"UPDATE wallet_balance SET held = held + 0.1 WHERE account_id = {BOB} AND asset_id = {BTC}",
        {"holds": {balance(BOB, BTC)}},
    ),
    (
        "a pending amend holds more than the balance knows",
        "UPDATE orders_amend SET extra_held = 11",
        {"holds": {balance(ALICE, USD)}},
    ),
    (
        "an order holds what its balance does not",
        f"UPDATE orders_order SET held = 0.6 WHERE id = '{order_id(1)}'",
        {"holds": {balance(BOB, BTC)}, "order-holds": {order(1)}},
    ),
    (
        "an order and its balance agree on a hold that the order does not need",
        f"""UPDATE orders_order SET held = held + 1 WHERE id = '{order_id(3)}';
            UPDATE wallet_balance SET held = held + 1 WHERE account_id = {ALICE} AND asset_id = {USD}""",
        {"order-holds": {order(3)}},
    ),
    (
        "an ended order still holds",
        f"""UPDATE orders_order SET held = 0.25 WHERE id = '{order_id(5)}';
            UPDATE wallet_balance SET held = held + 0.25 WHERE account_id = {BOB} AND asset_id = {BTC}""",
        {"order-holds": {order(5)}},
    ),
    (
        "an open order has no price to hold at",
        f"UPDATE orders_order SET price = NULL WHERE id = '{order_id(3)}'",
        {"order-holds": {order(3)}, "book-levels": {level("BUY", "90"), level("BUY", "")}, "exposures": {exposure(ALICE)}},
    ),
    (
        "a market buy holds more than it may spend",
        f"""UPDATE orders_order SET held = 51 WHERE id = '{order_id(7)}';
            UPDATE wallet_balance SET held = held + 1 WHERE account_id = {ALICE} AND asset_id = {USD}""",
        {"order-holds": {order(7)}},
    ),
    (
        "an order says it filled what never traded",
        f"UPDATE orders_order SET filled_quantity = 0.1 WHERE id = '{order_id(5)}'",
        {"fills": {order(5)}},
    ),
    ("an order says it paid less", f"UPDATE orders_order SET filled_quote = 149 WHERE id = '{order_id(2)}'", {"fills": {order(2)}}),
    ("an order says it paid another fee", f"UPDATE orders_order SET fee = 0 WHERE id = '{order_id(3)}'", {"fills": {order(3)}}),
    (
        "a trade is gone",
        f"DELETE FROM orders_trade WHERE id = '{SECOND_TRADE}'",
        {
            "fills": {order(3), order(4)},
            "trade-transfers": {leg(SECOND_TRADE, number) for number in range(4)},
            "trade-numbers": {CHECKPOINT},
            "positions": {position(ALICE), position(BOB)},
            "exposures": {exposure(ALICE), exposure(BOB)},
        },
    ),
    ("a filled order has something left", f"UPDATE orders_order SET quantity = 1.6 WHERE id = '{order_id(2)}'", {"whole": {order(2)}}),
    (
        "an open order has nothing left",
        f"UPDATE orders_order SET prevented_quantity = 0.2 WHERE id = '{order_id(8)}'",
        {"whole": {order(8)}, "order-holds": {order(8)}, "book-levels": {level("SELL", "100")}, "exposures": {exposure(BOB)}},
    ),
    (
        "a rejected order has done something",
        f"UPDATE orders_order SET prevented_quantity = 0.1 WHERE id = '{order_id(6)}'",
        {"whole": {order(6)}},
    ),
    (
        "a trade names another taker",
        f"UPDATE orders_trade SET taker_account_id = {OUTSIDE} WHERE id = '{FIRST_TRADE}'",
        {
            "parties": {trade(FIRST_TRADE)},
            "trade-transfers": {leg(FIRST_TRADE, number) for number in range(3)},
            "positions": {position(ALICE), position(OUTSIDE)},
            "exposures": {exposure(ALICE), exposure(OUTSIDE)},
        },
    ),
    (
        "a trade names an order that does not exist",
        f"UPDATE orders_trade SET maker_order_id = '{order_id(99)}' WHERE id = '{FIRST_TRADE}'",
        {"parties": {trade(FIRST_TRADE)}, "fills": {order(1)}},
    ),
    (
        "two orders of one side met",
        f"UPDATE orders_order SET side = 'SELL' WHERE id = '{order_id(2)}'",
        {"parties": {trade(FIRST_TRADE)}},
    ),
    (
        "a fee of a trade was charged at another rate",
        f"UPDATE orders_order SET taker_fee_rate = 0.003 WHERE id = '{order_id(2)}'",
        {"fees": {trade(FIRST_TRADE)}},
    ),
    (
        "a rebate was rounded against the customer",
        f"""UPDATE orders_trade SET maker_fee = -0.00001518 WHERE id = '{SECOND_TRADE}';
            UPDATE orders_order SET fee = -0.00001518 WHERE id = '{order_id(3)}';
            UPDATE wallet_transfer SET amount = 0.00001518 WHERE id = '{SECOND_TRADE}' AND leg = 2;
            UPDATE wallet_balance SET posted = posted - 0.00000001 WHERE account_id = {ALICE} AND asset_id = {BTC}""",
        {"fees": {trade(SECOND_TRADE)}},
    ),
    (
        "a leg of a trade has another amount",
        f"UPDATE wallet_transfer SET amount = 149 WHERE id = '{FIRST_TRADE}' AND leg = 1",
        {"trade-transfers": {leg(FIRST_TRADE, 1)}, "balances": {balance(ALICE, USD), balance(BOB, USD)}},
    ),
    (
        "a fee went to another account of the house",
        f"UPDATE wallet_transfer SET credit_account_id = {OUTSIDE} WHERE id = '{FIRST_TRADE}' AND leg = 2",
        {"trade-transfers": {leg(FIRST_TRADE, 2)}},
    ),
    (
        "a fee is booked as the other kind",
        f"UPDATE wallet_transfer SET kind = 'MAKER_FEE' WHERE id = '{FIRST_TRADE}' AND leg = 2",
        {"trade-transfers": {leg(FIRST_TRADE, 2)}},
    ),
    (
        "a fee was never charged",
        f"DELETE FROM wallet_transfer WHERE id = '{FIRST_TRADE}' AND leg = 3",
        {"trade-transfers": {leg(FIRST_TRADE, 3)}, "balances": {balance(BOB, USD)}, "sums": {asset(USD)}},
    ),
    (
        "a fee was charged without a trade",
        f"""INSERT INTO wallet_transfer (id, leg, kind, asset_id, debit_account_id, credit_account_id, amount, created_at)
            VALUES ('{order_id(13)}', 2, 'TAKER_FEE', {USD}, {OUTSIDE}, {FEES}, 1, now())""",
        {"trade-transfers": {leg(order_id(13), 2)}},
    ),
    (
        "the last step of a history is gone",
        f"DELETE FROM orders_transition WHERE order_id = '{order_id(1)}' AND sequence = 3",
        {"transitions": {order(1)}},
    ),
    (
        "a step in the middle of a history is gone",
        f"DELETE FROM orders_transition WHERE order_id = '{order_id(5)}' AND sequence = 5",
        {"transitions": {step(5, 6, "CANCELLED")}},
    ),
    ("an order has no history", f"DELETE FROM orders_transition WHERE order_id = '{order_id(6)}'", {"transitions": {order(6)}}),
    (
        "a history has no order",
        f"""INSERT INTO orders_transition (order_id, sequence, to_status, cause, actor, at)
            VALUES ('{order_id(99)}', 0, 'PENDING', '', '', now())""",
        {"transitions": {order(99)}},
    ),
    (
        "a history begins twice",
        f"""INSERT INTO orders_transition (order_id, sequence, to_status, cause, actor, at)
            VALUES ('{order_id(2)}', 2, 'REJECTED', '', '', now())""",
        {"transitions": {step(2, 2, "REJECTED"), step(2, 3, "FILLED")}},
    ),
    (
        "a history begins after intake",
        f"""UPDATE orders_transition SET sequence = 1 WHERE order_id = '{order_id(6)}';
            UPDATE orders_order SET sequence = 1 WHERE id = '{order_id(6)}'""",
        {"transitions": {step(6, 1, "REJECTED")}},
    ),
    (
        "a history has no beginning",
        f"DELETE FROM orders_transition WHERE order_id = '{order_id(8)}' AND sequence = 0",
        {"transitions": {step(8, 7, "OPEN")}},
    ),
    (
        "a step says it came from elsewhere",
        f"UPDATE orders_transition SET from_status = 'TRIGGERED' WHERE order_id = '{order_id(1)}' AND sequence = 3",
        {"transitions": {step(1, 3, "PARTIALLY_FILLED")}},
    ),
    (
        "an order has another status than its history",
        f"UPDATE orders_order SET status = 'EXPIRED', reason = 'EXPIRED' WHERE id = '{order_id(5)}'",
        {"transitions": {order(5)}},
    ),
    (
        "an order changed before its last step",
        f"UPDATE orders_order SET sequence = 2 WHERE id = '{order_id(1)}'",
        {"transitions": {order(1)}},
    ),
    (
        "an open order is not in the table",
        f"DELETE FROM orders_openorder WHERE order_id = '{order_id(8)}'",
        {"open-orders": {open_order(8)}},
    ),
    (
        "an ended order is still in the table",
        f"INSERT INTO orders_openorder (symbol_id, order_id, account_id) VALUES ({MARKET}, '{order_id(2)}', {ALICE})",
        {"open-orders": {open_order(2)}},
    ),
    (
        "an open order is in the table under another account",
        f"UPDATE orders_openorder SET account_id = {ALICE} WHERE order_id = '{order_id(8)}'",
        {"open-orders": {open_order(8)}},
    ),
    (
        "an open order is in the table under two symbols",
        f"INSERT INTO orders_openorder (symbol_id, order_id, account_id) VALUES ({QUIET_MARKET}, '{order_id(8)}', {BOB})",
        {"open-orders": {open_order(8, QUIET_MARKET)}},
    ),
    (
        "a counter counts one too many",
        f"UPDATE risk_accountstate SET open_orders = 3 WHERE account_id = {ALICE}",
        {"counters": {f"risk_accountstate account_id={ALICE}"}},
    ),
    (
        "a counter is gone",
        f"DELETE FROM risk_accountstate WHERE account_id = {BOB}",
        {"counters": {f"risk_accountstate account_id={BOB}"}},
    ),
    ("a level shows too little", "UPDATE orders_booklevel SET quantity = 0.5 WHERE side = 'SELL'", {"book-levels": {level("SELL", "100")}}),
    ("a level is gone", "DELETE FROM orders_booklevel WHERE side = 'BUY'", {"book-levels": {level("BUY", "90")}}),
    (
        "a level shows what nobody offers",
        f"INSERT INTO orders_booklevel (symbol_id, side, price, quantity) VALUES ({MARKET}, 'SELL', 130.5, 1)",
        {"book-levels": {level("SELL", "130.5")}},
    ),
    (
        "a trade's number skips one",
        f"UPDATE orders_trade SET number = 3 WHERE id = '{SECOND_TRADE}'",
        {"trade-numbers": {trade(SECOND_TRADE), CHECKPOINT}},
    ),
    (
        "two trades share a number",
        f"UPDATE orders_trade SET number = 1 WHERE id = '{SECOND_TRADE}'",
        {"trade-numbers": {trade(SECOND_TRADE), CHECKPOINT}},
    ),
    (
        "a trade happened before the one numbered before it",
        f"UPDATE orders_trade SET sequence = 2 WHERE id = '{SECOND_TRADE}'",
        {"trade-numbers": {trade(SECOND_TRADE)}},
    ),
    (
        "a trade happened after the checkpoint",
        f"UPDATE orders_trade SET sequence = 8 WHERE id = '{SECOND_TRADE}'",
        {"trade-numbers": {CHECKPOINT}},
    ),
    (
        "the checkpoint counts trades that are not there",
        f"UPDATE orders_checkpoint SET trade_number = 5 WHERE symbol_id = {MARKET}",
        {"trade-numbers": {CHECKPOINT}},
    ),
    (
        "a command was rewritten",
        "UPDATE orders_commandlog SET payload = 'other commands' WHERE first_sequence = 1",
        {"command-log": {THIS_LOG + "1"}},
    ),
    (
        "a command was rewritten together with its hash",
        f"""UPDATE orders_commandlog SET payload = 'x', chain = sha256(sha256('') || '{MARKET}|1|4|1|1000|41|x'::bytea)
            WHERE first_sequence = 1""",
        {"command-log": {THIS_LOG + "5"}},
    ),
    ("a stamp was rewritten", "UPDATE orders_commandlog SET stamp_ms = 5 WHERE first_sequence = 5", {"command-log": {THIS_LOG + "5"}}),
    ("an epoch was rewritten", "UPDATE orders_commandlog SET epoch = 5 WHERE first_sequence = 1", {"command-log": {THIS_LOG + "1"}}),
    (
        "a state hash was rewritten",
        "UPDATE orders_commandlog SET state_hash = 40 WHERE first_sequence = 1",
        {"command-log": {THIS_LOG + "1"}},
    ),
    ("the first commands are gone", "DELETE FROM orders_commandlog WHERE first_sequence = 1", {"command-log": {THIS_LOG + "5"}}),
    ("the last commands are gone", "DELETE FROM orders_commandlog WHERE first_sequence = 5", {"command-log": {CHECKPOINT}}),
    ("the whole log is gone", "DELETE FROM orders_commandlog", {"command-log": {CHECKPOINT}}),
    (
        "a command is missing between two settlements",
        "UPDATE orders_commandlog SET last_sequence = 3 WHERE first_sequence = 1",
        {"command-log": {THIS_LOG + "1", THIS_LOG + "5"}},
    ),
    (
        "the checkpoint is ahead of the log",
        f"UPDATE orders_checkpoint SET sequence = 9 WHERE symbol_id = {MARKET}",
        {"command-log": {CHECKPOINT}},
    ),
    (
        "the checkpoint of a market without commands has another beginning",
        f"UPDATE orders_checkpoint SET chain = 'x' WHERE symbol_id = {QUIET_MARKET}",
        {"command-log": {f"orders_checkpoint symbol_id={QUIET_MARKET}"}},
    ),
    (
        "the checkpoint is gone",
        f"DELETE FROM orders_checkpoint WHERE symbol_id = {MARKET}",
        {"command-log": {CHECKPOINT}, "trade-numbers": {CHECKPOINT}},
    ),
    (
        "the state hash of the checkpoint is of another book",
        f"UPDATE orders_checkpoint SET state_hash = 43 WHERE symbol_id = {MARKET}",
        {"command-log": {CHECKPOINT}},
    ),
    (
        "more has come in than was kept count of",
        f"UPDATE wallet_supply SET amount = amount - 1 WHERE asset_id = {USD}",
        {"supply": {f"wallet_supply asset_id={USD}"}},
    ),
    ("orders are pending and the inbox is empty", "DELETE FROM orders_inbox", {"waiting": {f"orders_inbox symbol_id={MARKET}"}}),
    (
        "the commands that wait are of another symbol",
        f"UPDATE orders_inbox SET symbol_id = {QUIET_MARKET}",
        {"waiting": {f"orders_inbox symbol_id={MARKET}"}},
    ),
    (
        "the key of an order is gone",
        f"DELETE FROM orders_orderkey WHERE order_id = '{order_id(4)}'",
        {"keys": {key(BOB, "client-4")}},
    ),
    (
        "a key stands for an order of somebody else",
        f"UPDATE orders_orderkey SET order_id = '{order_id(5)}' WHERE order_id = '{order_id(6)}'",
        {"keys": {key(ALICE, "client-6")}},
    ),
    (
        "a position is larger than what was bought",
        f"UPDATE risk_position SET quantity = 1.624 WHERE account_id = {ALICE}",
        {"positions": {position(ALICE)}},
    ),
    (
        "a position has a profit that nobody paid",
        f"UPDATE risk_position SET realised = 1 WHERE account_id = {BOB}",
        {"positions": {position(BOB)}},
    ),
    (
        "a position is gone",
        f"DELETE FROM risk_position WHERE account_id = {ALICE}",
        {"positions": {position(ALICE)}},
    ),
    (
        "a position began its day with more than was bought before",
        f"UPDATE risk_position SET opening_quantity = 1 WHERE account_id = {ALICE}",
        {"openings": {position(ALICE)}},
    ),
    (
        "a position was traded on another day",
        f"UPDATE risk_position SET day = day - 1 WHERE account_id = {BOB}",
        {"openings": {position(BOB)}},
    ),
    (
        "more is open to buy than orders have left",
        f"UPDATE risk_exposure SET buying = 1 WHERE account_id = {ALICE}",
        {"exposures": {exposure(ALICE)}},
    ),
    ("more may be spent than orders hold", "UPDATE risk_exposure SET spending = 51 WHERE spending > 0", {"exposures": {exposure(ALICE)}}),
    (
        "less is open than offered",
        f"UPDATE risk_exposure SET open_value = 64.99 WHERE account_id = {BOB}",
        {"exposures": {exposure(BOB)}},
    ),
    (
        "less was traded than there are trades",
        f"UPDATE risk_exposure SET traded = 150 WHERE account_id = {BOB}",
        {"exposures": {exposure(BOB)}},
    ),
    (
        "what was traded is another day's",
        f"UPDATE risk_exposure SET day = day - 1 WHERE account_id = {BOB}",
        {"exposures": {exposure(BOB)}},
    ),
    ("an exposure is gone", f"DELETE FROM risk_exposure WHERE account_id = {ALICE}", {"exposures": {exposure(ALICE)}}),
    (
        "an amend is counted with what it does not add",
        "UPDATE orders_amend SET extra_value = 11, extra_quantity = 0.1",
        {"exposures": {exposure(ALICE)}},
    ),
    (
        "a peak is forgotten",
        "UPDATE risk_dayresult SET high = peak WHERE peak = 5",
        {"highs": {f"risk_dayresult account_id={ALICE} day={NOW.date()}"}},
    ),
    (
        "a guard is switched off",
        "ALTER TABLE wallet_transfer DISABLE TRIGGER append_only",
        {"guards": {"wallet_transfer trigger=append_only"}},
    ),
    (
        "all guards of a table are switched off",
        "ALTER TABLE wallet_balance DISABLE TRIGGER USER",
        {"guards": {f"wallet_balance trigger=refuse_{what}" for what in ("delete", "renumber", "truncate")}},
    ),
    ("a guard is gone", "DROP TRIGGER order_move ON orders_order", {"guards": {"orders_order trigger=order_move"}}),
    (
        "a table of tenants is no longer bound",
        "ALTER TABLE orders_order NO FORCE ROW LEVEL SECURITY",
        {"guards": {"orders_order row_level_security"}},
    ),
]


def named(report: Report) -> dict[str, set[str]]:
    """By check, the rows its breaks name."""
    rows: dict[str, set[str]] = {}
    for found in report.breaks:
        rows.setdefault(found.check, set()).add(f"{found.table} {found.key}".split(" settled_at=")[0])
    return rows


def plant(connection: Connection, statements: str) -> None:
    """Past every guard of the database, which would refuse most of this."""
    drop_checks(connection)
    with without_triggers(connection):
        for statement in statements.split(";"):
            done = connection.execute(statement.encode())
            assert done.rowcount != 0, f"nothing planted by {statement}"


def test_where_everything_agrees_there_is_no_break(exchange: Connection) -> None:
    report = reconcile(connection=exchange)
    assert report.breaks == ()
    assert report.is_clean
    assert [check.name for check in report.checks] == [check.name for check in CHECKS]
    assert report.rows == {"transfers": 10, "balances": 4, "orders": 8, "trades": 2, "transitions": 17, "log entries": 2}


@pytest.mark.parametrize(("statements", "expected"), [(sql, rows) for _, sql, rows in PLANTS], ids=[name for name, _, _ in PLANTS])
def test_a_disagreement_is_found_and_named_to_its_row(exchange: Connection, statements: str, expected: dict[str, set[str]]) -> None:
    plant(exchange, statements)
    report = reconcile(connection=exchange)
    assert named(report) == expected
    assert not report.is_clean
    assert {check.name for check in report.checks if check.breaks} == set(expected)
    for found in report.breaks:
        assert found.expected != found.found
        assert found.sentence


def test_a_database_that_is_told_to_begin_sessions_without_triggers_is_found(exchange: Connection) -> None:
    database = one(exchange, "SELECT current_database()")
    exchange.execute(f"ALTER DATABASE {database} SET session_replication_role = replica".encode())  # rolled back with the test
    (found,) = reconcile(connection=exchange).breaks
    assert (found.check, found.table, found.found) == ("guards", "pg_db_role_setting", "session_replication_role=replica")


def test_the_list_of_guards_is_what_the_migrations_make(exchange: Connection) -> None:
    """A new guard must be entered in `orders.guards`, or nobody would notice that it is gone."""
    made = exchange.execute(
        """SELECT c.relname::text, string_agg(t.tgname::text, ' ' ORDER BY t.tgname) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
           WHERE NOT t.tgisinternal AND NOT c.relispartition AND c.relnamespace = 'public'::regnamespace GROUP BY 1 ORDER BY 1"""
    ).fetchall()
    assert dict(made) == GUARDED


def test_every_check_finds_at_least_one_of_the_planted_breaks() -> None:
    assert {check for _, _, expected in PLANTS for check in expected} == {check.name for check in CHECKS}


def test_a_break_says_what_was_expected_and_what_was_found(exchange: Connection) -> None:
    plant(exchange, f"UPDATE wallet_balance SET posted = 839 WHERE account_id = {ALICE} AND asset_id = {USD}")
    sums, balances = reconcile(connection=exchange).breaks
    assert (balances.table, balances.key, balances.expected, balances.found) == (
        "wallet_balance",
        f"account_id={ALICE} asset_id={USD}",
        "838.93",
        "839",
    )
    assert balances.sentence == "account alice: transfers come to 838.93 TUSD, its balance says 839"
    assert sums.sentence == "TUSD: the house owes 999.82786, the balances of customers come to 999.89786"


def test_a_broken_leg_is_told_in_full(exchange: Connection) -> None:
    plant(exchange, f"UPDATE wallet_transfer SET credit_account_id = {OUTSIDE} WHERE id = '{FIRST_TRADE}' AND leg = 2")
    (found,) = reconcile(connection=exchange).breaks
    assert found.expected == f"TAKER_FEE of 0.003 TBTC from {ALICE} to {FEES}"
    assert found.found == f"TAKER_FEE of 0.003 TBTC from {ALICE} to {OUTSIDE}"


def test_history_within_one_sequence_is_read_in_the_order_of_a_life(exchange: Connection) -> None:
    """A stop that triggers and rests at once leaves two steps with one sequence."""
    with without_triggers(exchange):
        exchange.execute("DELETE FROM orders_transition WHERE order_id = %s AND sequence > 0", [order_id(8)])
    for before, after in (("TRIGGERED", "OPEN"), ("PENDING", "TRIGGERED")):
        insert(exchange, "orders_transition", order_id=order_id(8), sequence=7, from_status=before, to_status=after)
    assert reconcile(connection=exchange).is_clean


def test_an_order_held_at_its_protection_price_agrees(exchange: Connection) -> None:
    """A market buy of a quantity holds protection price × quantity until the engine has seen it."""
    with without_triggers(exchange):
        exchange.execute(
            "UPDATE orders_order SET quantity = 0.4, quote_quantity = NULL, protection_price = 125 WHERE id = %s", [order_id(7)]
        )
        exchange.execute("UPDATE risk_exposure SET buying = buying + 0.4, spending = 0 WHERE account_id = %s", [ALICE])
    assert reconcile(connection=exchange).is_clean


def test_more_breaks_than_are_named_are_counted(exchange: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NAMED_AT_MOST", 3)
    with without_triggers(exchange):
        exchange.execute("DELETE FROM orders_orderkey")
    report = reconcile(connection=exchange)
    assert (len(report.breaks), report.broken) == (3, 8)


# From here on rows are committed, and it is the engine's role that reconciles.


@pytest.fixture
def committed(fresh_database: str) -> str:
    """A database of its own in which the small exchange is committed."""
    with psycopg.connect(fresh_database) as connection:
        small_exchange.write(connection)
    return fresh_database


def break_it(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE wallet_balance SET held = 140 WHERE account_id = %s AND asset_id = %s", [ALICE, USD])


def test_the_engines_role_sees_all_tenants_and_finds_no_break(committed: str) -> None:
    report = reconcile()
    assert report.is_clean
    assert report.rows["balances"] == 4


def test_it_reads_one_snapshot_and_can_write_nothing(committed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = "SELECT 'a', 'b', current_setting('transaction_isolation'), current_setting('transaction_read_only'), current_user::text"
    monkeypatch.setattr(module, "CHECKS", (Check("look", "", settings),))
    (found,) = reconcile().breaks
    assert (found.expected, found.found, found.sentence) == ("repeatable read", "on", "exchange_engine")
    monkeypatch.setattr(module, "CHECKS", (Check("write", "", "DELETE FROM wallet_balance RETURNING '', '', '', '', ''"),))
    with pytest.raises(errors.ReadOnlySqlTransaction):
        reconcile()


def test_what_is_committed_meanwhile_is_not_in_its_snapshot(committed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = module._run
    ran: list[str] = []

    def run_and_break(cursor: Any, check: Check, parameters: dict[str, Any]) -> Any:
        if not ran:
            break_it(committed)
        ran.append(check.name)
        return run(cursor, check, parameters)

    monkeypatch.setattr(module, "_run", run_and_break)
    assert reconcile().is_clean
    assert named(reconcile()) == {"holds": {balance(ALICE, USD)}}


def test_trading_and_reconciling_do_not_wait_for_each_other(committed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settlement holds its locks while a reconciliation runs, and settles while another one is under way."""
    with psycopg.connect(committed) as settlement:
        settlement.execute("SELECT FROM institutions_account FOR UPDATE")
        settlement.execute("UPDATE wallet_balance SET posted = posted + 1")
        settlement.execute("UPDATE orders_checkpoint SET sequence = sequence + 1")
        assert reconcile().is_clean
        settlement.rollback()

    paused, go_on = threading.Event(), threading.Event()
    run = module._run

    def run_slowly(cursor: Any, check: Check, parameters: dict[str, Any]) -> Any:
        paused.set()
        assert go_on.wait(30)
        return run(cursor, check, parameters)

    monkeypatch.setattr(module, "_run", run_slowly)
    reports: list[Report] = []
    thread = threading.Thread(target=lambda: reports.append(reconcile()))
    thread.start()
    try:
        assert paused.wait(30)
        with connect_direct(name="settlement") as engine:
            engine.execute("SET lock_timeout = '1s'")
            engine.execute("UPDATE wallet_balance SET held = held")
            insert(engine, "wallet_transfer", id=order_id(103), credit_account_id=BOB, amount=7)
            engine.execute("UPDATE wallet_balance SET posted = posted + 7 WHERE account_id = %s AND asset_id = %s", [BOB, USD])
    finally:
        go_on.set()
        thread.join(60)
    assert [report.is_clean for report in reports] == [True]
    assert reports[0].rows["transfers"] == 10


def test_partitions_are_made_and_trading_goes_on_beside_it(committed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot over every table must not make the next month's partitions wait, nor orders behind them."""
    run = module._run
    made: list[int] = []

    def run_beside_partitions(cursor: Any, check: Check, parameters: dict[str, Any]) -> Any:
        if not made:
            with psycopg.connect(committed) as maintenance, psycopg.connect(committed) as trading:
                maintenance.execute("SET lock_timeout = '500ms'")
                row = maintenance.execute("SELECT exchange_ensure_partitions(5)").fetchone()
                assert row is not None
                made.append(row[0])
                trading.execute("SET lock_timeout = '500ms'")
                insert(trading, "wallet_transfer", id=order_id(104))
                trading.rollback()
        return run(cursor, check, parameters)

    monkeypatch.setattr(module, "_run", run_beside_partitions)
    assert reconcile().is_clean
    assert made
    assert made[0] > 0


def test_a_given_connection_is_left_as_it_was(committed: str) -> None:
    with connect_direct(name="tests", pinned=False) as connection:
        assert reconcile(connection=connection).is_clean
        assert one(connection, "SELECT current_setting('transaction_isolation')") == "read committed"
        assert one(connection, "SELECT current_setting('enable_nestloop')") == "on"
        connection.execute("UPDATE wallet_balance SET held = held")


def test_the_command_says_that_there_is_no_break(committed: str, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("reconcile")
    told = capsys.readouterr().out
    assert "10 transfers, 4 balances, 8 orders, 2 trades" in told
    assert told.rstrip().splitlines()[-1].startswith("No break.")
    assert all(f"  {check.name} " in told for check in CHECKS)


def test_the_command_names_a_break_and_exits_with_1(committed: str, capsys: pytest.CaptureFixture[str]) -> None:
    break_it(committed)
    with pytest.raises(SystemExit) as caught:
        call_command("reconcile")
    assert caught.value.code == 1
    told = capsys.readouterr().out
    assert f"BREAK holds: wallet_balance account_id={ALICE} asset_id={USD}" in told
    assert "account alice: its orders, amends and withdrawals hold 138.93 TUSD, its balance holds 140" in told
    assert "Halted: TBTC/TUSD, QUIET/TUSD." in told
    assert told.rstrip().splitlines()[-1].startswith("1 break.")


def test_the_command_may_only_look(committed: str, capsys: pytest.CaptureFixture[str]) -> None:
    break_it(committed)
    with pytest.raises(SystemExit):
        call_command("reconcile", "--look-only")
    assert "BREAK holds" in capsys.readouterr().out
    with psycopg.connect(committed) as connection:
        assert one(connection, "SELECT count(*) FROM orders_break") == 0
        assert one(connection, "SELECT count(*) FROM markets_symbol WHERE status = 'HALTED'") == 0


def test_the_command_speaks_json_and_its_process_ends_with_1(committed: str) -> None:
    break_it(committed)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(PROJECT / "manage.py"), "reconcile", "--json", "--skip-checks"],
        cwd=PROJECT,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert told["is_clean"] is False
    assert told["rows"]["transfers"] == 10
    assert {check["name"]: check["breaks"] for check in told["checks"] if check["breaks"]} == {"holds": 1}
    assert told["breaks"] == [
        {
            "check": "holds",
            "table": "wallet_balance",
            "key": f"account_id={ALICE} asset_id={USD}",
            "expected": "138.93",
            "found": "140",
            "sentence": "account alice: its orders, amends and withdrawals hold 138.93 TUSD, its balance holds 140",
        }
    ]


def test_the_command_exits_with_2_when_the_database_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Report:
        raise psycopg.OperationalError("connection refused")

    monkeypatch.setattr("orders.management.commands.reconcile.reconcile", refuse)
    monkeypatch.setattr("orders.breaks.reconcile", refuse)
    for options in ([], ["--look-only"]):
        with pytest.raises(CommandError, match="could not be asked: connection refused") as caught:
            call_command("reconcile", *options)
        assert caught.value.returncode == 2


def test_the_task_logs_every_break_as_an_error(committed: str) -> None:
    with structlog.testing.capture_logs() as clean:
        assert run_reconciliation() == 0
    assert [(entry["log_level"], entry["event"]) for entry in clean] == [("info", "reconciled")]
    break_it(committed)
    with structlog.testing.capture_logs() as broken:
        assert run_reconciliation() == 1
    assert (broken[0]["event"], broken.pop(0)["symbols"]) == ("reconciliation_halted", ["TBTC/TUSD", "QUIET/TUSD"])
    assert [(entry["log_level"], entry["event"]) for entry in broken] == [
        ("error", "reconciliation_break"),
        ("error", "reconciliation_broken"),
    ]
    assert broken[0]["key"] == f"account_id={ALICE} asset_id={USD}"
    assert broken[1]["checks"] == {"holds": 1}
