"""Settlement: what the book decided becomes rows, for a whole batch in one transaction.

`SymbolBatch` turns events into trades, transfers, transitions and changes of orders, in integers; `write` puts the batches of
all symbols of a shard into the database: inserts and orders first, then the accounts' locks (sorted) and balances, and last the
fence: the shard's lease must still be of the epoch that took the commands, or nothing commits.

Funds cannot be missing here. Intake has held what an order can spend; a fill consumes its part of the hold at the order's own
price and what the fill was better by is released with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b, sha256
from typing import Any, Final, Protocol

import orjson
from psycopg import Connection, Cursor

from exchange_platform.db import array, columns, quoted
from exchange_platform.ids import moment_of
from markets.units import Market, fee_units
from matching.core.conditions import Conditions
from matching.core.messages import AUCTION
from notifications import outbox
from notifications.outbox import AccountNews, FeedPosition, Letter
from notifications.wakeups import NOTIFY_SQL, SETTLED
from orders import commands, news
from orders.chain import chain_after
from orders.lifecycle import TERMINAL
from orders.settled_exposure import EXPOSURES_SQL, POSITIONS_SQL, AmendExtras, ExposureChange, exposure_rows, position_rows
from risk.positions import Position

LEASE_S: Final = 5
STATE_MODULUS: Final = 2**64
EMPTY_CHAIN: Final = sha256(b"").digest()


class Fenced(Exception):
    """The lease is not ours any more: whoever has it goes on, this process must end."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What an order asks beside price and size; zero: not asked. `time_in_force` and `prevention` are the book's; `stop` in ticks.
    `is_priced` False: its price is a protection price, which is nobody's but the engine's."""

    time_in_force: int
    prevention: int
    expire_ms: int
    reduce_only: bool
    stop: int
    rising: bool
    source: int
    is_priced: bool


class OrderRecord:
    """What settlement must know of an order between its placing and its end. Lots, ticks, and units of the asset.

    `at_market`: should it rest, then as a market order that an auction collects. `is_waiting`: it is on the watch list. `open_lots` at
    `open_ticks`: what the account's exposure counts it with."""

    __slots__ = (
        "account_id", "at_market", "by_budget", "digest", "fee", "filled", "filled_quote", "held", "is_buy", "is_waiting", "left",
        "maker_rate", "open_lots", "open_ticks", "order_id", "prevented", "priority", "reason", "sequence", "status", "taker_rate", "terms",
        "ticks", "total",
    )  # fmt: skip

    def __init__(
        self, order_id: str, account_id: int, is_buy: bool, ticks: int, total: int, held: int, maker_rate: int, taker_rate: int
    ) -> None:
        self.order_id = order_id
        self.account_id = account_id
        self.is_buy = is_buy
        self.ticks = ticks
        self.total = total
        self.left = self.open_lots = total
        self.open_ticks = ticks
        self.filled = 0
        self.filled_quote = 0
        self.prevented = 0
        self.fee = 0
        self.held = held
        self.maker_rate = maker_rate
        self.taker_rate = taker_rate
        self.by_budget = self.at_market = self.is_waiting = False
        self.terms: Terms | None = None
        self.status = "PENDING"
        self.reason: str | None = None
        self.sequence = 0
        self.priority = 0
        self.digest = 0

    def hold_needed(self, market: Market) -> int:
        """What the order still reserves, in units of quote (BUY) or base (SELL)."""
        if self.status in TERMINAL:
            return 0
        return self.ticks * self.left * market.quote_per_step if self.is_buy else self.left * market.base_per_lot

    def recount(self) -> tuple[int, int]:
        """By how much more (less) lots, and ticks × lots, the order is to be counted than it is; from then on it is."""
        lots = 0 if self.status in TERMINAL else self.left
        more = lots - self.open_lots, self.ticks * lots - self.open_ticks * self.open_lots
        self.open_lots, self.open_ticks = lots, self.ticks
        return more

    def state_digest(self) -> int:
        """This order's part of the book's state hash; 0 when it is not in the book."""
        if self.status in TERMINAL or self.status == "PENDING":
            return 0
        text = f"{self.order_id}|{self.account_id}|{int(self.is_buy)}|{self.ticks}|{self.total}|{self.left}|{self.priority}"
        if self.terms is not None:
            text = f"{text}|{self.is_waiting}|{self.terms}"
        return int.from_bytes(blake2b(text.encode(), digest_size=8).digest())


