"""One intake transaction: what it reads under its locks, how it decides, what it writes.

Lock order: nonces (sorted), platform and institutions shared, accounts (with their risk state) sorted. Balances are written
under the account locks by everybody who moves money, so they need no lock pass of their own.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg import Connection

from exchange_platform.db import array, text_array
from exchange_platform.errors import ExchangeError
from exchange_platform.ids import uuid7, uuid_ms
from markets.units import MARKET_SELECT, Market, market_by_id, rate_units, remember, to_units, units_text
from notifications.wakeups import INBOX, NOTIFY_SQL
from orders import commands
from orders.acceptance import (
    Acceptance,
    AccountView,
    AmendAcceptance,
    OpenOrderView,
    SymbolRules,
    accept,
    accept_amend,
)
from orders.presentation import ORDER_COLUMNS, ORDER_FROM, order_view
from orders.refusals import (
    IdempotencyConflict,
    NotFound,
    NotTaken,
    OrderNotOpen,
    Refusal,
    ReplayedSignature,
    UnknownSymbol,
)
from orders.requests import (
    AmendOrder,
    AmendTaken,
    CancelAll,
    CancelAllTaken,
    CancelOrder,
    CancelTaken,
    Nonce,
    Outcome,
    Placed,
    PlaceOrder,
    Principal,
    Request,
    Submission,
)
from risk.checks import AccountRisk, LimitRow, Limits

MAX_WAITING_COMMANDS: Final = 20_000
FRESH_S: Final = 10
ENDED: Final = ("FILLED", "CANCELLED", "REJECTED", "EXPIRED")

ACCOUNTS_SQL: Final = """
    SELECT a.id, a.name, a.institution_id, a.is_frozen, a.self_trade_prevention, s.open_orders,
           coalesce(s.day - DATE '1970-01-01', 0), s.day_orders, s.second, s.second_orders, s.minute_orders
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
           coalesce((SELECT h.expires_at > now() FROM orders_shard h WHERE h.id = c.shard_id), false),
           coalesce((SELECT sum(b.commands) FROM orders_inbox b WHERE b.symbol_id = s.id), 0)
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

INSERT_ORDERS_SQL: Final = """
    INSERT INTO orders_order (id, account_id, symbol_id, client_order_id, side, order_type, time_in_force, self_trade_prevention,
        reduce_only, status, quantity, quote_quantity, price, protection_price, stop_price, trigger_source, expire_at, held,
        maker_fee_rate, taker_fee_rate, reason, created_at, updated_at, filled_quantity, filled_quote, prevented_quantity, fee,
        sequence, priority_sequence)
    SELECT u.*, u.created_at, 0, 0, 0, 0, 0, 0
    FROM unnest(%s::uuid[], %s::bigint[], %s::int[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bool[],
        %s::text[], %s::numeric[], %s::numeric[], %s::numeric[], %s::numeric[], %s::numeric[], %s::text[], %s::timestamptz[],
        %s::numeric[], %s::numeric[], %s::numeric[], %s::text[], %s::timestamptz[])
        AS u(id, account_id, symbol_id, client_order_id, side, order_type, time_in_force, self_trade_prevention, reduce_only, status,
             quantity, quote_quantity, price, protection_price, stop_price, trigger_source, expire_at, held, maker_fee_rate,
             taker_fee_rate, reason, created_at)"""

INSERT_KEYS_SQL: Final = """
    INSERT INTO orders_orderkey (account_id, client_order_id, order_id, fingerprint)
    SELECT * FROM unnest(%s::bigint[], %s::text[], %s::uuid[], %s::bytea[])"""

INSERT_TRANSITIONS_SQL: Final = """
    INSERT INTO orders_transition (order_id, sequence, from_status, to_status, cause, actor, request_id, at)
    SELECT u.order_id, 0, NULL, u.to_status, u.cause, u.actor, u.request_id, %s
    FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::text[]) AS u(order_id, to_status, cause, actor, request_id)"""

INSERT_OPEN_SQL: Final = """
    INSERT INTO orders_openorder (symbol_id, order_id, account_id) SELECT * FROM unnest(%s::int[], %s::uuid[], %s::bigint[])"""

