"""Real matching workers on the present database: `manage.py run_matching` in processes of their own, and clients that keep asking."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from markets.models import Symbol
from matching import shards
from orders import commands
from orders.intake import Job
from orders.refusals import NotTaken, OrderNotOpen
from orders.requests import CancelOrder, CancelTaken, Outcome, Placed, Request, Submission
from tests.matching_worker.exchange import Exchange, Trader, order
from tests.support.servers import PROJECT
from tests.support.stacks import wait_until

STARTED_WITHIN_S = 60.0
ANSWER_WITHIN_S = 45.0


@contextmanager
def worker_process(log: Path, *, shard: int = 0, shards_in_all: int = 1) -> Iterator["subprocess.Popen[bytes]"]:
    """One worker; killed at the end, stopped or not."""
    arguments = ["run_matching", "--shard", str(shard), "--shards", str(shards_in_all)]
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(PROJECT / "manage.py"), *arguments], cwd=PROJECT, env=dict(os.environ), stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


def owner_pid(exchange: Exchange, shard: int = 0) -> int:
    """Whose lease holds at this moment; 0: nobody's."""
    found = exchange.rows("SELECT owner FROM orders_shard WHERE id = %s AND expires_at > clock_timestamp()", shard)
    return int(found[0][0].rpartition(":")[2]) if found and ":" in found[0][0] else 0


def status_of(exchange: Exchange, order_id: object) -> str:
    return str(exchange.row("SELECT status FROM orders_order WHERE id = %s", order_id)[0])


def give_up_the_shard(exchange: Exchange) -> None:
    """The worker of this process hands over, as at a clean stop."""
    assert exchange.worker is not None
    shards.release(exchange.session, shard=0, epoch=exchange.worker.epoch)
    exchange.session.close()
    exchange.worker = None


class Shards:
    """A worker process for each shard, started and ended as a test says. Whatever it does, none is left at the end."""

    def __init__(self, exchange: Exchange, folder: Path, ends: ExitStack, *, shards_in_all: int) -> None:
        self.exchange = exchange
        self.shards_in_all = shards_in_all
        self.process: dict[int, subprocess.Popen[bytes]] = {}
        self._folder = folder
        self._ends = ends
        self._count = 0

    def start(self, shard: int) -> "subprocess.Popen[bytes]":
        """A worker for the shard, which need not be the first; not waited for."""
        self._count += 1
        log = self._folder / f"matching-{shard}-{self._count}"
        process = self._ends.enter_context(worker_process(log, shard=shard, shards_in_all=self.shards_in_all))
        self.process[shard] = process
        return process

    def start_and_own(self, *wanted: int) -> None:
        """A worker for each of these shards; returns when they own them, and every symbol that is theirs by its number."""
        for shard in wanted:
            self.start(shard)
        for shard in wanted:
            wait_until(lambda s=shard: self._is_ready(s), within_s=STARTED_WITHIN_S, what=f"shard {shard} has its owner")  # type: ignore[misc]

    def _is_ready(self, shard: int) -> bool:
        untaken = "SELECT 1 FROM markets_symbol WHERE id %% %s = %s AND id NOT IN (SELECT symbol_id FROM orders_checkpoint)"
        return self.owns(shard) and self.exchange.rows(untaken, self.shards_in_all, shard) == []

    def owns(self, shard: int) -> bool:
        return owner_pid(self.exchange, shard) == self.process[shard].pid

    def signal(self, shard: int, number: signal.Signals) -> None:
        self.process[shard].send_signal(number)
        if number == signal.SIGKILL:
            self.process[shard].wait()

    def logs(self) -> str:
        return "\n".join(f"{path.name}:\n{path.read_text()[-3000:]}" for path in sorted(self._folder.glob("matching-*")))

    def shard_of(self, symbol: Symbol) -> int:
        return int(self.exchange.row("SELECT shard_id FROM orders_checkpoint WHERE symbol_id = %s", symbol.pk)[0])


@dataclass
class Told:
    """What one client was told, in the order in which it was told."""

    acknowledged: list[tuple[str, UUID]] = field(default_factory=list)  # symbol, order
    ids: dict[str, UUID] = field(default_factory=dict)  # client id → order
    cancelled: list[UUID] = field(default_factory=list)
    asked_again: Counter[str] = field(default_factory=Counter)
    odd: list[str] = field(default_factory=list)


