"""One symbol in memory: its book, the records settlement needs, and its progress. Commands in, a `SymbolBatch` out.

Deterministic: the same commands with the same stamps give the same trades, ids and hashes. No database, no clock.
"""

from typing import Final

from matching.core.book import Book
from matching.core.messages import (
    AMENDED,
    BUY,
    CANCELLED,
    PREVENTED,
    REFUSED,
    REJECTED,
    RESTED,
    SELL,
    TRADE,
    Event,
)
from orders import commands
from orders.settlement import OrderRecord, SymbolBatch, SymbolProgress

ENGINE: Final = "engine"


class SymbolEngine:
    """Drives a book and tells settlement what happened. `records` holds every order that has not ended."""

    def __init__(self, progress: SymbolProgress) -> None:
        self.progress = progress
        self.book = Book(progress.status)
        self.records: dict[str, OrderRecord] = {}

    def begin(self, stamp_ms: int) -> SymbolBatch:
        """A new batch at this time (never before the last one's)."""
        return SymbolBatch(progress=self.progress, records=self.records, stamp_ms=stamp_ms)

    def apply(self, command: commands.Command, batch: SymbolBatch) -> None:
        """Take one command: it gets the symbol's next sequence. Raises: InvalidCommand when intake let through what it should not."""
        self.progress.sequence += 1
        batch.log.append(command)
        match command[0]:
            case commands.PLACE:
                self._place(command, batch)
            case commands.PLACE_BY_BUDGET:
                self._place_by_budget(command, batch)
            case commands.CANCEL:
                _, order_id, reason, actor, request_id = command
                self.book.cancel(order_id, reason)
                self._follow(batch, None, actor, request_id)
            case commands.AMEND:
                self._amend(command, batch)
            case commands.SET_STATUS:
                _, status, actor, request_id = command
                self.book.set_status(status)
                batch.status_set(status, actor, request_id)
                self._follow(batch, None, actor, request_id)
            case unknown:
                raise ValueError(f"command {unknown!r} of {self.progress.market.name} at {self.progress.sequence} is unknown")

    def _place(self, command: commands.Command, batch: SymbolBatch) -> None:
        _, order_id, account_id, side, ticks, lots, time_in_force, prevention, maker_rate, taker_rate, request_id = command
        market = self.progress.market
        held = ticks * lots * market.quote_per_step if side == BUY else lots * market.base_per_lot
        record = OrderRecord(order_id, account_id, side == BUY, ticks, lots, held, maker_rate, taker_rate)
        self.records[order_id] = record
        self.book.place(order_id, account_id, side, ticks, lots, time_in_force, prevention)
        self._follow(batch, record, ENGINE, request_id)

    def _place_by_budget(self, command: commands.Command, batch: SymbolBatch) -> None:
        _, order_id, account_id, ticks, held_text, prevention, maker_rate, taker_rate, request_id = command
        held = int(held_text)
        record = OrderRecord(order_id, account_id, True, ticks, 0, held, maker_rate, taker_rate)
        record.by_budget = True
        self.records[order_id] = record
        self.book.place_by_budget(order_id, account_id, ticks, held // self.progress.market.quote_per_step, prevention)
        self._follow(batch, record, ENGINE, request_id)

    def _amend(self, command: commands.Command, batch: SymbolBatch) -> None:
        _, order_id, amend_id, account_id, side, ticks, total, extra_text, actor, request_id = command
        extra = int(extra_text)
        asset_id = self.progress.market.quote_id if side == BUY else self.progress.market.base_id
        record = self.records.get(order_id)
        if record is None:
            batch.amend_too_late(amend_id, account_id, asset_id, extra)
            return
        self.book.amend(order_id, ticks or record.ticks, total or record.total)
        first = self.book.events[0]
        code = first[2] if first[0] == REFUSED else None
        self._follow(batch, record, actor, request_id)
        batch.amend_decided(amend_id, record, asset_id, extra, code)

    # -- events

    def _follow(self, batch: SymbolBatch, subject: OrderRecord | None, actor: str, request_id: str) -> None:
        """Turn the events of one command into the batch. `subject`: the order placed or amended."""
        events = self.book.events
        changed: dict[str, OrderRecord] = {}
        if subject is not None:
            changed[subject.order_id] = subject
        records, levels = self.records, batch.levels
        ends: dict[str, tuple[str, str]] = {}
        for event in events:
            kind = event[0]
            if kind == TRADE:
                _, maker_id, taker_id, ticks, lots, maker_left, taker_left = event
                maker, taker = records[maker_id], records[taker_id]
                batch.trade(maker, taker, ticks, lots)
                batch.takers[self.progress.sequence] = request_id
                maker.left = maker_left
                taker.left = taker_left
                changed[maker_id] = maker
                levels.add((BUY if maker.is_buy else SELL, ticks))
            elif kind == RESTED:
                _, order_id, side, ticks, left = event
                records[order_id].priority = self.progress.sequence
                levels.add((side, ticks))
            elif kind == CANCELLED:
                _, order_id, left, reason = event
                record = records[order_id]
                if record.status != "PENDING":
                    levels.add((BUY if record.is_buy else SELL, record.ticks))
                record.left = left
                changed[order_id] = record
                ends[order_id] = ("CANCELLED", reason)
            elif kind == REJECTED:
                ends[event[1]] = ("REJECTED", event[2])
            elif kind == AMENDED:
                self._reshape(event, records[event[1]], levels)
            elif kind == PREVENTED:
                _, resting_id, incoming_id, lots, resting_left, incoming_left = event
                for order_id, left in ((resting_id, resting_left), (incoming_id, incoming_left)):
                    record = records[order_id]
                    record.left = left
                    record.prevented += lots
                    changed[order_id] = record
                resting = records[resting_id]
                levels.add((BUY if resting.is_buy else SELL, resting.ticks))
        refused_only = bool(events) and events[0][0] == REFUSED
        events.clear()
        if refused_only:
            return
        for order_id, record in changed.items():
            end = ends.get(order_id)
            # Whoever is traded with is not told by whose request.
            asked = request_id if record is subject or end is not None else ""
            batch.touch(record, asked)
            self._conclude(batch, record, end, actor, asked)

    def _reshape(self, event: Event, record: OrderRecord, levels: set[tuple[int, int]]) -> None:
        _, _, ticks, total, left, _ = event
        side = BUY if record.is_buy else SELL
        levels.add((side, record.ticks))
        if ticks != record.ticks:
            levels.add((side, ticks))
        record.ticks, record.total, record.left = ticks, total, left

    def _conclude(self, batch: SymbolBatch, record: OrderRecord, end: tuple[str, str] | None, actor: str, request_id: str) -> None:
        """The status an order has after this command, as one transition."""
        if end is not None:
            status, cause = end
            record.reason = cause
        elif record.by_budget or record.left == 0:
            status, cause, actor = "FILLED", "TRADE", ENGINE
        elif record.filled:
            status, cause, actor = "PARTIALLY_FILLED", "TRADE", ENGINE
        else:
            status, cause, actor = "OPEN", "RESTED", ENGINE
        if status != record.status:
            batch.move(record, status, cause, actor, request_id)

    def restore(self, record: OrderRecord, time_in_force: int, prevention: int) -> None:
        """Put an open order back; recovery calls it in queue order."""
        side = BUY if record.is_buy else SELL
        self.book.restore(record.order_id, record.account_id, side, record.ticks, record.total, record.left, time_in_force, prevention)
        record.digest = record.state_digest()
        self.records[record.order_id] = record
