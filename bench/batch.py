"""POST /orders/batch with 50 orders each: a closed loop over 16 connections, acknowledged after intake (ACK) and matching (RESULT)."""

from bench import Emit, measure
from bench.load import Orders, Signer, batches
from bench.stack import Stack

SIZE = 50


def prepare(stack: Stack, name: str, response_type: str, count: int) -> list[bytes]:
    """Signed requests, the accounts in turn."""
    return batches([Signer(stack.base_url, key) for key in stack.unlimited_keys()], Orders(name), response_type, count, SIZE)


def run(emit: Emit) -> None:
    """Orders per second, delays of whole batches, and processor time per order of every process."""
    measure.run(emit, "batch", prepare, connections=16, size=SIZE, most_per_s=400)
