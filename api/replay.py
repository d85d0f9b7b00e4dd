"""A recorded day of order entry, sent through the public API.

All buys come from one account and all sells from another, so no order can meet its own account. The day is first played on a
book in memory: that tells which rows may trade (those are sent alone, after everything before them was answered) and what trades
and book to expect. All other rows commute, except two about the same order and two placings at the same price: there the later one
waits for the answer of the earlier one. The rest go out in file order with many under way.
"""

import asyncio
import csv
import gzip
import time
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final, NamedTuple

from api.client import Reply, RestClient, Unanswered
from matching.core.book import Book
from matching.core.messages import BUY, CANCEL_NEWEST, GTC, SELL, TRADE

PLACE, CANCEL, AMEND = "new", "cancel", "modif"  # as the file has them
SIDES: Final = {"BUY": BUY, "SELL": SELL}
BATCH: Final = 50
UNDER_WAY: Final = 64  # requests, those included that wait for an earlier one's answer
REFUSALS_AT_MOST: Final = 50
DECISION_POLL_S: Final = 0.05
DECISION_WITHIN_S: Final = 30.0

Trade = tuple[str, str, Decimal, Decimal]  # taker's uid, maker's uid, price, quantity


class BadDay(Exception):
    """The file is not a recorded day; the message names the line."""


class Row(NamedTuple):
    """A request as recorded. `quantity`: of a `modif` how much the order shrinks. `price` is meaningful for `new` alone."""

    kind: str
    uid: str
    side: str
    quantity: Decimal
    price: Decimal
    at: datetime


class Step(NamedTuple):
    """A request as it is to be sent. `quantity`: of an amend the new total. `alone`: it may trade."""

    kind: str
    uid: str
    side: str
    quantity: Decimal
    price: Decimal
    at: datetime
    alone: bool


@dataclass(slots=True)
class Plan:
    """What to send, and what should come of it. `needed`: the most that each side's orders can reserve, in quote and base."""

    steps: list[Step] = field(default_factory=list)
    trades: list[Trade] = field(default_factory=list)
    levels: dict[str, list[tuple[Decimal, Decimal]]] = field(default_factory=dict)
    needed: dict[str, Decimal] = field(default_factory=lambda: {"BUY": Decimal(0), "SELL": Decimal(0)})


# -- reading


def read_day(path: Path, *, limit: int | None = None) -> list[Row]:
    """The rows of a day, plain or gzipped. Raises: BadDay, OSError."""
    rows: list[Row] = []
    for line, record in _records(path, ("ordtype", "uid", "is_buy", "qty", "price", "timestamp")):
        if limit is not None and len(rows) >= limit:
            break
        try:
            kind, price = record["ordtype"], Decimal(record["price"] or 0)
            row = Row(kind, record["uid"], _side(record["is_buy"]), Decimal(record["qty"] or 0), price, _moment(record["timestamp"]))
        except (InvalidOperation, ValueError, KeyError, TypeError):
            raise BadDay(f"{path}, line {line}: not a request: {';'.join(str(v) for v in record.values())}") from None
        if kind not in (PLACE, CANCEL, AMEND):
            raise BadDay(f"{path}, line {line}: ordtype {kind!r} is none of {PLACE}, {CANCEL}, {AMEND}")
        rows.append(row)
    return rows


def read_trades(path: Path) -> list[Trade]:
    """The trades to expect, in order. Raises: BadDay, OSError."""
    return [
        (record["taker_uid"], record["maker_uid"], Decimal(record["price"]), Decimal(record["qty"]))
        for _, record in _records(path, ("taker_uid", "maker_uid", "price", "qty"))
    ]


def _records(path: Path, columns: Sequence[str]) -> Iterable[tuple[int, dict[str, str]]]:
    with gzip.open(path, "rt", newline="") if path.suffix == ".gz" else open(path, newline="") as file:
        reader = csv.DictReader(file, delimiter=";")
        absent = set(columns) - set(reader.fieldnames or ())
        if absent:
            raise BadDay(f"{path}: the first line must name {'; '.join(columns)} (absent: {', '.join(sorted(absent))})")
        for record in reader:
            yield reader.line_num, record


