"""POST /orders one by one: a closed loop over 32 connections, acknowledged after intake (ACK) and after matching (RESULT)."""

from bench import Emit, measure
from bench.load import Orders, Signer, singles
from bench.stack import Stack


def prepare(stack: Stack, name: str, response_type: str, count: int) -> list[bytes]:
    """Signed requests, the accounts in turn."""
    return singles([Signer(stack.base_url, key) for key in stack.unlimited_keys()], Orders(name), response_type, count)


def run(emit: Emit) -> None:
    """Orders per second, delays, and processor time per order of every process."""
    measure.run(emit, "single", prepare, connections=32, size=1, most_per_s=2_500)
