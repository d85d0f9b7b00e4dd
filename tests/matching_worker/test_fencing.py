"""One owner per shard: a stalled owner commits nothing more, its successor needs no help, and a dead one is replaced at once."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from exchange_platform.db import connect_direct
from matching import shards
from matching.worker import Worker
from orders.settlement import LEASE_S, Fenced
from tests.matching_worker.exchange import Exchange, Meddled, accepted, order
from tests.matching_worker.processes import clients, give_up_the_shard, owner_pid, status_of, wait_until_settled, worker_process
from tests.support.stacks import wait_until


def test_a_stopped_owner_is_replaced_and_commits_nothing_when_it_goes_on(exchange: Exchange, tmp_path: Path) -> None:
    symbol = exchange.symbol()
    buyer, seller = exchange.trader((symbol.quote, 1000)), exchange.trader((symbol.base, 10))
    give_up_the_shard(exchange)
    with worker_process(tmp_path / "first") as first, worker_process(tmp_path / "second") as second:
        wait_until(lambda: owner_pid(exchange) in (first.pid, second.pid), within_s=60, what="one of them owns the shard")
        old, new = (first, second) if owner_pid(exchange) == first.pid else (second, first)
        before = accepted(exchange.take(order(buyer, symbol, "BUY", "1", "10"))[0])
        wait_until(lambda: status_of(exchange, before) == "OPEN", within_s=10, what="the owner matches")

        old.send_signal(signal.SIGSTOP)
        stopped_at = time.monotonic()
        during = accepted(exchange.take(order(seller, symbol, "SELL", "1", "10"))[0])
        wait_until(lambda: owner_pid(exchange) == new.pid, within_s=LEASE_S + 30, what="the other takes over")
        assert time.monotonic() - stopped_at > LEASE_S - 2, "not before the lease had run out"
        wait_until(lambda: status_of(exchange, during) == "FILLED", within_s=30, what="the successor matches what waited")

        old.send_signal(signal.SIGCONT)
        after = accepted(exchange.take(order(buyer, symbol, "BUY", "1", "9"))[0])
        assert old.wait(timeout=20) != 0, (tmp_path / "first").read_text()
        wait_until(lambda: status_of(exchange, after) == "OPEN", within_s=30, what="the successor goes on")
        assert new.poll() is None, (tmp_path / "second").read_text()
        epochs = [row[0] for row in exchange.rows("SELECT epoch FROM orders_commandlog ORDER BY first_sequence")]
        assert len(epochs) == 3
        assert epochs[0] < epochs[1] == epochs[2]


def test_a_killed_owner_is_replaced_before_its_lease_ends(exchange: Exchange, tmp_path: Path) -> None:
    symbol = exchange.symbol()
    buyer = exchange.trader((symbol.quote, 1000))
    give_up_the_shard(exchange)
    with worker_process(tmp_path / "first") as first, worker_process(tmp_path / "second") as second:
        wait_until(lambda: owner_pid(exchange) in (first.pid, second.pid), within_s=60, what="one of them owns the shard")
        old, new = (first, second) if owner_pid(exchange) == first.pid else (second, first)
        sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'matching-0' AND datname = current_database()"
        wait_until(lambda: exchange.row(sessions) == (2,), within_s=60, what="the other one waits as well")
        old.kill()
        killed_at = time.monotonic()
        wait_until(lambda: owner_pid(exchange) == new.pid, within_s=LEASE_S + 30, what="the other takes over")
        assert time.monotonic() - killed_at < LEASE_S - 1, "its session is gone, so nobody waits for the lease"
        order_id = accepted(exchange.take(order(buyer, symbol, "BUY", "1", "10"))[0])
        wait_until(lambda: status_of(exchange, order_id) == "OPEN", within_s=30, what="the successor matches")


def test_of_two_workers_started_at_once_for_one_shard_one_epoch_commits(exchange: Exchange, tmp_path: Path) -> None:
    give_up_the_shard(exchange)
    symbols = [exchange.symbol(), exchange.symbol()]
    with worker_process(tmp_path / "first") as first, worker_process(tmp_path / "second") as second:
        wait_until(lambda: owner_pid(exchange) in (first.pid, second.pid), within_s=60, what="one of them owns the shard")
        with clients(exchange, symbols):
            time.sleep(3)
        wait_until_settled(exchange)
        assert first.poll() is second.poll() is None, "the other one waits"
    [(epochs, batches)] = exchange.rows("SELECT array_agg(DISTINCT epoch), count(*) FROM orders_commandlog")
    assert epochs == [exchange.row("SELECT epoch FROM orders_shard")[0]]
    assert batches > 20


def second_worker(exchange: Exchange) -> tuple[Worker, int]:
    """Another process's worker that has waited for the lease to run out. Returns it and its epoch."""
    session = exchange.connection(autocommit=True, name=shards.session_name(0))
    other = Worker(shard=0, shards_in_all=1)
    deadline = time.monotonic() + 4 * LEASE_S
    while (epoch := shards.try_acquire(session, shard=0, owner="other")) is None:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    other.epoch = epoch
    return other, epoch


