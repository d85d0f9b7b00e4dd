"""`manage.py run_demo_market`: simulated participants who trade on BTC/USDT and ETH/USDT until they are told to stop.

Each symbol has two market makers and two takers, of both demo institutions, with the demo accounts' keys; TEST/USDT is never touched. At
SIGTERM and Ctrl-C they take their orders back. The supervisor runs it as `demo-0`; by hand it finds the running stack by itself.
"""

import asyncio
import json
import os
import signal
import time
from argparse import ArgumentParser
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from api.client import RestClient, Unanswered
from api.demo.market import DemoMarket
from api.demo.recording import ROWS_PER_S, bitcoin, ether

MAKERS: Final = ("alpha-3", "beta-3")
TAKERS: Final = ("alpha-4", "beta-4")
WITHDRAW_WITHIN_S: Final = 5.0


class Command(BaseCommand):
    help = "Simulate a market on BTC/USDT and ETH/USDT along recorded prices, through the public API, until stopped."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--base-url", help="of the exchange (default: what stack.json says)")
        parser.add_argument("--credentials", type=Path, metavar="PATH", help="file with the demo accounts' keys (default: stack.json)")
        parser.add_argument("--every", type=float, default=1.5, metavar="SECONDS", help="how long a round of a symbol takes (default 1.5)")

    def handle(self, *_: Any, base_url: str | None, credentials: Path | None, every: float, **__: Any) -> None:
        stack = read(Path(settings.STACK_HOME) / "stack.json") if base_url is None or credentials is None else {}
        keys = unlimited_keys(read(credentials) if credentials else stack)
        asyncio.run(run(base_url or stack["base_url"], keys, every_s=every))


def read(path: Path) -> dict[str, Any]:
    """Raises: CommandError."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as problem:
        raise CommandError(f"{path} cannot be read ({problem}). Is the exchange running?") from None
    return content


def unlimited_keys(content: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Key and secret by account. Raises: CommandError when one that is needed is missing."""
    keys = {key["account"]: (key["key"], key["secret"]) for key in content.get("api_keys", []) if key["unlimited"]}
    missing = [name for name in (*MAKERS, *TAKERS) if name not in keys]
    if missing:
        raise CommandError(f"There is no key without limits for {', '.join(missing)}.")
    return keys


async def run(base_url: str, keys: dict[str, tuple[str, str]], *, every_s: float) -> None:
    """Trades until a stop signal, then takes the orders back."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with clients(base_url, keys) as by_account:
        markets = make_markets(by_account, every_s=every_s)
        tasks = [asyncio.create_task(begin(market, after_s=every_s / 2 * at / len(markets))) for at, market in enumerate(markets)]
        waiting = asyncio.create_task(stopped.wait())
        await asyncio.wait([*tasks, waiting], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        try:
            async with asyncio.timeout(WITHDRAW_WITHIN_S):
                await asyncio.gather(*(market.withdraw() for market in markets))
        except (Unanswered, TimeoutError):
            pass  # the exchange is gone; the next start takes back what is left
        waiting.cancel()
        for outcome in ended:
            if isinstance(outcome, Exception) and not isinstance(outcome, asyncio.CancelledError):
                raise outcome


@asynccontextmanager
async def clients(base_url: str, keys: dict[str, tuple[str, str]]) -> AsyncIterator[dict[str, RestClient]]:
    async with AsyncExitStack() as opened:
        yield {
            name: await opened.enter_async_context(RestClient(base_url, key=keys[name][0], secret=keys[name][1], connections=2))
            for name in (*MAKERS, *TAKERS)
        }


def make_markets(by_account: dict[str, RestClient], *, every_s: float) -> list[DemoMarket]:
    chance = Random(os.urandom(8))  # noqa: S311  # not for secrets
    rows = max(1, round(every_s * ROWS_PER_S))
    run_id = f"{time.time_ns() // 1_000_000:x}"
    sources = (
        ("BTC/USDT", bitcoin(every_rows=rows), Decimal("0.3")),
        ("ETH/USDT", ether(chance, every_rows=rows), Decimal(6)),
    )
    return [
        DemoMarket(
            symbol,
            makers=[by_account[name] for name in MAKERS],
            takers=[by_account[name] for name in TAKERS],
            moments=moments,
            unit=unit,
            every_s=every_s,
            run_id=run_id,
            chance=chance,
        )
        for symbol, moments, unit in sources
    ]


async def begin(market: DemoMarket, *, after_s: float) -> None:
    """The symbols take turns within a round."""
    await asyncio.sleep(after_s)
    await market.run()
