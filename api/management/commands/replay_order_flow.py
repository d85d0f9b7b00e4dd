"""`manage.py replay_order_flow FILE`: a recorded day through the public API of the running stack, and whether it came out right.

Exit status 0: every trade as expected, nothing refused, nothing broken; 1: something is not as it should be, and it says what.
"""

import asyncio
import json
import os
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from api.client import RestClient, Unanswered
from api.replay import BadDay, Plan, Replay, Row, Tally, Trade, first_difference, levels_of, plan_day, read_day, read_trades, trades_of
from exchange_platform.ids import uuid7
from institutions import queries
from institutions.models import ApiKey, Institution
from institutions.services import create_account, create_api_key, create_institution, revoke_api_key
from markets.models import Asset, Symbol
from markets.services import create_asset, create_symbol
from orders.reconcile import reconcile
from wallet.services import deposit

ACTOR: Final = "replay_order_flow"
INSTITUTION: Final = "replay"
ACCOUNTS: Final = {"BUY": "replay-buyer", "SELL": "replay-seller"}
ASSET_SCALE: Final = 8
TICK, LOT = Decimal("0.01"), Decimal(1)  # of a symbol that is made here
LISTED_WITHIN_S: Final = 30.0
CLOCK_TOLERANCE: Final = timedelta(minutes=1)


def _speed(text: str) -> float | None:
    """None: as fast as it goes."""
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise ArgumentTypeError(f"{text!r} is neither a positive number nor max")
    return speed