@dataclass(slots=True)
class SymbolProgress:
    """How far a symbol has come; the checkpoint row in memory."""

    market: Market
    sequence: int = 0
    trade_number: int = 0
    book_sequence: int = 0
    status: str = "TRADING"
    chain: bytes = EMPTY_CHAIN
    state_hash: int = 0
    stamp_ms: int = 0
    last_ticks: int = 0
    last_traded_ms: int = 0
    place_number: int = 0
    conditions: Conditions = field(default_factory=Conditions)
    conditions_changed: bool = False
    positions: dict[int, Position] = field(default_factory=dict)  # by account

    def auction(self) -> list[Any] | None:
        """What everybody may know of an auction that is going on: price, lots and surplus, and when it ends."""
        return [self.conditions.indicative, self.conditions.phase_ends_ms] if self.status == AUCTION else None


def trade_id(stamp_ms: int, symbol_id: int, number: int) -> str:
    """A trade's UUIDv7 as 32 hex digits: the engine's time, the symbol (22 bits), the trade's number (52 bits). Replay gives the
    same."""
    value = stamp_ms << 80 | 0x7 << 76 | (symbol_id >> 10 & 0xFFF) << 64 | 0x2 << 62 | (symbol_id & 0x3FF) << 52 | number
    return f"{value:032x}"


def moment(ms: int) -> str:
    """Milliseconds since 1970 for a timestamptz array."""
    return '"' + moment_of(ms).isoformat(timespec="milliseconds") + '"'