class Client(threading.Thread):
    """Places and cancels on several symbols, one request at a time, and asks the same again until it is taken."""

    def __init__(self, exchange: Exchange, trader: Trader, symbols: Sequence[Symbol], *, seed: int, pause_s: float = 0.004) -> None:
        super().__init__(name=f"client-{seed}", daemon=True)
        self.told = Told()
        self._exchange, self._trader, self._symbols, self._pause_s = exchange, trader, symbols, pause_s
        self._chance = random.Random(seed)
        self._over = threading.Event()

    def stop(self) -> Told:
        self._over.set()
        self.join(timeout=60)
        assert not self.is_alive(), "a client still waits for its answer"
        return self.told

    def run(self) -> None:
        open_orders: list[UUID] = []
        while not self._over.is_set():
            if open_orders and self._chance.random() < 0.3:
                self._cancel(open_orders.pop(self._chance.randrange(len(open_orders))))
            else:
                open_orders += self._place()
            del open_orders[:-20]
            time.sleep(self._pause_s)

    def _place(self) -> list[UUID]:
        symbol, side = self._chance.choice(self._symbols), self._chance.choice(("BUY", "SELL"))
        request = order(self._trader, symbol, side, str(self._chance.randint(1, 9)), str(100 + self._chance.randint(-3, 3)))
        outcome = self._ask(request)
        if not isinstance(outcome, Placed) or outcome.refusal is not None:
            self.told.odd.append(f"{request.client_order_id}: {outcome!r}")
            return []
        order_id = UUID(outcome.order["order_id"])
        self.told.acknowledged.append((symbol.name, order_id))
        if self.told.ids.setdefault(request.client_order_id, order_id) != order_id:
            self.told.odd.append(f"{request.client_order_id} is two orders")
        return [order_id]

    def _cancel(self, order_id: UUID) -> None:
        outcome = self._ask(CancelOrder(self._trader.principal, order_id))
        if isinstance(outcome, CancelTaken):
            self.told.cancelled.append(order_id)
        elif not isinstance(outcome, OrderNotOpen):
            self.told.odd.append(f"cancel of {order_id}: {outcome!r}")

    def _ask(self, request: Request) -> Outcome:
        deadline = time.monotonic() + ANSWER_WITHIN_S
        while True:
            job = Job(Submission((request,), None))
            self._exchange.intake.put(job)
            outcome = job.future.result(timeout=ANSWER_WITHIN_S)[0]
            if not isinstance(outcome, NotTaken) or time.monotonic() > deadline:
                return outcome
            self.told.asked_again[outcome.code] += 1
            time.sleep(0.02)


@contextmanager
def clients(exchange: Exchange, symbols: Sequence[Symbol], *, count: int = 3) -> Iterator[list[Client]]:
    """So many clients of so many accounts at work inside the block; stopped at its end."""
    assets = {asset.pk: asset for symbol in symbols for asset in (symbol.base, symbol.quote)}
    traders = [exchange.trader(*((asset, 1_000_000) for asset in assets.values())) for _ in range(count)]
    exchange.intake.start()
    working = [Client(exchange, trader, symbols, seed=number) for number, trader in enumerate(traders)]
    for client in working:
        client.start()
    try:
        yield working
    finally:
        for client in working:
            client.stop()
        exchange.intake.stop()


def wait_until_settled(exchange: Exchange, within_s: float = 60.0) -> None:
    nothing_waits = "SELECT (SELECT count(*) FROM orders_inbox), (SELECT count(*) FROM orders_order WHERE status = 'PENDING')"
    wait_until(lambda: exchange.row(nothing_waits) == (0, 0), within_s=within_s, what="everything is settled")


def assert_nothing_lost_doubled_or_reordered(exchange: Exchange, told: Sequence[Told]) -> None:
    """What the clients were told against orders, trades and the order in which the engine had the commands."""
    assert [odd for one in told for odd in one.odd] == []
    orders = dict(exchange.rows("SELECT id, status FROM orders_order"))
    assert set(orders) == {order_id for one in told for _, order_id in one.acknowledged}, "there are others, or some are missing"
    assert {orders[order_id] for one in told for order_id in one.cancelled} <= {"CANCELLED", "FILLED"}
    placed = _placings(exchange)
    for one in told:
        for symbol in {symbol for symbol, _ in one.acknowledged}:
            mine = [order_id.hex for name, order_id in one.acknowledged if name == symbol]
            kept = set(mine)
            assert [order_id for order_id in placed[symbol] if order_id in kept] == mine, f"{symbol}: not in the order of acknowledgement"


def _placings(exchange: Exchange) -> dict[str, list[str]]:
    """The orders of each symbol in the sequence in which the engine took them; each once, and no sequence twice or missing."""
    found: dict[str, list[str]] = {}
    last: dict[str, int] = {}
    for symbol, first, payload in exchange.rows(
        """SELECT s.name, l.first_sequence, l.payload FROM orders_commandlog l JOIN markets_symbol s ON s.id = l.symbol_id
           ORDER BY l.symbol_id, l.first_sequence"""
    ):
        taken = commands.unpack(bytes(payload))
        assert first == last.get(symbol, 0) + 1, f"{symbol}: {last.get(symbol, 0)} is followed by {first}"
        last[symbol] = first + len(taken) - 1
        found.setdefault(symbol, []).extend(command[1] for command in taken if command[0] == commands.PLACE)
    for symbol, orders in found.items():
        assert len(orders) == len(set(orders)), f"{symbol}: an order was matched twice"
    return found
