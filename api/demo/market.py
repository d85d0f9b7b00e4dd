"""One symbol's simulated participants: two market makers who quote around the recorded price, two takers who trade.

They are clients like any other: they know the REST contract and their keys, and nothing of the exchange's inside. What they believe to
be in the book is corrected from the public book every round and from their open orders now and then; whatever goes wrong, they take
back their orders and begin anew.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from random import Random
from typing import Any, Final

import structlog

from api.client import Reply, RestClient, Unanswered
from api.demo.quotes import BUY, SELL, Level, is_too_far, lots_at, step_ticks, wanted
from api.demo.recording import Moment

BATCH: Final = 50
CANCELS_PER_ROUND: Final = 3
COMPARE_EVERY_ROUNDS: Final = 60  # with the open orders as the exchange knows them
SHUT_POLL_S: Final = 2.0
REST_AFTER_REFUSAL_ROUNDS: Final = 40
TAKEN_SHARE: Final = Decimal("0.04")  # of the recorded flow; the recorded market is far larger than this one
CALM: Final = 0.25  # how often a taker trades a little although the recording was quiet
REACH_STEPS: Final = 8  # how far a taker goes
SCALE_STEP: Final = Decimal("0.00005")
# A status of the symbol in which quoting is pointless; everything else that is refused concerns one order or one side.
SHUT: Final = frozenset({"SYMBOL_HALTED", "SYMBOL_CANCEL_ONLY", "SYMBOL_POST_ONLY", "UNKNOWN_SYMBOL"})
NO_FUNDS: Final = frozenset({"INSUFFICIENT_FUNDS"})

log = structlog.get_logger("api.demo")


class Shut(Exception):
    """The symbol takes no orders at present."""


@dataclass(slots=True)
class Quote:
    """An order believed to be open."""

    level: Level
    order_id: str
    lots: int


class Trader:
    """One account: sends batches, names its orders, and keeps away for a while from a side that its funds do not allow."""

    def __init__(self, client: RestClient, prefix: str, ids: Iterator[int]) -> None:
        self.client = client
        self.quotes: dict[int, Quote] = {}
        self._prefix = prefix
        self._ids = ids
        self._resting: dict[str, int] = {}

    def next_round(self) -> None:
        self._resting = {side: left - 1 for side, left in self._resting.items() if left > 1}

    def may(self, side: str) -> bool:
        """Whether this side was not refused lately for want of funds. The other one goes on, and brings back what is missing."""
        return side not in self._resting

    async def send(self, orders: Sequence[dict[str, Any]]) -> list[dict[str, Any] | None]:
        """The orders as accepted, null where refused. Raises: Shut, Unanswered."""
        if not orders:
            return []
        named = [{**order, "client_order_id": f"{self._prefix}-{next(self._ids)}", "response_type": "ACK"} for order in orders]
        answer = need(await self.client.place_batch(named))
        return [self._taken(sent, result) for sent, result in zip(named, answer["results"], strict=True)]

    def _taken(self, sent: dict[str, Any], result: dict[str, Any]) -> dict[str, Any] | None:
        if "order" in result:
            order: dict[str, Any] = result["order"]
            return order
        code = result["error"]["code"]
        if code in SHUT:
            raise Shut(code)
        if code in NO_FUNDS:
            self._resting[sent["side"]] = REST_AFTER_REFUSAL_ROUNDS
        return None


class DemoMarket:
    """The makers and takers of one symbol. `run` goes on until it is cancelled."""

    def __init__(
        self,
        symbol: str,
        *,
        makers: Sequence[RestClient],
        takers: Sequence[RestClient],
        moments: Iterator[Moment],
        unit: Decimal,
        every_s: float,
        run_id: str,
        chance: Random,
    ) -> None:
        """Args: unit: what a maker typically shows at one price, in the base asset. run_id: makes client order ids new."""
        self.symbol = symbol
        ids = count(1)
        self._makers = [Trader(client, f"demo-{run_id}-m{number}-{symbol[:3].lower()}", ids) for number, client in enumerate(makers)]
        self._takers = [Trader(client, f"demo-{run_id}-t{number}-{symbol[:3].lower()}", ids) for number, client in enumerate(takers)]
        self._moments = moments
        self._unit = unit
        self._every_s = every_s
        self._chance = chance
        self._tick = self._lot = Decimal(1)
        self._scale = Decimal(1)
        self._step = 1

    async def run(self) -> None:
        """Trades until cancelled. A symbol that is shut is waited for; an exchange that does not answer is asked again with back-off."""
        wait_s = 0.5
        while True:
            try:
                await self._open()
                wait_s = 0.5
                await self._trade()
            except Shut as why:
                log.info("symbol_shut", symbol=self.symbol, code=str(why))
                await asyncio.sleep(SHUT_POLL_S)
            except Unanswered as problem:
                log.warning("exchange_does_not_answer", symbol=self.symbol, problem=str(problem)[:200], again_in_s=wait_s)
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, 10.0)

    async def withdraw(self) -> None:
        """Takes back every order of the participants on this symbol. Raises: Unanswered."""
        for trader in (*self._makers, *self._takers):
            need(await trader.client.call("DELETE", "/orders", query={"symbol": self.symbol}))
            trader.quotes.clear()

    async def _open(self) -> None:
        """Waits until the symbol trades, and begins with a clean book of one's own at the price the market has. Raises: Unanswered."""
        client = self._makers[0].client
        while True:
            rules = next((row for row in need(await client.call("GET", "/symbols"))["results"] if row["symbol"] == self.symbol), None)
            if rules is not None and rules["status"] == "TRADING":
                break
            await asyncio.sleep(SHUT_POLL_S)
        self._tick, self._lot = Decimal(rules["tick_size"]), Decimal(rules["lot_size"])
        await self.withdraw()
        last = need(await client.call("GET", f"/ticker/{self.symbol.replace('/', '-')}"))["last_price"]
        moment = next(self._moments)
        self._scale = Decimal(last) / moment.price if last else Decimal(1)  # no jump after a pause; `_middle` leads back
        self._step = step_ticks(int(moment.price * self._scale / self._tick))

    async def _trade(self) -> None:
        for number, moment in enumerate(self._moments, start=1):
            began_at = asyncio.get_running_loop().time()
            for trader in (*self._makers, *self._takers):
                trader.next_round()
            middle = self._middle(moment)
            await self._take(moment, middle)
            await asyncio.sleep(self._every_s / 2)  # so that something moves twice a round, and matching has come to it
            await self._forget_what_traded()
            await asyncio.gather(*(self._quote(maker, number, middle) for number, maker in enumerate(self._makers)))
            if number % COMPARE_EVERY_ROUNDS == 0:
                await asyncio.gather(*(self._compare(maker) for maker in self._makers))
            await asyncio.sleep(max(0.0, began_at + self._every_s - asyncio.get_running_loop().time()))

    def _middle(self, moment: Moment) -> int:
        """In ticks. The market's own price leads back to the recorded one step by step, so that no band is ever in the way."""
        away = Decimal(1) - self._scale
        self._scale += max(-SCALE_STEP, min(SCALE_STEP, away))
        return int(moment.price * self._scale / self._tick)

    # -- takers

    async def _take(self, moment: Moment, middle: int) -> None:
        """What the new price has left behind is bought up or sold off, and some of the recorded flow trades besides.

        One taker and one batch per round: whatever trades together is told to everybody together, which is cheaper for all.
        """
        taker = self._chance.choice(self._takers)
        quotes = [quote for maker in self._makers for quote in maker.quotes.values()]
        behind = {
            BUY: sum(quote.lots for quote in quotes if quote.level.side == SELL and quote.level.price_ticks <= middle),
            SELL: sum(quote.lots for quote in quotes if quote.level.side == BUY and quote.level.price_ticks >= middle),
        }
        wished = [(side, middle, lots) for side, lots in behind.items() if lots]
        for side, flow in ((BUY, moment.bought), (SELL, moment.sold)):
            share = int(flow * TAKEN_SHARE * Decimal(self._chance.uniform(0.2, 1.8)) / self._lot)
            smallest = int(self._unit / self._lot) // 40
            if share > smallest or self._chance.random() < CALM:
                limit = middle + (1 if side == BUY else -1) * self._step * REACH_STEPS
                wished.append((side, limit, max(smallest, min(share, int(2 * self._unit / self._lot)))))
        await taker.send([{**self._order(*wish), "time_in_force": "IOC"} for wish in wished if taker.may(wish[0])])

    async def _forget_what_traded(self) -> None:
        """Whatever stands before the best price in the book is gone. Raises: Unanswered."""
        path = f"/orderbook/{self.symbol.replace('/', '-')}"
        book = need(await self._makers[0].client.call("GET", path, query={"depth": 1}))
        best = {BUY: self._best(book["bids"]), SELL: self._best(book["asks"])}
        for maker in self._makers:
            for index, quote in list(maker.quotes.items()):
                top, price = best[quote.level.side], quote.level.price_ticks
                if top is None or (price > top if quote.level.side == BUY else price < top):
                    del maker.quotes[index]

    def _best(self, levels: list[list[str]]) -> int | None:
        return int(Decimal(levels[0][0]) / self._tick) if levels else None

    # -- makers

    async def _quote(self, maker: Trader, number: int, middle: int) -> None:
        """Fills the gaps of this maker's share of the ladder and takes back a few orders that are far from the price."""
        missing = [
            level
            for level in wanted(middle, self._step)
            if level.index % len(self._makers) == number and level.index not in maker.quotes and maker.may(level.side)
        ][:BATCH]
        unit_lots = int(self._unit / self._lot)
        lots = [lots_at(level, middle, self._step, self._chance, unit_lots) for level in missing]
        answers = await maker.send([self._order(level.side, level.price_ticks, many) for level, many in zip(missing, lots, strict=True)])
        for level, many, order in zip(missing, lots, answers, strict=True):
            if order is not None:
                maker.quotes[level.index] = Quote(level, order["order_id"], many)
        far = [quote for quote in maker.quotes.values() if is_too_far(quote.level, middle, self._step)]
        for quote in far[:CANCELS_PER_ROUND]:
            await maker.client.cancel(quote.order_id)  # one that has just traded is refused, which is as good
            maker.quotes.pop(quote.level.index, None)

    async def _compare(self, maker: Trader) -> None:
        """What an operator or prevention of self-trades has ended is forgotten; an order nobody remembers, whose answer got lost, is taken
        back. Raises: Unanswered."""
        pages = maker.client.pages("/orders", symbol=self.symbol, status="open", limit=500)
        still_open = {row["order_id"] async for row in pages}
        maker.quotes = {index: quote for index, quote in maker.quotes.items() if quote.order_id in still_open}
        strays = still_open - {quote.order_id for quote in maker.quotes.values()}
        for order_id in sorted(strays)[:BATCH]:
            await maker.client.cancel(order_id)

    def _order(self, side: str, price_ticks: int, lots: int) -> dict[str, Any]:
        return {
            "symbol": self.symbol,
            "side": side,
            "order_type": "LIMIT",
            "price": f"{price_ticks * self._tick:f}",
            "quantity": f"{lots * self._lot:f}",
        }


def need(reply: Reply) -> Any:
    """The answer's data. Raises: Unanswered when it was refused: whoever calls begins anew, with back-off."""
    if not reply.is_good:
        raise Unanswered(f"{reply.status} {reply.code}")
    return reply.data