@dataclass(slots=True)
class SymbolBatch:
    """What one settlement does to one symbol. `records` is the worker's, of all orders that have not ended."""

    progress: SymbolProgress
    records: dict[str, OrderRecord]
    stamp_ms: int
    first_sequence: int = 0
    log: list[commands.Command] = field(default_factory=list)
    trades: list[tuple[Any, ...]] = field(default_factory=list)
    transfers: list[tuple[Any, ...]] = field(default_factory=list)
    transitions: list[tuple[Any, ...]] = field(default_factory=list)
    amends: list[tuple[Any, ...]] = field(default_factory=list)
    touched: dict[str, OrderRecord] = field(default_factory=dict)
    reshaped: set[str] = field(default_factory=set)
    levels: set[tuple[int, int]] = field(default_factory=set)
    posted: dict[tuple[int, int], int] = field(default_factory=dict)
    held: dict[tuple[int, int], int] = field(default_factory=dict)
    closed: dict[int, int] = field(default_factory=dict)  # account → orders that ended
    requests: dict[str, str] = field(default_factory=dict)  # order → who asked for its last change, as far as its owner may know
    takers: dict[int, str] = field(default_factory=dict)  # engine sequence → request of the command that traded
    statuses: list[list[Any]] = field(default_factory=list)  # [number, engine sequence, status, actor, request, cause]
    triggers: list[tuple[OrderRecord, str]] = field(default_factory=list)  # with the price
    triggered: dict[int, list[list[Any]]] = field(default_factory=dict)  # by account, in words
    moved: set[int] = field(default_factory=set)  # accounts whose position has changed
    exposed: dict[int, ExposureChange] = field(default_factory=dict)  # by account
    at: str = ""
    auction_before: list[Any] | None = None
    is_book_news: bool = False  # whether the channel of the book has a message

    def __post_init__(self) -> None:
        self.auction_before = self.progress.auction()
        self.stamp_ms = max(self.stamp_ms, self.progress.stamp_ms)
        self.first_sequence = self.progress.sequence + 1
        self.at = moment(self.stamp_ms)

    # -- events, called in order for each command

    def touch(self, record: OrderRecord, request_id: str) -> None:
        """The order is changed by the present command."""
        record.sequence = self.progress.sequence
        self.touched[record.order_id] = record
        self.requests[record.order_id] = request_id

    def status_set(self, status: str, actor: str, request_id: str, cause: str) -> None:
        """The symbol's status is another one."""
        progress = self.progress
        progress.status = status
        progress.conditions.status_number = max(progress.sequence, progress.conditions.status_number + 1)
        progress.conditions_changed = True
        self.statuses.append([progress.conditions.status_number, progress.sequence, status, actor, request_id, cause])

    def trigger(self, record: OrderRecord, price: str) -> None:
        """A stop has left the watch list at this price and acts now."""
        self.triggers.append((record, price))
        told = news.triggered_order(record, self.progress.market.id, price)
        self.triggered.setdefault(record.account_id, []).append(told)

    def trade(self, maker: OrderRecord, taker: OrderRecord, ticks: int, lots: int, in_auction: bool = False) -> None:
        """Two orders met at the maker's price (in an auction: at its price): trade, legs, fees, both orders' sums, both positions."""
        progress, market = self.progress, self.progress.market
        progress.trade_number += 1
        progress.last_ticks, progress.last_traded_ms = ticks, self.stamp_ms
        identity = trade_id(self.stamp_ms, market.id, progress.trade_number)
        base, quote = lots * market.base_per_lot, ticks * lots * market.quote_per_step
        buyer, seller = (taker, maker) if taker.is_buy else (maker, taker)
        buyer_takes, seller_takes = in_auction or buyer is taker, in_auction or seller is taker
        buyer_fee = fee_units(base, buyer.taker_rate if buyer_takes else buyer.maker_rate)
        seller_fee = fee_units(quote, seller.taker_rate if seller_takes else seller.maker_rate)
        for record, fee in ((buyer, buyer_fee), (seller, seller_fee)):
            record.filled += lots
            record.filled_quote += quote
            record.fee += fee
        base_text, quote_text = market.base_text(base), market.quote_text(quote)
        buyer_fee_text, seller_fee_text = market.base_text(buyer_fee), market.quote_text(seller_fee)
        maker_fee, taker_fee = (seller_fee_text, buyer_fee_text) if buyer is taker else (buyer_fee_text, seller_fee_text)
        self.trades.append((
            identity, progress.trade_number, progress.sequence, market.price_text(ticks), market.quantity_text(lots),
            "BUY" if taker.is_buy else "SELL", maker.order_id, taker.order_id, maker.account_id, taker.account_id, maker_fee, taker_fee,
            "t" if in_auction else "f",
        ))  # fmt: skip
        self._transfer(identity, 0, "TRADE", market.base_id, seller.account_id, buyer.account_id, base_text)
        self._transfer(identity, 1, "TRADE", market.quote_id, buyer.account_id, seller.account_id, quote_text)
        if buyer_fee:
            kind = "TAKER_FEE" if buyer_takes else "MAKER_FEE"
            self._fee(identity, 2, kind, market.base_id, buyer.account_id, buyer_fee)
        if seller_fee:
            kind = "TAKER_FEE" if seller_takes else "MAKER_FEE"
            self._fee(identity, 3, kind, market.quote_id, seller.account_id, seller_fee)
        self._post(buyer.account_id, market.base_id, base - buyer_fee)
        self._post(buyer.account_id, market.quote_id, -quote)
        self._post(seller.account_id, market.base_id, -base)
        self._post(seller.account_id, market.quote_id, quote - seller_fee)
        positions = progress.positions
        for account_id, change in ((buyer.account_id, lots), (seller.account_id, -lots)):
            position = positions.get(account_id)
            if position is None:
                position = positions[account_id] = Position()
            position.trade(change, quote)
            self.moved.add(account_id)
            self._exposure(account_id).traded += quote

    def _transfer(self, identity: str, leg: int, kind: str, asset_id: int, debit: int, credit: int, amount: str) -> None:
        self.transfers.append((identity, leg, kind, asset_id, debit, credit, amount))

    def _fee(self, identity: str, leg: int, kind: str, asset_id: int, account_id: int, units: int) -> None:
        """A fee goes to the symbol's house account; a rebate (negative) comes from it."""
        market = self.progress.market
        text = market.base_text(abs(units)) if asset_id == market.base_id else market.quote_text(abs(units))
        debit, credit = (account_id, market.fee_account_id) if units > 0 else (market.fee_account_id, account_id)
        self._transfer(identity, leg, kind, asset_id, debit, credit, text)

    def _post(self, account_id: int, asset_id: int, units: int) -> None:
        key = (account_id, asset_id)
        self.posted[key] = self.posted.get(key, 0) + units

    def move(self, record: OrderRecord, status: str, cause: str, actor: str = "engine", request_id: str = "") -> None:
        """The order's status changes."""
        self.transitions.append((
            record.order_id, record.sequence, record.status, status, cause, quoted(actor), quoted(request_id) if request_id else "NULL",
        ))  # fmt: skip
        record.status = status

    def _expose(self, record: OrderRecord) -> None:
        """Count what of the order is still open; call before its hold is reckoned."""
        if record.by_budget:
            if record.status in TERMINAL:
                change = self._exposure(record.account_id)
                change.spending -= record.held
                change.value -= record.held
            return
        lots, steps = record.recount()
        if lots or steps:
            change = self._exposure(record.account_id)
            change.value += steps * self.progress.market.quote_per_step
            if record.is_buy:
                change.lots += lots

    def _exposure(self, account_id: int) -> ExposureChange:
        found = self.exposed.get(account_id)
        if found is None:
            found = self.exposed[account_id] = ExposureChange()
        return found

    def amend_decided(self, amend: AmendExtras, record: OrderRecord, code: str | None) -> None:
        """An amend was applied (code None) or refused. What it held and counted in addition is released; the order's own part is reckoned
        with the order."""
        self._amend_ended(amend, record.account_id, code)
        if code is None:
            self.reshaped.add(record.order_id)

    def amend_too_late(self, amend: AmendExtras, account_id: int) -> None:
        """The order had ended before the amend's turn."""
        self._amend_ended(amend, account_id, "ORDER_NOT_OPEN")

    def _amend_ended(self, amend: AmendExtras, account_id: int, code: str | None) -> None:
        self.amends.append((amend.amend_id, "APPLIED" if code is None else "REFUSED", code or "NULL", self.at))
        if amend.extra:
            self._release(account_id, amend.asset_id, amend.extra)
        if amend.lots or amend.steps:
            change = self._exposure(account_id)
            change.lots -= amend.lots
            change.value -= amend.steps * self.progress.market.quote_per_step

    def _release(self, account_id: int, asset_id: int, units: int) -> None:
        key = (account_id, asset_id)
        self.held[key] = self.held.get(key, 0) - units

    # -- at the end of the batch

    def close(self) -> None:
        """Reckon holds and the state hash of every touched order, and chain the log."""
        market, progress = self.progress.market, self.progress
        for record in self.touched.values():
            self._expose(record)
            needed = record.hold_needed(market)
            if needed != record.held:
                self._release(record.account_id, market.quote_id if record.is_buy else market.base_id, record.held - needed)
                record.held = needed
            digest = record.state_digest()
            if digest != record.digest:
                progress.state_hash = (progress.state_hash + digest - record.digest) % STATE_MODULUS
                record.digest = digest
            if record.status in TERMINAL:
                self.closed[record.account_id] = self.closed.get(record.account_id, 0) + 1
                self.records.pop(record.order_id, None)
        progress.stamp_ms = self.stamp_ms
        self.is_book_news = bool(self.levels) or progress.auction() != self.auction_before
        if self.is_book_news:
            progress.book_sequence += 1


