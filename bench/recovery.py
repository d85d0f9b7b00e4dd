"""A matching worker restarted with 100,000 open orders: how long until it decides again, and what an open order weighs.

The orders come through the public API in batches. The worker is killed, not stopped; the supervisor starts the next one.
"""

import json
import os
import re
import signal
import time
from datetime import datetime

import psutil

from bench import Emit
from bench.load import Orders, Signer, batches, closed_loop, singles
from bench.measure import machine
from bench.stack import Stack, running_stack

OPEN_ORDERS = 100_000
SIZE = 50
CONNECTIONS = 16
RESTARTS = 3
WITHIN_S = 60.0
WORKER = "matching-0"


def run(emit: Emit) -> None:
    """Seconds to recover, and bytes of the worker's resident memory per open order."""
    with running_stack() as stack:
        signers = [Signer(stack.base_url, key) for key in stack.unlimited_keys()]
        empty = restart(stack, signers)
        empty_rss = _rss(stack)
        fill(stack, signers)
        grown_rss = _rss(stack)
        restarts = [restart(stack, signers) for _ in range(RESTARTS)]
        recovered_rss = _rss(stack)
    about = {"open_orders": OPEN_ORDERS, "restarts": RESTARTS, "machine": machine(None)}
    for metric in empty:
        values = sorted(times[metric] for times in restarts)
        emit(metric, values[len(values) // 2], "s", slowest=values[-1], with_an_empty_book=empty[metric], **about)
    emit("rss_per_open_order", round((recovered_rss - empty_rss) / OPEN_ORDERS), "bytes", after="recovery", **about)
    emit("rss_per_open_order_grown", round((grown_rss - empty_rss) / OPEN_ORDERS), "bytes", after="100,000 orders placed", **about)


def fill(stack: Stack, signers: list[Signer]) -> None:
    """Open orders on 1,000 levels a side, none of which trades."""
    orders, sent = Orders("open"), 0
    while sent < OPEN_ORDERS:
        part = batches(signers, orders, "ACK", min(400, (OPEN_ORDERS - sent) // SIZE), SIZE, resting=True)
        tally = closed_loop(stack.base_url, part, connections=CONNECTIONS, seconds=WITHIN_S, size=SIZE)
        if tally.refused or tally.orders != len(part) * SIZE:
            raise RuntimeError(f"of {len(part) * SIZE} orders {tally.orders} were taken: {tally.refused}")
        sent += tally.orders
        stack.wait_until_settled()
    found = stack.count("SELECT count(*) FROM orders_openorder")
    if found < OPEN_ORDERS:
        raise RuntimeError(f"{found} orders are open, not {OPEN_ORDERS}")


def restart(stack: Stack, signers: list[Signer]) -> dict[str, float]:
    """Kill the worker and place an order, which is answered when the next one has decided it.

    `process_to_recovered` is from the start of the new process, Python and Django included, to its log line; `rebuild` the part
    of it that reads and builds the books; `killed_to_decided` what a client sees.
    """
    earlier = stack.pid(WORKER)
    lines_before = len(_recoveries(stack))
    request = singles(signers, Orders(f"restart-{earlier}"), "RESULT", 1)
    os.kill(earlier, signal.SIGKILL)
    killed_at = time.time()
    while True:
        tally = closed_loop(stack.base_url, request, connections=1, seconds=5.0)
        if tally.orders and stack.count("SELECT count(*) FROM orders_inbox") == 0:
            break
        if time.time() - killed_at > WITHIN_S:
            raise TimeoutError(f"no decision within {WITHIN_S:.0f} s of the kill: {tally.refused}")
        request = singles(signers, Orders(f"restart-{earlier}-{time.time_ns()}"), "RESULT", 1)
        time.sleep(0.02)
    decided_at = time.time()
    recovery = _recoveries(stack)[lines_before]
    began_at = psutil.Process(stack.pid(WORKER)).create_time()
    return {
        "process_to_recovered": round(_moment(recovery["timestamp"]) - began_at, 2),
        "rebuild": float(recovery["seconds"]),
        "killed_to_decided": round(decided_at - killed_at, 2),
    }


def _recoveries(stack: Stack) -> list[dict[str, str]]:
    return [json.loads(line) for line in stack.log(WORKER).splitlines() if "matching_recovered" in line]


def _moment(text: str) -> float:
    return datetime.fromisoformat(re.sub(r"Z$", "+00:00", text)).timestamp()


def _rss(stack: Stack) -> int:
    return int(psutil.Process(stack.pid(WORKER)).memory_info().rss)
