"""kill -9 under load: nothing that was acknowledged is lost or doubled, and the exchange comes back by itself.

One stack, eight stubborn clients, a reader of the events and WebSocket clients that keep a book; the matching worker, the web process,
the Celery worker and PostgreSQL are killed in a shuffled order, then Redis stops for a minute and forgets everything; then each test asks
one question of what is left. EXCHANGE_CHAOS_REPORT=path also writes the table of recovery times there.
"""

import os
import random
import signal
import statistics
import time
from collections import Counter
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
from tests.chaos.watchers import BookWatcher, EventReader, Watchers
from tests.money import assert_money_conserved
from tests.support.stacks import RunningStack, started_stack, wait_until

KILLS: Final = {"matching-0": 20, "web-0": 10, "worker-0": 10, "postgresql": 10}
REDIS_AWAY_S: Final = 60.0
SEED: Final = 20190523
BACK_WITHIN_S: Final = 30.0
STEADY_S: Final = 5.5  # the supervisor's back-off grows with quick deaths; after this long it begins anew
PENDING_AT_MOST_S: Final = 15.0

pytestmark = pytest.mark.slow


@dataclass
class Ordeal:
    stack: RunningStack
    told: Told
    events: EventReader
    watchers: list[BookWatcher]
    recovery: dict[str, list[float]] = field(default_factory=dict)  # seconds from the kill until an order was matched again
    told_after: list[float] = field(default_factory=list)  # age of a successor when stack.json first named it
    still_pending: int = 0
    while_redis_was_away: int = 0  # orders matched

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
        events, watchers = EventReader(stack).start(), Watchers(stack, SYMBOL).start()
        found = Ordeal(stack, load.told, events, watchers.watchers, {name: [] for name in KILLS})
        try:
            time.sleep(2)
            quick: Counter[str] = Counter()
            for name in plan:
                found.recovery[name].append(kill(stack, name, found.told_after))
                quick[name] += 1
                time.sleep(STEADY_S if quick[name] % 4 == 0 else chance.uniform(0.3, 0.9))
            found.recovery["redis (after)"] = [stop_redis(found)]
        finally:
            load.stop()
            watchers_caught_up(found)
            watchers.stop()
            events.stop()
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
    if name == "worker-0":
        wait_until(lambda: not news_before(stack, killed_at=time.time()), within_s=BACK_WITHIN_S, what="news are published again")
        return time.monotonic() - killed_at
    key, base_url = keys_of(stack)[-1], stack["base_url"]
    with httpx.Client(base_url=base_url, timeout=5) as http:
        while not _matches(http, key):
            assert time.monotonic() - killed_at < BACK_WITHIN_S, (
                f"{name} (pid {killed}) was killed and nothing is matched since\n{stack.output}\n{stack.log('matching-0')}"
            )
            time.sleep(0.02)
    return time.monotonic() - killed_at


def news_before(stack: RunningStack, *, killed_at: float) -> bool:
    """Whether something that was told before then still waits to be published."""
    with psycopg.connect(stack["database_url"]) as connection:
        row = connection.execute(
            "SELECT EXISTS (SELECT FROM notifications_outbox WHERE created_at <= to_timestamp(%s))", [killed_at]
        ).fetchone()
    return row != (False,)


def stop_redis(ordeal: Ordeal) -> float:
    """Redis answers nobody for a minute, then comes back; and when all is published, it forgets everything. Returns the seconds from its
    return until the news of the minute were published."""
    stack = ordeal.stack
    [(before,)] = ordeal.rows("SELECT sum(sequence) FROM orders_checkpoint")
    pid = stack.pid("redis")
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(REDIS_AWAY_S)
        [(after,)] = ordeal.rows("SELECT sum(sequence) FROM orders_checkpoint")
    finally:
        os.kill(pid, signal.SIGCONT)
    ordeal.while_redis_was_away = after - before
    back_at = time.monotonic()
    there = time.time()
    wait_until(lambda: not news_before(stack, killed_at=there), within_s=2 * BACK_WITHIN_S, what="the news of the minute are published")
    took = time.monotonic() - back_at
    ordeal.events.make_redis_forget()
    time.sleep(5)  # and life goes on
    return took


