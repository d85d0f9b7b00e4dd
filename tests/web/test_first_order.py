"""The first visit: README's first order, as it stands there, against a running stack."""

import json
import os
import re
import subprocess

import pytest

from tests.support.servers import PROJECT
from tests.support.stacks import RunningStack


@pytest.fixture(scope="module")
def first_orders(running_stack: RunningStack) -> list[str]:
    """README's first order, run as it stands in a plain shell; the answers, one per line."""
    chapter = (PROJECT / "README.md").read_text().partition("## A first signed order\n")[2].partition("\n## ")[0]
    commands = "\n".join(re.findall(r"^```sh\n(.*?)^```", chapter, re.DOTALL | re.MULTILINE))
    environment = {**os.environ, "STACK_HOME": str(running_stack.home)}
    done = subprocess.run(
        ["sh", "-e", "-c", commands], cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_the_first_order_of_the_readme_does_what_it_says(first_orders: list[str], running_stack: RunningStack) -> None:
    bid, sale, book, balances, ledger, cancelled = map(json.loads, first_orders)
    assert (bid["status"], bid["account"]) == ("OPEN", "alpha-1")
    assert (sale["status"], sale["filled_quantity"], len(sale["fills"])) == ("FILLED", "0.500", 1)
    assert (book["bids"], book["asks"]) == ([["99.50", "1.500"]], [])
    assert {"account": "beta-1", "asset": "TEST", "posted": "899999.50000000", "held": "0.00000000", "available": "899999.50000000"} in (
        balances["results"]
    )
    assert len(ledger["results"]) == 5
    assert cancelled == {"requested": 1, "cancelled": 1}
