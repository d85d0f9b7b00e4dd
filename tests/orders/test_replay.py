"""Reading a recorded day, planning what may overtake what, and sending it: to a server in memory that answers out of order."""

import asyncio
import gzip
import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from api.client import Reply
from api.replay import BATCH, BadDay, Plan, Replay, first_difference, plan_day, read_day, read_trades
from matching.core.book import Book
from matching.core.messages import BUY, CANCEL_NEWEST, GTC, SELL, TRADE

DATA = Path(__file__).resolve().parent.parent / "data"
FLOW = DATA / "order-flow-bme-ana-2019-05-23.csv.gz"
TRADES = DATA / "order-flow-bme-ana-2019-05-23-trades.csv"
HEAD = "ordtype;uid;is_buy;qty;price;timestamp"
TICK, LOT = Decimal("0.01"), Decimal(1)


def day(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "day.csv"
    path.write_text("\n".join([HEAD, *lines]) + "\n")
    return path


def planned(tmp_path: Path, *lines: str) -> Plan:
    return plan_day(read_day(day(tmp_path, *lines)), tick=TICK, lot=LOT)


def new(uid: int, side: str, quantity: int, price: str) -> str:
    return f"new;{uid};{side == 'BUY'};{quantity};{price};2019-05-23 09:00:30.216"


def test_a_day_is_read_plain_and_gzipped_alike(tmp_path: Path) -> None:
    plain = day(tmp_path, new(1, "BUY", 3, "95.8"), "cancel;1;;;;2019-05-23 09:00:31.000")
    packed = tmp_path / "day.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert read_day(plain) == read_day(packed)
    assert [row.kind for row in read_day(plain)] == ["new", "cancel"]
    assert len(read_day(FLOW)) == 27_056
    assert len(read_day(FLOW, limit=10)) == 10


@pytest.mark.parametrize(
    "line", ["new;1;True;x;1;2019-05-23 09:00:30", "new;1;perhaps;1;1;2019-05-23 09:00:30", "stop;1;True;1;1;2019-05-23"]
)
def test_what_is_no_request_is_named_with_its_line(tmp_path: Path, line: str) -> None:
    with pytest.raises(BadDay, match="line 3"):
        read_day(day(tmp_path, new(1, "BUY", 3, "95.8"), line))


def test_a_file_with_other_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("a;b\n1;2\n")
    with pytest.raises(BadDay, match="uid"):
        read_day(path)


def test_what_is_off_the_grid_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    with pytest.raises(BadDay, match=r"95\.805"):
        planned(tmp_path, new(1, "BUY", 3, "95.805"))


def test_the_plan_of_the_day_has_the_expected_trades_and_an_empty_book() -> None:
    plan = plan_day(read_day(FLOW), tick=TICK, lot=LOT)
    assert first_difference(read_trades(TRADES), plan.trades) is None
    assert plan.levels == {"BUY": [], "SELL": []}
    assert len(plan.steps) == 27_056


def test_a_shrinking_order_is_amended_and_one_that_shrinks_to_nothing_is_cancelled(tmp_path: Path) -> None:
    when = "2019-05-23 09:00:31.000"
    plan = planned(tmp_path, new(1, "BUY", 10, "95"), f"modif;1;;4;;{when}", f"modif;1;;6;;{when}")
    assert [(step.kind, step.quantity) for step in plan.steps[1:]] == [("modif", 6), ("cancel", 6)]
    assert plan.levels == {"BUY": [], "SELL": []}


def test_only_what_may_trade_is_sent_alone(tmp_path: Path) -> None:
    plan = planned(tmp_path, new(1, "SELL", 5, "96"), new(2, "BUY", 5, "95"), new(3, "BUY", 5, "96"), new(4, "BUY", 5, "96"))
    assert [step.alone for step in plan.steps] == [False, False, True, False]


def test_what_might_have_traded_before_a_cancel_is_sent_alone_too(tmp_path: Path) -> None:
    plan = planned(tmp_path, new(1, "SELL", 5, "96"), "cancel;1;;;;2019-05-23 09:00:31.000", new(2, "BUY", 5, "96"))
    assert plan.steps[2].alone
    assert plan.trades == []


def test_the_first_difference_is_told_in_a_sentence() -> None:
    one, two = ("1", "2", Decimal(95), Decimal(3)), ("1", "2", Decimal(95), Decimal(4))
    assert first_difference([one], [one]) is None
    assert "quantity 3, made" in str(first_difference([one], [two]))
    assert "none was made" in str(first_difference([one, two], [one]))
    assert "none expected" in str(first_difference([one], [one, two]))


# -- sending


class Exchange:
    """Answers after a random while; each request takes effect at a random moment within it."""

    def __init__(self, seed: int) -> None:
        self.rng, self.book = random.Random(seed), Book()
        self.trades: list[tuple[str, str, Decimal, Decimal]] = []
        self.sizes: list[int] = []
        self.dead = 0

    async def pause(self) -> None:
        for _ in range(self.rng.randrange(4)):
            await asyncio.sleep(0)

    def note(self) -> None:
        for event in self.book.events:
            if event[0] == TRADE:
                _, maker, taker, ticks, lots, _, _ = event
                self.trades.append((str(taker), str(maker), ticks * TICK, lots * LOT))
        self.book.events.clear()


class Client:
    """One account of that exchange, as `api.client.RestClient` is of the real one. An order's id is its uid."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange

    def take(self, order: dict[str, Any]) -> dict[str, Any]:
        uid = order["client_order_id"].partition(":")[2]
        side = BUY if order["side"] == "BUY" else SELL
        self.exchange.book.place(uid, order["side"], side, int(Decimal(order["price"]) / TICK), int(order["quantity"]), GTC, CANCEL_NEWEST)
        self.exchange.note()
        return {"order_id": uid, "status": "OPEN"}

    async def place(self, order: dict[str, Any]) -> Reply:
        await self.exchange.pause()
        self.exchange.sizes.append(1)
        taken = self.take(order)
        await self.exchange.pause()
        return Reply(201, taken, 0.001)

    async def place_batch(self, orders: list[dict[str, Any]]) -> Reply:
        await self.exchange.pause()
        self.exchange.sizes.append(len(orders))
        results = [{"status": 201, "order": self.take(order)} for order in orders]
        await self.exchange.pause()
        return Reply(200, {"results": results}, 0.001)

    async def cancel(self, order_id: str) -> Reply:
        await self.exchange.pause()
        if order_id not in self.exchange.book:
            return Reply(409, {"code": "ORDER_NOT_OPEN"}, 0.001)
        self.exchange.book.cancel(order_id, "USER_CANCEL")
        self.exchange.note()
        await self.exchange.pause()
        return Reply(200, {"order_id": order_id, "status": "CANCELLED"}, 0.001)

    async def amend(self, order_id: str, *, quantity: str) -> Reply:
        await self.exchange.pause()
        if order_id not in self.exchange.book:
            return Reply(409, {"code": "ORDER_NOT_OPEN"}, 0.001)
        order = self.exchange.book._orders[order_id]
        self.exchange.book.amend(order_id, order.level.price, int(quantity))
        self.exchange.note()
        await self.exchange.pause()
        return Reply(200, {"order_id": order_id, "status": "OPEN"}, 0.001)


def send(plan: Plan, exchange: Exchange, *, batches: bool) -> Replay:
    async def run() -> Replay:
        client: Any = Client(exchange)
        replay = Replay({"BUY": client, "SELL": client}, symbol="ANA/EUR", run="test", batches=batches)
        await replay.send(plan.steps)
        return replay

    return asyncio.run(run())


@pytest.mark.parametrize("batches", [False, True], ids=["rest", "batch"])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_day_trades_as_expected_however_answers_come(batches: bool, seed: int) -> None:
    plan, exchange = plan_day(read_day(FLOW), tick=TICK, lot=LOT), Exchange(seed)
    replay = send(plan, exchange, batches=batches)
    assert first_difference(read_trades(TRADES), exchange.trades) is None
    assert len(exchange.book) == 0
    assert (replay.tally.dead, dict(replay.tally.refused)) == (0, {})
    assert replay.tally.orders == sum(step.kind == "new" for step in plan.steps)
    if batches:
        assert BATCH >= max(exchange.sizes) > 20
        assert replay.tally.requests < len(plan.steps) * 0.75


def test_a_request_about_a_dead_order_is_counted(tmp_path: Path) -> None:
    when = "2019-05-23 09:00:31.000"
    plan = planned(tmp_path, new(1, "BUY", 3, "95"), f"cancel;1;;;;{when}", f"cancel;1;;;;{when}", f"cancel;7;;;;{when}")
    replay = send(plan, Exchange(1), batches=False)
    assert replay.tally.dead == 1
    assert sum(replay.tally.refused.values()) == 1  # the order that never was


def test_speed_keeps_the_recorded_pace(tmp_path: Path) -> None:
    lines = [f"new;{n};True;1;95;2019-05-23 09:00:30.{n}00" for n in range(4)]
    plan = plan_day(read_day(day(tmp_path, *lines)), tick=TICK, lot=LOT)

    async def run() -> float:
        client: Any = Client(Exchange(1))
        replay = Replay({"BUY": client, "SELL": client}, symbol="ANA/EUR", run="test", speed=2.0)
        await replay.send(plan.steps)
        return replay.tally.seconds

    assert 0.15 <= asyncio.run(run()) < 1.0
