"""An exchange whose assets have prices: BTC and TEST against USDT, and no limit but what a test sets."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from markets.models import Asset, Symbol
from orders.requests import Outcome
from tests.factories import AssetFactory
from tests.matching_worker.exchange import Exchange, Trader, code_of, open_exchange, order
from tests.support.approvals import no_limits, set_limit

DAY_NS = 86_400 * 10**9


@dataclass
class Floor:
    """`ann` trades by a key with limits; `maker` and `taker` make prices by keys without."""

    exchange: Exchange
    usdt: Asset
    btc: Asset
    test: Asset
    btc_usdt: Symbol
    test_usdt: Symbol

    def __post_init__(self) -> None:
        self.ann = self.trader("1_000_000")
        self.maker, self.taker = self.trader("100_000_000"), self.trader("100_000_000")

    def trader(self, usdt: str, **change: Any) -> Trader:
        return self.exchange.trader((self.usdt, Decimal(usdt)), (self.btc, 1000), (self.test, 100_000), **change)

    def ask(self, side: str, quantity: str | None, price: str | None, *, symbol: Symbol | None = None, **change: Any) -> str:
        """Ann's order, by a key with limits: "taken", or its code."""
        asked = order(self.ann, symbol or self.test_usdt, side, quantity, price, limited=True, **change)
        return answer(self.exchange.take(asked)[0])

    def may(self, side: str, quantity: str, price: str, *, symbol: Symbol | None = None) -> str:
        """As `ask`, and what is taken is taken back before it meets anything."""
        said = self.ask(side, quantity, price, symbol=symbol)
        self.cancel_all()
        return said

    def deal(self, price: str, *, symbol: Symbol | None = None, quantity: str = "1") -> None:
        """The symbol trades at this price, between others."""
        for trader, side in ((self.maker, "SELL"), (self.taker, "BUY")):
            self.exchange.placed(trader, symbol or self.test_usdt, side, quantity, price)
        self.exchange.settle()

    def buys(self, quantity: str, price: str, *, symbol: Symbol | None = None) -> None:
        """Ann has bought at this price, by a key without limits."""
        self._meet("BUY", quantity, price, symbol)

    def sells(self, quantity: str, price: str, *, symbol: Symbol | None = None) -> None:
        self._meet("SELL", quantity, price, symbol)

    def _meet(self, side: str, quantity: str, price: str, symbol: Symbol | None) -> None:
        other = "SELL" if side == "BUY" else "BUY"
        self.exchange.placed(self.maker, symbol or self.test_usdt, other, quantity, price)
        self.exchange.placed(self.ann, symbol or self.test_usdt, side, quantity, price)
        self.exchange.settle()

    def cancel_all(self) -> None:
        self.exchange.cancel_all(self.ann)
        self.exchange.settle()

    def at_day(self, day: int) -> None:
        """Intake and worker believe it is noon of this day since 1970."""
        self.exchange.clock.at_ns = self.exchange.worker_clock.at_ns = day * DAY_NS + DAY_NS // 2


def answer(outcome: Outcome) -> str:
    return code_of(outcome) if getattr(outcome, "refusal", None) or isinstance(outcome, Exception) else "taken"


def limit(kind: str, value: str, **scope: int) -> None:
    set_limit(kind=kind, value=Decimal(value), actor="olga", reason="a test", **scope)


@pytest.fixture
def floor(fresh_database: str) -> Iterator[Floor]:
    with open_exchange() as exchange:
        no_limits()
        usdt, btc, test = (AssetFactory(code=code, scale=8) for code in ("USDT", "BTC", "TEST"))
        free = {"maker_fee": Decimal(0), "taker_fee": Decimal(0)}
        yield Floor(exchange, usdt, btc, test, exchange.symbol(btc, usdt, **free), exchange.symbol(test, usdt, **free))
