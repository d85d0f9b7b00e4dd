"""What one intake transaction reads, and in which order it locks.

Lock order: nonces (sorted), platform and institutions shared, accounts with their risk state sorted. Every statement sees what
was committed when it began, so everything a decision needs is read after the locks it relies on. Balances are written under the
account locks by everybody who moves money, so they need no lock pass of their own.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg import Connection

from exchange_platform.db import array, text_array
from markets.units import MARKET_SELECT, Market, known_market, rate_units, remember, to_units
from notifications.outbox import READ_FEEDS_SQL, FeedPosition
from orders.batch_views import AccountView, SymbolRules
from orders.lifecycle import TERMINAL
from orders.presentation import ORDER_COLUMNS, ORDER_FROM
from orders.requests import AmendOrder, CancelAll, CancelOrder, Nonce, PlaceOrder, SetSwitch, Submission
from risk.checks import AccountRisk, LimitRow, Limits, RuleRow
from risk.exposures import NEVER, Exposure, Holding
from risk.marks import Mark, Marks

FRESH_S: Final = 10

SPEND_SQL: Final = """
    INSERT INTO institutions_spentnonce (api_key_id, digest, spent_at)
    SELECT u.*, now() FROM unnest(%s::bigint[], %s::bytea[]) AS u ON CONFLICT DO NOTHING RETURNING api_key_id, digest"""

PLATFORM_SQL: Final = """
    SELECT pg_current_xact_id()::text, p.is_frozen FROM institutions_platform p WHERE p.id = 1 FOR SHARE OF p"""

ACCOUNTS_SQL: Final = """
    SELECT a.id, a.name, a.institution_id, a.is_frozen, a.self_trade_prevention, s.open_orders,
           coalesce(s.day - DATE '1970-01-01', 0), s.day_orders, s.second, s.second_orders, s.minute_orders, s.score
    FROM institutions_account a JOIN risk_accountstate s ON s.account_id = a.id
    WHERE a.id = ANY(%s::bigint[]) AND a.kind = 'CUSTOMER' ORDER BY a.id FOR NO KEY UPDATE OF a, s"""

INSTITUTIONS_SQL: Final = """
    SELECT i.id, i.is_frozen FROM institutions_institution i
    WHERE i.id IN (SELECT institution_id FROM institutions_account WHERE id = ANY(%s::bigint[])) ORDER BY i.id FOR SHARE OF i"""

SYMBOLS_SQL: Final = """
    SELECT s.id, s.status, s.is_listed, s.min_quantity, s.max_quantity, s.min_price, s.max_price, s.min_notional, s.max_open_orders,
           s.static_band, s.market_protection, s.reference_price, s.maker_fee, s.taker_fee, s.order_types, c.last_price,
           coalesce(c.last_traded_at > now() - make_interval(secs => %s), false),
           (SELECT max(price) FROM orders_booklevel l WHERE l.symbol_id = s.id AND l.side = 'BUY'),
           (SELECT min(price) FROM orders_booklevel l WHERE l.symbol_id = s.id AND l.side = 'SELL'),
           coalesce((SELECT h.expires_at > clock_timestamp() FROM orders_shard h WHERE h.id = c.shard_id), false),
           coalesce((SELECT sum(b.commands) FROM orders_inbox b WHERE b.symbol_id = s.id), 0),
           EXISTS (SELECT FROM orders_symbolmove m WHERE m.symbol_id = s.id AND m.ended_at IS NULL)
    FROM markets_symbol s LEFT JOIN orders_checkpoint c ON c.symbol_id = s.id
    WHERE s.id = ANY(%s::int[])"""

ORDERS_SQL: Final = f"SELECT {ORDER_COLUMNS} FROM {ORDER_FROM} WHERE o.id = ANY(%s::uuid[]) AND o.id >= %s AND o.id <= %s"

TARGETS_SQL: Final = f"""
    SELECT {ORDER_COLUMNS}, o.protection_price, a.institution_id FROM {ORDER_FROM}
    WHERE o.id = ANY(%s::uuid[]) AND o.id >= %s AND o.id <= %s"""

KEYS_SQL: Final = """
    SELECT k.account_id, k.client_order_id, k.order_id, k.fingerprint
    FROM unnest(%s::bigint[], %s::text[]) AS u(account_id, client_order_id)
    JOIN orders_orderkey k ON k.account_id = u.account_id AND k.client_order_id = u.client_order_id"""

BALANCES_SQL: Final = "SELECT account_id, asset_id, posted, held FROM wallet_balance WHERE account_id = ANY(%s::bigint[])"

LIMITS_SQL: Final = """
    SELECT kind, institution_id, account_id, symbol_id, value FROM risk_limit
    WHERE (account_id IS NULL OR account_id = ANY(%s::bigint[])) AND (symbol_id IS NULL OR symbol_id = ANY(%s::int[]))"""

SYMBOL_RULES_SQL: Final = """
    SELECT rule, institution_id, account_id, symbol_id FROM risk_symbolrule WHERE account_id IS NULL OR account_id = ANY(%s::bigint[])"""

EXPOSURES_SQL: Final = """
    SELECT e.account_id, e.symbol_id, e.buying, e.spending, e.open_value, e.day - DATE '1970-01-01', e.traded,
           p.quantity, p.cost, p.realised, p.day - DATE '1970-01-01', p.opening_quantity, p.opening_cost, p.opening_realised
    FROM risk_exposure e LEFT JOIN risk_position p ON p.account_id = e.account_id AND p.symbol_id = e.symbol_id
    WHERE e.account_id = ANY(%s::bigint[])"""

# The newest row of each account: its peak is that of the last 30 days.
HIGHS_SQL: Final = """
    SELECT u.id, d.high FROM unnest(%s::bigint[]) AS u(id)
    CROSS JOIN LATERAL (SELECT high FROM risk_dayresult WHERE account_id = u.id ORDER BY day DESC LIMIT 1) AS d"""

MARKS_SQL: Final = """
    SELECT s.id, s.base_id, s.quote_id, b.code, q.code, c.last_price, (c.last_traded_at AT TIME ZONE 'UTC')::date - DATE '1970-01-01',
           c.previous_close, s.reference_price
    FROM markets_symbol s JOIN markets_asset b ON b.id = s.base_id JOIN markets_asset q ON q.id = s.quote_id
    LEFT JOIN orders_checkpoint c ON c.symbol_id = s.id"""

PENDING_AMENDS_SQL: Final = """
    SELECT order_id, symbol_id, price, quantity FROM orders_amend
    WHERE order_id = ANY(%s::uuid[]) AND status = 'PENDING' ORDER BY id"""

OPEN_SQL: Final = """
    SELECT account_id, symbol_id, order_id FROM orders_openorder WHERE account_id = ANY(%s::bigint[]) ORDER BY order_id"""

# Counted only where the symbol has such a limit.
COUNT_OPEN_SQL: Final = """
    SELECT c.account_id, s.id, c.open FROM markets_symbol s CROSS JOIN LATERAL (
        SELECT o.account_id, count(*) AS open FROM orders_openorder o
        WHERE o.symbol_id = s.id AND o.account_id = ANY(%s::bigint[]) GROUP BY 1) c
    WHERE s.id = ANY(%s::int[]) AND s.max_open_orders IS NOT NULL"""


@dataclass(slots=True)
class Target:
    """An order that a cancel or amend names, as read in this transaction. `row`: ORDER_COLUMNS."""

    row: tuple[Any, ...]
    protection_price: Decimal | None
    institution_id: int

    @property
    def account_id(self) -> int:
        return int(self.row[21])

    @property
    def symbol_id(self) -> int:
        return int(self.row[4])

    @property
    def has_ended(self) -> bool:
        return self.row[8] in TERMINAL


@dataclass(slots=True)
class KeptMarks:
    """Prices of all symbols, kept between batches: they value positions, and a second more or less is nothing to that."""

    keep_s: float = 1.0
    marks: Marks = field(default_factory=Marks)
    read_at_s: float | None = None

    def is_fresh(self, now_s: float) -> bool:
        return self.read_at_s is not None and 0 <= now_s - self.read_at_s < self.keep_s


class BatchReads:
    """The state that the decisions of one transaction rest on."""

    def __init__(self, connection: Connection[Any], *, now_s: float = 0.0, marks: KeptMarks | None = None) -> None:
        self._connection = connection
        self._now_s = now_s
        self._marks = marks or KeptMarks(keep_s=0)
        self.transaction_id = 0
        self.spent: list[Nonce] = []
        self.accounts: dict[int, AccountView] = {}
        self.markets: dict[int, Market] = {}
        self.market_ids: dict[str, int] = {}
        self.rules: dict[int, SymbolRules] = {}
        self.moving: set[int] = set()  # symbols on their way to another shard
        self.limits = Limits(())
        self.targets: dict[UUID, Target] = {}
        self.pending_amends: dict[UUID, list[tuple[int, int]]] = {}  # (ticks, total), 0: that one stays
        self.keys: dict[tuple[int, str], tuple[UUID, bytes]] = {}
        self.existing: dict[UUID, tuple[Any, ...]] = {}  # orders that client ids already mean; ORDER_COLUMNS
        self.open: dict[int, list[tuple[int, UUID]]] = {}  # account → (symbol, order), oldest first
        self.known_balances: set[tuple[int, int]] = set()
        self.feeds: dict[int, FeedPosition] = {}

    def run(self, sql: str, parameters: list[Any]) -> psycopg.Cursor[Any]:
        """A prepared statement; inside a pipeline its result is there when the pipeline ends."""
        cursor = self._connection.cursor()
        cursor.execute(sql, parameters, prepare=True)
        return cursor

    def read(self, submissions: list[Submission]) -> set[int]:
        """Spend the signatures, lock, read. Returns the indexes of submissions whose signature had been used."""
        requests = [request for submission in submissions for request in submission.requests]
        places = [request for request in requests if isinstance(request, PlaceOrder)]
        amends = [request for request in requests if isinstance(request, AmendOrder)]
        all_of = sorted({account for request in requests if isinstance(request, CancelAll) for account in request.account_ids})
        switched = {account for request in requests if isinstance(request, SetSwitch) for account in request.account_ids}
        named = sorted({request.order_id for request in requests if isinstance(request, CancelOrder | AmendOrder)})
        if named:
            self._read_targets(named)
        self._find_markets({request.symbol for request in requests if isinstance(request, PlaceOrder | CancelAll) and request.symbol})
        amended = sorted({amend.order_id for amend in amends} & self.targets.keys())
        locked = (
            {request.account_id for request in places}
            | {self.targets[order_id].account_id for order_id in amended}
            | set(all_of)
            | switched
        )
        replayed = self._read_under_locks(submissions, array(sorted(locked)), places, amended, all_of)
        self._learn_markets({symbol for rows in self.open.values() for symbol, _ in rows})
        self._read_rules(self.markets.keys() - self.rules.keys())
        self._read_existing()
        return replayed

    def _read_targets(self, order_ids: list[UUID]) -> None:
        for row in self.run(TARGETS_SQL, [array(order_ids), order_ids[0], order_ids[-1]]):
            self.targets[row[0]] = Target(row[:-2], *row[-2:])
        self._learn_markets({target.symbol_id for target in self.targets.values()})

    def _read_under_locks(
        self, submissions: list[Submission], ids: str, places: list[PlaceOrder], amended: list[UUID], all_of: list[int]
    ) -> set[int]:
        """One round trip: nonces, locks, then what the decisions rest on."""
        run, symbol_ids = self.run, array(sorted(self.markets))
        limited = amended or not all(request.principal.unlimited for request in places)
        wanted, replayed = _nonces(submissions)
        with self._connection.pipeline():
            digests = [digest for _, digest in sorted(wanted)]
            spent = run(SPEND_SQL, [array(key for key, _ in sorted(wanted)), digests]) if wanted else None
            platform = run(PLATFORM_SQL, [])
            institutions = run(INSTITUTIONS_SQL, [ids])
            accounts = run(ACCOUNTS_SQL, [ids])
            balances = run(BALANCES_SQL, [ids])
            feeds = run(READ_FEEDS_SQL, [ids])
            limits = run(LIMITS_SQL, [ids, symbol_ids]) if limited else ()
            rules, exposures, highs = [run(sql, [ids]) for sql in (SYMBOL_RULES_SQL, EXPOSURES_SQL, HIGHS_SQL)] if limited else ((), (), ())
            marks = run(MARKS_SQL, []) if limited and not self._marks.is_fresh(self._now_s) else None
            keys = run(KEYS_SQL, [array(r.account_id for r in places), text_array(r.client_order_id for r in places)]) if places else None
            symbols = run(SYMBOLS_SQL, [FRESH_S, symbol_ids])
            counted = run(COUNT_OPEN_SQL, [ids, symbol_ids]) if places else None
            pending = run(PENDING_AMENDS_SQL, [array(amended)]) if amended else None
            open_orders = run(OPEN_SQL, [array(all_of)]) if all_of else None
        if spent is not None:
            fresh = {(row[0], bytes(row[1])) for row in spent}
            self.spent = [Nonce(*key) for key in fresh]
            replayed |= {index for key, index in wanted.items() if key not in fresh}
        row = platform.fetchone()
        assert row is not None
        self.transaction_id, is_platform_frozen = int(row[0]), row[1]
        self._take_accounts(accounts, {row[0]: row[1] or is_platform_frozen for row in institutions})
        self._take_balances(balances)
        self.feeds = {account_id: FeedPosition(*rest) for account_id, *rest in feeds}
        self._take_rules(symbols)
        if marks is not None:
            self._marks.marks, self._marks.read_at_s = Marks(Mark(*row) for row in marks), self._now_s
        self._take_exposures(exposures, highs)
        self.limits = Limits(
            (LimitRow(*row) for row in limits),
            rules=(RuleRow(*row) for row in rules),
            marks=self._marks.marks,
            today=int(self._now_s) // 86_400,
        )
        self.keys = {(row[0], row[1]): (row[2], bytes(row[3])) for row in keys or ()}
        for account_id, symbol_id, count in counted or ():
            self.accounts[account_id].open_by_symbol[symbol_id] = count
        for account_id, symbol_id, order_id in open_orders or ():
            self.open.setdefault(account_id, []).append((symbol_id, order_id))
        if amended:
            # Once more, after the locks and after the pending amends were read: a settlement in between can only make an amend look
            # pending that is decided already, which holds more than needed and never less.
            self._read_targets(amended)
            for order_id, symbol_id, price, quantity in pending or ():
                market = self.markets[symbol_id]
                shape = (0 if price is None else market.ticks(price), 0 if quantity is None else market.lots(quantity))
                self.pending_amends.setdefault(order_id, []).append(shape)
        return replayed

    def _find_markets(self, names: set[str]) -> None:
        """Markets by name, from the process's cache where it has them: what never changes of a symbol needs no reading."""
        for name in list(names):
            market = known_market(name)
            if market is not None:
                self._add_market(market)
                names.discard(name)
        if names:
            self._take_markets(self.run(f"{MARKET_SELECT} WHERE s.name = ANY(%s::text[])", [text_array(sorted(names))]))

    def _add_market(self, market: Market) -> None:
        self.markets[market.id] = market
        self.market_ids[market.name] = market.id

    def _take_markets(self, rows: psycopg.Cursor[Any]) -> None:
        for row in rows:
            self._add_market(remember(row))

    def _learn_markets(self, symbol_ids: set[int]) -> None:
        unknown = symbol_ids - self.markets.keys()
        if unknown:
            self._take_markets(self.run(f"{MARKET_SELECT} WHERE s.id = ANY(%s::int[])", [array(sorted(unknown))]))

    def _read_rules(self, symbol_ids: set[int]) -> None:
        if symbol_ids:
            self._take_rules(self.run(SYMBOLS_SQL, [FRESH_S, array(sorted(symbol_ids))]))

    def _take_rules(self, rows: psycopg.Cursor[Any]) -> None:
        for row in rows:
            symbol_id = row[0]
            self.rules[symbol_id] = SymbolRules(
                market=self.markets[symbol_id],
                status=row[1],
                is_listed=row[2],
                min_quantity=row[3],
                max_quantity=row[4],
                min_price=row[5],
                max_price=row[6],
                min_notional=row[7],
                max_open_orders=row[8],
                static_band=row[9],
                market_protection=row[10],
                reference_price=row[11],
                maker_rate=rate_units(row[12]),
                taker_rate=rate_units(row[13]),
                order_types=tuple(row[14]),
                last_price=row[15],
                last_price_is_fresh=row[16],
                best_bid=row[17],
                best_ask=row[18],
                is_owned=row[19],
                waiting=int(row[20]),
            )
            if row[21]:
                self.moving.add(symbol_id)

    def _read_existing(self) -> None:
        replayed = sorted(order_id for order_id, _ in self.keys.values())
        if replayed:
            self.existing = {row[0]: row for row in self.run(ORDERS_SQL, [array(replayed), replayed[0], replayed[-1]])}

    def _take_accounts(self, rows: psycopg.Cursor[Any], frozen: dict[int, bool]) -> None:
        for (account_id, name, institution_id, is_frozen, prevention, open_orders, day, day_orders, second, per_second, per_minute,
             score) in rows:  # fmt: skip
            self.accounts[account_id] = AccountView(
                id=account_id,
                name=name,
                institution_id=institution_id,
                is_frozen=is_frozen,
                is_institution_frozen=frozen.get(institution_id, True),
                prevention=prevention,
                risk=AccountRisk(
                    account_id=account_id,
                    institution_id=institution_id,
                    open_orders=open_orders,
                    day=day,
                    day_orders=day_orders,
                    second=second,
                    second_orders=per_second,
                    minute_orders=per_minute,
                    score=score,
                ),
            )

    def _take_exposures(self, exposures: Iterable[tuple[Any, ...]], highs: Iterable[tuple[int, Decimal]]) -> None:
        for account_id, symbol_id, buying, spending, value, day, traded, quantity, cost, realised, traded_on, *opening in exposures:
            standing = self.accounts[account_id].risk.standing
            exposure = standing.exposures[symbol_id] = Exposure(buying, spending, value, NEVER if day is None else day, traded)
            if quantity is not None:
                exposure.now = Holding(quantity, cost, realised)
                if traded_on is not None:
                    exposure.traded_on, exposure.opening = traded_on, Holding(*opening)
        for account_id, high in highs:
            self.accounts[account_id].risk.standing.high = high

    def scales(self) -> dict[int, int]:
        """Scale of every asset of the batch's markets."""
        found: dict[int, int] = {}
        for market in self.markets.values():
            found[market.base_id], found[market.quote_id] = market.base_scale, market.quote_scale
        return found

    def _take_balances(self, rows: psycopg.Cursor[Any]) -> None:
        scales = self.scales()
        for account_id, asset_id, posted, held in rows:
            self.known_balances.add((account_id, asset_id))
            self.accounts[account_id].risk.standing.balances.append((asset_id, posted))
            if asset_id in scales:
                account, units = self.accounts[account_id], to_units(posted, scales[asset_id])
                account.posted[asset_id] = units
                account.free[asset_id] = units - to_units(held, scales[asset_id])


def _nonces(submissions: list[Submission]) -> tuple[dict[tuple[int, bytes], int], set[int]]:
    """Signatures to spend with their submission's index, and the indexes of those that repeat an earlier one of the batch."""
    wanted: dict[tuple[int, bytes], int] = {}
    repeated: set[int] = set()
    for index, submission in enumerate(submissions):
        if submission.nonce is not None:
            key = (submission.nonce.api_key_id, submission.nonce.digest)
            if key in wanted:
                repeated.add(index)
            else:
                wanted[key] = index
    return wanted, repeated