UPDATE_ORDERS_SQL: Final = """
    UPDATE orders_order o SET status = u.status, filled_quantity = u.filled, filled_quote = u.filled_quote,
        prevented_quantity = u.prevented, fee = u.fee, held = u.held, reason = u.reason, sequence = u.sequence,
        priority_sequence = u.priority, price = coalesce(u.price, o.price), quantity = coalesce(u.quantity, o.quantity),
        updated_at = u.at
    FROM unnest(%s::uuid[], %s::text[], %s::numeric[], %s::numeric[], %s::numeric[], %s::numeric[], %s::numeric[], %s::text[],
        %s::bigint[], %s::bigint[], %s::numeric[], %s::numeric[], %s::timestamptz[])
        AS u(id, status, filled, filled_quote, prevented, fee, held, reason, sequence, priority, price, quantity, at)
    WHERE o.id = u.id"""

INSERT_TRADES_SQL: Final = """
    INSERT INTO orders_trade (id, symbol_id, number, sequence, price, quantity, taker_side, maker_order_id, taker_order_id,
        maker_account_id, taker_account_id, maker_fee, taker_fee, in_auction, executed_at)
    SELECT u.id, %s, u.number, u.sequence, u.price, u.quantity, u.taker_side, u.maker, u.taker, u.maker_account, u.taker_account,
        u.maker_fee, u.taker_fee, u.in_auction, %s::timestamptz
    FROM unnest(%s::uuid[], %s::bigint[], %s::bigint[], %s::numeric[], %s::numeric[], %s::text[], %s::uuid[], %s::uuid[], %s::bigint[],
        %s::bigint[], %s::numeric[], %s::numeric[], %s::bool[])
        AS u(id, number, sequence, price, quantity, taker_side, maker, taker, maker_account, taker_account, maker_fee, taker_fee,
             in_auction)"""