def expire_lease(exchange: Exchange) -> None:
    """As when the owner has been silent for longer than its lease."""
    with exchange.connection(autocommit=True) as connection:
        connection.execute("UPDATE orders_shard SET expires_at = clock_timestamp() - interval '1 s'")


def test_an_owner_whose_lease_was_taken_settles_nothing(exchange: Exchange) -> None:
    symbol = exchange.symbol()
    buyer = exchange.trader((symbol.quote, 1000))
    order_id = exchange.placed(buyer, symbol, "BUY", "1", "10")
    expire_lease(exchange)
    other, _ = second_worker(exchange)
    assert exchange.worker is not None
    with pytest.raises(Fenced):
        exchange.worker.settle_once(exchange.settling)
    exchange.settling.rollback()
    with exchange.connection(autocommit=True) as session, pytest.raises(Fenced):
        shards.renew(session, shard=0, epoch=exchange.worker.epoch)
    assert status_of(exchange, order_id) == "PENDING"
    assert exchange.rows("SELECT 1 FROM orders_commandlog") == []
    with connect_direct(name="matching-0-settle") as connection:
        other.recover(connection)
        assert other.settle_once(connection) == 1
    assert status_of(exchange, order_id) == "OPEN"
    exchange.worker = None


def test_an_owner_that_lost_its_lease_gives_nothing_back(exchange: Exchange) -> None:
    """Releasing at a clean stop is for one's own lease only."""
    expire_lease(exchange)
    _, epoch = second_worker(exchange)
    assert exchange.worker is not None
    with exchange.connection(autocommit=True) as session:
        shards.release(session, shard=0, epoch=exchange.worker.epoch)
    assert exchange.row("SELECT epoch, expires_at > clock_timestamp() FROM orders_shard") == (epoch, True)
    exchange.worker = None


@pytest.mark.parametrize("where", ["before the fence", "after the fence"])
def test_an_owner_stalled_in_the_middle_of_a_settlement_does_not_hold_up_its_successor(
    exchange: Exchange, where: str, tmp_path: Path
) -> None:
    """It holds the rows it took, and perhaps the lease's row; the successor is there within two leases all the same."""
    symbol = exchange.symbol()
    buyer = exchange.trader((symbol.quote, 1000))
    assert exchange.worker is not None
    order_id = exchange.placed(buyer, symbol, "BUY", "1", "10")
    stalled = exchange.connection(name=shards.settling_name(0))
    if where == "after the fence":
        exchange.worker.settle_once(Meddled(stalled, lambda real: None))  # type: ignore[arg-type]
    else:
        stalled.execute("DELETE FROM orders_inbox")
    exchange.worker = None
    with supervised_worker(tmp_path / "log"):
        wait_until(lambda: status_of(exchange, order_id) == "OPEN", within_s=2 * LEASE_S + 10, what="a successor matches")


@contextmanager
def supervised_worker(log: Path) -> Iterator[None]:
    """A worker process that is started again when it ends."""
    over = threading.Event()

    def supervise() -> None:
        while not over.is_set():
            with worker_process(log) as process:
                while process.poll() is None and not over.is_set():
                    time.sleep(0.05)

    thread = threading.Thread(target=supervise)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_web_process_stalled_in_the_middle_of_intake_does_not_end_the_worker(exchange: Exchange) -> None:
    """It holds its accounts' locks; the settlement that needs them waits and goes on."""
    symbol = exchange.symbol()
    buyer, seller = exchange.trader((symbol.quote, 1000)), exchange.trader((symbol.base, 10))
    exchange.placed(buyer, symbol, "BUY", "1", "10")
    order_id = exchange.placed(seller, symbol, "SELL", "1", "10")
    stalled = exchange.connection()
    stalled.execute("SELECT 1 FROM institutions_account WHERE id = %s FOR NO KEY UPDATE", [buyer.id])
    exchange.settle()
    assert status_of(exchange, order_id) == "FILLED"
