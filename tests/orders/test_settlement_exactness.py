"""Random trading through intake and worker, against plain decimals: every balance, hold, fee and status, to the last digit.

What happens in the book is told by the naive book of the matching tests; what it means for money is written here a second time,
in decimals, from the rules. Some commands wait together, amends are amended before they are decided, the worker dies and recovers.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import ROUND_FLOOR, Context, Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from markets.models import Symbol
from markets.units import Market, market_by_id
from matching.core import messages
from orders import commands
from orders.requests import AmendTaken, CancelAllTaken, CancelTaken, Placed
from tests.matching.naive_book import NaiveBook
from tests.matching_worker.exchange import Exchange, Trader, code_of, open_exchange
from tests.money import assert_money_conserved

EXACT = Context(prec=100)
START = {"base": Decimal(150), "quote": Decimal(12_000)}  # little, so that what is held too little is missed
MIDDLE = 100  # ticks around which is traded

# scale of base, scale of quote, tick, lot
GRIDS = [
    (8, 8, "0.01", "0.001"),
    (0, 0, "1", "1"),
    (3, 5, "0.01", "0.001"),
    (18, 18, "0.000000001", "0.000000001"),
    (1, 4, "0.025", "0.3"),
    (2, 8, "0.0005", "0.05"),
]
FEES = [("0.001", "0.001"), ("-0.0005", "0.00075"), ("0", "0.1"), ("-0.00012345", "0.00098765")]
PREVENTIONS = ["CANCEL_NEWEST", "CANCEL_OLDEST", "CANCEL_BOTH", "DECREMENT"]


@dataclass
class ModelOrder:
    account: int
    is_buy: bool
    price: Decimal
    total: Decimal
    left: Decimal
    status: str = "PENDING"
    filled: Decimal = Decimal(0)
    filled_quote: Decimal = Decimal(0)
    prevented: Decimal = Decimal(0)
    fee: Decimal = Decimal(0)
    reason: str | None = None
    by_budget: bool = False

    @property
    def has_ended(self) -> bool:
        return self.status in ("FILLED", "CANCELLED", "REJECTED")

    def held(self) -> Decimal:
        if self.has_ended:
            return Decimal(0)
        return EXACT.multiply(self.price, self.left) if self.is_buy else self.left


@dataclass
class Model:
    """Who owns what, in decimals, if the rules are kept."""

    market: Market
    maker_rate: Decimal
    taker_rate: Decimal
    posted: dict[tuple[int, str], Decimal]
    house: dict[str, Decimal] = field(default_factory=lambda: {"base": Decimal(0), "quote": Decimal(0)})
    book: NaiveBook = field(default_factory=NaiveBook)
    orders: dict[UUID, ModelOrder] = field(default_factory=dict)
    trades: int = 0

    def lots(self, lots: int) -> Decimal:
        return EXACT.multiply(self.market.lot, Decimal(lots))

    def price(self, ticks: int) -> Decimal:
        return EXACT.multiply(self.market.tick, Decimal(ticks))

    def follow(self, order_id: UUID | None) -> None:
        """What the naive book has just said."""
        touched = set() if order_id is None else {order_id}
        for event in self.book.events:
            match event:
                case (messages.TRADE, maker, taker, ticks, lots, maker_left, _):
                    self.trade(self.orders[maker], self.orders[taker], self.price(ticks), self.lots(lots))
                    self.orders[maker].left = self.lots(maker_left)
                    self.orders[taker].left = EXACT.subtract(self.orders[taker].left, self.lots(lots))
                    touched |= {maker, taker}
                case (messages.PREVENTED, resting, incoming, lots, _, _):
                    for name in (resting, incoming):
                        order = self.orders[name]
                        order.prevented += self.lots(lots)
                        order.left -= self.lots(lots)
                        touched.add(name)
                case (messages.CANCELLED, name, _, reason):
                    self.orders[name].status, self.orders[name].reason = "CANCELLED", reason
                case (messages.REJECTED, name, reason):
                    self.orders[name].status, self.orders[name].reason = "REJECTED", reason
                case (messages.AMENDED, name, ticks, total, left, _):
                    order = self.orders[name]
                    order.price, order.total, order.left = self.price(ticks), self.lots(total), self.lots(left)
                    touched.add(name)
                case (messages.REFUSED, *_):
                    touched.clear()
        self.book.events.clear()
        for name in touched:
            order = self.orders[name]
            if not order.has_ended:
                if order.left == 0 or order.by_budget:
                    order.status = "FILLED"
                else:
                    order.status = "PARTIALLY_FILLED" if order.filled else "OPEN"

    def trade(self, maker: ModelOrder, taker: ModelOrder, price: Decimal, quantity: Decimal) -> None:
        self.trades += 1
        quote = EXACT.multiply(price, quantity)
        for order, rate in ((maker, self.maker_rate), (taker, self.taker_rate)):
            received, side, scale = (
                (quantity, "base", self.market.base_scale) if order.is_buy else (quote, "quote", self.market.quote_scale)
            )
            paid, paid_side = (quote, "quote") if order.is_buy else (quantity, "base")
            fee = EXACT.multiply(received, rate).quantize(Decimal(1).scaleb(-scale), rounding=ROUND_FLOOR, context=EXACT)
            order.filled += quantity
            order.filled_quote = EXACT.add(order.filled_quote, quote)
            order.fee = EXACT.add(order.fee, fee)
            self.house[side] = EXACT.add(self.house[side], fee)
            self.posted[order.account, side] = EXACT.add(self.posted[order.account, side], EXACT.subtract(received, fee))
            self.posted[order.account, paid_side] = EXACT.subtract(self.posted[order.account, paid_side], paid)

    def held(self, account: int, side: str) -> Decimal:
        total = Decimal(0)
        for order in self.orders.values():
            if order.account == account and order.is_buy == (side == "quote"):
                total = EXACT.add(total, order.held())
        return total


class Driver:
    """Sends to the exchange and tells the model what was taken."""

    def __init__(self, exchange: Exchange, grid: tuple[int, int, str, str], fees: tuple[str, str]) -> None:
        base_scale, quote_scale, tick, lot = grid
        base, quote = exchange.asset(base_scale), exchange.asset(quote_scale)
        self.exchange = exchange
        self.symbol: Symbol = exchange.symbol(
            base, quote, tick_size=Decimal(tick), lot_size=Decimal(lot), maker_fee=Decimal(fees[0]), taker_fee=Decimal(fees[1])
        )
        self.market = market_by_id(self.symbol.pk)
        unit = {"base": self.market.lot, "quote": EXACT.multiply(self.market.lot, self.market.tick)}
        self.funds = {side: EXACT.multiply(unit[side], START[side]) for side in unit}
        self.traders: list[Trader] = [exchange.trader((base, self.funds["base"]), (quote, self.funds["quote"])) for _ in range(3)]
        self.assets = {"base": base, "quote": quote}
        posted = {(number, side): self.funds[side] for number in range(3) for side in unit}
        self.model = Model(self.market, Decimal(fees[0]), Decimal(fees[1]), posted)

    def text(self, value: Decimal) -> str:
        return f"{value:f}"

    def place(self, account: int, side: str, ticks: int, lots: int, time_in_force: str, prevention: str) -> None:
        trader, market = self.traders[account], self.market
        price, quantity = self.model.price(ticks), self.model.lots(lots)
        asset = self.assets["quote" if side == "BUY" else "base"]
        posted, held = self.exchange.balance(trader, asset)
        outcome = self.exchange.place(
            trader, self.symbol, side, self.text(quantity), self.text(price), time_in_force=time_in_force, self_trade_prevention=prevention
        )
        need = EXACT.multiply(price, quantity) if side == "BUY" else quantity
        assert isinstance(outcome, Placed)
        if need > posted - held:
            assert code_of(outcome) == "INSUFFICIENT_FUNDS"
            return
        assert outcome.refusal is None, outcome.refusal
        order_id = UUID(outcome.order["order_id"])
        assert self.exchange.order(order_id)["held"] == need
        self.model.orders[order_id] = ModelOrder(account, side == "BUY", price, quantity, quantity)
        self.model.book.place(
            order_id,
            account,
            commands.SIDES[side],
            market.ticks(price),
            lots,
            commands.TIMES_IN_FORCE[time_in_force],
            commands.PREVENTIONS[prevention],
        )
        self.model.follow(order_id)

    def market_order(self, account: int, side: str, size: int, time_in_force: str, prevention: str) -> None:
        """By quantity, or (IOC BUY of an even size) by what may be spent."""
        trader, market, model = self.traders[account], self.market, self.model
        by_budget = side == "BUY" and time_in_force == "IOC" and size % 2 == 0
        unit = Decimal(1).scaleb(-market.quote_scale)
        budget = EXACT.multiply(unit, Decimal(size * 37 * market.quote_per_step + size % 5)) if by_budget else None
        outcome = self.exchange.place(
            trader, self.symbol, side, None if by_budget else self.text(model.lots(size)),
            time_in_force=time_in_force, quote_quantity=budget, self_trade_prevention=prevention,
        )  # fmt: skip
        assert isinstance(outcome, Placed)
        if outcome.refusal is not None:
            assert outcome.refusal.code in ("NO_REFERENCE_PRICE", "INSUFFICIENT_FUNDS")
            return
        order_id = UUID(outcome.order["order_id"])
        row = self.exchange.order(order_id)
        ticks = market.ticks(row["protection_price"])
        if budget is not None:
            assert row["held"] == budget
            model.orders[order_id] = ModelOrder(account, True, row["protection_price"], Decimal(0), Decimal(0), by_budget=True)
            steps = int(budget.scaleb(market.quote_scale, EXACT)) // market.quote_per_step
            model.book.place_by_budget(order_id, account, ticks, steps, commands.PREVENTIONS[prevention])
        else:
            quantity = model.lots(size)
            model.orders[order_id] = ModelOrder(account, side == "BUY", row["protection_price"], quantity, quantity)
            model.book.place(
                order_id,
                account,
                commands.SIDES[side],
                ticks,
                size,
                commands.TIMES_IN_FORCE[time_in_force],
                commands.PREVENTIONS[prevention],
            )
        model.follow(order_id)

    def some_order(self, pick: int) -> UUID | None:
        """Mostly one that is open for the model; it may be pending still, or ended by what is pending."""
        ids = [name for name, order in self.model.orders.items() if not order.has_ended] or list(self.model.orders)
        return ids[pick % len(ids)] if ids else None

    def cancel(self, pick: int) -> None:
        if (order_id := self.some_order(pick)) is not None:
            trader = self.traders[self.model.orders[order_id].account]
            if isinstance(self.exchange.cancel(trader, order_id), CancelTaken):
                self.model.book.cancel(order_id, "USER_CANCEL")
                self.model.follow(None)

    def cancel_all(self, account: int) -> None:
        outcome = self.exchange.cancel_all(self.traders[account], self.symbol)
        assert isinstance(outcome, CancelAllTaken)
        for order_id in outcome.order_ids:
            self.model.book.cancel(order_id, "CANCEL_ALL")
            self.model.follow(None)

    def amend(self, pick: int, ticks: int, lots: int) -> None:
        """`ticks` or `lots` 0: that one stays."""
        order_id = self.some_order(pick)
        if order_id is None or not (ticks or lots):
            return
        order = self.model.orders[order_id]
        outcome = self.exchange.amend(
            self.traders[order.account], order_id,
            price=self.text(self.model.price(ticks)) if ticks else None, quantity=self.text(self.model.lots(lots)) if lots else None,
        )  # fmt: skip
        if not isinstance(outcome, AmendTaken):
            assert code_of(outcome) in ("INSUFFICIENT_FUNDS", "ORDER_NOT_OPEN", "AMEND_REFUSED"), outcome
            return
        if order_id in self.model.book:
            self.check_extra(
                outcome.amend_id, order, self.model.price(ticks) if ticks else order.price, self.model.lots(lots) if lots else order.total
            )
            self.model.book.amend(order_id, ticks or self.market.ticks(order.price), lots or self.market.lots(order.total))
            self.model.follow(order_id)

    def check_extra(self, amend_id: UUID, order: ModelOrder, price: Decimal, total: Decimal) -> None:
        """What intake held covers what the order will hold more when the amend's turn comes: the model stands just before it."""
        left = max(Decimal(0), total - (order.total - order.left))
        after = EXACT.multiply(price, left) if order.is_buy else left
        [(extra,)] = self.exchange.rows("SELECT extra_held FROM orders_amend WHERE id = %s", amend_id)
        assert extra >= after - order.held()

    def die(self) -> None:
        """The worker is killed; its successor must have the same book."""
        before = self.exchange.worker
        assert before is not None
        engine = before.engines[self.symbol.pk]
        settled_book = [list(engine.book.queue(side)) for side in (messages.BUY, messages.SELL)]
        after = self.exchange.restart_worker().engines[self.symbol.pk]
        assert [list(after.book.queue(side)) for side in (messages.BUY, messages.SELL)] == settled_book
        assert (after.progress.state_hash, after.progress.sequence, after.progress.chain, after.progress.trade_number) == (
            engine.progress.state_hash, engine.progress.sequence, engine.progress.chain, engine.progress.trade_number
        )  # fmt: skip
        after.book.check()

    def check(self) -> None:
        """Everything is settled: the database says what the model says."""
        exchange, model = self.exchange, self.model
        exchange.settle()
        for number, trader in enumerate(self.traders):
            for side, asset in self.assets.items():
                assert exchange.balance(trader, asset) == (model.posted[number, side], model.held(number, side)), (number, side)
        for order_id, order in model.orders.items():
            row = exchange.order(order_id)
            assert (row["status"], row["reason"]) == (order.status, order.reason)
            assert (row["filled_quantity"], row["filled_quote"], row["fee"]) == (order.filled, order.filled_quote, order.fee)
            assert (row["prevented_quantity"], row["held"]) == (order.prevented, order.held())
        assert exchange.row("SELECT count(*) FROM orders_trade WHERE symbol_id = %s", self.symbol.pk) == (model.trades,)
        for side in self.assets:
            owned = sum((model.posted[number, side] for number in range(3)), model.house[side])
            assert owned == 3 * self.funds[side], "what was paid in is there"
        assert_money_conserved()


