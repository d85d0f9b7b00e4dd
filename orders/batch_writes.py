"""What one intake transaction writes: drafts become rows, one statement per table, in one round trip."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg import Connection

from exchange_platform.db import columns, quoted
from markets.units import Market, units_text
from notifications import outbox
from notifications.outbox import AccountNews
from notifications.wakeups import INBOX, NOTIFY_SQL, OUTBOX
from orders import commands, inbox, news
from orders.acceptance import Acceptance
from orders.amends import AmendAcceptance
from orders.batch_reads import BatchReads, Target
from orders.batch_views import AccountView
from orders.presentation import order_view
from orders.refusals import Refusal
from orders.requests import AmendOrder, PlaceOrder

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
    INSERT INTO orders_amend (id, order_id, account_id, symbol_id, price, quantity, extra_held, extra_quantity, extra_value, actor, status,
        created_at)
    SELECT u.*, 'PENDING', %s
    FROM unnest(%s::uuid[], %s::uuid[], %s::bigint[], %s::int[], %s::numeric[], %s::numeric[], %s::numeric[], %s::numeric[],
        %s::numeric[], %s::text[]) AS u"""

NEW_BALANCES_SQL: Final = """
    INSERT INTO wallet_balance (account_id, asset_id, posted, held) SELECT u.*, 0, 0 FROM unnest(%s::bigint[], %s::smallint[]) AS u
    ON CONFLICT DO NOTHING"""

HOLD_SQL: Final = """
    UPDATE wallet_balance b SET held = b.held + u.units
    FROM unnest(%s::bigint[], %s::smallint[], %s::numeric[]) AS u(account_id, asset_id, units)
    WHERE b.account_id = u.account_id AND b.asset_id = u.asset_id"""

STATE_SQL: Final = """
    UPDATE risk_accountstate s SET open_orders = s.open_orders + u.opened, day = DATE '1970-01-01' + u.day, day_orders = u.day_orders,
        second = u.second, second_orders = u.second_orders, minute_orders = u.minute_orders
    FROM unnest(%s::bigint[], %s::int[], %s::int[], %s::int[], %s::bigint[], %s::int[], %s::int[])
        AS u(account_id, opened, day, day_orders, second, second_orders, minute_orders)
    WHERE s.account_id = u.account_id"""

EXPOSURES_SQL: Final = """
    INSERT INTO risk_exposure AS e (account_id, symbol_id, buying, spending, open_value)
    SELECT * FROM unnest(%s::bigint[], %s::int[], %s::numeric[], %s::numeric[], %s::numeric[])
    ON CONFLICT (account_id, symbol_id) DO UPDATE SET buying = e.buying + excluded.buying, spending = e.spending + excluded.spending,
        open_value = e.open_value + excluded.open_value"""

_ZERO: Final = Decimal(0)

Run = Callable[[str, list[Any]], psycopg.Cursor[Any]]


@dataclass(slots=True)
class Draft:
    """A new order about to be written. `rates`: maker and taker fee rate as text."""

    request: PlaceOrder
    order_id: UUID
    account: AccountView
    market: Market
    rates: tuple[str, str]
    created_at: datetime
    accepted: Acceptance | None = None
    refusal: Refusal | None = None

    @property
    def status(self) -> str:
        return "REJECTED" if self.refusal else "PENDING"

    def view(self) -> dict[str, Any]:
        """The order as clients see it now."""
        request = self.request
        return order_view((
            self.order_id, request.client_order_id, None, self.account.name, self.market.id, request.side, request.order_type,
            request.time_in_force, self.status, request.quantity, request.quote_quantity, _ZERO, _ZERO, request.price,
            request.stop_price, _ZERO, _ZERO, self.refusal.code if self.refusal else None, self.created_at, self.created_at, 0,
            self.account.id,
        ))  # fmt: skip

    def hold_text(self) -> str:
        if self.accepted is None:
            return "0"
        return units_text(self.accepted.hold, self.market.base_scale if self.request.side == "SELL" else self.market.quote_scale)


@dataclass(slots=True)
class AmendDraft:
    """An amend about to be written."""

    amend_id: UUID
    request: AmendOrder
    target: Target
    market: Market
    accepted: AmendAcceptance

    def extra_text(self) -> str:
        return units_text(self.accepted.extra, self.market.base_scale if self.target.row[5] == "SELL" else self.market.quote_scale)


@dataclass(slots=True)
class BatchWrites:
    """What the decisions of a batch come to, in order. `inbox`: commands by symbol."""

    drafts: list[Draft] = field(default_factory=list)
    amends: list[AmendDraft] = field(default_factory=list)
    inbox: dict[int, list[commands.Command]] = field(default_factory=dict)

    def enqueue(self, symbol_id: int, command: commands.Command) -> None:
        self.inbox.setdefault(symbol_id, []).append(command)

    def write(self, connection: Connection[Any], reads: BatchReads, now: datetime) -> None:
        """Write into the open transaction. Raises: psycopg.Error, RuntimeError when a row that must be there is not."""
        if not (self.drafts or self.inbox):
            return
        run = reads.run
        with connection.pipeline():
            if self.drafts:
                _write_orders(run, self.drafts, now)
                _write_missing_balances(run, self.drafts, reads.known_balances)
            if self.amends:
                _write_amends(run, self.amends, now)
            written = _write_accounts(run, reads)
            _write_news(run, self.drafts, reads, now)
            for symbol_id, items in sorted(self.inbox.items()):
                run(inbox.INSERT_SQL, inbox.row(symbol_id, items))
            run(NOTIFY_SQL, [INBOX if self.inbox else OUTBOX])
        for cursor, expected in written:
            if cursor.rowcount != expected:
                raise RuntimeError(f"intake wrote {cursor.rowcount} of {expected} rows")


