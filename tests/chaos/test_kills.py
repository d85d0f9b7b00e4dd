"""kill -9 under load: nothing that was acknowledged is lost or doubled, and the exchange comes back by itself.

One stack, eight stubborn clients, 10 kills of the matching worker, 10 of PostgreSQL and 3 of the web process in a shuffled order;
then each test asks one question of what is left. EXCHANGE_CHAOS_REPORT=path also writes the table of recovery times there.
"""

import os
import random
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import httpx
import psutil
import psycopg
import pytest

from exchange_platform.stack.processes import is_alive
from tests.chaos.load import SYMBOL, Load, Told
from tests.chaos.rest import call, keys_of
from tests.money import assert_money_conserved
from tests.support.stacks import RunningStack, started_stack, wait_until

KILLS: Final = {"matching-0": 10, "postgresql": 10, "web-0": 3}
SEED: Final = 20190523
BACK_WITHIN_S: Final = 30.0
STEADY_S: Final = 5.5  # the supervisor's back-off grows with quick deaths; after this long it begins anew
PENDING_AT_MOST_S: Final = 15.0

pytestmark = pytest.mark.slow


@dataclass
class Ordeal:
    stack: RunningStack
    told: Told
    recovery: dict[str, list[float]] = field(default_factory=dict)  # seconds from the kill until an order was matched again
    told_after: list[float] = field(default_factory=list)  # age of a successor when stack.json first named it
    still_pending: int = 0

    def rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.stack["database_url"]) as connection:
            return connection.execute(sql.encode(), parameters).fetchall()

    def table(self) -> str:
        lines = [f"{'killed':<12} {'kills':>5} {'min s':>7} {'median':>7} {'max s':>7}   each"]
        for name, times in self.recovery.items():
            each = " ".join(f"{seconds:.2f}" for seconds in times)
            lines.append(f"{name:<12} {len(times):>5} {min(times):>7.2f} {statistics.median(times):>7.2f} {max(times):>7.2f}   {each}")
        told = self.told
        lines.append(f"stack.json named a successor at most {max(self.told_after):.2f} s after its start")
        lines.append(f"{sum(told.calls.values())} calls ({_words(told.calls)}), {len(told.acknowledged)} orders acknowledged")
        lines.append(f"asked again: {_words(told.broken)}")
        return "\n".join(lines)


def _words(counts: Any) -> str:
    return ", ".join(f"{name} × {count}" for name, count in counts.most_common())


@pytest.fixture(scope="module")
def ordeal() -> Iterator[Ordeal]:
    chance = random.Random(SEED)
    plan = [name for name, count in KILLS.items() for _ in range(count)]
    chance.shuffle(plan)
    with started_stack() as stack:
        load = Load(stack, seed=SEED).start()
        found = Ordeal(stack, load.told, {name: [] for name in KILLS})
        try:
            time.sleep(2)
            quick = 0
            for name in plan:
                found.recovery[name].append(kill(stack, name, found.told_after))
                quick += name != "web-0"
                time.sleep(STEADY_S if quick % 4 == 0 and name != "web-0" else chance.uniform(0.3, 0.9))
        finally:
            load.stop()
        found.still_pending = wait_for_pending(found)
        print(f"\n{found.table()}")
        if path := os.environ.get("EXCHANGE_CHAOS_REPORT"):
            Path(path).write_text(found.table() + "\n")
        yield found


def kill(stack: RunningStack, name: str, told_after: list[float]) -> float:
    """kill -9; returns the seconds until an order was matched again."""
    killed = stack.kill(name)
    killed_at = time.monotonic()
    successor = stack.wait_until_replaced(name, killed, within_s=BACK_WITHIN_S)
    told_after.append(max(0.0, time.time() - psutil.Process(successor).create_time()))
    key, base_url = keys_of(stack)[-1], stack["base_url"]
    with httpx.Client(base_url=base_url, timeout=5) as http:
        while not _matches(http, key):
            assert time.monotonic() - killed_at < BACK_WITHIN_S, (
                f"{name} (pid {killed}) was killed and nothing is matched since\n{stack.output}\n{stack.log('matching-0')}"
            )
            time.sleep(0.02)
    return time.monotonic() - killed_at