INSERT_TRANSFERS_SQL: Final = """
    INSERT INTO wallet_transfer (id, leg, kind, asset_id, debit_account_id, credit_account_id, amount, created_at)
    SELECT u.*, %s::timestamptz
    FROM unnest(%s::uuid[], %s::smallint[], %s::text[], %s::smallint[], %s::bigint[], %s::bigint[], %s::numeric[]) AS u"""

INSERT_TRANSITIONS_SQL: Final = """
    INSERT INTO orders_transition (order_id, sequence, from_status, to_status, cause, actor, request_id, at)
    SELECT u.*, %s::timestamptz
    FROM unnest(%s::uuid[], %s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[]) AS u"""

INSERT_LOG_SQL: Final = """
    INSERT INTO orders_commandlog (symbol_id, first_sequence, last_sequence, epoch, stamp_ms, payload, chain, state_hash, settled_at)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, now())"""

# In an update of its own: what is triggered is a handful among thousands.
TRIGGER_ORDERS_SQL: Final = """
    UPDATE orders_order o SET trigger_price = u.price, triggered_at = %s
    FROM unnest(%s::uuid[], %s::numeric[]) AS u(id, price) WHERE o.id = u.id"""

INSERT_STATUSES_SQL: Final = """
    INSERT INTO orders_symbolstatus (symbol_id, number, sequence, status, actor, request_id, cause, at)
    SELECT %s, u.*, %s::timestamptz
    FROM unnest(%s::bigint[], %s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[]) AS u"""

SET_STATUS_SQL: Final = "UPDATE markets_symbol SET status = %s WHERE id = %s AND status NOT IN (%s, 'DELISTED')"

LOCK_ACCOUNTS_SQL: Final = """
    SELECT a.id FROM institutions_account a JOIN risk_accountstate s ON s.account_id = a.id
    WHERE a.id = ANY(%s::bigint[]) ORDER BY a.id FOR NO KEY UPDATE OF a, s"""

UPDATE_BALANCES_SQL: Final = """
    UPDATE wallet_balance b SET posted = b.posted + u.posted, held = b.held + u.held
    FROM unnest(%s::bigint[], %s::smallint[], %s::numeric[], %s::numeric[]) AS u(account_id, asset_id, posted, held)
    WHERE b.account_id = u.account_id AND b.asset_id = u.asset_id RETURNING b.account_id, b.asset_id, b.posted, b.held"""

UPDATE_STATE_SQL: Final = """
    UPDATE risk_accountstate s SET open_orders = s.open_orders - u.closed
    FROM unnest(%s::bigint[], %s::int[]) AS u(account_id, closed) WHERE s.account_id = u.account_id"""

DELETE_OPEN_SQL: Final = """
    DELETE FROM orders_openorder p USING unnest(%s::int[], %s::uuid[]) AS u(symbol_id, order_id)
    WHERE p.symbol_id = u.symbol_id AND p.order_id = u.order_id"""

UPDATE_AMENDS_SQL: Final = """
    UPDATE orders_amend a SET status = u.status, code = u.code, extra_held = 0, extra_quantity = 0, extra_value = 0, decided_at = u.at
    FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::timestamptz[]) AS u(id, status, code, at) WHERE a.id = u.id"""