price = st.integers(MIDDLE - 6, MIDDLE + 6)
account, side = st.integers(0, 2), st.sampled_from(["BUY", "SELL"])
size, pick = st.integers(1, 60), st.integers(0, 1000)
prevention = st.sampled_from(PREVENTIONS)
command = st.one_of(
    st.tuples(st.just("place"), account, side, price, size, st.sampled_from(["GTC", "GTC", "GTC", "IOC", "FOK", "GTX"]), prevention),
    st.tuples(st.just("place"), account, side, price, size, st.just("GTC"), prevention),
    st.tuples(st.just("place"), account, side, price, st.integers(60, 130), st.just("GTC"), prevention),
    st.tuples(st.just("market_order"), account, side, size, st.sampled_from(["IOC", "FOK"]), prevention),
    st.tuples(st.just("cancel"), pick),
    st.tuples(st.just("amend"), pick, st.one_of(st.just(0), price), st.one_of(st.just(0), size, st.integers(1, 300))),
    st.tuples(st.just("amend"), pick, st.one_of(st.just(0), price), st.one_of(st.just(0), size)),
    st.tuples(st.just("cancel_all"), account),
    st.tuples(st.just("settle")),
    st.tuples(st.just("settle")),
    st.tuples(st.just("die")),
)


@pytest.fixture
def exchange(fresh_database: str) -> Iterator[Exchange]:
    with open_exchange() as made:
        yield made


@pytest.mark.slow
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(grid=st.sampled_from(GRIDS), fees=st.sampled_from(FEES), sequence=st.lists(command, min_size=10, max_size=60))
def test_random_trading_is_exact(
    exchange: Exchange, grid: tuple[int, int, str, str], fees: tuple[str, str], sequence: list[tuple[Any, ...]]
) -> None:
    driver = Driver(exchange, grid, fees)
    for name, *arguments in sequence:
        if name == "settle":
            exchange.settle()
        else:
            getattr(driver, name)(*arguments)
    driver.check()
