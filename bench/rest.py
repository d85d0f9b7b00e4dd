"""POST /orders one by one: a closed loop over 32 connections, acknowledged after intake (ACK) and after matching (RESULT)."""

import os

from bench import Emit
from bench.load import Orders, Signer, closed_loop, singles
from bench.stack import Stack, cpu_of, cpu_per_order, running_stack

CONNECTIONS = 32
WARM_UP_S = 3.0
SECONDS = 10.0
MOST_PER_S = 2_500  # requests prepared


def run(emit: Emit) -> None:
    """Orders per second, delays, and processor time per order of every process."""
    with running_stack() as stack:
        for response_type in ("RESULT", "ACK"):
            measure(stack, emit, response_type)


def measure(stack: Stack, emit: Emit, response_type: str, seconds: float = SECONDS) -> None:
    signers = [Signer(stack.base_url, key) for key in stack.unlimited_keys()]
    orders = Orders(f"rest-{response_type}")
    closed_loop(
        stack.base_url, singles(signers, orders, response_type, int(WARM_UP_S * MOST_PER_S)), connections=CONNECTIONS, seconds=WARM_UP_S
    )
    stack.wait_until_settled()
    prepared = singles(signers, orders, response_type, int(seconds * MOST_PER_S))
    trades, before = stack.count("SELECT sum(trade_number) FROM orders_checkpoint"), cpu_of(stack)
    tally = closed_loop(stack.base_url, prepared, connections=CONNECTIONS, seconds=seconds)
    tally.check()
    drained_s = stack.wait_until_settled()
    after = cpu_of(stack)
    emit(
        f"single_{response_type.lower()}",
        round(tally.orders / tally.seconds),
        "orders/s",
        **tally.percentiles_ms(),
        orders=tally.orders,
        refused=dict(tally.refused),
        trades_per_order=round((stack.count("SELECT sum(trade_number) FROM orders_checkpoint") - trades) / max(tally.orders, 1), 2),
        drained_s=round(drained_s, 2),
        connections=CONNECTIONS,
        generator_core_share=round(after.since(before)["generator"] / (tally.seconds + drained_s), 2),
        cpu_us_per_order=cpu_per_order(before, after, tally.orders),
        load_average=[round(x, 1) for x in os.getloadavg()],
    )