UPSERT_LEVELS_SQL: Final = """
    INSERT INTO orders_booklevel (symbol_id, side, price, quantity)
    SELECT * FROM unnest(%s::int[], %s::text[], %s::numeric[], %s::numeric[])
    ON CONFLICT (symbol_id, side, price) DO UPDATE SET quantity = excluded.quantity"""

DELETE_LEVELS_SQL: Final = """
    DELETE FROM orders_booklevel l USING unnest(%s::int[], %s::text[], %s::numeric[]) AS u(symbol_id, side, price)
    WHERE l.symbol_id = u.symbol_id AND l.side = u.side AND l.price = u.price"""

CHECKPOINT_SQL: Final = """
    UPDATE orders_checkpoint SET epoch = %s, sequence = %s, trade_number = %s, book_sequence = %s, status = %s, chain = %s,
        state_hash = %s, stamp_ms = %s, place_number = %s, conditions = coalesce(%s::jsonb, conditions),
        last_price = coalesce(%s::numeric, last_price),
        last_traded_at = coalesce(%s::timestamptz, last_traded_at), settled_at = now(),
        previous_close = CASE WHEN %s::date > last_traded_at::date THEN last_price ELSE previous_close END
    WHERE symbol_id = %s AND sequence = %s AND shard_id = %s"""

FENCE_SQL: Final = f"""
    UPDATE orders_shard SET expires_at = clock_timestamp() + interval '{LEASE_S} s' WHERE id = %s AND epoch = %s"""


class Run(Protocol):
    """Queues a statement; `rows`: how many it must touch, else the settlement is off."""

    def __call__(self, sql: str, parameters: list[Any], rows: int | None = None, what: str = "") -> Cursor[Any]: ...


class ReadsLevels(news.BookReader, Protocol):
    """What settlement needs of a book."""

    def level(self, side: int, price: int) -> int:
        """Lots at a price, 0 when there are none."""


def write(connection: Connection[Any], batches: Sequence[tuple[SymbolBatch, ReadsLevels]], *, shard: int, epoch: int) -> None:
    """Write the batches (each with its book) into the open transaction and fence it; the caller commits.

    Locks: orders (only the shard's owner changes them), accounts sorted, their balances, last the shard's lease.
    Raises: Fenced, psycopg.Error.
    """
    for batch, _ in batches:
        batch.close()
    expected: list[tuple[Cursor[Any], int, str]] = []

    def run(sql: str, parameters: list[Any], rows: int | None = None, what: str = "") -> Cursor[Any]:
        cursor = connection.cursor()
        cursor.execute(sql, parameters, prepare=True)
        if rows is not None:
            expected.append((cursor, rows, what))
        return cursor

    letters: list[Letter] = []
    with connection.pipeline():
        for batch, _ in batches:
            _write_history(run, batch, epoch)
        for batch, book in batches:
            bids, asks = _write_levels(run, batch, book)
            letters += _market_letter(batch, book, bids, asks)
        letters += _write_accounts_and_orders(run, [batch for batch, _ in batches])
        outbox.write(run, letters)
        for batch, _ in batches:
            _write_checkpoint(run, batch, shard, epoch)
        run(FENCE_SQL, [shard, epoch], 1, "lease")
        run(NOTIFY_SQL, [SETTLED])
    for cursor, rows, what in expected:
        if cursor.rowcount != rows:
            if what == "lease":
                raise Fenced(f"shard {shard}: epoch {epoch} is over")
            raise RuntimeError(f"settlement: {cursor.rowcount} of {rows} rows of {what} written")


