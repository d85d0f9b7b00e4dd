"""A small exchange in rows: two customers, eight orders of every kind of state, two trades, all figures worked out by hand."""

from datetime import timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any, Final

from orders.chain import chain_after
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
    insert,
    lay_the_ground,
    order_id,
    without_triggers,
)

FIRST_TRADE, SECOND_TRADE, DEPOSIT_OF_ALICE, DEPOSIT_OF_BOB, AMEND = (order_id(number) for number in (11, 12, 101, 102, 201))
QUIET_MARKET: Final = MARKET + 1

CHAIN_0 = sha256(b"").digest()
LOG: Final[list[dict[str, Any]]] = [
    {"first_sequence": 1, "last_sequence": 4, "stamp_ms": 1_000, "payload": b"commands 1 to 4", "state_hash": 41},
    {"first_sequence": 5, "last_sequence": 7, "stamp_ms": 2_000, "payload": b"commands 5 to 7", "state_hash": 42},
]
CHAIN_1 = chain_after(CHAIN_0, symbol_id=MARKET, epoch=1, **LOG[0])
CHAIN_2 = chain_after(CHAIN_1, symbol_id=MARKET, epoch=1, **LOG[1])


def write(connection: Connection) -> None:
    """Alice brought 1,000 USD, Bob 10 BTC. What then happened, by engine sequence:

    1. order 1: Bob offers 2 BTC at 100; 2. order 3: Alice bids for 1 BTC at 90; 3. order 2: Alice takes 1.5 of Bob's (trade 1);
    4. order 4: Bob sells 0.123 into Alice's bid, whose maker rate is a rebate (trade 2); 5. order 5: Bob offers at 120, and
    6. cancels; 7. order 8: Bob offers 0.2 at 100, of which prevention takes 0.05. Order 6 was rejected at intake. Order 7, a
    market buy for 50 USD, and an amend of order 3 that holds 10 more still wait in the inbox.
    """
    lay_the_ground(connection)
    insert(connection, "markets_symbol", id=QUIET_MARKET, name="QUIET/TUSD")
    _orders(connection)
    _history(connection)
    _trades(connection)
    _money(connection)
    insert(
        connection,
        "risk_position",
        {"account_id": ALICE, "quantity": "1.623", "cost": "161.07", "realised": 0, "day": NOW.date()},
        {"account_id": BOB, "quantity": "-1.623", "cost": "161.07", "realised": 0, "day": NOW.date()},
    )
    traded = {"day": NOW.date(), "traded": "161.07"}
    insert(
        connection,
        "risk_exposure",
        {"account_id": ALICE, "buying": "0.877", "spending": 50, "open_value": "138.93", **traded},
        {"account_id": BOB, "buying": 0, "spending": 0, "open_value": 65, **traded},
    )
    insert(
        connection,
        "risk_dayresult",
        {"account_id": ALICE, "day": NOW.date() - timedelta(days=29), "peak": 7, "high": 7},
        {"account_id": ALICE, "day": NOW.date(), "peak": 5, "high": 7},
        {"account_id": ALICE, "day": NOW.date() + timedelta(days=1), "peak": 4, "high": 5},
    )
    _engine(connection)


def _orders(connection: Connection) -> None:
    with without_triggers(connection):
        bob = {"account_id": BOB, "side": "SELL"}
        filled = {"status": "FILLED", "held": 0}
        insert(
            connection,
            "orders_order",
            **bob,
            id=order_id(1),
            status="PARTIALLY_FILLED",
            quantity=2,
            price=100,
            filled_quantity="1.5",
            filled_quote=150,
            fee="0.15",
            held="0.5",
            sequence=3,
            priority_sequence=1,
        )
        insert(
            connection,
            "orders_order",
            **filled,
            id=order_id(2),
            quantity="1.5",
            price=101,
            filled_quantity="1.5",
            filled_quote=150,
            fee="0.003",
            sequence=3,
        )
        insert(
            connection,
            "orders_order",
            id=order_id(3),
            status="PARTIALLY_FILLED",
            quantity=1,
            price=90,
            filled_quantity="0.123",
            filled_quote="11.07",
            fee="-0.00001519",  # 0.123 × -0.00012346 = -0.0000151856, rounded down
            maker_fee_rate="-0.00012346",
            held="78.93",
            sequence=4,
            priority_sequence=2,
        )
        insert(
            connection,
            "orders_order",
            **bob,
            **filled,
            id=order_id(4),
            time_in_force="IOC",
            quantity="0.123",
            price=90,
            filled_quantity="0.123",
            filled_quote="11.07",
            fee="0.02214",
            sequence=4,
        )
        insert(connection, "orders_order", **bob, id=order_id(5), status="CANCELLED", reason="USER_CANCEL", price=120, held=0, sequence=6)
        insert(connection, "orders_order", id=order_id(6), status="REJECTED", reason="INSUFFICIENT_FUNDS", held=0)
        insert(
            connection,
            "orders_order",
            id=order_id(7),
            order_type="MARKET",
            time_in_force="IOC",
            quantity=None,
            price=None,
            quote_quantity=50,
            protection_price=105,
            held=50,
        )
        insert(
            connection,
            "orders_order",
            **bob,
            id=order_id(8),
            status="OPEN",
            quantity="0.2",
            prevented_quantity="0.05",
            held="0.15",
            sequence=7,
            priority_sequence=7,
        )
        insert(
            connection,
            "orders_orderkey",
            *(
                {"account_id": account, "client_order_id": f"client-{number}", "order_id": order_id(number)}
                for number, account in enumerate((BOB, ALICE, ALICE, BOB, BOB, ALICE, ALICE, BOB), start=1)
            ),
        )
    insert(connection, "orders_amend", id=AMEND, order_id=order_id(3), price=101, extra_held=10, extra_value=10)
    insert(connection, "orders_inbox", commands=2)


