"""Starting is recovering: the same book from what is stored, or a refusal that says what contradicts what."""

from collections.abc import Iterator

import psycopg
import pytest

from matching import recovery
from matching.core.messages import BUY, SELL
from matching.recovery import RecoveryRefused
from orders.reconcile import reconcile
from tests.matching_worker.exchange import Exchange, open_exchange


@pytest.fixture
def planted(fresh_database: str) -> Iterator[tuple[Exchange, psycopg.Connection[object]]]:
    """An exchange with a book of two sides, and a superuser past every trigger and check of the application's roles."""
    with open_exchange() as exchange, psycopg.connect(fresh_database, autocommit=True) as superuser:
        symbol = exchange.symbol()
        buyer, seller = exchange.trader((symbol.quote, 10_000)), exchange.trader((symbol.base, 100))
        for number in range(3):
            exchange.placed(buyer, symbol, "BUY", "1", f"{90 + number}")
            exchange.placed(seller, symbol, "SELL", "1", f"{100 + number}")
            exchange.settle()
        exchange.placed(seller, symbol, "SELL", "0.4", "92")
        exchange.settle()
        superuser.execute("SET session_replication_role = replica")
        yield exchange, superuser
        exchange.worker = None


def recover(exchange: Exchange) -> dict[int, object]:
    connection = exchange.connection()
    try:
        return dict(recovery.load_shard(connection, shard=0))
    finally:
        connection.rollback()


def undo_then_reconcile(superuser: psycopg.Connection[object], undo: str) -> None:
    superuser.execute(undo.encode())
    assert reconcile().is_clean


def test_a_successor_has_the_same_book(planted: tuple[Exchange, psycopg.Connection[object]]) -> None:
    exchange, _ = planted
    assert exchange.worker is not None
    [(symbol_id, before)] = exchange.worker.engines.items()
    after = exchange.restart_worker().engines[symbol_id]
    for side in (BUY, SELL):
        assert list(after.book.queue(side)) == list(before.book.queue(side))
    assert (after.progress.state_hash, after.progress.chain) == (before.progress.state_hash, before.progress.chain)
    assert len(after.records) == 6
    after.book.check()


def test_a_missing_end_of_the_command_log_is_refused(planted: tuple[Exchange, psycopg.Connection[object]]) -> None:
    exchange, superuser = planted
    superuser.execute("CREATE TABLE kept AS SELECT * FROM orders_commandlog WHERE last_sequence = 7")
    superuser.execute("DELETE FROM orders_commandlog WHERE last_sequence = 7")
    with pytest.raises(RecoveryRefused, match="command log ends at sequence 6, the checkpoint is at 7"):
        recover(exchange)
    assert not reconcile().is_clean
    undo_then_reconcile(superuser, "INSERT INTO orders_commandlog SELECT * FROM kept")


def test_a_command_log_cut_off_whole_is_refused(planted: tuple[Exchange, psycopg.Connection[object]]) -> None:
    exchange, superuser = planted
    superuser.execute("CREATE TABLE kept AS SELECT * FROM orders_commandlog")
    superuser.execute("DELETE FROM orders_commandlog")
    with pytest.raises(RecoveryRefused, match="command log ends at sequence 0, the checkpoint is at 7"):
        recover(exchange)
    undo_then_reconcile(superuser, "INSERT INTO orders_commandlog SELECT * FROM kept")


def test_a_changed_end_of_the_command_log_is_refused(planted: tuple[Exchange, psycopg.Connection[object]]) -> None:
    exchange, superuser = planted
    superuser.execute("UPDATE orders_commandlog SET chain = sha256(chain) WHERE last_sequence = 7")
    with pytest.raises(RecoveryRefused, match=r"first_sequence=7, settled at .*: its chain was changed"):
        recover(exchange)
    assert "command-log" in {found.check for found in reconcile().breaks}
    superuser.execute(
        "UPDATE orders_commandlog l SET chain = c.chain FROM orders_checkpoint c WHERE c.symbol_id = l.symbol_id AND l.last_sequence = 7"
    )
    assert reconcile().is_clean


@pytest.mark.parametrize(
    ("change", "undo"),
    [
        ("quantity = quantity + 1", "quantity = quantity - 1"),
        ("price = price - 1", "price = price + 1"),
        ("priority_sequence = priority_sequence + 100", "priority_sequence = priority_sequence - 100"),
        ("status = 'CANCELLED', reason = 'USER_CANCEL'", "status = 'OPEN', reason = NULL"),
        ("filled_quantity = filled_quantity + 0.1", "filled_quantity = filled_quantity - 0.1"),
    ],
)
def test_a_changed_open_order_is_refused(planted: tuple[Exchange, psycopg.Connection[object]], change: str, undo: str) -> None:
    exchange, superuser = planted
    [(order_id,)] = exchange.rows("SELECT id FROM orders_order WHERE side = 'BUY' AND price = 91")
    superuser.execute("ALTER TABLE orders_order DROP CONSTRAINT IF EXISTS order_ended_holds_nothing")
    superuser.execute(f"UPDATE orders_order SET {change} WHERE id = '{order_id}'".encode())
    with pytest.raises(RecoveryRefused, match=r"state hash .* the checkpoint at sequence 7 says"):
        recover(exchange)
    undo_then_reconcile(superuser, f"UPDATE orders_order SET {undo} WHERE id = '{order_id}'")


def test_a_missing_open_order_is_refused(planted: tuple[Exchange, psycopg.Connection[object]]) -> None:
    exchange, superuser = planted
    superuser.execute("CREATE TABLE kept AS SELECT * FROM orders_openorder")
    superuser.execute("DELETE FROM orders_openorder WHERE order_id = (SELECT min(order_id::text)::uuid FROM orders_openorder)")
    with pytest.raises(RecoveryRefused, match="state hash"):
        recover(exchange)
    undo_then_reconcile(superuser, "INSERT INTO orders_openorder SELECT * FROM kept ON CONFLICT DO NOTHING")


def test_a_checkpoint_ahead_of_its_log_is_refused(planted: tuple[Exchange, psycopg.Connection[object]]) -> None:
    exchange, superuser = planted
    superuser.execute("UPDATE orders_checkpoint SET sequence = sequence + 1")
    with pytest.raises(RecoveryRefused, match="command log ends at sequence 7, the checkpoint is at 8"):
        recover(exchange)
    undo_then_reconcile(superuser, "UPDATE orders_checkpoint SET sequence = sequence - 1")
