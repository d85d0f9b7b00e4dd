"""Pages of orders, trades, transfers and the matching of each symbol. All of it is history: read, never edited."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.db import connections
from django.http import HttpRequest

from exchange_platform.back_office import show
from exchange_platform.back_office.base import Reader, as_uuid
from exchange_platform.back_office.finding import Found, add_finder
from exchange_platform.back_office.listing import (
    ANY,
    PER_PAGE,
    Column,
    DatedFilters,
    Facts,
    Filters,
    Listed,
    Table,
    bounds,
    choices,
    newest,
    whole_number,
)
from exchange_platform.back_office.panels import add_panel
from exchange_platform.back_office.site import add_page
from exchange_platform.partitions import ARCHIVE
from institutions.back_office import account_link, accounts_asked, institution_link, offer_institutions
from institutions.models import Account
from institutions.rights import Right, may
from markets.models import Symbol
from markets.units import market_by_id, market_by_name
from orders import break_admin as break_admin  # registers its pages
from orders import kill_admin as kill_admin
from orders import operations
from orders.chain import DETACHED
from orders.ledger_page import Transfers, ids_named, legs_table, lines, transfer_page, transfers_in_reach
from orders.lifecycle import LEGAL_MOVES, OPEN_STATUSES, Status
from orders.models import Amend, Anchor, ArchivedPartition, Checkpoint, CommandLog, Order, Shard, SymbolStatus, Trade, Transition
from orders.positions_page import Positions, positions_panel
from orders.presentation import fixed
from orders.queries import OPEN
from orders.rows import OrderRow, TradeRow, order_link, order_rows, party, rows_of_trades, symbol_link, trade_link, trade_rows
from orders.schedule import ACTOR as SCHEDULE
from orders.search import Span, order_ids, trade_ids

ORDER_TYPES = ("MARKET", "LIMIT", "STOP", "STOP_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT")
FEW = 10
FEW_STATUSES = 50
ENGINE = "engine"
MANY = 200


class TradeFilters(DatedFilters):
    institution = forms.ChoiceField(required=False)
    account = forms.CharField(required=False)
    symbol = forms.CharField(required=False)
    side = forms.ChoiceField(required=False, choices=choices(["BUY", "SELL"]))


class OrderFilters(TradeFilters):
    status = forms.ChoiceField(required=False, choices=[ANY, (OPEN, "open (any)"), *choices([s.value for s in Status])[1:]])
    type = forms.ChoiceField(required=False, choices=choices(ORDER_TYPES))


def looked_back(to: UUID | None, older: UUID | None) -> str:
    """What a reader must know of a list that was not held against everything."""
    return f"Looked back to {show.time_of(to)} UTC; go on to older ones, or choose dates." if to and older else ""


def _listed(rows: Sequence[Any], older: UUID | None, looked_back_to: UUID | None) -> Listed:
    return Listed(rows, str(older) if older else None, looked_back(looked_back_to, older))


def _symbol(question: dict[str, Any]) -> int | None:
    """The symbol's id; 0, which none has, for a name that is none."""
    if "symbol" not in question:
        return None
    market = market_by_name(question["symbol"].upper())
    return market.id if market else 0