INSERT_AMENDS_SQL: Final = """
    INSERT INTO orders_amend (id, order_id, account_id, symbol_id, price, quantity, extra_held, actor, status, created_at)
    SELECT u.*, 'PENDING', %s
    FROM unnest(%s::uuid[], %s::uuid[], %s::bigint[], %s::int[], %s::numeric[], %s::numeric[], %s::numeric[], %s::text[]) AS u"""

NEW_BALANCES_SQL: Final = """
    INSERT INTO wallet_balance (account_id, asset_id, posted, held) SELECT u.*, 0, 0 FROM unnest(%s::bigint[], %s::smallint[]) AS u
    ON CONFLICT DO NOTHING"""

HOLD_SQL: Final = """
    UPDATE wallet_balance b SET held = b.held + u.units FROM unnest(%s::bigint[], %s::smallint[], %s::numeric[]) AS u(account_id, asset_id, units)
    WHERE b.account_id = u.account_id AND b.asset_id = u.asset_id"""

STATE_SQL: Final = """
    UPDATE risk_accountstate s SET open_orders = s.open_orders + u.opened, day = DATE '1970-01-01' + u.day, day_orders = u.day_orders,
        second = u.second, second_orders = u.second_orders, minute_orders = u.minute_orders
    FROM unnest(%s::bigint[], %s::int[], %s::int[], %s::int[], %s::bigint[], %s::int[], %s::int[])
        AS u(account_id, opened, day, day_orders, second, second_orders, minute_orders)
    WHERE s.account_id = u.account_id"""

INSERT_INBOX_SQL: Final = "INSERT INTO orders_inbox (symbol_id, commands, payload) VALUES (%s, %s, %s)"


@dataclass(slots=True)
class Draft:
    """A new order about to be written; `row` is its ORDER_COLUMNS."""

    request: PlaceOrder
    order_id: UUID
    account: AccountView
    market: Market
    accepted: Acceptance | None
    rates: tuple[Decimal, Decimal]
    refusal: Refusal | None
    created_at: datetime

    @property
    def status(self) -> str:
        return "REJECTED" if self.refusal else "PENDING"

    def row(self) -> tuple[Any, ...]:
        request = self.request
        zero = Decimal(0)
        return (
            self.order_id, request.client_order_id, None, self.account.name, self.market.id, request.side, request.order_type,
            request.time_in_force, self.status, request.quantity, request.quote_quantity, zero, zero, request.price,
            request.stop_price, zero, zero, self.refusal.code if self.refusal else None, self.created_at, self.created_at, 0,
            self.account.id,
        )  # fmt: skip


@dataclass(slots=True)
class Target:
    """An order that a cancel or amend names, as read in this transaction."""

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
        return self.row[8] in ENDED


@dataclass(slots=True)
class AmendDraft:
    amend_id: UUID
    request: AmendOrder
    target: Target
    accepted: AmendAcceptance


@dataclass(slots=True)
class Written:
    """What the decisions of this batch will write, in order."""

    drafts: list[Draft] = field(default_factory=list)
    amends: list[AmendDraft] = field(default_factory=list)
    inbox: dict[int, list[commands.Command]] = field(default_factory=dict)


