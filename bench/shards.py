"""The same flow on two symbols by one matching worker and by two: orders per second, processor time per process, deadlocks.

Both symbols settle in the same quote asset for the same accounts, so two workers want the same rows all the time.
BENCH_SHARDS_S=600 makes each of the two runs ten minutes long.
"""

import os
import time
from collections import Counter
from dataclasses import dataclass, field

from bench import Emit
from bench.load import Orders, Signer, Tally, batches, closed_loop
from bench.measure import machine
from bench.stack import Cpu, Stack, cpu_of, cpu_per_order, running_stack

SYMBOLS = ("BTC/USDT", "ETH/USDT")
LOT = "0.1"
SIZE = 50
CONNECTIONS = 16
MOST_PER_S = 400
WARM_UP_S = 3.0
ROUND_S = 15.0  # signed requests are good for a minute
SECONDS = float(os.environ.get("BENCH_SHARDS_S", "15"))

DEADLOCKS_SQL = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
SHARDS_SQL = "SELECT count(DISTINCT shard_id) FROM orders_checkpoint c JOIN markets_symbol s ON s.id = c.symbol_id WHERE s.name = ANY({})"


class OnBoth(Orders):
    """A request's orders are of one symbol; the symbols take turns."""

    def body(self, side: str, cents: int, response_type: str) -> str:
        symbol = SYMBOLS[self._count // SIZE % len(SYMBOLS)]
        self._count += 1
        return (
            f'{{"symbol":"{symbol}","side":"{side}","order_type":"LIMIT","quantity":"{LOT}","price":"{cents / 100:.2f}",'
            f'"client_order_id":"{self._run}-{self._count}","response_type":"{response_type}"}}'
        )


@dataclass
class Outcome:
    orders: int = 0
    seconds: float = 0.0  # until the last one was settled
    delays_s: list[float] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)


def run(emit: Emit) -> None:
    """One worker, then two, each on a stack of its own; then what the second one costs or gains."""
    rates = {workers: _measure(emit, workers) for workers in (1, 2)}
    emit("two_workers_against_one", round(100 * (rates[2] / rates[1] - 1), 1), "%", machine=machine(None))


def _measure(emit: Emit, workers: int) -> float:
    with running_stack(STACK_SHARDS=str(workers)) as stack:
        names = "ARRAY[" + ",".join(f"'{symbol}'" for symbol in SYMBOLS) + "]"
        if stack.count(SHARDS_SQL.format(names)) != workers:
            raise RuntimeError(f"the symbols are not on {workers} shards")
        signers = [Signer(stack.base_url, key) for key in stack.unlimited_keys()]
        _round(stack, signers, f"warm-{workers}", WARM_UP_S)
        stack.wait_until_settled()
        deadlocks, before, outcome = stack.count(DEADLOCKS_SQL), cpu_of(stack), Outcome()
        while outcome.seconds < SECONDS:
            tally = _round(stack, signers, f"run-{workers}-{time.time_ns()}", min(ROUND_S, SECONDS))
            outcome.seconds += tally.seconds + stack.wait_until_settled()
            outcome.orders += tally.orders
            outcome.delays_s += tally.delays_s
            outcome.refused += tally.refused
        return _tell(emit, stack, workers, outcome, before, stack.count(DEADLOCKS_SQL) - deadlocks)


def _round(stack: Stack, signers: list[Signer], name: str, seconds: float) -> Tally:
    requests = batches(signers, OnBoth(name), "ACK", int(seconds * MOST_PER_S), SIZE)
    tally = closed_loop(stack.base_url, requests, connections=CONNECTIONS, seconds=seconds, size=SIZE)
    tally.check()
    return tally


def _tell(emit: Emit, stack: Stack, workers: int, outcome: Outcome, before: Cpu, deadlocks: int) -> float:
    costs = cpu_per_order(before, cpu_of(stack), outcome.orders)
    others = costs.pop("others on this machine", 0.0)
    rate = outcome.orders / outcome.seconds
    emit(
        f"workers_{workers}",
        round(rate),
        "orders/s",
        **Tally(delays_s=outcome.delays_s).percentiles_ms(),
        orders=outcome.orders,
        seconds=round(outcome.seconds, 1),
        deadlocks=deadlocks,
        refused=dict(outcome.refused),
        cpu_us_per_order=costs,
        machine=machine(others * outcome.orders / 1e6 / outcome.seconds),
    )
    return rate