@admin.register(Order)
class OrderAdmin(Reader):
    filters = OrderFilters
    empty = "No order has been placed yet. Orders come in over the API; README.md sends a first one."
    columns = (
        Column("Time (UTC)", lambda row: show.moment(row.order.created_at)),
        Column("Order", lambda row: order_link(row.pk)),
        Column("Account", lambda row: account_link(row.account)),
        Column("Symbol", lambda row: symbol_link(row.market)),
        Column("Side", lambda row: show.badge(row.order.side)),
        Column("Type", lambda row: f"{row.order.order_type.replace('_', ' ')} {row.order.time_in_force}"),
        Column("Status", lambda row: show.badge(row.order.status)),
        Column("Price", lambda row: row.price(row.order.price), numeric=True),
        Column("Quantity", lambda row: row.quantity(row.order.quantity), numeric=True),
        Column("Filled", lambda row: row.quantity(row.order.filled_quantity), numeric=True),
        Column("Reason", lambda row: (row.order.reason or "").replace("_", " ").lower() or show.NOTHING),
        Column("Client order id", lambda row: row.order.client_order_id),
    )

    def prepare(self, request: HttpRequest, form: Filters) -> None:
        offer_institutions(form)

    def find(self, request: HttpRequest, question: dict[str, Any]) -> Listed:
        text, request_id = question.get("q"), None
        if text:
            named = orders_named(request, text)
            if named:
                return Listed(order_rows(named))
            if Account.objects.using("tenant").filter(name=text.lower()).exists():
                question = {**question, "account": text.lower()}
            elif market_by_name(text.upper()):
                question = {**question, "symbol": text}
            else:
                request_id = text
        status = question.get("status")
        start, end = bounds(question)
        page = order_ids(
            accounts=accounts_asked(request, question),
            span=Span.of(start, end, as_uuid(question.get("before"))),
            symbol_id=_symbol(question),
            statuses=OPEN_STATUSES if status == OPEN else {status} if status else (),
            side=question.get("side"),
            order_type=question.get("type"),
            request_id=request_id,
            limit=PER_PAGE,
        )
        return _listed(order_rows(page.ids), page.older, page.looked_back_to)

    def load(self, request: HttpRequest, object_id: str) -> Any:
        identity = as_uuid(object_id)
        return next(iter(order_rows([identity])), None) if identity else None

    def facts(self, request: HttpRequest, row: OrderRow) -> Sequence[Facts]:
        order = row.order
        asked = [
            ("Symbol", symbol_link(row.market)),
            ("Side", show.badge(order.side)),
            ("Type", order.order_type.replace("_", " ")),
            ("Time in force", order.time_in_force),
            ("Price", row.price(order.price)),
            ("Stop price", row.price(order.stop_price)),
            ("Triggered by", {"LAST": "last trade", "REFERENCE": "reference price"}.get(order.trigger_source or "", show.NOTHING)),
            ("Quantity", row.quantity(order.quantity)),
            ("Quote quantity", row.quote(order.quote_quantity)),
            ("Expires (UTC)", show.moment(order.expire_at)),
            ("Self-trade prevention", order.self_trade_prevention.replace("_", " ").lower()),
            ("Reduce only", "yes" if order.reduce_only else "no"),
        ]
        stands = [
            ("Status", show.badge(order.status)),
            ("Reason", order.reason or show.NOTHING),
            ("Filled", row.quantity(order.filled_quantity)),
            ("Filled in quote", row.quote(order.filled_quote)),
            ("Prevented", row.quantity(order.prevented_quantity)),
            ("Held now", row.held()),
            ("Fee so far", row.fee()),
            ("Fee rates", f"maker {order.maker_fee_rate.normalize():f}, taker {order.taker_fee_rate.normalize():f}"),
            ("Bounded at", row.price(order.protection_price)),
            ("Trigger price", row.price(order.trigger_price)),
            ("Triggered (UTC)", show.moment(order.triggered_at)),
            ("Slippage from trigger", row.slippage()),
            ("Engine sequence", order.sequence),
        ]
        account = row.account
        who = [
            ("Order id", show.code(order.pk)),
            ("Client order id", show.code(order.client_order_id)),
            ("Account", account_link(account)),
            ("Institution", institution_link(account.institution if account else None)),
            ("Balances", show.link(show.page_url("wallet_balances", account=account.name), "of the account") if account else show.NOTHING),
            (
                "Transfers",
                show.link(show.page_url("wallet_transfers", account=account.name), "of the account") if account else show.NOTHING,
            ),
            ("Placed (UTC)", show.moment(order.created_at)),
            ("Last change (UTC)", show.moment(order.updated_at)),
        ]
        return [Facts("Whose", who), Facts("What was asked", asked), Facts("How it stands", stands)]

    def tables(self, request: HttpRequest, row: OrderRow) -> Sequence[Table]:
        tables = [_history(row), _fills(row)]
        amends = _amends(row)
        return [*tables, amends] if amends.rows else tables

    def title_of(self, row: OrderRow) -> str:
        return f"{row.order.side} {row.market.name}, order {row.pk}"


