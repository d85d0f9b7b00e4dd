"""Figures of several processes: what a kill -9 leaves, who goes on with it, and what is gone."""

import os
import threading
from pathlib import Path

import pytest

from exchange_platform import metrics
from exchange_platform.telemetry import files
from tests.telemetry.figures import figure, kill, process, shown

TRADES = "metrics.trades_executed.labels('X/Y').inc({})"


def trades() -> float:
    return figure("trades_executed_total", symbol="X/Y")


def test_counters_survive_kill_9_and_the_successor_goes_on(home: Path) -> None:
    first = process(home, TRADES.format(5))
    assert trades() == 5
    kill(first)
    assert trades() == 5
    second = process(home, TRADES.format(3))
    assert trades() == 8
    assert len(list((home / "metrics").glob("counter_*.db"))) == 1, "the successor took the dead process's slot"
    kill(second)


def test_processes_that_live_together_are_added_up(home: Path) -> None:
    both = [process(home, TRADES.format(n) + "; metrics.matching_duration_seconds.observe(0.01)") for n in (5, 3)]
    metrics.trades_executed.labels("X/Y").inc(2)
    assert trades() == 10
    assert figure("matching_duration_seconds_count") == 2
    assert figure("matching_duration_seconds_sum") == pytest.approx(0.02)
    assert len(list((home / "metrics").glob("counter_*.db"))) == 3
    kill(*both)


def test_live_gauges_vanish_with_their_process_and_facts_stay(home: Path) -> None:
    code = "metrics.websocket_connections.inc(7); metrics.ledger_breaks_open.set(2); metrics.stop_orders_waiting.labels('X/Y').set(4)"
    one = process(home, code)
    metrics.websocket_connections.inc(1)
    assert figure("websocket_connections") == 8
    assert figure("stop_orders_waiting", symbol="X/Y") == 4
    kill(one)
    assert figure("websocket_connections") == 1
    assert ("stop_orders_waiting", (("symbol", "X/Y"),)) not in shown()
    assert figure("ledger_breaks_open") == 2, "what the last reconciliation found is true without its process"


def test_a_successor_does_not_inherit_a_live_gauge(home: Path) -> None:
    kill(process(home, "metrics.websocket_connections.inc(7)"))
    successor = process(home, "metrics.websocket_connections.inc(1)")
    assert figure("websocket_connections") == 1
    kill(successor)


def test_the_latest_word_counts(home: Path) -> None:
    metrics.ledger_breaks_open.set(5)
    other = process(home, "metrics.ledger_breaks_open.set(0)")
    assert figure("ledger_breaks_open") == 0
    metrics.ledger_breaks_open.set(1)
    assert figure("ledger_breaks_open") == 1
    kill(other)


def test_a_forked_child_counts_for_itself(home: Path) -> None:
    metrics.trades_executed.labels("X/Y").inc(5)
    child = os.fork()
    if child == 0:
        metrics.trades_executed.labels("X/Y").inc(3)
        os._exit(0)
    os.waitpid(child, 0)
    metrics.trades_executed.labels("X/Y").inc(1)
    assert trades() == 9


def test_threads_lose_nothing(home: Path) -> None:
    def count() -> None:
        for _ in range(5_000):
            metrics.trades_executed.labels("X/Y").inc()

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert trades() == 20_000


def test_more_series_than_the_first_file_holds(home: Path) -> None:
    for number in range(2_000):
        metrics.orders_canceled.labels(f"S{number}/Y", "USER_CANCEL").inc()
    found = shown()
    assert sum(1 for name, _ in found if name == "orders_canceled_total") == 2_000
    assert figure("orders_canceled_total", symbol="S1999/Y", reason="USER_CANCEL") == 1


def test_a_spoiled_file_is_passed_over(home: Path) -> None:
    metrics.trades_executed.labels("X/Y").inc(5)
    (home / "metrics" / "counter_7.db").write_bytes(b"\xff" * 100)
    (home / "metrics" / "counter_8.db").write_bytes(b"")
    assert trades() == 5


def test_a_folder_that_cannot_be_written_stops_nobody(home: Path) -> None:
    (home / "metrics").write_text("a file")
    metrics.trades_executed.labels("X/Y").inc(5)
    metrics.ledger_breaks_open.set(1)
    assert trades() == 0


def test_a_full_disk_stops_nobody(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics.trades_executed.labels("X/Y").inc(5)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "posix_fallocate", full)
    for number in range(1_000):
        metrics.orders_canceled.labels(f"S{number}/Y", "USER_CANCEL").inc()
    metrics.trades_executed.labels("X/Y").inc(5)
    assert trades() == 5


def test_nobody_looks_at_a_folder_that_is_not_there(home: Path) -> None:
    assert shown() == {}
