"""kill -9 under load: nothing that was acknowledged is lost or doubled, and the exchange comes back by itself.

One stack, eight stubborn clients with orders of every kind, an operator who halts and auctions their symbol and publishes its reference
price, a reader of the events and WebSocket clients that keep a book; the matching worker, the web process, the Celery worker and PostgreSQL
are killed in a shuffled order, then Redis stops for a minute and forgets everything; then each test asks one question of what is left.

EXCHANGE_CHAOS_KILLS="matching-0=50" is another plan; who is not named there is not killed. EXCHANGE_CHAOS_REPORT=path also writes the
table of recovery times there.
"""

import math
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
from markets import units
from matching.replay import replay
from tests.chaos.load import KINDS, LONGEST_S, SYMBOL, Load, Told
from tests.chaos.operator import Operator
from tests.chaos.rest import call, keys_of
from tests.chaos.watchers import BookWatcher, EventReader, Watchers
from tests.money import assert_money_conserved
from tests.support.stacks import RunningStack, started_stack, wait_until

PLAN: Final = os.environ.get("EXCHANGE_CHAOS_KILLS") or "matching-0=20 web-0=10 worker-0=10 postgresql=10"
KILLS: Final = {name: int(count) for name, _, count in (part.partition("=") for part in PLAN.split())}
PROBED: Final = "ETH/USDT"  # of the same worker, and nobody halts it
REDIS_AWAY_S: Final = 60.0
SEED: Final = 20190523
BACK_WITHIN_S: Final = 60.0
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
    operated: dict[str, int] = field(default_factory=dict)  # statuses set and prices published

    def rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.stack["database_url"]) as connection:
            return connection.execute(sql.encode(), parameters).fetchall()

    def table(self) -> str:
        lines = [f"{'killed':<13} {'times':>5} {'min s':>7} {'median':>7} {'p95':>7} {'max s':>7}   each"]
        for name, times in self.recovery.items():
            figures = (min(times), statistics.median(times), p95(times), max(times))
            lines.append(f"{name:<13} {len(times):>5} {' '.join(f'{s:>7.2f}' for s in figures)}   {' '.join(f'{s:.2f}' for s in times)}")
        told = self.told
        lines.append(f"stack.json named a successor at most {max(self.told_after):.2f} s after its start")
        lines.append(f"{sum(told.calls.values())} calls ({_words(told.calls)}), {len(told.acknowledged)} orders acknowledged")
        lines.append(f"orders: {_words(told.kinds)}")
        lines.append(f"operator: {_words(Counter(self.operated))}")
        lines.append(f"asked again: {_words(told.broken)}")
        return "\n".join(lines)


def _words(counts: Any) -> str:
    return ", ".join(f"{name} × {count}" for name, count in counts.most_common())


def p95(times: list[float]) -> float:
    """The smallest of them that 95 % do not exceed."""
    return sorted(times)[math.ceil(0.95 * len(times)) - 1]


@pytest.fixture(scope="module")
def ordeal() -> Iterator[Ordeal]:
    chance = random.Random(SEED)
    plan = [name for name, count in KILLS.items() for _ in range(count)]
    chance.shuffle(plan)
    with started_stack() as stack:
        load, operator = Load(stack, seed=SEED).start(), Operator(stack, SYMBOL, SEED)
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
            found.operated = operator.stop()
            load.stop()
            wait_for_the_last_deadline(found)
            watchers_caught_up(found)
            watchers.stop()
            events.stop()
        found.still_pending = wait_for_pending(found)
        print(f"\n{found.table()}")
        if path := os.environ.get("EXCHANGE_CHAOS_REPORT"):
            Path(path).write_text(found.table() + "\n")
        yield found


def kill(stack: RunningStack, name: str, told_after: list[float]) -> float:
    """kill -9; returns the seconds until an order was matched again, or (Celery worker) until all that was told before is published."""
    killed = stack.kill(name)
    killed_at, by_the_clock = time.monotonic(), time.time()
    successor = stack.wait_until_replaced(name, killed, within_s=BACK_WITHIN_S)
    told_after.append(max(0.0, time.time() - psutil.Process(successor).create_time()))
    if name == "worker-0":
        wait_until(lambda: not news_before(stack, by_the_clock), within_s=BACK_WITHIN_S, what="news are published again")
        return time.monotonic() - killed_at
    key, base_url = keys_of(stack)[-1], stack["base_url"]
    with httpx.Client(base_url=base_url, timeout=5) as http:
        while not _matches(http, key):
            assert time.monotonic() - killed_at < BACK_WITHIN_S, (
                f"{name} (pid {killed}) was killed and nothing is matched since\n{stack.output}\n{stack.log('matching-0')}"
            )
            time.sleep(0.02)
    return time.monotonic() - killed_at


def news_before(stack: RunningStack, moment: float) -> bool:
    """Whether something that was told before then (Unix seconds) still waits to be published."""
    with psycopg.connect(stack["database_url"]) as connection:
        row = connection.execute(
            "SELECT EXISTS (SELECT FROM notifications_outbox WHERE created_at <= to_timestamp(%s))", [moment]
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
    wait_until(lambda: not news_before(stack, there), within_s=2 * BACK_WITHIN_S, what="the news of the minute are published")
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
                "symbol": PROBED,
                "side": "BUY",
                "order_type": "LIMIT",
                "quantity": "1",
                "price": "6",
                "client_order_id": f"probe-{time.time_ns()}",
            }
            reply = await call(client, key, "POST", "/orders", body=body)
            return reply.status_code == 201 and reply.json()["status"] == "OPEN"

    try:
        return asyncio.run(ask())
    except httpx.TransportError:
        return False


