"""Rows by raw SQL that keep every rule, so that a test can break exactly one: a house, two institutions, a market, orders."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import psycopg
import pytest
from psycopg import sql

Connection = psycopg.Connection[Any]

ENGINE: Final = "exchange_engine"
TENANT: Final = "exchange_tenant"

NOW: Final = datetime.now(UTC).replace(microsecond=0)

HOUSE, NORTH, SOUTH = 901, 902, 903  # institutions
FEES, OUTSIDE, ALICE, BOB = 911, 912, 921, 931  # accounts: of the house, of NORTH (Alice), of SOUTH (Bob)
BTC, USD, MARKET = 951, 952, 961
ALERT: Final = 971


def order_id(number: int, *, at: datetime = NOW) -> uuid.UUID:
    """The same UUIDv7 for the same number: it lies in the partition of `at`."""
    ms = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    return uuid.UUID(int=(ms << 80) | (0x7 << 76) | (0x2 << 62) | number)


trade_id = order_id

DEFAULTS: Final[dict[str, dict[str, Any]]] = {
    "institutions_institution": {"is_house": False, "is_frozen": False, "cors_origins": "{}", "created_at": NOW},
    "institutions_account": {
        "kind": "CUSTOMER",
        "beneficial_owner": "",
        "is_frozen": False,
        "self_trade_prevention": "CANCEL_NEWEST",
        "created_at": NOW,
    },
    "institutions_apikey": {
        "kind": "hmac",
        "institution_id": NORTH,
        "secret": b"secret",
        "scopes": ["read"],
        "ip_allow_list": [],
        "is_unlimited": False,
        "is_active": True,
        "label": "",
        "created_at": NOW,
    },
    "institutions_changerequest": {
        "kind": "account.unfreeze",
        "subject": "account:alice",
        "institution_id": NORTH,
        "payload": '{"id": 921}',
        "payload_hash": b"",
        "effect": '{"summary": "", "before": {}, "after": {}, "facts": {}}',
        "maker": "olga",
        "reason": "a test",
        "request_id": "",
        "created_at": NOW,
        "expires_at": NOW + timedelta(days=1),
        "state": "PENDING",
        "checker": "",
        "check_reason": "",
    },
    "institutions_auditentry": {
        "at": NOW,
        "actor": "test",
        "action": "test",
        "subject": "test",
        "reason": "",
        "user_agent": "",
        "request_id": "",
    },
    "markets_asset": {"name": "", "scale": 8},
    "markets_symbol": {
        "base_id": BTC,
        "quote_id": USD,
        "status": "TRADING",
        "route": "INTERNAL",
        "is_listed": True,
        "tick_size": "0.01",
        "lot_size": "0.001",
        "min_quantity": "0.001",
        "min_notional": 0,
        "halt_s": 60,
        "auction_s": 60,
        "resumes_by_auction": False,
        "market_protection": "0.05",
        "maker_fee": "0.001",
        "taker_fee": "0.002",
        "fee_account_id": FEES,
        "order_types": "{}",
    },
    "notifications_deadletter": {
        "outbox_id": 7,
        "topic": "market",
        "stream": "market.1",
        "events": 1,
        "payload": b"x",
        "created_at": NOW,
        "attempts": 10,
        "error": "refused",
    },
    "wallet_transfer": {
        "leg": 0,
        "kind": "DEPOSIT",
        "asset_id": USD,
        "debit_account_id": OUTSIDE,
        "credit_account_id": ALICE,
        "amount": 1,
        "created_at": NOW,
    },
    "wallet_transferkey": {"scope": "test", "fingerprint": b"", "transfer_id": order_id(1)},
    "wallet_balance": {"posted": 0, "held": 0},
    "wallet_supply": {"asset_id": USD, "amount": 1},
    "wallet_withdrawallimit": {"asset_id": USD, "automatic": 0},
    "wallet_withdrawal": {
        "account_id": ALICE,
        "asset_id": USD,
        "amount": 1,
        "address_id": order_id(ALICE),
        "state": "REQUESTED",
        "is_automatic": False,
        "changed_by": "test",
        "note": "",
        "created_at": NOW,
        "changed_at": NOW,
    },
    "orders_order": {
        "account_id": ALICE,
        "symbol_id": MARKET,
        "side": "BUY",
        "order_type": "LIMIT",
        "time_in_force": "GTC",
        "self_trade_prevention": "CANCEL_NEWEST",
        "reduce_only": False,
        "status": "PENDING",
        "quantity": 1,
        "price": 100,
        "filled_quantity": 0,
        "filled_quote": 0,
        "prevented_quantity": 0,
        "fee": 0,
        "held": 100,
        "maker_fee_rate": "0.001",
        "taker_fee_rate": "0.002",
        "sequence": 0,
        "priority_sequence": 0,
        "created_at": NOW,
        "updated_at": NOW,
    },
    "orders_orderkey": {"account_id": ALICE, "fingerprint": b""},
    "orders_transition": {"sequence": 0, "cause": "TEST", "actor": "test", "at": NOW},
    "orders_trade": {
        "symbol_id": MARKET,
        "number": 1,
        "sequence": 1,
        "price": 100,
        "quantity": 1,
        "taker_side": "BUY",
        "maker_order_id": order_id(2),
        "taker_order_id": order_id(1),
        "maker_account_id": BOB,
        "taker_account_id": ALICE,
        "maker_fee": 0,
        "taker_fee": 0,
        "executed_at": NOW,
    },
    "orders_amend": {
        "account_id": ALICE,
        "symbol_id": MARKET,
        "price": 100,
        "quantity": 2,
        "extra_held": 0,
        "status": "PENDING",
        "actor": "test",
        "created_at": NOW,
    },
    "orders_commandlog": {
        "symbol_id": MARKET,
        "first_sequence": 1,
        "last_sequence": 1,
        "epoch": 1,
        "stamp_ms": 0,
        "payload": b"",
        "chain": b"",
        "state_hash": 0,
        "settled_at": NOW,
    },
    "orders_checkpoint": {
        "symbol_id": MARKET,
        "shard_id": 0,
        "epoch": 1,
        "sequence": 0,
        "trade_number": 0,
        "book_sequence": 0,
        "status": "TRADING",
        "state_hash": 0,
        "stamp_ms": 0,
        "place_number": 0,
        "conditions": "{}",
        "settled_at": NOW,
    },
    "wallet_carriedsum": {"asset_id": USD, "amount": 0, "transfers": 1},
    "orders_anchor": {
        "symbol_id": MARKET,
        "sequence": 1,
        "kind": "VERIFIED",
        "chain": bytes(32),
        "state_hash": 0,
        "stamp_ms": 0,
        "trade_number": 0,
        "at": NOW,
    },
    "orders_carriedposition": {"account_id": ALICE, "symbol_id": MARKET, "quantity": 1, "cash": -1},
    "orders_carriedtrade": {"symbol_id": MARKET, "number": 1, "sequence": 1},
    "orders_closedmonth": {"orders": 0, "transitions": 0, "trades": 0, "transfers": 0, "closed_at": NOW},
    "orders_archivedpartition": {
        "parent": "orders_trade",
        "starts_at": NOW - timedelta(days=31),
        "ends_at": NOW,
        "rows": 0,
        "detached_at": NOW,
    },
    "orders_openorder": {"symbol_id": MARKET},
    "orders_booklevel": {"symbol_id": MARKET, "side": "BUY", "price": 100, "quantity": 1},
    "orders_inbox": {"symbol_id": MARKET, "commands": 1, "payload": b""},
    "orders_switch": {"holder": "", "deadline": NOW, "reason": "DEAD_MAN_SWITCH", "actor": "test"},
    "orders_symbolstatus": {
        "symbol_id": MARKET,
        "number": 1,
        "sequence": 1,
        "status": "HALTED",
        "actor": "test",
        "cause": "COMMAND",
        "at": NOW,
    },
    "risk_alert": {
        "id": ALERT,
        "kind": "TEST",
        "severity": "LOW",
        "title": "A test.",
        "dedupe_key": "test",
        "details": "{}",
        "due_at": NOW,
    },
    "risk_alerthistory": {"alert_id": ALERT, "number": 1, "change": "RAISED", "state": "NEW", "actor": "test"},
    "risk_alertaccount": {"alert_id": ALERT, "account_id": ALICE},
    "risk_alertevidence": {"alert_id": ALERT, "kind": "order", "reference": "1", "actor": "test"},
    "risk_alertnote": {"alert_id": ALERT, "author": "test", "text": "a test"},
    "risk_position": {"symbol_id": MARKET, "quantity": 1, "cost": 1, "realised": 0},
    "orders_break": {
        "check_name": "balances",
        "table_name": "wallet_balance",
        "row_key": "account_id=1 asset_id=1",
        "expected": "1",
        "found": "2",
        "sentence": "a test",
        "touches_funds": True,
        "asset_id": USD,
        "halted": "[]",
        "first_seen_at": NOW,
        "last_seen_at": NOW,
    },
    "orders_symbolmove": {
        "symbol_id": MARKET,
        "from_shard": 0,
        "to_shard": 1,
        "state": "REQUESTED",
        "actor": "test",
        "reason": "a test",
        "note": "",
        "requested_at": NOW,
        "overdue_at": NOW,
    },
    "risk_limit": {"kind": "ORDER_VALUE", "value": 1},
    "risk_exposure": {"symbol_id": MARKET, "buying": 1, "spending": 1, "open_value": 1, "traded": 1},
    "risk_dayresult": {"day": NOW.date(), "opening": 0, "latest": 0, "peak": 0, "high": 0, "equity": 1, "seen_at": NOW},
    "risk_symbolrule": {"rule": "BLOCKED", "symbol_id": MARKET},
    "risk_watermark": {"name": "orders", "position": order_id(1)},
    "risk_signal": {"account_id": ALICE, "dedupe_key": "test", "kind": "TEST", "severity": "LOW", "score": "0.5", "at": NOW},
    "risk_accountlink": {"id": 1, "account_id": ALICE, "other_id": BOB, "reason": "a test", "actor": "test", "created_at": NOW},
    "risk_watchedmark": {"id": 1, "mark": "test", "reason": "a test", "actor": "test", "created_at": NOW},
    "risk_portfoliosnapshot": {
        "account_id": ALICE,
        "at": NOW,
        "equity": 1,
        "inflow": 1,
        "peak_gain": 1,
        "var_historical": 1,
        "var_parametric": 1,
        "var_periods": 1,
        "concentration": "0.5",
        "concentrated_in": "BTC",
        "drawdown": "0.5",
        "daily_loss": 1,
    },
}


def insert(connection: Connection, table: str, *rows: dict[str, Any], **values: Any) -> None:
    """One statement with all `rows` (or with the one row of `values`); what they leave out is a default that keeps the rules."""
    name = table.removeprefix("public.")
    complete = [{**DEFAULTS.get(name, {}), **row} for row in (rows or (values,))]
    if name == "orders_order":
        complete = [{"client_order_id": f"client-{row['id'].int & 0xFFFF}", **row} for row in complete]
    if name == "orders_checkpoint":
        complete = [{"chain": sha256_of_nothing(connection), **row} for row in complete]
    columns = list(complete[0])
    row = sql.SQL("({})").format(sql.SQL(", ").join(sql.Placeholder() * len(columns)))
    statement = sql.SQL("INSERT INTO {} ({}) VALUES {}").format(
        sql.Identifier(*table.split(".")), sql.SQL(", ").join(map(sql.Identifier, columns)), sql.SQL(", ").join([row] * len(complete))
    )
    connection.execute(statement, [row[column] for row in complete for column in columns])


def sha256_of_nothing(connection: Connection) -> bytes:
    return bytes(one(connection, "SELECT sha256(''::bytea)"))


def lay_the_ground(connection: Connection) -> None:
    """The house with its accounts, Alice of NORTH and Bob of SOUTH, and a market of BTC (8 decimals) against USD (6)."""
    insert(
        connection,
        "institutions_institution",
        {"id": HOUSE, "code": "the-house", "name": "House", "is_house": True},
        {"id": NORTH, "code": "north", "name": "North"},
        {"id": SOUTH, "code": "south", "name": "South"},
    )
    insert(
        connection,
        "institutions_account",
        {"id": FEES, "institution_id": HOUSE, "name": "fees", "kind": "FEES"},
        {"id": OUTSIDE, "institution_id": HOUSE, "name": "outside", "kind": "EXTERNAL"},
        {"id": ALICE, "institution_id": NORTH, "name": "alice", "kind": "CUSTOMER"},
        {"id": BOB, "institution_id": SOUTH, "name": "bob", "kind": "CUSTOMER"},
    )
    insert(connection, "markets_asset", {"id": BTC, "code": "TBTC", "scale": 8}, {"id": USD, "code": "TUSD", "scale": 6})
    insert(connection, "markets_symbol", id=MARKET, name="TBTC/TUSD")
    for account, asset in ((ALICE, USD), (BOB, BTC)):  # an address that can be used from this transaction on
        connection.execute(
            """INSERT INTO wallet_address (id, account_id, asset_id, address, label, added_by, added_at, usable_at)
               VALUES (%s, %s, %s, 'somewhere', '', 'test', now(), now())""",
            [order_id(account), account, asset],
        )


def one(connection: Connection, statement: str, *parameters: Any) -> Any:
    """The first column of the first row."""
    row = connection.execute(statement.encode(), parameters or None).fetchone()
    assert row is not None, statement
    return row[0]


def column(connection: Connection, statement: str, *parameters: Any) -> list[Any]:
    """The first column of every row."""
    return [row[0] for row in connection.execute(statement.encode(), parameters or None).fetchall()]


@contextmanager
def acting_as(connection: Connection, role: str | None) -> Iterator[None]:
    """The statements of the block run with the rights of this role (None: the owner); what they did stays in the transaction."""
    if role is None:
        yield
        return
    connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
    yield
    connection.execute("RESET ROLE")


@contextmanager
def without_triggers(connection: Connection) -> Iterator[None]:
    """As the owner, past every trigger (constraints still hold): for rows that no honest statement could leave behind."""
    connection.execute("SET LOCAL session_replication_role = replica")
    yield
    connection.execute("SET LOCAL session_replication_role = origin")


def drop_checks(connection: Connection) -> None:
    """In this transaction no CHECK of orders and ledger holds: for rows that not even a hand in the database could leave behind."""
    connection.execute(
        """DO $$
        DECLARE
            found record;
        BEGIN
            FOR found IN SELECT conrelid::regclass AS relation, conname FROM pg_constraint
                WHERE contype = 'c' AND conparentid = 0 AND conislocal AND conrelid::regclass::text ~ '^(orders|wallet)_' LOOP
                EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', found.relation, found.conname);
            END LOOP;
        END $$"""
    )


@contextmanager
def refused(
    connection: Connection, error: type[psycopg.Error], *, constraint: str | None = None, saying: str = "", role: str | None = None
) -> Iterator[None]:
    """The block must fail with exactly this SQLSTATE, by this constraint (None: by a trigger or a right), in these words.

    What it did is rolled back, the transaction around it goes on.
    """
    with pytest.raises(psycopg.Error) as caught, connection.transaction(), acting_as(connection, role):
        yield
    told = caught.value
    assert (type(told), told.diag.constraint_name) == (error, constraint), f"{told.sqlstate} {told}"
    assert saying in str(told)


def plain(value: Any) -> str:
    """A number without the zeros that NUMERIC(38, 18) puts behind it."""
    return f"{Decimal(value).normalize():f}"