def _history(row: OrderRow) -> Table:
    found = sorted(
        Transition.objects.using("tenant").filter(order_id=row.pk),
        key=lambda t: (t.sequence, -len(LEGAL_MOVES[Status(t.to_status)])),  # two of one sequence: who has more moves left came first
    )
    rows = [
        [
            show.moment(t.at),
            show.badge(t.from_status),
            show.badge(t.to_status),
            t.cause.replace("_", " ").lower(),
            t.actor,
            show.code(t.request_id),
            t.sequence,
        ]
        for t in found
    ]
    headings = ["Time (UTC)", "From", "To", "Cause", "Who", "Request", "Engine sequence"]
    return Table("History", headings, rows, "There is no transition in reach.", numeric=frozenset({6}))


def _fills(row: OrderRow) -> Table:
    rows: list[Sequence[object]] = []
    for fill in fills_of(row.pk):
        is_maker = fill.trade.maker_order_id == row.pk
        other = fill.taker if is_maker else fill.maker
        rows.append(
            [
                show.moment(fill.trade.executed_at),
                trade_link(fill.pk),
                "maker" if is_maker else "taker",
                fill.price,
                fill.quantity,
                fill.fee(of_maker=is_maker),
                party(other),
                fill.order_link(of_maker=not is_maker),
            ]
        )
    headings = ["Time (UTC)", "Trade", "As", "Price", "Quantity", "Fee", "With", "Their order"]
    note = f"The first {MANY} fills." if len(rows) == MANY else ""
    return Table("Fills", headings, rows, "Nothing has been filled.", numeric=frozenset({3, 4, 5}), note=note)


def fills_of(order_id: UUID) -> list[TradeRow]:
    """The trades of an order, oldest first. Two index scans."""
    trades = Trade.objects.using("tenant")
    found = [*trades.filter(maker_order_id=order_id).order_by("pk")[:MANY], *trades.filter(taker_order_id=order_id).order_by("pk")[:MANY]]
    return rows_of_trades(sorted(found, key=lambda trade: trade.pk)[:MANY])


def _amends(row: OrderRow) -> Table:
    rows = [
        [show.moment(a.created_at), row.price(a.price), row.quantity(a.quantity), show.badge(a.status), a.code or show.NOTHING, a.actor]
        for a in Amend.objects.using("tenant").filter(order_id=row.pk).order_by("pk")[:MANY]
    ]
    return Table("Amends", ["Time (UTC)", "Price", "Quantity", "Outcome", "Code", "Who"], rows, "", numeric=frozenset({1, 2}))


@admin.register(Trade)
class TradeAdmin(Reader):
    filters = TradeFilters
    empty = "Nothing has traded yet. A trade is made when two orders meet."
    columns = (
        Column("Time (UTC)", lambda row: show.moment(row.trade.executed_at)),
        Column("Trade", lambda row: trade_link(row.pk)),
        Column("Symbol", lambda row: symbol_link(row.market)),
        Column("Taker", lambda row: show.badge(row.trade.taker_side)),
        Column("Price", lambda row: row.price, numeric=True),
        Column("Quantity", lambda row: row.quantity, numeric=True),
        Column("Auction", lambda row: show.yes(row.trade.in_auction, "auction")),
        Column("Maker", lambda row: party(row.maker)),
        Column("Maker's order", lambda row: row.order_link(of_maker=True)),
        Column("Taker's account", lambda row: party(row.taker)),
        Column("Taker's order", lambda row: row.order_link(of_maker=False)),
    )

    def prepare(self, request: HttpRequest, form: Filters) -> None:
        offer_institutions(form)

    def find(self, request: HttpRequest, question: dict[str, Any]) -> Listed:
        text = question.get("q")
        if text:
            identity = as_uuid(text)
            if identity:
                return Listed(trade_rows([identity]) or fills_of(identity))
            question = {**question, "symbol": text} if market_by_name(text.upper()) else {**question, "account": text.lower()}
        start, end = bounds(question)
        page = trade_ids(
            accounts=accounts_asked(request, question),
            span=Span.of(start, end, as_uuid(question.get("before"))),
            symbol_id=_symbol(question),
            taker_side=question.get("side"),
            limit=PER_PAGE,
        )
        return _listed(trade_rows(page.ids), page.older, page.looked_back_to)

    def load(self, request: HttpRequest, object_id: str) -> Any:
        identity = as_uuid(object_id)
        return next(iter(trade_rows([identity])), None) if identity else None

    def facts(self, request: HttpRequest, row: TradeRow) -> Sequence[Facts]:
        trade = row.trade
        about = [
            ("Trade id", show.code(trade.pk)),
            ("Symbol", symbol_link(row.market)),
            ("Number", trade.number),
            ("Time (UTC)", show.moment(trade.executed_at)),
            ("Price", row.price),
            ("Quantity", f"{row.quantity} {row.market.base}"),
            ("Taker's side", show.badge(trade.taker_side)),
            ("Made in", show.badge("auction") if trade.in_auction else "continuous trading"),
            ("Engine sequence", trade.sequence),
        ]
        return [
            Facts("Trade", about),
            *(Facts(title, _side(row, of_maker=is_maker)) for title, is_maker in (("Maker", True), ("Taker", False))),
        ]

    def tables(self, request: HttpRequest, row: TradeRow) -> Sequence[Table]:
        return [legs_table(lines(transfers_in_reach([row.pk])), title="What moved")]

    def title_of(self, row: TradeRow) -> str:
        return f"Trade {row.market.name} {row.trade.number}"


