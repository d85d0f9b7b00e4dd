"""The simulated market against a running stack: it trades, outlives restarts and halts, and leaves nothing behind."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.support.servers import PROJECT
from tests.support.stacks import RunningStack, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def market(running_stack: RunningStack) -> Iterator["subprocess.Popen[bytes]"]:
    """`manage.py run_demo_market` as a person types it."""
    with open(running_stack.home / "logs" / "demo.log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(PROJECT / "manage.py"), "run_demo_market"],
            cwd=PROJECT,
            env=running_stack.environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    yield process
    if process.poll() is None:
        process.kill()
        process.wait()


@pytest.fixture
def trades(running_stack: RunningStack) -> Callable[[str], int]:
    """The number of trades that a symbol has had in the last 24 hours; -1 while nobody answers."""

    def count(symbol: str) -> int:
        try:
            answer = httpx.get(f"{running_stack['base_url']}/api/v1/ticker/{symbol}", trust_env=False, timeout=5)
            return int(answer.json()["trade_count"]) if answer.status_code == 200 else -1
        except (httpx.HTTPError, KeyError):
            return -1

    return count


def moves(trades: Callable[[str], int], *, within_s: float = 60.0) -> None:
    """Both markets trade on."""
    for symbol in ("BTC-USDT", "ETH-USDT"):
        wait_until(lambda symbol=symbol: trades(symbol) >= 0, within_s=within_s, what="an answer")  # type: ignore[misc]
        before = trades(symbol)
        wait_until(lambda symbol=symbol, n=before: trades(symbol) > n, within_s=within_s, what=f"{symbol} trades")  # type: ignore[misc]


def test_both_markets_come_alive_on_a_fresh_home(market: "subprocess.Popen[bytes]", trades: Callable[[str], int]) -> None:
    moves(trades)
    assert trades("TEST-USDT") == 0


def test_it_outlives_the_death_of_the_web_process(
    market: "subprocess.Popen[bytes]", running_stack: RunningStack, trades: Callable[[str], int]
) -> None:
    running_stack.wait_until_replaced("web-0", running_stack.kill("web-0"))
    moves(trades)


def test_it_outlives_the_death_of_postgresql(
    market: "subprocess.Popen[bytes]", running_stack: RunningStack, trades: Callable[[str], int]
) -> None:
    running_stack.wait_until_replaced("postgresql", running_stack.kill("postgresql"), within_s=60)
    moves(trades, within_s=90)
    assert market.poll() is None


def test_it_takes_its_orders_back_when_it_is_told_to_stop(market: "subprocess.Popen[bytes]", running_stack: RunningStack) -> None:
    market.send_signal(signal.SIGTERM)
    assert market.wait(timeout=15) == 0, running_stack.log("demo")
    time.sleep(0.5)
    for symbol in ("BTC-USDT", "ETH-USDT"):
        book = json.loads(httpx.get(f"{running_stack['base_url']}/api/v1/orderbook/{symbol}", trust_env=False).content)
        assert (book["bids"], book["asks"]) == ([], [])