def wait_for_the_last_deadline(ordeal: Ordeal) -> None:
    """From here on nothing ends by itself any more."""
    sql = """SELECT EXISTS (SELECT FROM orders_openorder p JOIN orders_order o ON o.id = p.order_id WHERE o.expire_at IS NOT NULL)"""
    wait_until(lambda: ordeal.rows(sql) == [(False,)], within_s=LONGEST_S + BACK_WITHIN_S, what="every GTD order has ended")


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
    assert ordeal.told.broken or KILLS.keys() == {"matching-0"}, "the kills were felt"


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


def test_everything_was_tried(ordeal: Ordeal) -> None:
    assert set(ordeal.told.kinds) == set(KINDS)
    assert {"HALTED", "AUCTION", "TRADING", "PRICE"} <= set(ordeal.operated)
    triggered = dict(ordeal.rows("SELECT order_type, count(*) FROM orders_order WHERE triggered_at IS NOT NULL GROUP BY 1"))
    assert set(triggered) == {"STOP", "STOP_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT"}
    sources = ordeal.rows("SELECT DISTINCT trigger_source FROM orders_order WHERE triggered_at IS NOT NULL ORDER BY 1")
    assert sources == [("LAST",), ("REFERENCE",)]
    for what, sql in {
        "orders that only reduce and traded": "SELECT 1 FROM orders_order WHERE reduce_only AND filled_quantity > 0 LIMIT 1",
        "orders whose time was over": "SELECT 1 FROM orders_order WHERE status = 'EXPIRED' LIMIT 1",
        "stops that were amended": """SELECT 1 FROM orders_amend a JOIN orders_order o ON o.id = a.order_id
            WHERE a.status = 'APPLIED' AND o.stop_price IS NOT NULL LIMIT 1""",
        "trades in auctions": "SELECT 1 FROM orders_trade WHERE in_auction LIMIT 1",
        "orders that met their account's own": "SELECT 1 FROM orders_order WHERE reason = 'SELF_TRADE_PREVENTED' LIMIT 1",
    }.items():
        assert ordeal.rows(sql), what


def test_the_log_replays_to_the_hash_of_every_live_book(ordeal: Ordeal) -> None:
    units.forget()
    with psycopg.connect(ordeal.stack["database_url"]) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        for symbol_id, sequence, state_hash, trades, places in connection.execute(
            "SELECT symbol_id, sequence, state_hash, trade_number, place_number FROM orders_checkpoint ORDER BY 1"
        ).fetchall():
            row = connection.execute(f"{units.MARKET_SELECT} WHERE s.id = %s".encode(), [symbol_id]).fetchone()
            assert row is not None
            again = replay(connection, market=units.remember(row))
            assert (again.sequence, again.state_hash) == (sequence, int(state_hash))
            assert (again.engine.progress.trade_number, again.engine.progress.place_number) == (trades, places)
            again.engine.book.check()
    units.forget()


def test_no_stop_waits_that_the_price_has_reached(ordeal: Ordeal) -> None:
    """Each source's present price, of a symbol that trades; a reference between two ticks is whichever is further from the stop."""
    [(waiting, reached)] = ordeal.rows(
        """SELECT count(*), count(*) FILTER (WHERE CASE WHEN rising THEN low >= stop ELSE high <= stop END)
           FROM (SELECT o.stop_price / s.tick_size AS stop, (o.side = 'BUY') = starts_with(o.order_type, 'STOP') AS rising,
                        CASE WHEN from_trades THEN c.last_price / s.tick_size ELSE (c.conditions->'reference'->>0)::numeric END AS low,
                        CASE WHEN from_trades THEN c.last_price / s.tick_size ELSE (c.conditions->'reference'->>1)::numeric END AS high
                 FROM orders_order o JOIN orders_checkpoint c USING (symbol_id) JOIN markets_symbol s ON s.id = o.symbol_id,
                      LATERAL (SELECT o.trigger_source = 'LAST' AS from_trades)
                 WHERE o.status = 'PENDING_TRIGGER' AND c.status = 'TRADING')"""
    )
    assert waiting > 0
    assert reached == 0


def test_orders_end_when_their_time_has_come(ordeal: Ordeal) -> None:
    [(too_early, ended, latest)] = ordeal.rows(
        """SELECT count(*) FILTER (WHERE t.at < date_trunc('milliseconds', o.expire_at)), count(*),
                  extract(epoch FROM max(t.at - greatest(o.expire_at, o.created_at)))::float
           FROM orders_transition t JOIN orders_order o ON o.id = t.order_id WHERE t.to_status = 'EXPIRED'"""
    )
    assert too_early == 0
    assert ended > 50
    assert latest < BACK_WITHIN_S
    overdue = ordeal.rows(
        """SELECT id, status, expire_at FROM orders_order WHERE expire_at < clock_timestamp() - interval '3 s'
           AND status IN ('PENDING', 'OPEN', 'PARTIALLY_FILLED', 'PENDING_TRIGGER')"""
    )
    assert overdue == []


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
        assert watcher.connections > KILLS.get("web-0", 0) / 2, "they were cut off and came back"
        assert watcher.sequence == book["sequence"]
        for side in ("bids", "asks"):
            depth = min(50, len(book[side]))
            assert watcher.levels(side)[:depth] == book[side][:depth]


def test_the_exchange_still_trades(ordeal: Ordeal) -> None:
    with httpx.Client(base_url=ordeal.stack["base_url"], timeout=10) as http:
        assert _matches(http, keys_of(ordeal.stack)[-1])