class Command(BaseCommand):
    help = "Send a recorded day of order entry through the public API, report, compare the trades, reconcile."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE", help="ordtype;uid;is_buy;qty;price;timestamp, plain or .gz")
        parser.add_argument("--symbol", default="ANA/EUR", help="made with tick 0.01 and lot 1 when it is not listed (default: ANA/EUR)")
        parser.add_argument("--speed", type=_speed, default=None, metavar="N|max", help="times real time (default: max)")
        parser.add_argument("--transport", choices=("rest", "batch"), default="rest", help="one by one, or in batches of up to 50")
        parser.add_argument("--limit", type=int, metavar="N", help="the first N requests of the day")
        parser.add_argument("--expected", type=Path, metavar="TRADES.csv", help="taker_uid;maker_uid;price;qty (default: a book in memory)")
        parser.add_argument("--stack", type=Path, metavar="PATH", help="its stack.json (default: in STACK_HOME)")

    def handle(self, *_: Any, **options: Any) -> None:
        stack = self._stack(options["stack"])
        try:
            rows = read_day(options["file"], limit=options["limit"])
            expected = read_trades(options["expected"]) if options["expected"] else None
        except (OSError, BadDay) as problem:
            raise CommandError(str(problem)) from None
        if not rows:
            raise CommandError(f"{options['file']} has no requests.")
        symbol = ensure_symbol(options["symbol"])
        try:
            plan = plan_day(rows, tick=symbol.tick_size, lot=symbol.lot_size)
        except BadDay as problem:
            raise CommandError(f"{symbol.name}: {problem}") from None
        with issued_keys() as keys:
            try:
                faults = asyncio.run(self._replay(stack["base_url"], keys, symbol, rows, plan, expected, options))
            except Unanswered as problem:
                raise CommandError(str(problem)) from None
        faults += self._reconcile()
        for fault in faults:
            self.stdout.write(self.style.ERROR(f"WRONG        {fault}"))
        if faults:
            raise SystemExit(1)
        self.stdout.write(self.style.SUCCESS("All as expected."))

    def _stack(self, path: Path | None) -> dict[str, Any]:
        """The running stack; started anew with its settings when it is another one than the environment's."""
        path = (path or settings.STACK_HOME / "stack.json").resolve()
        try:
            stack: dict[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError):
            raise CommandError(f"{path} cannot be read. Is the stack up (`make run`)? Name its stack.json with --stack.") from None
        if stack["database_url"] != settings.DATABASE_URL:
            if os.environ.get("STACK_HOME") == str(path.parent):
                raise CommandError(f"{path} is of another database than DATABASE_URL names.")
            foreign = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "FIELD_ENCRYPTION_KEY")
            environment = {name: value for name, value in os.environ.items() if name not in foreign}
            os.execve(sys.executable, [sys.executable, *sys.argv], {**environment, "STACK_HOME": str(path.parent)})  # noqa: S606
        return stack

    async def _replay(
        self,
        base_url: str,
        keys: dict[str, tuple[str, str]],
        symbol: Symbol,
        rows: list[Row],
        plan: Plan,
        expected: list[Trade] | None,
        options: dict[str, Any],
    ) -> list[str]:
        progress = Progress(len(rows), self.stdout)
        started_at = datetime.now(UTC)
        async with AsyncExitStack() as opened:
            clients = {
                side: await opened.enter_async_context(RestClient(base_url, key=key, secret=secret)) for side, (key, secret) in keys.items()
            }
            await wait_until_listed(clients["BUY"], symbol.name)
            await ensure_empty_book(clients, symbol.name)
            await ensure_funds(clients, symbol, plan)
            replay = Replay(
                clients,
                symbol=symbol.name,
                run=f"replay-{uuid7().hex[:16]}",
                batches=options["transport"] == "batch",
                speed=options["speed"],
                answered=progress.add,
            )
            await replay.send(plan.steps)
            progress.end()
            ids = replay.tally.order_ids
            made = await trades_of(clients, symbol=symbol.name, order_ids=ids, since=started_at - CLOCK_TOLERANCE)
            levels = await levels_of(clients["BUY"], symbol=symbol.name)
        self._report(replay.tally, plan, made, levels)
        return self._compare(replay.tally, plan, made, levels, expected, limited=options["limit"] is not None)

    def _report(self, tally: Tally, plan: Plan, made: list[Trade], levels: dict[str, list[tuple[Decimal, Decimal]]]) -> None:
        quantity = sum((trade[3] for trade in made), Decimal(0))
        alone = sum(step.alone for step in plan.steps)
        book = ", ".join(f"{len(levels[side])} {name}" for side, name in (("BUY", "bids"), ("SELL", "asks")) if levels[side])
        rows = (
            ("Rows", f"{len(plan.steps):,} in {tally.seconds:.1f} s, {len(plan.steps) / max(tally.seconds, 1e-9):,.0f}/s"),
            ("Requests", f"{tally.requests:,}; {alone:,} rows could trade and were sent alone"),
            ("Orders", f"{tally.orders:,}, {tally.orders / max(tally.seconds, 1e-9):,.0f}/s"),
            ("Trades", f"{len(made):,}, quantity {quantity:,.18f}".rstrip("0").rstrip(".")),
            ("Latency", ", ".join(f"p{percent} {tally.percentile_ms(percent):.1f} ms" for percent in (50, 95, 99))),
            ("Refused", ", ".join(f"{count:,} × {what}" for what, count in tally.refused.most_common(5)) or "0"),
            ("Dead orders", f"{tally.dead:,} requests"),
            ("Book", f"levels: {book}" if book else "empty"),
        )
        for name, text in rows:
            self.stdout.write(f"{name:<12} {text}")

    def _compare(
        self,
        tally: Tally,
        plan: Plan,
        made: list[Trade],
        levels: dict[str, list[tuple[Decimal, Decimal]]],
        expected: list[Trade] | None,
        *,
        limited: bool,
    ) -> list[str]:
        faults = []
        if tally.refused:
            faults.append(f"{sum(tally.refused.values()):,} requests were refused")
        if tally.dead:
            faults.append(f"{tally.dead:,} requests were about dead orders")
        wanted = plan.trades if expected is None else expected[: len(plan.trades)] if limited else expected
        difference = first_difference(wanted, made)
        source = "a book in memory" if expected is None else "the file"
        self.stdout.write(
            f"{'Expected':<12} {len(wanted):,} trades of {source}: {'the same, one by one' if difference is None else 'NOT the same'}"
        )
        if difference is not None:
            faults.append(difference)
        if levels != plan.levels:
            faults.append(f"the book has {_depth(levels)}, expected {_depth(plan.levels)}")
        return faults

    def _reconcile(self) -> list[str]:
        report = reconcile()
        verdict = "no break" if report.is_clean else f"{report.broken:,} breaks"
        self.stdout.write(f"{'Reconcile':<12} {verdict} in {len(report.checks)} checks, {report.duration.total_seconds():.2f} s")
        return [f"{found.check}: {found.table} {found.key}: {found.sentence}" for found in report.breaks[:20]]


def _depth(levels: dict[str, list[tuple[Decimal, Decimal]]]) -> str:
    return " and ".join(
        f"{sum(q for _, q in levels[side])} on {len(levels[side])} {name}" for side, name in (("BUY", "bids"), ("SELL", "asks"))
    )


# -- what the day needs


def ensure_symbol(name: str) -> Symbol:
    """The symbol; made with its assets when it is not listed. Raises: CommandError."""
    found = Symbol.objects.filter(name=name).first()
    if found is not None:
        return found
    base, _, quote = name.partition("/")
    if not base or not quote:
        raise CommandError(f"A symbol is BASE/QUOTE, not {name!r}.")
    for code in (base, quote):
        if not Asset.objects.filter(code=code).exists():
            create_asset(code=code, scale=ASSET_SCALE, actor=ACTOR)
    return create_symbol(base=base, quote=quote, tick_size=TICK, lot_size=LOT, static_band=None, dynamic_band=None, actor=ACTOR)


