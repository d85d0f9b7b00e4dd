"""What it costs to count: intake's and settlement's figures per order by batch, the doors' per request, a scrape of a busy exchange."""

import os
import tempfile
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from bench import Emit

ORDERS = 40_000
REPEATS = 5
BATCHES = (1, 10, 50, 500)
SYMBOLS = 500


def run(emit: Emit) -> None:
    """Emit µs per order of processor time (best of REPEATS), and milliseconds per scrape."""
    with tempfile.TemporaryDirectory() as home:
        os.environ.update(STACK_HOME=home, DJANGO_SETTINGS_MODULE="exchange_platform.settings.test")
        import django

        django.setup()
        _measure(emit)


def _measure(emit: Emit) -> None:
    from api import counting
    from exchange_platform import metrics
    from exchange_platform.telemetry import buffers, text
    from orders.metrics import count_intake, count_settlement

    for size in BATCHES:
        drafts = [_draft(number) for number in range(size)]
        batch = _settled(size)
        emit("count_intake", _best(lambda: count_intake(drafts), size), "µs/order", batch=size)  # noqa: B023
        settle: Callable[[], None] = lambda: count_settlement([batch], commands=size, matching_s=0.001, settling_s=0.004)  # noqa: B023, E731
        emit("count_settlement", _best(settle, size), "µs/order", batch=size)

    def one_request() -> None:
        counting.count_placements(0.0, ("BTC/USDT",))
        counting.count_response(201)
        counting.cache_hits.count += 2

    emit("request", _best(one_request, 1), "µs/request")
    kept = ORDERS * REPEATS
    began = time.process_time()
    buffers.flush()
    emit("flush", (time.process_time() - began) / kept * 1e6, "µs/request", requests=kept)

    for number in range(SYMBOLS):
        count_intake([_draft(n, symbol=f"S{number}/USDT") for n in range(2)])
        metrics.order_placement_duration_seconds.labels(f"S{number}/USDT").observe(0.01)
    began = time.process_time()
    written = text.exposition(metrics.FAMILIES, {})
    emit("scrape", (time.process_time() - began) * 1e3, "ms", symbols=SYMBOLS, bytes=len(written))


def _draft(number: int, symbol: str = "BTC/USDT") -> Any:
    request = SimpleNamespace(symbol=symbol, order_type="LIMIT", side="BUY" if number % 2 else "SELL")
    return SimpleNamespace(request=request, refusal=None)


def _settled(size: int) -> Any:
    """Half of the orders rest, the others fill one that rested before: 0.5 trades per order."""
    touched, trades = {}, []
    for number in range(size):
        is_open = number % 2 == 0
        touched[number] = SimpleNamespace(status="OPEN" if is_open else "FILLED", reason=None, is_buy=bool(number & 2))
        if not is_open:
            trades.append((None, 0, 0, "", "", "", f"maker-{number}", f"taker-{number}"))
    return SimpleNamespace(progress=SimpleNamespace(market=SimpleNamespace(name="BTC/USDT")), touched=touched, trades=trades)


def _best(call: Callable[[], None], orders: int) -> float:
    """µs per order of the quickest round."""
    rounds = max(1, ORDERS // orders)
    found = []
    for _ in range(REPEATS):
        began = time.process_time()
        for _ in range(rounds):
            call()
        found.append((time.process_time() - began) / (rounds * orders) * 1e6)
    return min(found)
