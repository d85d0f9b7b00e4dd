"""An engine without a database in a storm of commands, beside one that is rebuilt again and again from what would be stored.

Intake is as stale as it may be: it sees what has been settled, while commands wait. Two laws: settlement never takes from what is free
of an account (else the database refuses it, from the worker that starts next as well), and who was rebuilt goes on as who never stopped.
"""

import json
import random
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from markets.units import Market
from matching.core.conditions import Conditions
from matching.core.messages import BUY, FOK, GTC, GTX, IOC, MARKET, SELL
from matching.engine import SymbolEngine
from orders import commands
from orders.amends import OpenOrderView, extra_lot_ticks
from orders.settlement import OrderRecord, SymbolBatch, SymbolProgress

ACCOUNTS = (1, 2, 3, 4)
MAKER, TAKER = 100_000, 200_000
STATUSES = ("AUCTION", "AUCTION", "AUCTION", "HALTED", "POST_ONLY", "CANCEL_ONLY")


SYMBOL = Market(
    id=7, name="A/B", base="A", quote="B", base_id=1, quote_id=2, base_scale=8, quote_scale=8, tick=Decimal("0.01"), lot=Decimal("0.001"),
    tick_decimals=2, lot_decimals=3, tick_units=1, lot_units=1, quote_per_step=1_000, base_per_lot=100_000, fee_account_id=99,
)  # fmt: skip


@dataclass
class Known:
    """An order as intake sees it: what was settled last."""

    account: int
    side: int
    ticks: int
    total: int
    is_priced: bool
    done: int = 0
    pending: dict[str, tuple[int, int]] = field(default_factory=dict)