@contextmanager
def issued_keys() -> Iterator[dict[str, tuple[str, str]]]:
    """By side an unlimited key of its account (made when missing) and its secret; revoked at the end."""
    institution = Institution.objects.filter(code=INSTITUTION).first()
    if institution is None:
        institution = create_institution(code=INSTITUTION, name="Replay of recorded days", actor=ACTOR)
    for name in ACCOUNTS.values():
        if queries.find_account(name) is None:
            create_account(institution_id=institution.pk, name=name, beneficial_owner=f"Replay, {name}", actor=ACTOR)
    for left in ApiKey.objects.filter(label=ACTOR, is_active=True).values_list("key", flat=True):
        revoke_api_key(key=left, actor=ACTOR, reason="left by a replay that was broken off")
    keys: dict[str, tuple[str, str]] = {}
    try:
        for side, name in ACCOUNTS.items():
            account = queries.find_account(name)
            assert account is not None
            issued = create_api_key(
                institution_id=institution.pk,
                account_id=account.id,
                scopes=("read", "trade"),
                is_unlimited=True,
                label=ACTOR,
                actor=ACTOR,
            )
            assert issued.secret is not None
            keys[side] = (issued.key, issued.secret)
        yield keys
    finally:
        for key, _ in keys.values():
            revoke_api_key(key=key, actor=ACTOR, reason="the replay is over")


async def ensure_funds(clients: dict[str, RestClient], symbol: Symbol, plan: Plan) -> None:
    """Deposit what the accounts lack for the whole day."""
    base, _, quote = symbol.name.partition("/")
    for side, asset in (("BUY", quote), ("SELL", base)):
        free = {row["asset"]: Decimal(row["available"]) for row in await clients[side].balances()}
        lacking = plan.needed[side] - free.get(asset, Decimal(0))
        account = await asyncio.to_thread(queries.find_account, ACCOUNTS[side])
        assert account is not None
        if lacking > 0:
            await asyncio.to_thread(
                deposit,
                account_id=account.id,
                asset=asset,
                amount=lacking,
                reference=f"replay:{uuid7()}",
                actor=ACTOR,
                reason="for a replay",
            )


async def ensure_empty_book(clients: dict[str, RestClient], name: str) -> None:
    """Cancel what an earlier replay of part of a day left. Raises: Unanswered when somebody else's orders are there."""
    for client in clients.values():
        reply = await client.call("DELETE", "/orders", query={"symbol": name})
        if not reply.is_good:
            raise Unanswered(f"the open orders of {name} could not be cancelled: {reply.status} {reply.code}")
    levels = await levels_of(clients["BUY"], symbol=name)
    if any(levels.values()):
        raise Unanswered(f"The book of {name} has orders of others ({_depth(levels)}). Choose a symbol of its own with --symbol.")


async def wait_until_listed(client: RestClient, name: str) -> None:
    """A symbol that has just been made is known to the web process within a second, to matching within two."""
    give_up_at = time.monotonic() + LISTED_WITHIN_S
    while not any([row["symbol"] == name async for row in client.pages("/symbols")]):
        if time.monotonic() > give_up_at:
            raise Unanswered(f"{name} is not listed after {LISTED_WITHIN_S:.0f} s")
        await asyncio.sleep(0.2)


class Progress:
    """A bar on a terminal, a line per tenth otherwise."""

    def __init__(self, total: int, out: Any) -> None:
        self._total, self._out, self._done, self._told = total, out, 0, 0.0
        self._started = time.monotonic()
        self._is_terminal = bool(getattr(out, "isatty", lambda: False)())

    def add(self, rows: int) -> None:
        before, self._done = self._done, self._done + rows
        now = time.monotonic()
        if self._is_terminal and now - self._told > 0.2:
            self._told = now
            filled = 40 * self._done // self._total
            self._out.write(f"\r[{'#' * filled}{'.' * (40 - filled)}] {self._text(now)}", ending="")
            self._out.flush()
        elif not self._is_terminal and self._done * 10 // self._total > before * 10 // self._total:
            self._out.write(self._text(now))

    def end(self) -> None:
        if self._is_terminal:
            self._out.write("\r" + " " * 100 + "\r", ending="")

    def _text(self, now: float) -> str:
        rate = self._done / max(now - self._started, 1e-9)
        return f"{self._done:,} of {self._total:,} requests ({self._done * 100 // self._total} %), {rate:,.0f}/s"
