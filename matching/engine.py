"""One symbol in memory: its book, the records settlement needs, positions, and its progress. Commands in, a `SymbolBatch` out.

Deterministic: the same commands with the same stamps give the same trades, ids and hashes. No database, no clock.
"""

from heapq import heapify, heappop, heappush
from typing import Final

from matching.core.book import Book
from matching.core.conditions import AUCTION_BAND, AUCTION_OVER, EXTENSION_MS, EXTENSIONS, HALT_OVER, PRICE_BAND, Rules
from matching.core.messages import (
    AMENDED,
    AUCTION,
    AUCTIONED,
    BUY,
    CANCELLED,
    COMMAND,
    HALTED,
    LAST,
    MARKET,
    POST_ONLY,
    PREVENTED,
    REFUSED,
    REJECTED,
    RESTED,
    SELL,
    STATUS,
    TRADE,
    TRADING,
    TRIGGERED,
    WAITING,
    Event,
)
from orders import commands
from orders.settled_exposure import AmendExtras
from orders.settlement import OrderRecord, SymbolBatch, SymbolProgress, Terms

ENGINE: Final = "engine"
EXPIRED: Final = "EXPIRED"
REDUCE_ONLY_REJECTED: Final = "REDUCE_ONLY_REJECTED"


class SymbolEngine:
    """Drives a book and tells settlement what happened. `records` holds every order that has not ended."""

    def __init__(self, progress: SymbolProgress) -> None:
        self.progress = progress
        self.book = Book(progress.status)
        self.book.last = progress.last_ticks
        if progress.conditions.reference is not None:
            self.book.reference = progress.conditions.reference[:2]
        self.records: dict[str, OrderRecord] = {}
        self._deadlines: list[tuple[int, str]] = []  # (expire_ms, order), a heap; of orders that ended earlier too
        self._reducing: dict[int, list[str]] = {}  # account → its reduce-only orders that rest, oldest first

    def begin(self, stamp_ms: int) -> SymbolBatch:
        """A new batch at this time (never before the last one's). Who makes history, and does not replay it, calls `catch_up` next."""
        batch = SymbolBatch(progress=self.progress, records=self.records, stamp_ms=stamp_ms)
        self.book.set_range(*self.progress.conditions.range_at(batch.stamp_ms))
        return batch

    def is_due(self, now_ms: int) -> bool:
        """Whether something ends by itself by this time."""
        ends = self.progress.conditions.phase_ends_ms
        return bool(self._deadlines and self._deadlines[0][0] <= now_ms) or 0 < ends <= now_ms

    def catch_up(self, batch: SymbolBatch) -> None:
        """Whatever is due by the batch's time ends before its commands."""
        if self.is_due(batch.stamp_ms):
            self.apply([commands.TIME], batch)

    def finish(self) -> None:
        """After a batch's commands: an auction tells what it would come to."""
        conditions = self.progress.conditions
        found = self.book.indicative() if self.book.status == AUCTION else None
        if found != conditions.indicative:
            conditions.indicative = found
            self.progress.conditions_changed = True

    def apply(self, command: commands.Command, batch: SymbolBatch) -> None:
        """Take one command: it gets the symbol's next sequence. Raises: InvalidCommand when intake let through what it should not."""
        self.progress.sequence += 1
        batch.log.append(command)
        match command[0]:
            case commands.PLACE:
                _, order_id, account_id, side, ticks, lots, time_in_force, prevention, maker_rate, taker_rate, request_id = command
                record = self._record(order_id, account_id, side, ticks, lots, time_in_force, maker_rate, taker_rate)
                self.book.place(order_id, account_id, side, ticks, lots, time_in_force, prevention)
                self._follow(batch, record, ENGINE, request_id)
            case commands.PLACE_BY_BUDGET:
                self._place_by_budget(command, batch)
            case commands.PLACE_WITH_TERMS:
                self._place_with_terms(command, batch)
            case commands.CANCEL:
                _, order_id, reason, actor, request_id = command
                self.book.cancel(order_id, reason)
                self._follow(batch, None, actor, request_id, reason)
            case commands.AMEND:
                self._amend(command, batch)
            case commands.SET_STATUS:
                _, status, actor, request_id = command
                self._set_status(status, COMMAND, batch, actor, request_id)
            case commands.REFERENCE:
                self._reference(command[1], command[2], command[3], batch)
            case commands.RULES:
                self._rules(Rules.of(command[1]), batch)
            case commands.TIME:
                self._time(batch)
            case unknown:
                raise ValueError(f"command {unknown!r} of {self.progress.market.name} at {self.progress.sequence} is unknown")

    # -- commands

    def _record(
        self, order_id: str, account_id: int, side: int, ticks: int, lots: int, time_in_force: int, maker_rate: int, taker_rate: int
    ) -> OrderRecord:
        market = self.progress.market
        held = ticks * lots * market.quote_per_step if side == BUY else lots * market.base_per_lot
        record = self.records[order_id] = OrderRecord(order_id, account_id, side == BUY, ticks, lots, held, maker_rate, taker_rate)
        record.at_market = time_in_force == MARKET
        return record

    def _place_by_budget(self, command: commands.Command, batch: SymbolBatch) -> None:
        _, order_id, account_id, ticks, held_text, prevention, maker_rate, taker_rate, request_id = command
        held = int(held_text)
        record = OrderRecord(order_id, account_id, True, ticks, 0, held, maker_rate, taker_rate)
        record.by_budget = True
        self.records[order_id] = record
        self.book.place_by_budget(order_id, account_id, ticks, held // self.progress.market.quote_per_step, prevention)
        self._follow(batch, record, ENGINE, request_id)

    def _place_with_terms(self, command: commands.Command, batch: SymbolBatch) -> None:
        (_, order_id, account_id, side, ticks, lots, time_in_force, prevention, maker_rate, taker_rate, request_id, expire_ms, reduce_only,
         stop, rising, source, is_priced) = command  # fmt: skip
        record = self._record(order_id, account_id, side, ticks, lots, time_in_force, maker_rate, taker_rate)
        record.terms = Terms(time_in_force, prevention, expire_ms, bool(reduce_only), stop, bool(rising), source, bool(is_priced))
        if expire_ms and expire_ms <= batch.stamp_ms:
            self._end(batch, record, EXPIRED, EXPIRED, request_id)
            return
        if expire_ms:
            heappush(self._deadlines, (expire_ms, order_id))
        if stop:
            self.book.place_stop(
                order_id, account_id, side, ticks, lots, time_in_force, prevention, stop, bool(rising), source, not reduce_only
            )
            self._follow(batch, record, ENGINE, request_id)
        else:
            self._place_reducing(record, batch, request_id)

    def _place_reducing(self, record: OrderRecord, batch: SymbolBatch, request_id: str) -> None:
        """Place an order with terms; one that may only reduce is cut to what there is to reduce."""
        terms = record.terms
        assert terms is not None
        if terms.reduce_only:
            allowed = self._reducible(record.account_id)
            if allowed <= 0:
                self._end(batch, record, "REJECTED", REDUCE_ONLY_REJECTED, request_id)
                return
            if allowed < record.total:
                record.total = record.left = allowed
                batch.reshaped.add(record.order_id)
        side = BUY if record.is_buy else SELL
        self.book.place(record.order_id, record.account_id, side, record.ticks, record.total, terms.time_in_force, terms.prevention)
        self._follow(batch, record, ENGINE, request_id)

    def _amend(self, command: commands.Command, batch: SymbolBatch) -> None:
        _, order_id, amend_id, account_id, side, ticks, total, extra_text, actor, request_id, *counted = command
        extra = int(extra_text)
        lots, steps = counted or (0, "0")
        asset_id = self.progress.market.quote_id if side == BUY else self.progress.market.base_id
        extras = AmendExtras(amend_id, asset_id, extra, lots, int(steps))
        record = self.records.get(order_id)
        if record is None:
            batch.amend_too_late(extras, account_id)
            return
        total = total or record.total
        if record.terms is not None and record.terms.reduce_only and record.status != "PENDING_TRIGGER":
            # It may have been cut since intake reckoned what the amend needs more: it grows only as far as it is held for.
            more = min(max(0, self._reducible(record.account_id)), extra // self.progress.market.base_per_lot)
            total = min(total, record.total + more)
        self.book.amend(order_id, ticks or record.ticks, total)
        first = self.book.events[0]
        code = first[2] if first[0] == REFUSED else None
        self._follow(batch, record, actor, request_id, "USER_CANCEL")
        batch.amend_decided(extras, record, code)

    def _reference(self, low: int, high: int, price: str, batch: SymbolBatch) -> None:
        self.progress.conditions.reference = (low, high, price)
        self.progress.conditions_changed = True
        self.book.set_reference(low, high)
        self._follow(batch, None, ENGINE, "")

    def _rules(self, rules: Rules, batch: SymbolBatch) -> None:
        conditions = self.progress.conditions
        before, conditions.rules = conditions.rules, rules
        self.progress.conditions_changed = True
        self.book.set_range(*conditions.range_at(batch.stamp_ms))
        if rules.reference is not None and rules.reference != before.reference:
            self._reference(*rules.reference, batch)

    def _set_status(self, status: str, cause: str, batch: SymbolBatch, actor: str, request_id: str) -> None:
        conditions = self.progress.conditions
        found, before = self.book.indicative() if status in (TRADING, POST_ONLY) else None, conditions.prices
        if found is not None:  # what acts after the uncross is bound by its price, and not by what was before
            conditions.begin_anew(found[0], batch.stamp_ms)
            self.book.set_range(*conditions.range_at(batch.stamp_ms))
        self.book.set_status(status)
        if found is not None and not any(event[0] == AUCTIONED for event in self.book.events):  # all of it was prevented: no price
            conditions.prices = before
            self.book.set_range(*conditions.range_at(batch.stamp_ms))
        conditions.phase_ends_ms = batch.stamp_ms + conditions.rules.auction_ms if status == AUCTION else 0
        conditions.extensions = 0
        self.progress.conditions_changed = True
        self._follow(batch, None, actor, request_id, "SYMBOL_DELISTED", cause)

    def _time(self, batch: SymbolBatch) -> None:
        """End what is due: first orders, then the symbol's present phase."""
        while self._deadlines and self._deadlines[0][0] <= batch.stamp_ms:
            _, order_id = heappop(self._deadlines)
            if order_id in self.records:
                self.book.cancel(order_id, EXPIRED)
                self._follow(batch, None, ENGINE, "")
        conditions = self.progress.conditions
        if not 0 < conditions.phase_ends_ms <= batch.stamp_ms:
            return
        if self.book.status == HALTED:
            self._set_status(AUCTION, HALT_OVER, batch, ENGINE, "")
            return
        found = self.book.indicative()
        low, high = conditions.auction_range(self.book.last)
        if found is None or low <= found[0] <= high:
            self._set_status(TRADING, AUCTION_OVER, batch, ENGINE, "")
        elif conditions.extensions < EXTENSIONS:
            conditions.extensions += 1
            conditions.phase_ends_ms = batch.stamp_ms + EXTENSION_MS
            self.progress.conditions_changed = True
        else:
            self._set_status(HALTED, AUCTION_BAND, batch, ENGINE, "")

    # -- positions

    def _reducible(self, account_id: int) -> int:
        """Lots that an account may still offer in orders that only reduce."""
        position = self.progress.positions.get(account_id)
        offered = sum(self.records[order_id].left for order_id in self._reducing.get(account_id, ()))
        return (position.lots if position is not None else 0) - offered

    def _cut_reducing(self, account_id: int, batch: SymbolBatch) -> None:
        """The position has become smaller than what reduce-only orders offer: the newest give way first."""
        for order_id in reversed(self._reducing[account_id]):
            over = -self._reducible(account_id)
            if over <= 0:
                return
            record = self.records[order_id]
            cut = min(over, record.left)
            if cut == record.left:
                self.book.cancel(order_id, REDUCE_ONLY_REJECTED)
            else:
                self.book.amend(order_id, record.ticks, record.total - cut)
                batch.reshaped.add(order_id)
            self._follow(batch, None, ENGINE, "")

    # -- events

    def _end(self, batch: SymbolBatch, record: OrderRecord, status: str, reason: str, request_id: str) -> None:
        """An order ends before the book has seen it."""
        batch.touch(record, request_id)
        record.reason = reason
        batch.move(record, status, reason, ENGINE, request_id)

    def _follow(
        self, batch: SymbolBatch, subject: OrderRecord | None, actor: str, request_id: str, commanded: str = "", cause: str = COMMAND
    ) -> None:
        """Turn the events of one command into the batch. `subject`: the order placed or amended. `commanded`: the reason of the ends that
        `actor` asked for; `cause`: of the status he asked for."""
        events = self.book.events
        changed: dict[str, OrderRecord] = {}
        if subject is not None:
            changed[subject.order_id] = subject
        records, levels, progress = self.records, batch.levels, self.progress
        ends: dict[str, tuple[str, str]] = {}
        parked: list[OrderRecord] = []
        in_auction = False
        traded = 0
        for event in events:
            kind = event[0]
            if kind == TRADE:
                _, maker_id, taker_id, traded, lots, maker_left, taker_left = event
                maker, taker = records[maker_id], records[taker_id]
                batch.trade(maker, taker, traded, lots, in_auction)
                batch.takers[progress.sequence] = request_id
                maker.left = maker_left
                taker.left = taker_left
                changed[maker_id] = maker
                if not in_auction:
                    if taker is not subject:
                        changed[taker_id] = taker
                    levels.add((BUY if maker.is_buy else SELL, traded))
                else:
                    changed[taker_id] = taker
                    _see_levels(levels, maker, taker)
            elif kind == RESTED:
                _, order_id, side, ticks, left = event
                record = records[order_id]
                progress.place_number += 1
                record.priority = progress.place_number
                if not record.at_market:
                    levels.add((side, ticks))
                if record is not subject:
                    changed[order_id] = record
                if record.terms is not None and record.terms.reduce_only:
                    reducing = self._reducing.setdefault(record.account_id, [])
                    if order_id in reducing:  # amended: it is at the back now
                        reducing.remove(order_id)
                    reducing.append(order_id)
            elif kind == CANCELLED:
                _, order_id, left, reason = event
                record = records[order_id]
                if record.status in ("OPEN", "PARTIALLY_FILLED"):
                    _see_levels(levels, record)
                record.left = left
                changed[order_id] = record
                ends[order_id] = (EXPIRED if reason == EXPIRED else "CANCELLED", reason)
            elif kind == REJECTED:
                ends[event[1]] = ("REJECTED", event[2])
            elif kind == AMENDED:
                record = records[event[1]]
                changed[record.order_id] = record
                self._reshape(event, record, levels)
            elif kind == PREVENTED:
                _, resting_id, incoming_id, lots, resting_left, incoming_left = event
                for order_id, left in ((resting_id, resting_left), (incoming_id, incoming_left)):
                    record = records[order_id]
                    record.left = left
                    record.prevented += lots
                    changed[order_id] = record
                    if record.status in ("OPEN", "PARTIALLY_FILLED"):
                        _see_levels(levels, record)
                _see_levels(levels, records[resting_id])
            elif kind == WAITING:
                record = records[event[1]]
                progress.place_number += 1
                record.priority = progress.place_number
                record.is_waiting = True
            elif kind == TRIGGERED:
                record = records[event[1]]
                changed[record.order_id] = record
                self._triggered(batch, record, event)
                assert record.terms is not None
                if record.terms.reduce_only:
                    parked.append(record)
            elif kind == AUCTIONED:
                in_auction = True
                progress.conditions.begin_anew(event[1], batch.stamp_ms)
                self.book.set_range(*progress.conditions.range_at(batch.stamp_ms))
            elif kind == STATUS:
                in_auction = False
                self._status(event, batch, actor, request_id, cause)
        refused_only = bool(events) and events[0][0] == REFUSED
        events.clear()
        if refused_only:
            return
        for order_id, record in changed.items():
            end = ends.get(order_id)
            # Whoever is met in the book is not told by whose request, and what follows of itself was not done by whoever asked.
            mine = record is subject or (subject is not None and record.account_id == subject.account_id)
            asked = end is not None and end[1] == commanded
            if record in parked:
                continue
            batch.touch(record, request_id if record is subject or asked or (mine and end is not None) else "")
            self._conclude(batch, record, end, actor if record is subject or asked else ENGINE, batch.requests[order_id])
        if traded:
            self._note_trades(traded, batch)
        self._tidy_reducing(changed, batch)
        for record in parked:
            self._place_reducing(record, batch, "")

    def _triggered(self, batch: SymbolBatch, record: OrderRecord, event: Event) -> None:
        _, _, source, ticks = event
        record.is_waiting = False
        reference = self.progress.conditions.reference
        price = self.progress.market.price_text(ticks) if source == LAST or reference is None else reference[2]
        batch.touch(record, "")
        batch.move(record, "TRIGGERED", "TRIGGER", ENGINE)
        batch.trigger(record, price)

    def _status(self, event: Event, batch: SymbolBatch, actor: str, request_id: str, cause: str) -> None:
        _, status, by = event
        conditions = self.progress.conditions
        if by == PRICE_BAND:
            conditions.phase_ends_ms = batch.stamp_ms + conditions.rules.halt_ms
            actor, request_id, cause = ENGINE, "", PRICE_BAND
        conditions.cause = cause
        batch.status_set(status, actor, request_id, cause)

    def _note_trades(self, ticks: int, batch: SymbolBatch) -> None:
        """The price of the last trade of a command."""
        conditions = self.progress.conditions
        first = not conditions.prices
        if conditions.traded(ticks, batch.stamp_ms):
            self.progress.conditions_changed = True
            if first or len(conditions.prices) == 1:
                self.book.set_range(*conditions.range_at(batch.stamp_ms))

    def _tidy_reducing(self, changed: dict[str, OrderRecord], batch: SymbolBatch) -> None:
        """After a command: ended orders reduce no more, and what is left is cut to the positions."""
        if not self._reducing:
            return
        for account_id in {record.account_id for record in changed.values()} & self._reducing.keys():
            left = [order_id for order_id in self._reducing[account_id] if self._rests(order_id)]
            if left:
                self._reducing[account_id] = left
                self._cut_reducing(account_id, batch)
            else:
                del self._reducing[account_id]

    def _rests(self, order_id: str) -> bool:
        record = self.records.get(order_id)
        return record is not None and record.status in ("OPEN", "PARTIALLY_FILLED")

    def _reshape(self, event: Event, record: OrderRecord, levels: set[tuple[int, int]]) -> None:
        _, _, ticks, total, left, _ = event
        if not record.is_waiting:
            side = BUY if record.is_buy else SELL
            levels.add((side, record.ticks))
            levels.add((side, ticks))
        record.ticks, record.total, record.left = ticks, total, left

    def _conclude(self, batch: SymbolBatch, record: OrderRecord, end: tuple[str, str] | None, actor: str, request_id: str) -> None:
        """The status an order has after this command, as one transition."""
        if end is not None:
            status, cause = end
            record.reason = cause
        elif record.is_waiting:
            status, cause, actor = "PENDING_TRIGGER", "WAITING", ENGINE
        elif record.by_budget or record.left == 0:
            status, cause, actor = "FILLED", "TRADE", ENGINE
        elif record.filled:
            status, cause, actor = "PARTIALLY_FILLED", "TRADE", ENGINE
        else:
            status, cause, actor = "OPEN", "RESTED", ENGINE
        if status != record.status:
            batch.move(record, status, cause, actor, request_id)

    # -- recovery

    def restore(self, record: OrderRecord, time_in_force: int, prevention: int) -> None:
        """Put an open order or a waiting stop back; recovery calls it in the order of places."""
        side, terms = BUY if record.is_buy else SELL, record.terms
        if record.is_waiting:
            assert terms is not None
            self.book.restore_stop(
                record.order_id, record.account_id, side, record.ticks, record.total, time_in_force, prevention, terms.stop, terms.rising,
                terms.source, not terms.reduce_only,
            )  # fmt: skip
        else:
            self.book.restore(record.order_id, record.account_id, side, record.ticks, record.total, record.left, time_in_force, prevention)
            if terms is not None and terms.reduce_only:
                self._reducing.setdefault(record.account_id, []).append(record.order_id)
        if terms is not None and terms.expire_ms:
            self._deadlines.append((terms.expire_ms, record.order_id))
            heapify(self._deadlines)
        record.digest = record.state_digest()
        self.records[record.order_id] = record


def _see_levels(levels: set[tuple[int, int]], *records: OrderRecord) -> None:
    """The levels at which these orders stand have changed; collected market orders stand at none."""
    for record in records:
        if not record.at_market:
            levels.add((BUY if record.is_buy else SELL, record.ticks))