class Storm:
    def __init__(self, seed: int, *, band: int | None) -> None:
        self.chance = random.Random(seed)
        self.steady, self.shaken = (SymbolEngine(SymbolProgress(market=SYMBOL)) for _ in range(2))
        self.stored: dict[str, Any] = Conditions().stored()
        self.known: dict[str, Known] = {}
        self.asked: dict[str, tuple[int, int]] = {}  # order → time in force and prevention of the book
        self.waiting: list[commands.Command] = [[commands.RULES, {"dynamic_band": band, "halt_ms": 3_000, "auction_ms": 2_000}]]
        self.now_ms = 1_700_000_000_000

    def blow(self, steps: int) -> None:
        actions = {
            self.place: 30, self.place_with_terms: 25, self.budget: 4, self.amend: 22, self.cancel: 6, self.reference: 4, self.status: 3,
            self.settle: 12, self.rebuild: 1,
        }  # fmt: skip
        for _ in range(steps):
            self.chance.choices(list(actions), weights=list(actions.values()))[0]()
        self.settle(everything=True)

    # -- intake

    def price(self) -> int:
        return 10_000 + self.chance.randint(-40, 40)

    def body(self, side: int, ticks: int, time_in_force: int) -> list[Any]:
        order_id, account, lots = uuid4().hex, self.chance.choice(ACCOUNTS), self.chance.randint(1, 60)
        prevention = self.chance.randint(0, 3)
        self.asked[order_id] = (time_in_force, prevention)
        return [order_id, account, side, ticks, lots, time_in_force, prevention, MAKER, TAKER, "r"]

    def take(self, letter: str, body: list[Any], terms: list[Any] | None = None) -> None:
        order_id, account, side, ticks, lots = body[:5]
        self.known[order_id] = Known(account, side, ticks, lots, terms is None or bool(terms[-1]))
        self.waiting.append([letter, *body, *(terms or ())])

    def place(self) -> None:
        time_in_force = self.chance.choice((GTC, GTC, GTC, GTX, IOC, FOK, MARKET))
        self.take(commands.PLACE, self.body(self.chance.choice((BUY, SELL)), self.price(), time_in_force))

    def place_with_terms(self) -> None:
        reduce_only = self.chance.random() < 0.5
        side = SELL if reduce_only else self.chance.choice((BUY, SELL))
        stop = self.price() if self.chance.random() < 0.5 else 0
        is_priced = not stop or self.chance.random() < 0.5
        time_in_force = self.chance.choice((GTC, GTC, GTX, IOC, FOK)) if is_priced else MARKET
        expire_ms = self.now_ms + self.chance.randint(-100, 6_000) if time_in_force == GTC and self.chance.random() < 0.4 else 0
        terms = [expire_ms, int(reduce_only), stop, self.chance.randint(0, 1), self.chance.randint(0, 1), int(is_priced)]
        if not (expire_ms or reduce_only or stop):
            terms[1], side = 1, SELL
        self.take(commands.PLACE_WITH_TERMS, self.body(side, self.price(), time_in_force), terms)

    def budget(self) -> None:
        held = self.chance.randint(1, 40) * 10_000 * SYMBOL.quote_per_step
        order_id, account, _, ticks, _, _, prevention, *rest = self.body(BUY, self.price(), MARKET)
        self.waiting.append([commands.PLACE_BY_BUDGET, order_id, account, ticks, str(held), prevention, *rest])

    def amend(self) -> None:
        if not self.known:
            return
        order_id = self.chance.choice(list(self.known))
        known = self.known[order_id]
        if self.asked[order_id][0] == MARKET and known.is_priced:
            return  # a market order: intake refuses it
        ticks = self.price() if known.is_priced and self.chance.random() < 0.6 else 0
        total = self.chance.randint(1, 80) if not ticks or self.chance.random() < 0.6 else 0
        side = commands.SIDE_NAMES[known.side]
        view = OpenOrderView(UUID(order_id), side, known.ticks, known.total, known.done, tuple(known.pending.values()))
        steps = extra_lot_ticks(side, known.done, view.shapes(), ticks, total)
        extra = steps * (SYMBOL.quote_per_step if known.side == BUY else SYMBOL.base_per_lot)
        amend_id = uuid4().hex
        known.pending[amend_id] = (ticks, total)
        self.waiting.append([commands.AMEND, order_id, amend_id, known.account, known.side, ticks, total, str(extra), "key:a", "r"])

    def cancel(self) -> None:
        if self.known:
            self.waiting.append([commands.CANCEL, self.chance.choice(list(self.known)), "USER_CANCEL", "key:a", "r"])

    def reference(self) -> None:
        low = self.price()
        self.waiting.append([commands.REFERENCE, low, low + self.chance.randint(0, 1), f"{low}", "feed", ""])

    def status(self) -> None:
        trades = self.shaken.progress.status == "TRADING"
        self.waiting.append([commands.SET_STATUS, self.chance.choice(STATUSES) if trades else "TRADING", "olga", ""])

    # -- the worker

    def settle(self, *, everything: bool = False) -> None:
        self.now_ms += self.chance.randint(0, 1_500)
        count = len(self.waiting) if everything else self.chance.randint(0, len(self.waiting))
        taken, self.waiting = self.waiting[:count], self.waiting[count:]
        first = self.settle_in(self.steady, taken, catches_up=True)
        batches = [first, self.settle_in(self.shaken, first.log, catches_up=False)]
        steady, shaken = self.steady.progress, self.shaken.progress
        assert batches[0].trades == batches[1].trades
        assert sorted(batches[0].transitions) == sorted(batches[1].transitions)
        assert (steady.state_hash, steady.place_number, steady.status) == (shaken.state_hash, shaken.place_number, shaken.status)
        assert steady.conditions == shaken.conditions, (steady.conditions, shaken.conditions)
        if shaken.conditions_changed:
            self.stored = json.loads(json.dumps(shaken.conditions.stored()))
            shaken.conditions_changed = False
        self.see(batches[1])

    def settle_in(self, engine: SymbolEngine, taken: list[commands.Command], *, catches_up: bool) -> SymbolBatch:
        batch = engine.begin(self.now_ms)
        if catches_up:
            engine.catch_up(batch)
        for command in taken:
            engine.apply(command, batch)
        engine.finish()
        batch.close()
        engine.book.check()
        for key in batch.posted.keys() | batch.held.keys():
            assert batch.posted.get(key, 0) - batch.held.get(key, 0) >= 0, f"account and asset {key}: settlement takes from what is free"
        for account_id, reducing in engine._reducing.items():
            position = engine.progress.positions.get(account_id)
            assert len(reducing) == len(set(reducing))
            offered = sum(engine.records[order_id].left for order_id in reducing if not engine.records[order_id].at_market)
            assert offered <= max(0, position.lots if position else 0), "orders that reduce offer no more than the position"
        return batch

    def see(self, batch: SymbolBatch) -> None:
        """What the settlement tells whoever reads next."""
        for amend_id, *_ in batch.amends:
            for known in self.known.values():
                known.pending.pop(amend_id, None)
        for order_id, record in batch.touched.items():
            if order_id not in self.shaken.records:
                self.known.pop(order_id, None)
            elif order_id in self.known:
                known = self.known[order_id]
                known.ticks, known.total, known.done = record.ticks, record.total, record.filled + record.prevented

    def rebuild(self) -> None:
        """As `matching.recovery.load_symbol` does it."""
        old = self.shaken.progress
        progress = SymbolProgress(
            market=old.market, sequence=old.sequence, trade_number=old.trade_number, status=old.status, state_hash=old.state_hash,
            stamp_ms=old.stamp_ms, place_number=old.place_number, conditions=Conditions.of(self.stored),
            positions=old.positions,
        )  # fmt: skip
        progress.last_ticks, progress.last_traded_ms = old.last_ticks, old.last_traded_ms
        if old.last_ticks:
            progress.conditions.traded_last(old.last_ticks, old.last_traded_ms)
        engine = SymbolEngine(progress)
        for record in sorted(self.shaken.records.values(), key=lambda r: r.priority):
            engine.restore(copy_of(record), *self.asked[record.order_id])
        assert sum(record.digest for record in engine.records.values()) % 2**64 == progress.state_hash
        self.shaken = engine


def copy_of(record: OrderRecord) -> OrderRecord:
    made = OrderRecord.__new__(OrderRecord)
    for name in OrderRecord.__slots__:
        setattr(made, name, getattr(record, name))
    return made


@pytest.mark.parametrize("band", [None, 30])
@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_taken_that_was_not_held_and_a_rebuilt_engine_goes_on_as_before(seed: int, band: int | None) -> None:
    storm = Storm(seed, band=band)
    storm.blow(1_500)
    assert storm.steady.progress.trade_number > 60
