"""An operator in a process of his own, who halts, auctions and resumes a symbol and publishes its reference price, as `orders.controls` and
`orders.reference` let him, until his standard input ends. What fails because PostgreSQL has been killed is tried again.

`python -m tests.chaos.operator TEST/USDT SEED`, in the environment of a stack.
"""

import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from decimal import Decimal

from tests.support.servers import PROJECT
from tests.support.stacks import RunningStack

RETRY_S = 0.3
PRICE_EVERY_S = 0.5
OPEN_S = (3.0, 9.0)  # trading goes on for so long, between these
CLOSED_S = (0.5, 3.0)
CLOSED = ("HALTED", "AUCTION", "AUCTION", "POST_ONLY", "CANCEL_ONLY")


class Operator:
    """The process, from the test's side."""

    def __init__(self, stack: RunningStack, symbol: str, seed: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.operator", symbol, str(seed)],
            cwd=PROJECT,
            env={**stack.environment, "DJANGO_SETTINGS_MODULE": "exchange_platform.settings.local"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def stop(self) -> dict[str, int]:
        """The symbol trades again. Returns how often he did what."""
        told, _ = self._process.communicate(timeout=120)
        assert self._process.returncode == 0, told
        return {word: int(count) for word, count in (part.split("=") for part in told.split())}


def main(symbol: str, seed: int) -> None:
    import django

    django.setup()
    from django.db import Error, connections

    from orders.reference import publish_price
    from tests.support.approvals import change_status

    chance = random.Random(seed)
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    done: dict[str, int] = {}

    def act(word: str, what: Callable[[], object]) -> None:
        while True:
            try:
                what()
            except Error:
                connections["default"].close()
                time.sleep(RETRY_S)
            else:
                done[word] = done.get(word, 0) + 1
                return

    def status(word: str) -> None:
        act(word, lambda: change_status(symbol=symbol, status=word, actor="olga", reason="chaos"))

    def publish() -> None:
        publish_price(symbol=symbol, price=Decimal(chance.randint(99_700, 100_300)) / 1000, source="feed")  # often between two ticks

    def prices_until(end: float) -> None:
        while not over.is_set() and time.monotonic() < end:
            act("PRICE", publish)
            over.wait(PRICE_EVERY_S)

    while not over.is_set():
        prices_until(time.monotonic() + chance.uniform(*OPEN_S))
        status(chance.choice(CLOSED))
        prices_until(time.monotonic() + chance.uniform(*CLOSED_S))
        status("TRADING")
    print(*(f"{word}={count}" for word, count in done.items()))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