def _null(value: object) -> object:
    return "NULL" if value is None else value


def _write_orders(run: Run, drafts: list[Draft], now: datetime) -> None:
    orders, keys, transitions, opened = [], [], [], []
    stamps = {moment: quoted(moment.isoformat()) for moment in {draft.created_at for draft in drafts}}
    for draft in drafts:
        request, accepted, market, account = draft.request, draft.accepted, draft.market, draft.account
        order_id, refused = draft.order_id.hex, draft.refusal.code if draft.refusal else None
        client_order_id = quoted(request.client_order_id)
        orders.append((
            order_id, account.id, market.id, client_order_id, request.side, request.order_type, request.time_in_force,
            accepted.prevention if accepted else request.self_trade_prevention or account.prevention,
            "t" if request.reduce_only else "f", draft.status, _null(request.quantity), _null(request.quote_quantity),
            _null(request.price), _null(accepted.protection_price if accepted else None), _null(request.stop_price),
            _null(request.trigger_source), quoted(request.expire_at.isoformat()) if request.expire_at else "NULL", draft.hold_text(),
            *draft.rates, refused or "NULL", stamps[draft.created_at],
        ))  # fmt: skip
        keys.append((account.id, client_order_id, order_id))
        transitions.append((order_id, draft.status, refused or "PLACE", quoted(request.principal.actor), quoted(request.request_id)))
        if accepted is not None:
            opened.append((market.id, order_id, account.id))
    run(INSERT_ORDERS_SQL, [*columns(orders)])
    run(INSERT_KEYS_SQL, [*columns(keys), [draft.request.fingerprint() for draft in drafts]])
    run(INSERT_TRANSITIONS_SQL, [now, *columns(transitions)])
    if opened:
        run(INSERT_OPEN_SQL, [*columns(opened)])


def _write_missing_balances(run: Run, drafts: list[Draft], known: set[tuple[int, int]]) -> None:
    """Settlement only updates balances: both assets of a taken order must have a row."""
    taken = [draft for draft in drafts if draft.accepted is not None]
    needed = {(draft.account.id, asset) for draft in taken for asset in (draft.market.base_id, draft.market.quote_id)}
    missing = sorted(needed - known)
    if missing:
        run(NEW_BALANCES_SQL, [*columns(missing)])


def _write_amends(run: Run, amends: list[AmendDraft], now: datetime) -> None:
    rows = [
        (
            draft.amend_id.hex, draft.request.order_id.hex, draft.target.account_id, draft.market.id, _null(draft.request.price),
            _null(draft.request.quantity), draft.extra_text(), draft.market.quantity_text(draft.accepted.lots),
            draft.market.quote_text(draft.accepted.steps * draft.market.quote_per_step), quoted(draft.request.principal.actor),
        )
        for draft in amends
    ]  # fmt: skip
    run(INSERT_AMENDS_SQL, [now, *columns(rows)])


def _write_news(run: Run, drafts: list[Draft], reads: BatchReads, now: datetime) -> None:
    """Every new order, and every balance of which something is held now."""
    told: dict[int, AccountNews] = {}
    for draft in drafts:
        account, refused = draft.account, draft.refusal.code if draft.refusal else None
        order = news.new_order(
            draft.order_id.hex, draft.request, account=account.name, symbol_id=draft.market.id, status=draft.status, reason=refused
        )
        told.setdefault(account.id, AccountNews()).orders.append(order)
    scales = reads.scales()
    for account in reads.accounts.values():
        for asset, units in account.reserved.items():
            if units:
                posted, held, scale = account.posted[asset], account.posted[asset] - account.free[asset], scales[asset]
                balance = [asset, units_text(posted, scale), units_text(held, scale)]
                told.setdefault(account.id, AccountNews()).balances.append(balance)
    outbox.write(run, outbox.account_letters(told, reads.feeds, at_ms=int(now.timestamp() * 1000)))
    outbox.raise_feeds(run, told, reads.feeds)


def _write_accounts(run: Run, reads: BatchReads) -> list[tuple[psycopg.Cursor[Any], int]]:
    """Holds, counters and exposure. Returns each statement with the number of rows it must touch."""
    scales = reads.scales()
    accounts = reads.accounts.values()
    written = []
    holds = [
        (account.id, asset, units_text(units, scales[asset])) for account in accounts for asset, units in account.reserved.items() if units
    ]
    if holds:
        written.append((run(HOLD_SQL, [*columns(holds)]), len(holds)))
    states = [
        (account.id, account.opened, risk.day, risk.day_orders, risk.second, risk.second_orders, risk.minute_orders)
        for account in accounts
        for risk in (account.risk,)
        if account.opened or risk.second_orders
    ]
    if states:
        written.append((run(STATE_SQL, [*columns(states)]), len(states)))
    exposures = sorted(
        (account.id, symbol_id, market.quantity_text(lots), market.quote_text(spending), market.quote_text(value))
        for account in accounts
        for symbol_id, (lots, spending, value) in account.exposed.items()
        for market in (reads.markets[symbol_id],)
    )
    if exposures:
        written.append((run(EXPOSURES_SQL, [*columns(exposures)]), len(exposures)))
    return written
