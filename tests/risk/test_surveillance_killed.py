"""A process that judges is killed with SIGKILL at each of its steps; the next one does what is left, and everything has happened once."""

import os
import signal
import subprocess
import sys
import time
from typing import Final

import pytest
from django.db import connection

from risk.post_trade import judge_trades
from tests.factories import AssetFactory, SymbolFactory
from tests.risk.surveillance_ground import stand_in
from tests.risk.test_post_trade import AGO_MS, rows, signals, two_of, wash
from tests.support.servers import PROJECT

# What the child runs: it puts a kill before (after) one of its steps, and judges.
CHILD: Final = """
import os, signal, sys
import django
django.setup()
import pytest
from risk import findings, post_trade, watermarks
from tests.risk.surveillance_ground import stand_in
stand_in(pytest.MonkeyPatch())
room, name, when, symbol = sys.argv[1:]
real = getattr(globals()[room], name)
def step(*given, **named):
    if when == "after":
        real(*given, **named)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(globals()[room], name, step)
post_trade.judge_trades(symbol_id=int(symbol))
"""

STEPS: Final = [
    ("watermarks", "take", "before"),
    ("watermarks", "take", "after"),
    ("findings", "write", "before"),
    ("findings", "set_scores", "before"),
    ("findings", "write", "after"),
    ("watermarks", "move", "after"),
]


@pytest.mark.parametrize(("room", "name", "when"), STEPS)
def test_killed_at_a_step_it_leaves_nothing(fresh_database: str, monkeypatch: pytest.MonkeyPatch, room: str, name: str, when: str) -> None:
    stand_in(monkeypatch)
    symbol = SymbolFactory(quote=AssetFactory(code="USDT"))
    one, other = two_of("Ada Lovelace")
    wash(symbol, one, other, int(time.time() * 1000) - AGO_MS)
    connection.close()
    child = subprocess.run(
        [sys.executable, "-c", CHILD, room, name, when, str(symbol.pk)],
        cwd=PROJECT,
        env=dict(os.environ),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()
    assert signals() == []
    assert rows("SELECT 1 FROM risk_watermark") == []
    assert judge_trades(symbol_id=symbol.pk).alerts == 3
    assert judge_trades(symbol_id=symbol.pk).rows == 0
    assert len(signals()) == 6