def _side(is_buy: str) -> str:
    return {"True": "BUY", "False": "SELL", "": ""}[is_buy]


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


# -- planning


def plan_day(rows: Sequence[Row], *, tick: Decimal, lot: Decimal) -> Plan:
    """Play the day on a book in memory. Raises: BadDay for what is not on the symbol's grid."""
    plan, book = Plan(), Book()
    placed: dict[str, Row] = {}
    totals: dict[str, Decimal] = {}
    best: dict[str, Decimal | None] = {"BUY": None, "SELL": None}  # the best there may be, whichever order answers come in
    for number, row in enumerate(rows, 1):
        alone = False
        if row.kind == PLACE:
            alone = _crosses(row, best["SELL" if row.side == "BUY" else "BUY"])
            lots, ticks = _steps(row.quantity, lot, number), _steps(row.price, tick, number)
            book.place(row.uid, row.side, SIDES[row.side], ticks, lots, GTC, CANCEL_NEWEST)
            placed[row.uid], totals[row.uid] = row, row.quantity
            plan.needed[row.side] += row.quantity * (row.price if row.side == "BUY" else 1)
            plan.steps.append(Step(*row, alone))
            own = best[row.side]
            if own is None or (row.price > own if row.side == "BUY" else row.price < own):
                best[row.side] = row.price
        else:
            plan.steps.append(_change(row, placed, totals, book, tick=tick, lot=lot))
        for event in book.events:
            if event[0] == TRADE:
                _, maker, taker, ticks, lots, _, _ = event
                plan.trades.append((str(taker), str(maker), tick * ticks, lot * lots))
        book.events.clear()
        if alone:  # everything before it is answered when it goes, and it before what follows: a new stretch begins
            best = {side: next((tick * ticks for ticks, _ in book.levels(which)), None) for side, which in SIDES.items()}
    plan.levels = {side: [(tick * ticks, lot * lots) for ticks, lots in book.levels(which)] for side, which in SIDES.items()}
    return plan


def _crosses(row: Row, opposite: Decimal | None) -> bool:
    return opposite is not None and (row.price >= opposite if row.side == "BUY" else row.price <= opposite)


def _change(row: Row, placed: dict[str, Row], totals: dict[str, Decimal], book: Book, *, tick: Decimal, lot: Decimal) -> Step:
    """A cancel or a shrinking; one that shrinks its order to nothing is sent as a cancel. An unknown order's stays as it is."""
    origin = placed.get(row.uid)
    if origin is None:
        return Step(CANCEL, row.uid, row.side or "BUY", row.quantity, row.price, row.at, False)
    if row.kind == AMEND:
        totals[row.uid] -= row.quantity
        total = totals[row.uid]
        if row.uid in book and total > 0:
            book.amend(row.uid, int(origin.price / tick), int(total / lot))
            if row.uid in book:
                return Step(AMEND, row.uid, origin.side, total, origin.price, row.at, False)
    if row.uid in book:
        book.cancel(row.uid, "USER_CANCEL")
    return Step(CANCEL, row.uid, origin.side, row.quantity, origin.price, row.at, False)


def _steps(value: Decimal, step: Decimal, number: int) -> int:
    if value <= 0 or value % step:
        raise BadDay(f"request {number}: {value} is not a positive multiple of {step}, which the symbol takes")
    return int(value / step)


# -- sending