def _write_history(run: Run, batch: SymbolBatch, epoch: int) -> None:
    progress, at = batch.progress, moment_of(batch.stamp_ms)
    if batch.trades:
        run(INSERT_TRADES_SQL, [progress.market.id, at, *columns(batch.trades)])
        run(INSERT_TRANSFERS_SQL, [at, *columns(batch.transfers)])
    if batch.transitions:
        run(INSERT_TRANSITIONS_SQL, [at, *columns(batch.transitions)])
    if batch.triggers:
        rows = [(record.order_id, price) for record, price in batch.triggers]
        run(TRIGGER_ORDERS_SQL, [at, *columns(sorted(rows))], len(rows), "triggered orders")
    if batch.statuses:
        told = [
            (number, sequence, status, quoted(actor), quoted(request_id) if request_id else "NULL", cause)
            for number, sequence, status, actor, request_id, cause in batch.statuses
        ]
        run(INSERT_STATUSES_SQL, [progress.market.id, at, *columns(told)])
        run(SET_STATUS_SQL, [progress.status, progress.market.id, progress.status])
    payload = commands.pack(batch.log)
    progress.chain = chain_after(
        progress.chain, symbol_id=progress.market.id, first_sequence=batch.first_sequence, last_sequence=progress.sequence, epoch=epoch,
        stamp_ms=batch.stamp_ms, state_hash=progress.state_hash, payload=payload,
    )  # fmt: skip
    run(INSERT_LOG_SQL, [
        progress.market.id, batch.first_sequence, progress.sequence, epoch, batch.stamp_ms, payload, progress.chain,
        progress.state_hash,
    ])  # fmt: skip


def _write_levels(run: Run, batch: SymbolBatch, book: ReadsLevels) -> tuple[list[list[str]], list[list[str]]]:
    """Returns what changed of bids and asks, as price and quantity; "0" where a level is gone."""
    market = batch.progress.market
    changed, gone = [], []
    told: tuple[list[list[str]], list[list[str]]] = ([], [])
    for side, ticks in sorted(batch.levels):
        lots = book.level(side, ticks)
        price = market.price_text(ticks)
        if lots:
            quantity = market.quantity_text(lots)
            changed.append((market.id, commands.SIDE_NAMES[side], price, quantity))
        else:
            quantity = "0"
            gone.append((market.id, commands.SIDE_NAMES[side], price))
        told[side].append([price, quantity])
    if changed:
        run(UPSERT_LEVELS_SQL, columns(changed))
    if gone:
        run(DELETE_LEVELS_SQL, columns(gone))
    return told


def _market_letter(batch: SymbolBatch, book: ReadsLevels, bids: list[list[str]], asks: list[list[str]]) -> list[Letter]:
    """What everybody may know of a symbol's batch; nothing when nothing of it is public."""
    progress = batch.progress
    if not (batch.is_book_news or batch.trades or batch.statuses):
        return []
    change = news.book_change(progress, book, bids, asks) if batch.is_book_news else None
    trades = [(*trade[:12], batch.takers.get(trade[2], "")) for trade in batch.trades]
    payload = [progress.market.id, batch.stamp_ms, change, trades, batch.statuses]
    events = len(trades) + bool(change) + len(batch.statuses)
    return [Letter(outbox.MARKET, f"{outbox.MARKET}.{progress.market.id}", events, payload)]


def _account_news(batches: list[SymbolBatch]) -> dict[int, AccountNews]:
    """Every touched order and both sides of every trade, by account."""
    told: dict[int, AccountNews] = {}
    for batch in batches:
        symbol_id = batch.progress.market.id
        for account_id, triggered in batch.triggered.items():
            told.setdefault(account_id, AccountNews()).orders.extend(triggered)
        for record in batch.touched.values():
            mine = told.get(record.account_id)
            if mine is None:
                mine = told[record.account_id] = AccountNews()
            mine.orders.append(news.changed_order(record, symbol_id, batch.requests[record.order_id]))
        for trade in batch.trades:
            told[trade[8]].trades.append(news.own_trade(trade, symbol_id, is_maker=True))
            told[trade[9]].trades.append(news.own_trade(trade, symbol_id, is_maker=False))
    return told


def _order_row(record: OrderRecord, batch: SymbolBatch) -> tuple[Any, ...]:
    market = batch.progress.market
    reshaped = record.order_id in batch.reshaped
    return (
        record.order_id,
        record.status,
        market.quantity_text(record.filled),
        market.quote_text(record.filled_quote),
        market.quantity_text(record.prevented),
        market.base_text(record.fee) if record.is_buy else market.quote_text(record.fee),
        market.quote_text(record.held) if record.is_buy else market.base_text(record.held),
        record.reason or "NULL",
        record.sequence,
        record.priority,
        market.price_text(record.ticks) if reshaped and (record.terms is None or record.terms.is_priced) else "NULL",
        market.quantity_text(record.total) if reshaped else "NULL",
        batch.at,
    )


