"""The outbox: how far the relay is behind at 2,000 orders/s, and how fast it catches up after it had stopped."""

import os
import signal
import threading
import time
from typing import Any

from bench import Emit
from bench.load import Orders, Signer, Tally, batches, closed_loop
from bench.measure import machine
from bench.stack import Stack, running_stack

RATE_PER_S = 2_000
SIZE = 20
CONNECTIONS = 4
SECONDS = 10.0
STOPPED_S = 6.0
LOOK_EVERY_S = 0.05

LAG_SQL = "SELECT coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0) FROM notifications_outbox"


def run(emit: Emit) -> None:
    """Lag under load, then events per second while draining what came during a stop."""
    with running_stack() as stack:
        _load(stack, "warm", 3.0)
        _wait_until_empty(stack)
        lag(stack, emit)
        drain(stack, emit)


def lag(stack: Stack, emit: Emit) -> None:
    """Age of the oldest news that waits, looked at every 50 ms."""
    over = threading.Event()
    ages: list[float] = []

    def watch() -> None:
        with stack.database() as connection:
            while not over.is_set():
                row = connection.execute(LAG_SQL.encode()).fetchone()
                assert row is not None
                ages.append(float(row[0]))
                time.sleep(LOOK_EVERY_S)

    thread = threading.Thread(target=watch)
    thread.start()
    before = _told(stack)
    tally = _load(stack, "lag", SECONDS)
    over.set()
    thread.join()
    took = _wait_until_empty(stack)
    ordered = sorted(ages)
    emit(
        "lag_p99",
        round(ordered[len(ordered) * 99 // 100] * 1000, 1),
        "ms",
        p50_ms=round(ordered[len(ordered) // 2] * 1000, 1),
        max_ms=round(ordered[-1] * 1000, 1),
        orders_per_s=round(tally.orders / tally.seconds),
        events=_told(stack) - before,
        drained_after_ms=round(took * 1000),
        machine=machine(None),
    )


def drain(stack: Stack, emit: Emit) -> None:
    """The Celery worker is stopped while orders come in, then goes on."""
    pid = stack.pid("worker-0")
    before = _told(stack)
    os.kill(pid, signal.SIGSTOP)
    try:
        _load(stack, "stopped", STOPPED_S)
        stack.wait_until_settled()
    finally:
        os.kill(pid, signal.SIGCONT)
    rows = stack.count("SELECT count(*) FROM notifications_outbox")
    events = _told(stack) - before
    took = _wait_until_empty(stack)
    emit("drained_per_s", round(events / took), "events/s", events=events, rows=rows, seconds=round(took, 2), machine=machine(None))


def _load(stack: Stack, name: str, seconds: float) -> Tally:
    """Batches at a steady rate, as far as the stack keeps up: each connection waits for its answer and for its turn."""
    made: list[Any] = batches(
        [Signer(stack.base_url, key) for key in stack.unlimited_keys()],
        Orders(f"outbox-{name}-{time.time_ns()}"),
        "ACK",
        int(seconds * RATE_PER_S / SIZE),
        SIZE,
    )
    tally = Tally()
    began = time.perf_counter()
    slice_s = CONNECTIONS * SIZE / RATE_PER_S
    for turn in range(0, len(made), CONNECTIONS):
        some = closed_loop(stack.base_url, made[turn : turn + CONNECTIONS], connections=CONNECTIONS, seconds=60, size=SIZE)
        tally.orders += some.orders
        tally.refused += some.refused
        pause = began + (turn // CONNECTIONS + 1) * slice_s - time.perf_counter()
        if pause > 0:
            time.sleep(pause)
    tally.seconds = time.perf_counter() - began
    tally.check()
    return tally


def _told(stack: Stack) -> int:
    """How many events there were, ever: orders, trades and balances of accounts, trades of symbols."""
    private = stack.count("SELECT sum(orders + trades + balances) FROM notifications_feed")
    return private + stack.count("SELECT sum(trade_number + book_sequence) FROM orders_checkpoint")


def _wait_until_empty(stack: Stack, within_s: float = 120.0) -> float:
    began = time.perf_counter()
    while stack.count("SELECT count(*) FROM notifications_outbox WHERE topic <> 'market_data'"):
        if time.perf_counter() - began > within_s:
            raise TimeoutError("the outbox is not empty")
        time.sleep(0.02)
    return time.perf_counter() - began