def _side(row: TradeRow, *, of_maker: bool) -> list[tuple[str, object]]:
    account = row.maker if of_maker else row.taker
    return [
        ("Account", party(account)),
        ("Institution", institution_link(account.institution if account else None)),
        ("Order", row.order_link(of_maker=of_maker)),
        ("Fee", row.fee(of_maker=of_maker)),
    ]


@admin.register(Checkpoint)
class MatchingAdmin(Reader):
    read_right = "read_platform"
    alias = "default"
    plural = "Matching"
    empty = "No symbol has been taken up by a matching worker yet."
    columns = (
        Column("Symbol", lambda row: show.link(show.url_of("orders.checkpoint", row.pk), market_by_id(row.pk).name)),
        Column("Status in the engine", lambda row: show.badge(row.status)),
        Column("Shard", lambda row: row.shard_id, numeric=True),
        Column("Engine sequence", lambda row: row.sequence, numeric=True),
        Column("Trades", lambda row: row.trade_number, numeric=True),
        Column("Last price", lambda row: _last_price(row), numeric=True),
        Column("Settled (UTC)", lambda row: show.moment(row.settled_at)),
    )

    def find(self, request: HttpRequest, question: dict[str, Any]) -> Listed:
        rows = self.rows(request).defer("chain")
        if "q" in question:
            rows = rows.filter(pk__in=Symbol.objects.filter(name__startswith=question["q"].upper()).values("pk"))
        return newest(rows, whole_number(question.get("before")))

    def facts(self, request: HttpRequest, row: Checkpoint) -> Sequence[Facts]:
        shard = Shard.objects.filter(pk=row.shard_id).first()
        engine = [
            ("Symbol", symbol_link(market_by_id(row.pk))),
            ("Status in the engine", show.badge(row.status)),
            ("Engine sequence", row.sequence),
            ("Trades", row.trade_number),
            ("Book sequence", row.book_sequence),
            ("Last price", _last_price(row)),
            ("Last trade (UTC)", show.moment(row.last_traded_at)),
            ("Settled (UTC)", show.moment(row.settled_at)),
        ]
        owner = [
            ("Shard", row.shard_id),
            ("Owner", shard.owner if shard else "nobody"),
            ("Epoch", row.epoch),
            ("Lease until (UTC)", show.moment(shard.expires_at if shard else None)),
            ("Commands waiting", _waiting(row.pk)),
            ("State hash", show.code(row.state_hash)),
        ]
        return [Facts("Engine", engine), Facts("Worker", owner)]

    def title_of(self, row: Checkpoint) -> str:
        return f"Matching of {market_by_id(row.pk).name}"