def _history(connection: Connection) -> None:
    steps: dict[int, list[tuple[int, str | None, str]]] = {
        1: [(0, None, "PENDING"), (1, "PENDING", "OPEN"), (3, "OPEN", "PARTIALLY_FILLED")],
        2: [(0, None, "PENDING"), (3, "PENDING", "FILLED")],
        3: [(0, None, "PENDING"), (2, "PENDING", "OPEN"), (4, "OPEN", "PARTIALLY_FILLED")],
        4: [(0, None, "PENDING"), (4, "PENDING", "FILLED")],
        5: [(0, None, "PENDING"), (5, "PENDING", "OPEN"), (6, "OPEN", "CANCELLED")],
        6: [(0, None, "REJECTED")],
        7: [(0, None, "PENDING")],
        8: [(0, None, "PENDING"), (7, "PENDING", "OPEN")],
    }
    for number, history in steps.items():
        for sequence, before, after in history:
            insert(connection, "orders_transition", order_id=order_id(number), sequence=sequence, from_status=before, to_status=after)


def _trades(connection: Connection) -> None:
    insert(
        connection,
        "orders_trade",
        id=FIRST_TRADE,
        number=1,
        sequence=3,
        price=100,
        quantity="1.5",
        taker_side="BUY",
        maker_order_id=order_id(1),
        taker_order_id=order_id(2),
        maker_account_id=BOB,
        taker_account_id=ALICE,
        maker_fee="0.15",
        taker_fee="0.003",
    )
    insert(
        connection,
        "orders_trade",
        id=SECOND_TRADE,
        number=2,
        sequence=4,
        price=90,
        quantity="0.123",
        taker_side="SELL",
        maker_order_id=order_id(3),
        taker_order_id=order_id(4),
        maker_account_id=ALICE,
        taker_account_id=BOB,
        maker_fee="-0.00001519",
        taker_fee="0.02214",
    )


def _money(connection: Connection) -> None:
    legs = [
        (DEPOSIT_OF_ALICE, 0, "DEPOSIT", USD, OUTSIDE, ALICE, "1000"),
        (DEPOSIT_OF_BOB, 0, "DEPOSIT", BTC, OUTSIDE, BOB, "10"),
        (FIRST_TRADE, 0, "TRADE", BTC, BOB, ALICE, "1.5"),
        (FIRST_TRADE, 1, "TRADE", USD, ALICE, BOB, "150"),
        (FIRST_TRADE, 2, "TAKER_FEE", BTC, ALICE, FEES, "0.003"),
        (FIRST_TRADE, 3, "MAKER_FEE", USD, BOB, FEES, "0.15"),
        (SECOND_TRADE, 0, "TRADE", BTC, BOB, ALICE, "0.123"),
        (SECOND_TRADE, 1, "TRADE", USD, ALICE, BOB, "11.07"),
        (SECOND_TRADE, 2, "MAKER_FEE", BTC, FEES, ALICE, "0.00001519"),
        (SECOND_TRADE, 3, "TAKER_FEE", USD, BOB, FEES, "0.02214"),
    ]
    names = ("id", "leg", "kind", "asset_id", "debit_account_id", "credit_account_id", "amount")
    insert(connection, "wallet_transfer", *(dict(zip(names, leg, strict=True)) for leg in legs))
    insert(
        connection,
        "wallet_balance",
        {"account_id": ALICE, "asset_id": USD, "posted": Decimal("838.93"), "held": Decimal("138.93")},
        {"account_id": ALICE, "asset_id": BTC, "posted": Decimal("1.62001519"), "held": 0},
        {"account_id": BOB, "asset_id": BTC, "posted": Decimal("8.377"), "held": Decimal("0.65")},
        {"account_id": BOB, "asset_id": USD, "posted": Decimal("160.89786"), "held": 0},
    )


def _engine(connection: Connection) -> None:
    for number, account in ((1, BOB), (3, ALICE), (7, ALICE), (8, BOB)):
        insert(connection, "orders_openorder", order_id=order_id(number), account_id=account)
    connection.execute("UPDATE risk_accountstate SET open_orders = 2 WHERE account_id = ANY (%s)", [[ALICE, BOB]])
    insert(
        connection,
        "orders_booklevel",
        {"side": "SELL", "price": 100, "quantity": Decimal("0.65")},
        {"side": "BUY", "price": 90, "quantity": Decimal("0.877")},
    )
    insert(
        connection,
        "orders_commandlog",
        {**LOG[0], "chain": CHAIN_1},
        {**LOG[1], "chain": CHAIN_2},
    )
    insert(connection, "orders_checkpoint", sequence=7, trade_number=2, chain=CHAIN_2, state_hash=42)
    insert(connection, "orders_checkpoint", symbol_id=QUIET_MARKET, chain=CHAIN_0)
