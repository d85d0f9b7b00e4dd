"""One measured run of orders against a stack: warm up, load, wait until all is settled, one line with all that explains it."""

import os
import time
from collections.abc import Callable

from bench import Emit
from bench.load import closed_loop
from bench.stack import Stack, cpu_of, cpu_per_order, running_stack

WARM_UP_S = 3.0
SECONDS = 10.0

Prepare = Callable[[Stack, str, str, int], list[bytes]]  # stack, name of the run, response type, how many requests


def run(emit: Emit, what: str, prepare: Prepare, *, connections: int, size: int, most_per_s: int) -> None:
    """Orders acknowledged after matching (RESULT) and after intake (ACK), on a stack of their own."""
    with running_stack() as stack:
        for response_type in ("RESULT", "ACK"):
            measure(stack, emit, what, response_type, prepare, connections=connections, size=size, most_per_s=most_per_s)


def measure(
    stack: Stack, emit: Emit, what: str, response_type: str, prepare: Prepare, *, connections: int, size: int, most_per_s: int
) -> None:
    """`settled_per_s` counts until the last order is matched and settled. `at_two_free_cores` is what the processor time per order
    (this load generator's included) would allow on two cores that nobody else uses: a bound, not a measurement."""
    name = f"{what}-{response_type}-{time.time_ns()}"
    warm_up = prepare(stack, f"{name}-w", response_type, int(WARM_UP_S * most_per_s))
    closed_loop(stack.base_url, warm_up, connections=connections, seconds=WARM_UP_S, size=size)
    stack.wait_until_settled()
    requests = prepare(stack, name, response_type, int(SECONDS * most_per_s))
    trades, before = stack.trades(), cpu_of(stack)
    tally = closed_loop(stack.base_url, requests, connections=connections, seconds=SECONDS, size=size)
    tally.check()
    drained_s = stack.wait_until_settled()
    after = cpu_of(stack)
    took_s = tally.seconds + drained_s
    costs = cpu_per_order(before, after, tally.orders)
    others = costs.pop("others on this machine", 0.0)
    in_all = sum(cost for process, cost in costs.items() if "/" not in process)
    emit(
        f"{what}_{response_type.lower()}",
        round(tally.orders / tally.seconds),
        "orders/s",
        **tally.percentiles_ms(),
        settled_per_s=round(tally.orders / took_s),
        orders=tally.orders,
        refused=dict(tally.refused),
        trades_per_order=round((stack.trades() - trades) / tally.orders, 2),
        connections=connections,
        generator_cores=round(after.since(before)["generator"] / took_s, 2),
        cpu_us_per_order=costs,
        cpu_us_in_all=round(in_all, 1),
        at_two_free_cores=round(2e6 / in_all),
        machine=machine(others * tally.orders / 1e6 / took_s),
    )


def machine(others_cores: float | None) -> dict[str, float]:
    """How far this machine was one's own: cores, how many of them others kept busy, load average, and the speed of a plain loop."""
    started = time.perf_counter()
    for _ in range(2_000_000):
        pass
    loop_s = time.perf_counter() - started
    return {
        "cores": os.cpu_count() or 0,
        **({} if others_cores is None else {"others_cores": round(others_cores, 2)}),
        "load_average": round(os.getloadavg()[0], 1),
        "loops_per_us": round(2 / loop_s, 1),
    }