class IntakeBatch:
    """One transaction over some submissions. `decide_and_write` leaves it uncommitted."""

    def __init__(self, connection: Connection[Any], submissions: list[Submission], *, now_ns: int) -> None:
        self._connection = connection
        self._submissions = submissions
        self._now = datetime.fromtimestamp(now_ns // 1_000_000 / 1000, UTC)
        self._now_ms = now_ns // 1_000_000
        self._accounts: dict[int, AccountView] = {}
        self._rules: dict[int, SymbolRules] = {}
        self._markets: dict[str, Market] = {}
        self._limits = Limits(())
        self._targets: dict[UUID, Target] = {}
        self._pending_amends: dict[UUID, list[tuple[int, int]]] = {}
        self._keys: dict[tuple[int, str], tuple[UUID, bytes]] = {}
        self._existing: dict[UUID, tuple[Any, ...]] = {}
        self._open: dict[int, list[tuple[int, UUID]]] = {}
        self._known_balances: set[tuple[int, int]] = set()
        self._spent: list[Nonce] = []
        self._xid: int | None = None
        self._new: dict[tuple[int, str], Draft] = {}
        self._written = Written()

    # -- the transaction

    def decide_and_write(self) -> list[list[Outcome]]:
        """Outcomes per submission, per request, in order. Nothing is committed yet. Raises: psycopg.Error."""
        requests = [request for submission in self._submissions for request in submission.requests]
        places = [r for r in requests if isinstance(r, PlaceOrder)]
        by_order = [r for r in requests if isinstance(r, CancelOrder | AmendOrder)]
        replayed = self._spend_nonces()
        self._read_targets(by_order)
        self._read_under_locks(
            places, [r for r in requests if isinstance(r, AmendOrder)], [r for r in requests if isinstance(r, CancelAll)]
        )
        now_s = self._now_ms // 1000
        for account in self._accounts.values():
            account.risk.roll(max(now_s, account.risk.second))  # whoever waited for the lock never turns time back
        answers: list[list[Outcome]] = []
        for index, submission in enumerate(self._submissions):
            if index in replayed:
                refusal = ReplayedSignature("This signature has been used. Sign again with a new timestamp.")
                answers.append([refusal] * len(submission.requests))
            else:
                answers.append([self._answer(request) for request in submission.requests])
        self._write()
        self._give_back_nonces(answers, replayed)
        return answers

    def look_up(self, connection: Connection[Any]) -> bool | None:
        """After a broken commit, on a new connection: True it happened, False it did not, None not known (yet).

        What the transaction wrote says that it happened. Transaction numbers alone could not: after a crash those that never got
        to disk are given out again. So the number is only asked whether the transaction may still be running, and first.
        """
        probes: list[tuple[str, list[Any]]] = []
        if self._written.drafts:
            probes.append(("SELECT 1 FROM orders_order WHERE id = %s", [self._written.drafts[0].order_id]))
        elif self._written.amends:
            probes.append(("SELECT 1 FROM orders_amend WHERE id = %s", [self._written.amends[0].amend_id]))
        elif self._spent:
            spent = self._spent[0]
            sql = "SELECT 1 FROM institutions_spentnonce WHERE api_key_id = %s AND digest = %s"
            probes.append((sql, [spent.api_key_id, spent.digest]))
        if not probes:
            return None if self._written.inbox else False
        running = False
        try:
            row = connection.execute("SELECT pg_xact_status(%s::text::xid8)", [str(self._xid)]).fetchone()
            running = row is not None and row[0] == "in progress"
        except psycopg.DataError:  # a number that the restarted server has not reached yet
            connection.rollback()
        if any(connection.execute(sql, parameters).fetchone() for sql, parameters in probes):
            return True
        return None if running else False

    # -- reading

    def _spend_nonces(self) -> set[int]:
        """Which submissions bring a signature that was used before. One of a batch wins when two are equal."""
        wanted: dict[tuple[int, bytes], int] = {}
        replayed: set[int] = set()
        for index, submission in enumerate(self._submissions):
            if submission.nonce is not None:
                key = (submission.nonce.api_key_id, submission.nonce.digest)
                if key in wanted:
                    replayed.add(index)
                else:
                    wanted[key] = index
        if not wanted:
            return replayed
        ordered = sorted(wanted)
        cursor = self._connection.execute(
            """INSERT INTO institutions_spentnonce (api_key_id, digest, spent_at)
               SELECT u.*, now() FROM unnest(%s::bigint[], %s::bytea[]) AS u ON CONFLICT DO NOTHING RETURNING api_key_id, digest""",
            [array(key for key, _ in ordered), [digest for _, digest in ordered]],
            prepare=True,
        )
        fresh = {(row[0], bytes(row[1])) for row in cursor}
        self._spent = [Nonce(*key) for key in fresh]
        return replayed | {index for key, index in wanted.items() if key not in fresh}

    def _give_back_nonces(self, answers: list[list[Outcome]], replayed: set[int]) -> None:
        """A submission of which nothing was taken because the system could not (503) has used up nothing."""
        for index, (submission, outcomes) in enumerate(zip(self._submissions, answers, strict=True)):
            nonce = submission.nonce
            if nonce is not None and index not in replayed and all(isinstance(outcome, NotTaken) for outcome in outcomes):
                sql = "DELETE FROM institutions_spentnonce WHERE api_key_id = %s AND digest = %s"
                self._connection.execute(sql, [nonce.api_key_id, nonce.digest])
                self._spent.remove(nonce)

    def _read_targets(self, requests: list[CancelOrder | AmendOrder]) -> None:
        ids = {request.order_id for request in requests}
        if ids:
            cursor = self._connection.execute(TARGETS_SQL, [array(ids), min(ids), max(ids)], prepare=True)
            self._targets = {row[0]: Target(row[:-2], row[-2], row[-1]) for row in cursor}

    def _read_under_locks(self, places: list[PlaceOrder], amends: list[AmendOrder], cancel_alls: list[CancelAll]) -> None:
        """Lock, then read what the decisions need: each statement sees what was committed when it began, so after the locks."""
        locked = {request.account_id for request in places}
        locked |= {target.account_id for amend in amends if (target := self._targets.get(amend.order_id))}
        locked |= {account_id for request in cancel_alls for account_id in request.account_ids}
        ids = array(sorted(locked))
        self._find_markets({request.symbol for request in places} | {r.symbol for r in cancel_alls if r.symbol})
        with self._connection.pipeline():
            run = self._run
            xid = run("SELECT pg_current_xact_id()::text, (SELECT is_frozen FROM institutions_platform WHERE id = 1 FOR SHARE)", [])
            institutions = run(INSTITUTIONS_SQL, [ids])
            accounts = run(ACCOUNTS_SQL, [ids])
            balances = run("SELECT account_id, asset_id, posted, held FROM wallet_balance WHERE account_id = ANY(%s::bigint[])", [ids])
            limits = run(
                """SELECT kind, institution_id, account_id, symbol_id, value FROM risk_limit
                   WHERE account_id IS NULL OR account_id = ANY(%s::bigint[])""",
                [ids],
            )
            keys = run(KEYS_SQL, [array(r.account_id for r in places), text_array(r.client_order_id for r in places)])
            amended = sorted({amend.order_id for amend in amends} & self._targets.keys())
            pending = run(
                "SELECT order_id, symbol_id, price, quantity FROM orders_amend WHERE order_id = ANY(%s::uuid[]) AND status = 'PENDING' ORDER BY id",
                [array(amended)],
            ) if amended else None  # fmt: skip
            again = run(TARGETS_SQL, [array(amended), amended[0], amended[-1]]) if amended else None
            all_of = array(sorted({account_id for request in cancel_alls for account_id in request.account_ids}))
            open_orders = run(
                "SELECT account_id, symbol_id, order_id FROM orders_openorder WHERE account_id = ANY(%s::bigint[]) ORDER BY order_id", [all_of]
            ) if cancel_alls else None  # fmt: skip
            counted = run(
                "SELECT account_id, symbol_id, count(*) FROM orders_openorder WHERE account_id = ANY(%s::bigint[]) GROUP BY 1, 2", [ids]
            ) if any(self._has_symbol_limit(r.symbol) for r in places) else None  # fmt: skip
        row = xid.fetchone()
        assert row is not None
        self._xid, platform_frozen = int(row[0]), row[1]
        frozen = {row[0]: row[1] or platform_frozen for row in institutions}
        self._take_accounts(accounts, frozen)
        self._take_balances(balances)
        self._limits = Limits(LimitRow(*row) for row in limits)
        self._keys = {(row[0], row[1]): (row[2], bytes(row[3])) for row in keys}
        if pending is not None and again is not None:
            for order_id, symbol_id, price, quantity in pending:
                market = market_by_id_of(self._markets, symbol_id)
                shape = (market.ticks(price) if price is not None else 0, market.lots(quantity) if quantity is not None else 0)
                self._pending_amends.setdefault(order_id, []).append(shape)
            for row in again:
                self._targets[row[0]] = Target(row[:-2], row[-2], row[-1])
        if open_orders is not None:
            for account_id, symbol_id, order_id in open_orders:
                self._open.setdefault(account_id, []).append((symbol_id, order_id))
        if counted is not None:
            for account_id, symbol_id, count in counted:
                self._accounts[account_id].open_by_symbol[symbol_id] = count
        self._read_rules()
        replays = {order_id for order_id, _ in self._keys.values()}
        if replays:
            cursor = self._connection.execute(ORDERS_SQL, [array(replays), min(replays), max(replays)], prepare=True)
            self._existing = {row[0]: row for row in cursor}

    def _run(self, sql: str, parameters: list[Any]) -> psycopg.Cursor[Any]:
        cursor = self._connection.cursor()
        cursor.execute(sql, parameters, prepare=True)
        return cursor

    def _find_markets(self, names: set[str]) -> None:
        if names:
            for row in self._connection.execute(f"{MARKET_SELECT} WHERE s.name = ANY(%s)", [sorted(names)], prepare=True):
                market = remember(row)
                self._markets[market.name] = market
        for symbol_id in {target.symbol_id for target in self._targets.values()}:
            if all(market.id != symbol_id for market in self._markets.values()):
                row = self._connection.execute(f"{MARKET_SELECT} WHERE s.id = %s", [symbol_id], prepare=True).fetchone()
                assert row is not None
                market = remember(row)
                self._markets[market.name] = market
        self._symbol_limits = {}
        if self._markets:
            ids = array(market.id for market in self._markets.values())
            sql = "SELECT id FROM markets_symbol WHERE id = ANY(%s::int[]) AND max_open_orders IS NOT NULL"
            self._symbol_limits = {row[0]: True for row in self._connection.execute(sql, [ids], prepare=True)}

    def _has_symbol_limit(self, name: str) -> bool:
        market = self._markets.get(name)
        return market is not None and market.id in self._symbol_limits

    def _read_rules(self) -> None:
        wanted = {market.id for market in self._markets.values()} | {s for rows in self._open.values() for s, _ in rows}
        if not wanted:
            return
        for row in self._connection.execute(SYMBOLS_SQL, [FRESH_S, array(sorted(wanted))], prepare=True):
            symbol_id = row[0]
            self._rules[symbol_id] = SymbolRules(
                market=market_by_id_of(self._markets, symbol_id),
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

    def _take_accounts(self, rows: psycopg.Cursor[Any], frozen: dict[int, bool]) -> None:
        for account_id, name, institution_id, is_frozen, prevention, open_orders, day, day_orders, second, per_second, per_minute in rows:
            self._accounts[account_id] = AccountView(
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
                ),
            )

    def _take_balances(self, rows: psycopg.Cursor[Any]) -> None:
        scales: dict[int, int] = {}
        for market in self._markets.values():
            scales[market.base_id], scales[market.quote_id] = market.base_scale, market.quote_scale
        for account_id, asset_id, posted, held in rows:
            self._known_balances.add((account_id, asset_id))
            if asset_id in scales:
                self._accounts[account_id].free[asset_id] = to_units(posted - held, scales[asset_id])

    # -- deciding

    def _answer(self, request: Request) -> Outcome:
        try:
            match request:
                case PlaceOrder():
                    return self._place(request)
                case CancelOrder():
                    return self._cancel(request)
                case CancelAll():
                    return self._cancel_all(request)
                case AmendOrder():
                    return self._amend(request)
        except ExchangeError as refusal:
            return refusal

    def _place(self, request: PlaceOrder) -> Outcome:
        market = self._markets.get(request.symbol)
        if market is None or not self._rules[market.id].is_listed:
            raise UnknownSymbol(f"There is no symbol {request.symbol}.", field="symbol")
        account = self._accounts.get(request.account_id)
        if account is None:
            raise NotFound("There is no such account.", field="account")
        key = (account.id, request.client_order_id)
        if (known := self._replay(request, key)) is not None:
            return known
        rules = self._rules[market.id]
        self._check_owner(rules)
        if rules.waiting > MAX_WAITING_COMMANDS:
            raise NotTaken(f"{market.name} has too many commands waiting. Ask again.", code="OVERLOADED")
        rates = (Decimal(rules.maker_rate).scaleb(-8), Decimal(rules.taker_rate).scaleb(-8))
        order_id = uuid7(ms=self._now_ms)
        created_at = datetime.fromtimestamp(uuid_ms(order_id) / 1000, UTC)
        draft = Draft(request, order_id, account, market, None, rates, None, created_at)
        try:
            draft.accepted = accepted = accept(request, account, rules, self._limits)
        except Refusal as refusal:
            draft.refusal = refusal
        else:
            rules.waiting += 1
            self._enqueue(market.id, _place_command(draft, accepted, rules))
        self._new[key] = draft
        self._written.drafts.append(draft)
        return Placed(order_view(draft.row()), refusal=draft.refusal)

    def _replay(self, request: PlaceOrder, key: tuple[int, str]) -> Outcome | None:
        """The order this client id already means, if any. Raises: IdempotencyConflict."""
        draft = self._new.get(key)
        if draft is not None:
            if draft.request.fingerprint() != request.fingerprint():
                raise _conflict(request)
            return Placed(order_view(draft.row()), replay=True, refusal=draft.refusal)
        if key not in self._keys:
            return None
        order_id, fingerprint = self._keys[key]
        if fingerprint != request.fingerprint():
            raise _conflict(request)
        row = self._existing[order_id]
        return Placed(order_view(row), replay=True, refusal=refusal_of(row))

    def _visible_target(self, principal: Principal, order_id: UUID) -> Target:
        """The order, when it is within the principal's reach and open. Raises: NotFound, OrderNotOpen, NotTaken."""
        target = self._targets.get(order_id)
        if (
            target is None
            or (principal.institution_id is not None and target.institution_id != principal.institution_id)
            or (principal.account_id is not None and target.account_id != principal.account_id)
        ):
            raise NotFound("There is no such order.")
        if target.has_ended:
            raise OrderNotOpen(f"The order has ended: {target.row[8]}.", details={"status": target.row[8]})
        self._check_owner(self._rules[target.symbol_id])
        return target

    def _cancel(self, request: CancelOrder) -> Outcome:
        target = self._visible_target(request.principal, request.order_id)
        command = [commands.CANCEL, request.order_id.hex, request.reason, request.principal.actor, request.request_id]
        self._enqueue(target.symbol_id, command)
        return CancelTaken(request.order_id, target.row)

    def _cancel_all(self, request: CancelAll) -> Outcome:
        only: int | None = None
        if request.symbol is not None:
            market = self._markets.get(request.symbol)
            if market is None:
                raise UnknownSymbol(f"There is no symbol {request.symbol}.", field="symbol")
            only = market.id
        found = [
            (symbol_id, order_id)
            for account_id in request.account_ids
            for symbol_id, order_id in self._open.get(account_id, [])
            if only is None or symbol_id == only
        ]
        for symbol_id in {symbol_id for symbol_id, _ in found}:
            self._check_owner(self._rules[symbol_id])
        for symbol_id, order_id in found:
            self._enqueue(symbol_id, [commands.CANCEL, order_id.hex, request.reason, request.principal.actor, request.request_id])
        return CancelAllTaken(tuple(order_id for _, order_id in found))

    def _amend(self, request: AmendOrder) -> Outcome:
        target = self._visible_target(request.principal, request.order_id)
        market = market_by_id_of(self._markets, target.symbol_id)
        row = target.row
        side, quantity, filled, prevented, price = row[5], row[9], row[11], row[12], row[13]
        if price is None or quantity is None:
            raise OrderNotOpen("A market order cannot be amended.")
        pending = self._pending_amends.setdefault(request.order_id, [])
        view = OpenOrderView(
            order_id=request.order_id,
            side=side,
            ticks=market.ticks(price),
            total=market.lots(quantity),
            done=market.lots(filled + prevented) if filled + prevented else 0,
            pending=tuple(pending),
        )
        account = self._accounts[target.account_id]
        accepted = accept_amend(request, view, account, self._rules[market.id], self._limits)
        pending.append((accepted.ticks, accepted.total))
        draft = AmendDraft(uuid7(ms=self._now_ms), request, target, accepted)
        self._written.amends.append(draft)
        self._enqueue(
            market.id,
            [commands.AMEND, request.order_id.hex, draft.amend_id.hex, target.account_id, commands.SIDES[side], accepted.ticks,
             accepted.total, accepted.extra, request.principal.actor, request.request_id],
        )  # fmt: skip
        return AmendTaken(request.order_id, draft.amend_id, row)

    def _check_owner(self, rules: SymbolRules) -> None:
        if not rules.is_owned:
            raise NotTaken(
                f"No matching worker owns {rules.market.name} at the moment. Ask again.", code="NO_MATCHING_OWNER", retry_after_s=2
            )

    def _enqueue(self, symbol_id: int, command: commands.Command) -> None:
        self._written.inbox.setdefault(symbol_id, []).append(command)

    # -- writing

    def _write(self) -> None:
        written = self._written
        if not (written.drafts or written.amends or written.inbox):
            return
        with self._connection.pipeline():
            if written.drafts:
                self._write_orders(written.drafts)
            if written.amends:
                self._write_amends(written.amends)
            holds, states = self._write_accounts()
            for symbol_id, items in sorted(written.inbox.items()):
                self._run(INSERT_INBOX_SQL, [symbol_id, len(items), commands.pack(items)])
            if written.inbox:
                self._run(NOTIFY_SQL, [INBOX])
        for cursor, expected in (holds, states):
            if cursor is not None and cursor.rowcount != expected:
                raise RuntimeError(f"intake wrote {cursor.rowcount} of {expected} rows")

    def _write_orders(self, drafts: list[Draft]) -> None:
        places = [(draft, draft.request, draft.accepted) for draft in drafts]
        stamps = [draft.created_at.isoformat() for draft in drafts]
        ids = array(draft.order_id for draft in drafts)
        self._run(INSERT_ORDERS_SQL, [
            ids,
            array(draft.account.id for draft in drafts),
            array(draft.market.id for draft in drafts),
            text_array(request.client_order_id for _, request, _ in places),
            array(request.side for _, request, _ in places),
            array(request.order_type for _, request, _ in places),
            array(request.time_in_force for _, request, _ in places),
            array((a.prevention if a else r.self_trade_prevention or d.account.prevention) for d, r, a in places),
            array("t" if request.reduce_only else "f" for _, request, _ in places),
            array(draft.status for draft in drafts),
            array(request.quantity for _, request, _ in places),
            array(request.quote_quantity for _, request, _ in places),
            array(request.price for _, request, _ in places),
            array(a.protection_price if a else None for _, _, a in places),
            array(request.stop_price for _, request, _ in places),
            array(request.trigger_source for _, request, _ in places),
            text_array(request.expire_at.isoformat() if request.expire_at else None for _, request, _ in places),
            array(units_text(a.hold, d.market.base_scale if r.side == "SELL" else d.market.quote_scale) if a else 0 for d, r, a in places),
            array(draft.rates[0] for draft in drafts),
            array(draft.rates[1] for draft in drafts),
            array(draft.refusal.code if draft.refusal else None for draft in drafts),
            text_array(stamps),
        ])  # fmt: skip
        self._run(INSERT_KEYS_SQL, [
            array(draft.account.id for draft in drafts),
            text_array(request.client_order_id for _, request, _ in places),
            ids,
            [request.fingerprint() for _, request, _ in places],
        ])  # fmt: skip
        self._run(INSERT_TRANSITIONS_SQL, [
            self._now,
            ids,
            array(draft.status for draft in drafts),
            array(draft.refusal.code if draft.refusal else "PLACE" for draft in drafts),
            text_array(request.principal.actor for _, request, _ in places),
            text_array(request.request_id for _, request, _ in places),
        ])  # fmt: skip
        taken = [draft for draft in drafts if draft.accepted is not None]
        if taken:
            self._run(INSERT_OPEN_SQL, [
                array(draft.market.id for draft in taken), array(draft.order_id for draft in taken), array(draft.account.id for draft in taken),
            ])  # fmt: skip
            missing = {
                (draft.account.id, asset_id)
                for draft in taken
                for asset_id in (draft.market.base_id, draft.market.quote_id)
                if (draft.account.id, asset_id) not in self._known_balances
            }
            if missing:
                ordered = sorted(missing)
                self._run(NEW_BALANCES_SQL, [array(a for a, _ in ordered), array(s for _, s in ordered)])

    def _write_amends(self, amends: list[AmendDraft]) -> None:
        def extra(draft: AmendDraft) -> str:
            market = market_by_id_of(self._markets, draft.target.symbol_id)
            return units_text(draft.accepted.extra, market.base_scale if draft.target.row[5] == "SELL" else market.quote_scale)

        self._run(INSERT_AMENDS_SQL, [
            self._now,
            array(draft.amend_id for draft in amends),
            array(draft.request.order_id for draft in amends),
            array(draft.target.account_id for draft in amends),
            array(draft.target.symbol_id for draft in amends),
            array(draft.request.price for draft in amends),
            array(draft.request.quantity for draft in amends),
            array(extra(draft) for draft in amends),
            text_array(draft.request.principal.actor for draft in amends),
        ])  # fmt: skip

    def _write_accounts(self) -> tuple[tuple[psycopg.Cursor[Any] | None, int], tuple[psycopg.Cursor[Any] | None, int]]:
        scales: dict[int, int] = {}
        for market in self._markets.values():
            scales[market.base_id], scales[market.quote_id] = market.base_scale, market.quote_scale
        held = [
            (a.id, asset, units_text(units, scales[asset])) for a in self._accounts.values() for asset, units in a.reserved.items() if units
        ]
        holds = None
        if held:
            holds = self._run(HOLD_SQL, [array(h[0] for h in held), array(h[1] for h in held), array(h[2] for h in held)])
        touched = [a for a in self._accounts.values() if a.opened or a.risk.second_orders]
        states = None
        if touched:
            states = self._run(STATE_SQL, [
                array(a.id for a in touched),
                array(a.opened for a in touched),
                array(a.risk.day for a in touched),
                array(a.risk.day_orders for a in touched),
                array(a.risk.second for a in touched),
                array(a.risk.second_orders for a in touched),
                array(a.risk.minute_orders for a in touched),
            ])  # fmt: skip
        return (holds, len(held)), (states, len(touched))


def market_by_id_of(markets: dict[str, Market], symbol_id: int) -> Market:
    """The market among these, else from the process's cache."""
    for market in markets.values():
        if market.id == symbol_id:
            return market
    return market_by_id(symbol_id)


def _place_command(draft: Draft, accepted: Acceptance, rules: SymbolRules) -> commands.Command:
    prevention = commands.PREVENTIONS[accepted.prevention]
    if accepted.lots == 0:
        return [commands.PLACE_BY_BUDGET, draft.order_id.hex, draft.account.id, accepted.ticks, accepted.hold, prevention,
                rules.maker_rate, rules.taker_rate]  # fmt: skip
    return [commands.PLACE, draft.order_id.hex, draft.account.id, commands.SIDES[draft.request.side], accepted.ticks, accepted.lots,
            commands.TIMES_IN_FORCE[draft.request.time_in_force], prevention, rules.maker_rate, rules.taker_rate]  # fmt: skip


def _conflict(request: PlaceOrder) -> IdempotencyConflict:
    return IdempotencyConflict(
        f"client_order_id {request.client_order_id} already means another order. Use a new one.", field="client_order_id"
    )


REFUSAL_MESSAGES: Final = {
    "POST_ONLY_WOULD_TAKE": "The order would have traded at once; a post-only order may not. Send a less aggressive price.",
    "SYMBOL_HALTED": "The symbol was halted before the order's turn.",
    "SYMBOL_CANCEL_ONLY": "The symbol takes cancels only.",
    "SYMBOL_POST_ONLY": "The symbol takes only orders that rest.",
}


def refusal_of(row: tuple[Any, ...]) -> Refusal | None:
    """The refusal of a REJECTED order, so that asked again it is told the same. `row`: ORDER_COLUMNS."""
    if row[8] != "REJECTED":
        return None
    code = row[17]
    return Refusal(REFUSAL_MESSAGES.get(code, f"The order was refused: {code}."), code=code, details={"order_id": str(row[0])})