def watchers_caught_up(ordeal: Ordeal) -> None:
    """Wait until the book stands still and everybody has heard of it."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        [(sequence,)] = ordeal.rows(
            "SELECT book_sequence FROM orders_checkpoint c JOIN markets_symbol s ON s.id = c.symbol_id WHERE s.name = %s", SYMBOL
        )
        if {watcher.sequence for watcher in ordeal.watchers} == {sequence} and ordeal.rows("SELECT count(*) FROM notifications_outbox") == [
            (0,)
        ]:
            return
        time.sleep(0.2)


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
    assert {name: len(times) for name, times in ordeal.recovery.items() if name in KILLS} == KILLS
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


def test_trading_went_on_without_redis(ordeal: Ordeal) -> None:
    assert ordeal.while_redis_was_away > 100


def test_every_event_was_published_in_order(ordeal: Ordeal) -> None:
    """What the streams of events had is what the database says there was: from 1 on, without a gap."""
    assert ordeal.events.wrong == []
    expected = {f"trades.{name}": last for name, last in ordeal.rows(
        "SELECT s.name, c.trade_number FROM orders_checkpoint c JOIN markets_symbol s ON s.id = c.symbol_id WHERE c.trade_number > 0"
    )}  # fmt: skip
    for account_id, orders, balances in ordeal.rows("SELECT account_id, orders, balances FROM notifications_feed"):
        expected |= {f"user.orders.{account_id}": orders, f"user.balances.{account_id}": balances}
    found = ordeal.events.sequences
    for stream, last in expected.items():
        assert found.get(stream, []) == list(range(1, last + 1)), f"{stream}: {missing_of(found.get(stream, []), last)}"
    assert ordeal.rows("SELECT count(*) FROM notifications_deadletter") == [(0,)]
    assert ordeal.rows("SELECT count(*) FROM notifications_outbox") == [(0,)]


def missing_of(found: list[int], last: int) -> str:
    missing = sorted(set(range(1, last + 1)) - set(found))
    return f"{len(found)} of {last} heard, {len(missing)} missing: {missing[:5]}; in order: {found == sorted(set(found))}"


def test_every_trade_had_its_effect_on_candles_once(ordeal: Ordeal) -> None:
    def differs() -> bool:
        return (
            ordeal.rows(
                """SELECT 1 FROM (SELECT symbol_id, count(*) AS n, sum(quantity) AS v FROM orders_trade GROUP BY 1) t
               LEFT JOIN (SELECT symbol_id, sum(trade_count) AS n, sum(volume) AS v FROM markets_candle WHERE interval_s = 60 GROUP BY 1) c
               USING (symbol_id) WHERE (t.n, t.v) IS DISTINCT FROM (c.n, c.v)"""
            )
            != []
        )

    wait_until(lambda: not differs(), within_s=20, what="candles hold every trade once")


def test_websocket_clients_have_the_right_book(ordeal: Ordeal) -> None:
    with httpx.Client(base_url=ordeal.stack["base_url"], timeout=10) as http:
        book = http.get(f"/api/v1/orderbook/{SYMBOL.replace('/', '-')}", params={"depth": 1000}).json()
    for watcher in ordeal.watchers:
        assert watcher.wrong == []
        assert watcher.connections > KILLS["web-0"] / 2, "they were cut off and came back"
        assert watcher.sequence == book["sequence"]
        for side in ("bids", "asks"):
            depth = min(50, len(book[side]))
            assert watcher.levels(side)[:depth] == book[side][:depth]


def test_the_exchange_still_trades(ordeal: Ordeal) -> None:
    with httpx.Client(base_url=ordeal.stack["base_url"], timeout=10) as http:
        assert _matches(http, keys_of(ordeal.stack)[-1])