@admin.register(ArchivedPartition)
class ArchiveAdmin(Reader):
    read_right = "read_platform"
    alias = "default"
    plural = "Archive"
    empty = "Nothing has left yet. History leaves after years, the command log after months; `manage.py partitions` says what is due."
    columns = (
        Column("Partition", lambda row: show.link(show.url_of("orders.archivedpartition", row.pk), row.pk)),
        Column("Table", lambda row: row.parent),
        Column("From (UTC)", lambda row: show.moment(row.starts_at)),
        Column("To (UTC)", lambda row: show.moment(row.ends_at)),
        Column("Rows", lambda row: row.rows, numeric=True),
        Column("Detached (UTC)", lambda row: show.moment(row.detached_at)),
    )

    def find(self, request: HttpRequest, question: dict[str, Any]) -> Listed:
        rows = self.rows(request)
        if "q" in question:
            rows = rows.filter(parent__contains=question["q"].lower())
        before = question.get("before")
        if before and before.isprintable():
            rows = rows.filter(pk__lt=before)
        return newest(rows, None)

    def load(self, request: HttpRequest, object_id: str) -> Any:
        return self.rows(request).filter(pk=object_id).first() if object_id.isprintable() else None

    def facts(self, request: HttpRequest, row: ArchivedPartition) -> Sequence[Facts]:
        about = [
            ("Table", row.parent),
            ("From (UTC)", show.moment(row.starts_at)),
            ("To (UTC)", show.moment(row.ends_at)),
            ("Rows", row.rows),
            ("Detached (UTC)", show.moment(row.detached_at)),
            ("Kept as", show.code(f"{ARCHIVE}.{row.pk}")),
        ]
        return [Facts("Partition", about)]

    def tables(self, request: HttpRequest, row: ArchivedPartition) -> Sequence[Table]:
        """Of a month of the command log: where each symbol's log went on."""
        if row.parent != CommandLog._meta.db_table:
            return []
        anchors = Anchor.objects.filter(kind=DETACHED).order_by("symbol_id", "sequence")[:MANY]
        rows = [
            [symbol_link(market_by_id(a.symbol_id)), a.sequence, a.trade_number, show.code(bytes(a.chain).hex()), show.moment(a.at)]
            for a in anchors
        ]
        headings = ["Symbol", "Engine sequence", "Trades", "Chain", "Set (UTC)"]
        return [Table("Where the logs begin now", headings, rows, "No symbol had a command then.", numeric=frozenset({1, 2}))]

    def title_of(self, row: ArchivedPartition) -> str:
        return row.name


def _last_price(row: Checkpoint) -> object:
    return show.NOTHING if row.last_price is None else fixed(row.last_price, market_by_id(row.pk).tick_decimals)


def _waiting(symbol_id: int) -> int:
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT coalesce(sum(commands), 0) FROM orders_inbox WHERE symbol_id = %s", [symbol_id])
        return int(cursor.fetchone()[0])


# -- on the pages of the rooms below


def _orders_table(rows: Sequence[OrderRow], *, title: str, empty: str, more: str, with_account: bool) -> Table:
    made = [
        [
            show.moment(row.order.created_at),
            order_link(row.pk),
            account_link(row.account) if with_account else symbol_link(row.market),
            show.badge(row.order.side),
            show.badge(row.order.status),
            row.price(row.order.price),
            row.quantity(row.order.quantity),
            row.quantity(row.order.filled_quantity),
            row.held(),
        ]
        for row in rows
    ]
    headings = ["Time (UTC)", "Order", "Account" if with_account else "Symbol", "Side", "Status", "Price", "Quantity", "Filled", "Held"]
    return Table(title, headings, made, empty, numeric=frozenset({5, 6, 7, 8}), more=more)


def open_orders_of_account(request: HttpRequest, account: Account) -> Table:
    page = order_ids(accounts=[account.pk], span=Span(), statuses=OPEN_STATUSES, limit=FEW)
    more = show.list_url("orders.order", account=account.name, status=OPEN)
    return _orders_table(order_rows(page.ids), title="Open orders", empty="Nothing is open.", more=more, with_account=False)


def latest_orders_of_account(request: HttpRequest, account: Account) -> Table:
    page = order_ids(accounts=[account.pk], span=Span(), limit=FEW)
    more = show.list_url("orders.order", account=account.name)
    return _orders_table(order_rows(page.ids), title="Latest orders", empty="It has placed no order.", more=more, with_account=False)