def _matches(http: httpx.Client, key: Any) -> bool:
    """Whether a new order comes to rest."""
    import asyncio

    async def ask() -> bool:
        async with httpx.AsyncClient(base_url=http.base_url, timeout=5) as client:
            body = {
                "symbol": SYMBOL,
                "side": "BUY",
                "order_type": "LIMIT",
                "quantity": "0.001",
                "price": "1",
                "client_order_id": f"probe-{time.time_ns()}",
            }
            reply = await call(client, key, "POST", "/orders", body=body)
            return reply.status_code == 201 and reply.json()["status"] == "OPEN"

    try:
        return asyncio.run(ask())
    except httpx.TransportError:
        return False


def wait_for_pending(ordeal: Ordeal) -> int:
    """Returns how many orders are PENDING still after as long as one may be."""
    deadline = time.monotonic() + PENDING_AT_MOST_S
    while True:
        [(pending,)] = ordeal.rows("SELECT count(*) FROM orders_order WHERE status = 'PENDING'")
        if not pending or time.monotonic() > deadline:
            return int(pending)
        time.sleep(0.1)


def test_every_killed_process_came_back(ordeal: Ordeal) -> None:
    assert {name: len(times) for name, times in ordeal.recovery.items()} == KILLS
    assert max(max(times) for times in ordeal.recovery.values()) < BACK_WITHIN_S


def test_stack_json_was_true_again_within_two_seconds(ordeal: Ordeal) -> None:
    assert max(ordeal.told_after) <= 2.0
    assert all(is_alive(pid) for pid in ordeal.stack["processes"].values())
    owners = ordeal.rows("SELECT owner FROM orders_shard")
    assert [int(owner.rpartition(":")[2]) for (owner,) in owners] == [ordeal.stack.pid("matching-0")]


def test_every_client_was_answered_and_saw_nothing_it_should_not(ordeal: Ordeal) -> None:
    assert ordeal.told.odd == []
    assert ordeal.told.unanswered == []
    assert ordeal.told.contradictions == []
    assert len(ordeal.told.acknowledged) > 500, "orders went on during the kills"
    assert ordeal.told.broken, "the kills were felt"


def test_every_acknowledged_order_is_there(ordeal: Ordeal) -> None:
    there = {
        (account, client_id): str(order_id)
        for account, client_id, order_id in ordeal.rows(
            "SELECT a.name, o.client_order_id, o.id FROM orders_order o JOIN institutions_account a ON a.id = o.account_id"
        )
    }
    lost = [
        (client_id, order_id)
        for client_id, order_id in ordeal.told.acknowledged.items()
        if there.get((ordeal.told.account_of[client_id], client_id)) != order_id
    ]
    assert lost == []


def test_no_order_is_there_twice(ordeal: Ordeal) -> None:
    assert ordeal.rows("SELECT account_id, client_order_id FROM orders_order GROUP BY 1, 2 HAVING count(*) > 1") == []
    assert ordeal.rows("SELECT maker_order_id, taker_order_id, sequence FROM orders_trade GROUP BY 1, 2, 3 HAVING count(*) > 1") == []


def test_no_order_stays_pending(ordeal: Ordeal) -> None:
    assert ordeal.still_pending == 0
    wait_until(lambda: ordeal.rows("SELECT count(*) FROM orders_inbox") == [(0,)], within_s=10, what="the inbox is empty")


def test_no_finished_order_changed(ordeal: Ordeal) -> None:
    now = {str(row[0]): row[1:] for row in ordeal.rows("SELECT id, status, reason, filled_quantity, fee FROM orders_order")}
    for order_id, shown in ordeal.told.ended.items():
        status, reason, filled, fee = now[order_id]
        assert (status, reason, filled, fee) == (shown["status"], shown["reason"], Decimal(shown["filled_quantity"]), Decimal(shown["fee"]))
    assert {now[order_id][0] for order_id in ordeal.told.cancelled} <= {"CANCELLED"}


def test_the_books_agree(ordeal: Ordeal) -> None:
    report = assert_money_conserved(ordeal.stack["database_url"])
    assert report.rows["trades"] > 100


def test_the_exchange_still_trades(ordeal: Ordeal) -> None:
    with httpx.Client(base_url=ordeal.stack["base_url"], timeout=10) as http:
        assert _matches(http, keys_of(ordeal.stack)[-1])
