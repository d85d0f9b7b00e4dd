"""A recorded trading day through REST, intake, matching and ledger of a whole stack gives exactly the expected trades.

By default the first 6,000 requests of the day, one by one, and as many in batches. WHOLE_DAY=1 sends all 27,056: some minutes.
"""

import os
import subprocess
import sys

import psycopg
import pytest

from tests.support.servers import PROJECT
from tests.support.stacks import RunningStack

pytestmark = pytest.mark.slow

DATA = PROJECT / "tests" / "data"
FLOW = DATA / "order-flow-bme-ana-2019-05-23.csv.gz"
TRADES = DATA / "order-flow-bme-ana-2019-05-23-trades.csv"
WHOLE_DAY = os.environ.get("WHOLE_DAY", "") not in ("", "0")
PART = 6_000
WITHIN_S = 1_800 if WHOLE_DAY else 300


def replay(stack: RunningStack, *arguments: str) -> "subprocess.CompletedProcess[str]":
    limit = [] if WHOLE_DAY else ["--limit", str(PART)]
    return subprocess.run(
        [sys.executable, "manage.py", "replay_order_flow", str(FLOW), "--expected", str(TRADES), *limit, *arguments],
        cwd=PROJECT,
        env=stack.environment,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )


def told(output: str, name: str) -> str:
    """What the report says of `name`."""
    return next(line.removeprefix(name).strip() for line in output.splitlines() if line.startswith(name))


@pytest.mark.parametrize("transport", ["rest", "batch"])
def test_the_day_gives_exactly_the_expected_trades(running_stack: RunningStack, transport: str) -> None:
    symbol = f"ANA{transport.upper()}/EUR"
    done = replay(running_stack, "--symbol", symbol, "--transport", transport)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the same, one by one" in told(done.stdout, "Expected")
    assert told(done.stdout, "Refused") == "0"
    assert told(done.stdout, "Dead orders") == "0 requests"
    assert told(done.stdout, "Reconcile").startswith("no break")
    if WHOLE_DAY:
        assert told(done.stdout, "Trades") == "996, quantity 54,378"
        assert told(done.stdout, "Book") == "empty"
    with psycopg.connect(running_stack["database_url"]) as connection:
        row = connection.execute(
            "SELECT count(*), sum(quantity)::bigint FROM orders_trade t JOIN markets_symbol s ON s.id = t.symbol_id WHERE s.name = %s",
            [symbol],
        ).fetchone()
    assert row is not None
    assert f"{row[0]:,}, quantity {row[1]:,}" == told(done.stdout, "Trades")


def test_a_difference_is_told_and_fails(running_stack: RunningStack, tmp_path: "os.PathLike[str]") -> None:
    wrong = os.path.join(tmp_path, "trades.csv")
    with open(TRADES) as right, open(wrong, "w") as file:
        file.write(right.read().replace("199;189;95.7;1\n", "199;189;95.7;2\n", 1))
    done = replay(running_stack, "--symbol", "ANAWRONG/EUR", "--limit", "1000", "--expected", wrong)
    assert done.returncode == 1
    assert "trade 1: expected taker 199, maker 189, price 95.7, quantity 2" in done.stdout


def test_without_a_stack_it_says_so(tmp_path: "os.PathLike[str]") -> None:
    nowhere = os.path.join(tmp_path, "stack.json")
    done = subprocess.run(
        [sys.executable, "manage.py", "replay_order_flow", str(FLOW), "--stack", nowhere],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "Is the stack up" in done.stderr