def open_orders_of_symbol(request: HttpRequest, symbol: Symbol) -> Table:
    accounts = accounts_asked(request, {})
    page = order_ids(accounts=accounts, span=Span(), symbol_id=symbol.pk, statuses=OPEN_STATUSES, limit=FEW)
    more = show.list_url("orders.order", symbol=symbol.name, status=OPEN)
    return _orders_table(order_rows(page.ids), title="Open orders", empty="Nothing is open.", more=more, with_account=True)


def status_history(request: HttpRequest, symbol: Symbol) -> Table:
    """Every status the engine has given the symbol. Who of the staff asked for it is told to those who may read the audit trail."""
    names_people = may(request.user, Right.READ_AUDIT)
    rows = [
        [
            show.moment(row.at),
            show.badge(row.status),
            row.cause.replace("_", " ").lower(),
            row.actor if names_people or row.actor in (ENGINE, SCHEDULE) else "staff",
            row.sequence,
        ]
        for row in SymbolStatus.objects.filter(symbol_id=symbol.pk).order_by("-number")[:FEW_STATUSES]
    ]
    note = f"The last {FEW_STATUSES} changes." if len(rows) == FEW_STATUSES else ""
    headings = ["Time (UTC)", "Status", "Cause", "Who", "Engine sequence"]
    return Table("Status history", headings, rows, "Its status has never changed.", numeric=frozenset({4}), note=note)


# -- finding


def orders_named(request: HttpRequest, text: str) -> list[UUID]:
    """Orders that a text names: by their id, by a trade's id (both orders), by the client order id of an account in reach."""
    identity = as_uuid(text)
    if identity is not None:
        if order_rows([identity]):
            return [identity]
        trades = trade_rows([identity])
        if trades:
            return [order for row in trades for order in (row.trade.maker_order_id, row.trade.taker_order_id)]
    return orders_by_client_id(text)


def orders_by_client_id(client_order_id: str) -> list[UUID]:
    """Of every account in reach: one index probe each, which the key of idempotency is for. The newest first."""
    accounts = list(Account.objects.using("tenant").filter(kind="CUSTOMER").values_list("pk", flat=True))
    with connections["tenant"].cursor() as cursor:
        cursor.execute(
            "SELECT order_id FROM orders_orderkey WHERE account_id = ANY(%s) AND client_order_id = %s ORDER BY order_id DESC LIMIT %s",
            [accounts, client_order_id, PER_PAGE],
        )
        return [row[0] for row in cursor.fetchall()]


def find_orders(request: HttpRequest, text: str) -> list[Found]:
    """Orders, trades and transfers by whole ids and references."""
    identity = as_uuid(text)
    found: list[Found] = []
    if identity is not None:
        found += [_found_order(row) for row in order_rows([identity])]
        found += [
            Found(f"{row.market.name} {row.trade.number}", "trade", show.url_of("orders.trade", row.pk)) for row in trade_rows([identity])
        ]
    found += [_found_order(row) for row in order_rows(orders_by_client_id(text)[:FEW])]
    if not any(hit.what == "trade" for hit in found):
        found += [
            Found(f"{row.kind} {row.reference or row.id}", "transfer", show.page_url_of("wallet_transfer", row.id))
            for row in transfers_in_reach(ids_named(text))
        ]
    return found


def _found_order(row: OrderRow) -> Found:
    order = row.order
    name = row.account.name if row.account else ""
    return Found(f"{order.side} {row.market.name} {order.status} ({name})", f"order {order.pk}", show.url_of("orders.order", order.pk))


add_finder(find_orders)
add_page("wallet/transfers/", Transfers(), "wallet_transfers")
add_page("wallet/transfers/<uuid:transfer_id>/", transfer_page, "wallet_transfer")
add_page("orders/positions/", Positions(), "orders_positions")
add_panel("institutions.account", positions_panel)
add_panel("institutions.account", open_orders_of_account)
add_panel("institutions.account", latest_orders_of_account)
add_panel("markets.symbol", open_orders_of_symbol)
add_panel("markets.symbol", status_history)
operations.register()
