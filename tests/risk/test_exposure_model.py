"""Random trading by keys with limits: after every step the counters are what a plain recount of orders, amends and trades gives, and no
limit is ever passed by what was taken."""

import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from markets.models import Asset
from orders.requests import AmendOrder, CancelOrder, Placed, PlaceOrder, Request
from tests.factories import AssetFactory
from tests.matching_worker.exchange import Exchange, Trader, open_exchange, order
from tests.money import assert_money_conserved
from tests.risk.conftest import DAY_NS, limit
from tests.support.approvals import no_limits

POSITION, NOTIONAL = Decimal(8), Decimal(3000)

STEP = st.one_of(
    st.tuples(st.just("place"), st.integers(0, 1), st.sampled_from(["BUY", "SELL"]), st.integers(1, 9), st.integers(96, 104)),
    st.tuples(st.just("spend"), st.integers(0, 1), st.integers(50, 900)),
    st.tuples(st.just("stop"), st.integers(0, 1), st.integers(1, 5), st.integers(101, 106)),
    st.tuples(st.just("amend"), st.integers(0, 30), st.integers(1, 12), st.integers(96, 104)),
    st.tuples(st.just("cancel"), st.integers(0, 30)),
    st.tuples(st.just("settle")),
    st.tuples(st.just("recover")),
    st.tuples(st.just("midnight")),
)


@pytest.fixture
def exchange(fresh_database: str) -> Iterator[Exchange]:
    with open_exchange() as made:
        no_limits()
        limit("MAX_POSITION", str(POSITION))
        limit("DAILY_NOTIONAL", str(NOTIONAL))
        yield made


class Trading:
    """Two accounts on one symbol; recounts what they have in plain decimals."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        bitcoin = Asset.objects.filter(code="BTC").first() or AssetFactory(code="BTC")
        self.symbol = exchange.symbol(base=bitcoin, tick_size=Decimal(1), lot_size=Decimal("0.5"))
        self.traders: list[Trader] = [exchange.trader((self.symbol.base, 100), (self.symbol.quote, 10_000)) for _ in range(2)]
        self.ids: list[UUID] = []

    def do(self, step: tuple[Any, ...]) -> None:
        exchange, symbol = self.exchange, self.symbol
        match step:
            case ("place", who, side, lots, price):
                self._take(order(self.traders[who], symbol, side, str(Decimal(lots) / 2), str(price), limited=True))
            case ("spend", who, amount):
                self._take(order(self.traders[who], symbol, "BUY", limited=True, quote_quantity=Decimal(amount)))
            case ("stop", who, lots, price):
                stop = {"order_type": "STOP_LIMIT", "stop_price": Decimal(price), "trigger_source": "LAST"}
                self._take(order(self.traders[who], symbol, "BUY", str(Decimal(lots) / 2), str(price), limited=True, **stop))
            case ("amend", which, lots, price) if self.ids:
                target = self.ids[which % len(self.ids)]
                self._take(AmendOrder(self._owner(target).principal, target, Decimal(price), Decimal(lots) / 2))
            case ("cancel", which) if self.ids:
                target = self.ids[which % len(self.ids)]
                self._take(CancelOrder(self._owner(target).principal, target))
            case ("settle",):
                exchange.settle()
            case ("recover",):
                exchange.settle()
                exchange.restart_worker()
            case ("midnight",):
                exchange.settle()
                assert exchange.clock.at_ns is not None
                exchange.clock.at_ns += DAY_NS
                exchange.worker_clock.at_ns = exchange.clock.at_ns
        for trader in self.traders:
            self._recount(trader)

    def _owner(self, order_id: UUID) -> Trader:
        [account_id] = self.exchange.row("SELECT account_id FROM orders_order WHERE id = %s", order_id)
        return next(trader for trader in self.traders if trader.id == account_id)

    def _take(self, request: Request) -> None:
        outcome = self.exchange.take(request)[0]
        if isinstance(request, PlaceOrder) and isinstance(outcome, Placed) and outcome.refusal is None:
            self.ids.append(UUID(outcome.order["order_id"]))

    def _recount(self, trader: Trader) -> None:
        """Open parts from the orders and pending amends, what was traded from the trades of this day."""
        buying = spending = value = Decimal(0)
        orders = self.exchange.rows(
            """SELECT side, quantity, quote_quantity, filled_quantity, prevented_quantity, coalesce(price, protection_price)
               FROM orders_order WHERE account_id = %s AND status IN ('PENDING', 'PENDING_TRIGGER', 'OPEN', 'PARTIALLY_FILLED')""",
            trader.id,
        )
        for side, quantity, amount, filled, prevented, bound in orders:
            left = amount / bound if quantity is None else quantity - filled - prevented
            value += left * bound if quantity is not None else amount
            if quantity is None:
                spending += amount
            elif side == "BUY":
                buying += left
        extras = self.exchange.rows(
            "SELECT extra_quantity, extra_value FROM orders_amend WHERE account_id = %s AND status = 'PENDING'", trader.id
        )
        buying, value = buying + sum(row[0] for row in extras), value + sum(row[1] for row in extras)
        trades = self.exchange.rows(
            """SELECT price, quantity, executed_at, CASE taker_side WHEN 'BUY' THEN taker_account_id ELSE maker_account_id END = %s
               FROM orders_trade WHERE %s IN (maker_account_id, taker_account_id) AND symbol_id = %s""",
            trader.id, trader.id, self.symbol.pk,
        )  # fmt: skip
        days = {row[2].date() for row in trades}
        traded = sum((price * quantity for price, quantity, at, _ in trades if at.date() == max(days)), Decimal(0))
        found = self.exchange.rows(
            "SELECT buying, spending, open_value, traded, day FROM risk_exposure WHERE account_id = %s AND symbol_id = %s",
            trader.id, self.symbol.pk,
        )  # fmt: skip
        if not found:
            assert (buying, spending, value, trades) == (0, 0, 0, [])
            return
        assert found == [(buying, spending, value, traded, max(days, default=None))]
        position = sum((quantity if bought else -quantity for _, quantity, _, bought in trades), Decimal(0))
        assert position + buying <= POSITION
        opening = [row for row in trades if row[2].date() < max(days)] if days else []
        assert self.exchange.rows(
            "SELECT quantity, opening_quantity FROM risk_position WHERE account_id = %s AND symbol_id = %s", trader.id, self.symbol.pk
        ) == ([(position, sum((q if bought else -q for _, q, _, bought in opening), Decimal(0)))] if trades else [])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=st.lists(STEP, min_size=5, max_size=30))
def test_counters_are_what_orders_amends_and_trades_add_up_to(exchange: Exchange, steps: list[tuple[Any, ...]]) -> None:
    exchange.settle()
    if exchange.clock.at_ns is None:  # noon, and later examples go on from where the last one was
        exchange.clock.at_ns = exchange.worker_clock.at_ns = time.time_ns() // DAY_NS * DAY_NS + DAY_NS // 2
    trading = Trading(exchange)
    for step in steps:
        trading.do(step)
    exchange.settle()
    assert_money_conserved()