def _write_accounts_and_orders(run: Run, batches: list[SymbolBatch]) -> list[Letter]:
    """Orders first: nobody but the shard's owner changes them, so nobody waits for these locks. Then the accounts, which intake
    waits for, as briefly as the last few updates and the commit take. Returns what the accounts are told."""
    scales: dict[int, int] = {}
    posted: dict[tuple[int, int], int] = {}
    held: dict[tuple[int, int], int] = {}
    closed: dict[int, int] = {}
    rows: list[tuple[Any, ...]] = []
    ended: list[tuple[int, str]] = []
    amends: list[tuple[Any, ...]] = []
    for batch in batches:
        market = batch.progress.market
        scales[market.base_id], scales[market.quote_id] = market.base_scale, market.quote_scale
        for into, changes in ((posted, batch.posted), (held, batch.held)):
            for key, units in changes.items():
                into[key] = into.get(key, 0) + units
        for account_id, count in batch.closed.items():
            closed[account_id] = closed.get(account_id, 0) + count
        rows += [_order_row(record, batch) for record in batch.touched.values()]
        ended += [(market.id, record.order_id) for record in batch.touched.values() if record.status in TERMINAL]
        amends += batch.amends
    positions, exposures = position_rows(batches), exposure_rows(batches)
    moved = sorted(key for key in posted.keys() | held.keys() if posted.get(key) or held.get(key))
    told = _account_news(batches)
    accounts = sorted({account_id for account_id, _ in moved} | told.keys())
    if rows:
        rows.sort()
        run(UPDATE_ORDERS_SQL, columns(rows), len(rows), "orders")
    if ended:
        run(DELETE_OPEN_SQL, columns(ended), len(ended), "open orders")
    if amends:
        run(UPDATE_AMENDS_SQL, columns(amends), len(amends), "amends")
    if not accounts:
        return []
    run(LOCK_ACCOUNTS_SQL, [array(accounts)])
    feeds = run(outbox.READ_FEEDS_SQL, [array(accounts)])
    if closed:
        run(UPDATE_STATE_SQL, columns(sorted(closed.items())), len(closed), "account counters")
    if positions:
        run(POSITIONS_SQL, columns(positions), len(positions), "positions")
    if exposures:
        run(EXPOSURES_SQL, columns(exposures), len(exposures), "exposures")
    if moved:
        deltas = [(*key, _text(posted.get(key, 0), scales[key[1]]), _text(held.get(key, 0), scales[key[1]])) for key in moved]
        balances = run(UPDATE_BALANCES_SQL, columns(deltas), len(deltas), "balances")
        for account_id, asset_id, new_posted, new_held in sorted(balances.fetchall()):
            told.setdefault(account_id, AccountNews()).balances.append([asset_id, str(new_posted), str(new_held)])
    known = {account_id: FeedPosition(*rest) for account_id, *rest in feeds.fetchall()}
    letters = outbox.account_letters(told, known, at_ms=max(batch.stamp_ms for batch in batches))
    outbox.raise_feeds(run, told, known)
    return letters


def _text(units: int, scale: int) -> str:
    return f"{units}e-{scale}"


def _write_checkpoint(run: Run, batch: SymbolBatch, shard: int, epoch: int) -> None:
    progress = batch.progress
    traded = bool(batch.trades)
    run(CHECKPOINT_SQL, [
        epoch, progress.sequence, progress.trade_number, progress.book_sequence, progress.status, progress.chain, progress.state_hash,
        progress.stamp_ms, progress.place_number,
        orjson.dumps(progress.conditions.stored()).decode() if progress.conditions_changed else None,
        progress.market.price_text(progress.last_ticks) if traded else None,
        moment_of(progress.last_traded_ms) if traded else None,
        moment_of(progress.last_traded_ms).date() if traded else None,
        progress.market.id, batch.first_sequence - 1, shard,
    ], 1, f"checkpoint of {progress.market.name}")  # fmt: skip
    progress.conditions_changed = False