@dataclass(slots=True)
class Tally:
    """What came back. `order_ids`: by uid, of the orders that were taken."""

    requests: int = 0
    orders: int = 0
    seconds: float = 0.0
    delays_s: list[float] = field(default_factory=list)
    order_ids: dict[str, str] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    dead: int = 0  # requests about orders that had ended

    def percentile_ms(self, percent: int) -> float:
        ordered = sorted(self.delays_s)
        return ordered[len(ordered) * percent // 100] * 1000 if ordered else 0.0


class Replay:
    """Sends a plan. `clients`: by side. `run` names the orders' client ids, so that a day can be sent again and again."""

    def __init__(
        self,
        clients: dict[str, RestClient],
        *,
        symbol: str,
        run: str,
        batches: bool = False,
        speed: float | None = None,
        answered: Callable[[int], None] = lambda rows: None,
    ) -> None:
        self.tally = Tally()
        self._clients, self._symbol, self._run, self._batches, self._speed, self._answered = clients, symbol, run, batches, speed, answered
        self._under_way: set[asyncio.Task[None]] = set()
        self._last_of: dict[Any, asyncio.Task[None]] = {}  # by uid and by (side, price)
        self._collected: dict[str, list[Step]] = {"BUY": [], "SELL": []}

    async def send(self, steps: Sequence[Step]) -> None:
        """All of it; returns when everything is answered and decided. Raises: Unanswered."""
        started = time.perf_counter()
        for step in steps:
            await self._keep_time(step, steps[0], started)
            if step.alone:
                await self._settle()
                await self._place_now([step])
                await self._settle()
            elif step.kind != PLACE:
                if any(step.uid == collected.uid for collected in self._collected[step.side]):
                    await self._place_now(self._collected[step.side])
                await self._start(self._change(step), [step.uid])
            elif self._batches:
                collected = self._collected[step.side]
                collected.append(step)
                if len(collected) == BATCH:
                    await self._place_now(collected)
            else:
                await self._place_now([step])
            if sum(self.tally.refused.values()) > REFUSALS_AT_MOST:
                break
        await self._settle()
        self.tally.seconds = time.perf_counter() - started

    async def _keep_time(self, step: Step, first: Step, started: float) -> None:
        if self._speed is None:
            return
        wait_s = (step.at - first.at).total_seconds() / self._speed - (time.perf_counter() - started)
        if wait_s > 0:
            for collected in self._collected.values():
                await self._place_now(collected)
            await asyncio.sleep(wait_s)

    async def _place_now(self, steps: list[Step]) -> None:
        """Send these placings of one side as one request, and empty the list."""
        if steps:
            sent = list(steps)
            steps.clear()
            await self._start(self._place(sent), [mark for step in sent for mark in (step.uid, (step.side, step.price))])

    async def _start(self, work: Coroutine[Any, Any, None], marks: Collection[Any]) -> None:
        """Send once the last requests with one of these marks are answered, which this one must not overtake."""
        while len(self._under_way) >= UNDER_WAY:
            await self._reap(asyncio.FIRST_COMPLETED)
        earlier = {task for mark in marks if (task := self._last_of.get(mark)) is not None and not task.done()}
        task = asyncio.create_task(_following(earlier, work))
        self._under_way.add(task)
        for mark in marks:
            self._last_of[mark] = task

    async def _settle(self) -> None:
        """Send what is collected and wait for every answer."""
        for collected in self._collected.values():
            await self._place_now(collected)
        while self._under_way:
            await self._reap(asyncio.ALL_COMPLETED)
        self._last_of.clear()

    async def _reap(self, when: str) -> None:
        done, self._under_way = await asyncio.wait(self._under_way, return_when=when)
        for task in done:
            task.result()

    # -- one request

    async def _place(self, steps: list[Step]) -> None:
        client = self._clients[steps[0].side]
        orders = [self._order(step) for step in steps]
        if len(orders) == 1:
            reply = await client.place(orders[0])
            results = [(reply.status, reply.data, reply.code)]
        else:
            reply = await client.place_batch(orders)
            if reply.is_good:
                results = [(item["status"], item.get("order"), item.get("error", {}).get("code", "")) for item in reply.data["results"]]
            else:
                results = [(reply.status, None, reply.code)] * len(orders)
        self._count(reply, len(steps))
        for step, (status, order, code) in zip(steps, results, strict=True):
            if status != 201:
                self.tally.refused[f"{step.kind}: {status} {code}"] += 1
                continue
            self.tally.orders += 1
            self.tally.order_ids[step.uid] = order["order_id"]
            if order["status"] == "PENDING":
                await self._decided(client, order["order_id"], lambda now: now["status"] != "PENDING")

    def _order(self, step: Step) -> dict[str, Any]:
        return {
            "symbol": self._symbol,
            "side": step.side,
            "order_type": "LIMIT",
            "quantity": f"{step.quantity:f}",
            "price": f"{step.price:f}",
            "client_order_id": f"{self._run}:{step.uid}",
        }

    async def _change(self, step: Step) -> None:
        client, order_id = self._clients[step.side], self.tally.order_ids.get(step.uid)
        if order_id is None:
            self.tally.refused[f"{step.kind}: of an order that was not taken"] += 1
            return
        reply = await (client.cancel(order_id) if step.kind == CANCEL else client.amend(order_id, quantity=f"{step.quantity:f}"))
        self._count(reply, 1)
        if reply.code == "ORDER_NOT_OPEN":
            self.tally.dead += 1
        elif not reply.is_good:
            self.tally.refused[f"{step.kind}: {reply.status} {reply.code}"] += 1
        elif reply.status == 202:
            shape = f"{step.quantity:f}"
            ended = ("CANCELLED", "FILLED", "EXPIRED")
            await self._decided(client, order_id, lambda now: now["status"] in ended or (step.kind == AMEND and now["quantity"] == shape))

    async def _decided(self, client: RestClient, order_id: str, is_decided: Callable[[dict[str, Any]], bool]) -> None:
        """The server answered before the engine had decided: what follows must wait for it all the same."""
        give_up_at = time.monotonic() + DECISION_WITHIN_S
        while not is_decided((await client.order(order_id)).data):
            if time.monotonic() > give_up_at:
                raise Unanswered(f"order {order_id} is not decided after {DECISION_WITHIN_S:.0f} s")
            await asyncio.sleep(DECISION_POLL_S)

    def _count(self, reply: Reply, rows: int) -> None:
        self.tally.requests += 1
        self.tally.delays_s.append(reply.took_s)
        self._answered(rows)


async def _following(earlier: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
    for task in earlier:
        await task
    await work


# -- looking at what came of it


async def trades_of(clients: dict[str, RestClient], *, symbol: str, order_ids: dict[str, str], since: datetime) -> list[Trade]:
    """The trades of these orders in the order they happened, put together from what each account sees of them."""
    uid_of = {order_id: uid for uid, order_id in order_ids.items()}
    seen: dict[str, dict[str, Any]] = {}
    for client in clients.values():
        async for row in client.pages("/trades/my", symbol=symbol, start_time=since.isoformat(), limit=500):
            uid = uid_of.get(row["order_id"])
            if uid is not None:
                seen.setdefault(row["trade_id"], row)["maker" if row["is_maker"] else "taker"] = uid
    return [
        (seen[trade].get("taker", "?"), seen[trade].get("maker", "?"), Decimal(seen[trade]["price"]), Decimal(seen[trade]["quantity"]))
        for trade in sorted(seen)
    ]


async def levels_of(client: RestClient, *, symbol: str) -> dict[str, list[tuple[Decimal, Decimal]]]:
    """The book now, by side, best first."""
    reply = await client.call("GET", f"/orderbook/{symbol.replace('/', '-')}", query={"depth": 1000})
    if not reply.is_good:
        raise Unanswered(f"the book of {symbol}: {reply.status} {reply.code}")
    return {side: [(Decimal(p), Decimal(q)) for p, q in reply.data[name]] for side, name in (("BUY", "bids"), ("SELL", "asks"))}


def first_difference(expected: Sequence[Trade], made: Sequence[Trade]) -> str | None:
    """Where two lists of trades part, in a sentence; null when they are the same."""
    for number, (wanted, found) in enumerate(zip(expected, made, strict=False), 1):
        if wanted != found:
            return f"trade {number}: expected {_told(wanted)}, made {_told(found)}"
    if len(expected) == len(made):
        return None
    number = min(len(expected), len(made)) + 1
    return f"trade {number}: " + (f"expected {_told(expected[number - 1])}, none was made" if len(expected) > len(made) else
                                  f"none expected, made {_told(made[number - 1])}")  # fmt: skip


def _told(trade: Trade) -> str:
    taker, maker, price, quantity = trade
    return f"taker {taker}, maker {maker}, price {price.normalize():f}, quantity {quantity.normalize():f}"
