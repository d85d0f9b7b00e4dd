"""Pages of assets and symbols. What can be done to a market (halt, resume, cancel all) is added by the room of orders."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString

from exchange_platform.back_office import show
from exchange_platform.back_office.base import Reader
from exchange_platform.back_office.finding import Found, add_finder
from exchange_platform.back_office.listing import Column, Facts, Filters, Listed, Table, choices, newest, whole_number
from exchange_platform.db import plain_text
from institutions.back_office import audit_table
from markets import operations
from markets.models import Asset, Route, Symbol, SymbolStatus
from markets.queries import fixed_text
from markets.units import decimals_of


class SymbolFilters(Filters):
    status = forms.ChoiceField(required=False, choices=choices(SymbolStatus.values))
    route = forms.ChoiceField(required=False, choices=choices(Route.values))


def symbol_link(symbol: Symbol) -> SafeString:
    return show.link(show.url_of("markets.symbol", symbol.pk), symbol.name)


def _price(symbol: Symbol, value: Decimal | None) -> str:
    return fixed_text(value, decimals_of(symbol.tick_size)) or "–"


def _quantity(symbol: Symbol, value: Decimal | None) -> str:
    return fixed_text(value, decimals_of(symbol.lot_size)) or "–"


def _percent(value: Decimal | None) -> str:
    return "off" if value is None else f"{plain_text(value * 100)} %"


@admin.register(Asset)
class AssetAdmin(Reader):
    alias = "default"
    columns = (
        Column("Code", lambda row: show.link(show.url_of("markets.asset", row.pk), row.code)),
        Column("Name", lambda row: row.name or show.NOTHING),
        Column("Decimals", lambda row: row.scale, numeric=True),
    )
    makers = (operations.CreateAsset(),)

    def find(self, request: HttpRequest, question: dict[str, Any]) -> Listed:
        rows = self.rows(request)
        if "q" in question:
            rows = rows.filter(code__startswith=question["q"].upper())
        return newest(rows, whole_number(question.get("before")))

    def facts(self, request: HttpRequest, row: Asset) -> Sequence[Facts]:
        return [Facts("Asset", [("Code", row.code), ("Name", row.name or show.NOTHING), ("Decimals", row.scale)])]

    def tables(self, request: HttpRequest, row: Asset) -> Sequence[Table]:
        return [audit_table(request, f"asset:{row.code}")]


@admin.register(Symbol)
class SymbolAdmin(Reader):
    alias = "default"
    related = ("base", "quote")
    filters = SymbolFilters
    columns = (
        Column("Symbol", symbol_link),
        Column("Status", lambda row: show.badge(row.status)),
        Column("Route", lambda row: row.route),
        Column("Listed", lambda row: show.yes(row.is_listed, "listed")),
        Column("Tick", lambda row: plain_text(row.tick_size), numeric=True),
        Column("Lot", lambda row: plain_text(row.lot_size), numeric=True),
        Column("Min notional", lambda row: plain_text(row.min_notional), numeric=True),
        Column("Maker fee", lambda row: _percent(row.maker_fee), numeric=True),
        Column("Taker fee", lambda row: _percent(row.taker_fee), numeric=True),
    )
    makers = (operations.CreateSymbol(),)
    operations = (operations.ChangeRules(), operations.ChangeSymbolFees())

    def find(self, request: HttpRequest, question: dict[str, Any]) -> Listed:
        rows = self.rows(request)
        for name in ("status", "route"):
            if name in question:
                rows = rows.filter(**{name: question[name]})
        if "q" in question:
            rows = rows.filter(name__startswith=question["q"].upper())
        return newest(rows, whole_number(question.get("before")))

    def facts(self, request: HttpRequest, row: Symbol) -> Sequence[Facts]:
        about = [
            ("Symbol", row.name),
            ("Status", show.badge(row.status)),
            ("Listed", show.yes(row.is_listed, "listed")),
            ("Route", row.route),
            ("Base", show.link(show.url_of("markets.asset", row.base_id), row.base.code)),
            ("Quote", show.link(show.url_of("markets.asset", row.quote_id), row.quote.code)),
            ("Order types", ", ".join(row.order_types)),
            ("Fees go to", show.link(show.url_of("institutions.account", row.fee_account_id), "its fee account")),
        ]
        sizes = [
            ("Tick size", _price(row, row.tick_size)),
            ("Lot size", _quantity(row, row.lot_size)),
            ("Quantity from", _quantity(row, row.min_quantity)),
            ("Quantity to", _quantity(row, row.max_quantity)),
            ("Price from", _price(row, row.min_price)),
            ("Price to", _price(row, row.max_price)),
            ("Min notional", f"{fixed_text(row.min_notional, row.quote.scale)} {row.quote.code}"),
            ("Open orders per account", "any number" if row.max_open_orders is None else row.max_open_orders),
        ]
        money = [
            ("Maker fee", _percent(row.maker_fee)),
            ("Taker fee", _percent(row.taker_fee)),
            ("Static band", _percent(row.static_band)),
            ("Dynamic band", _percent(row.dynamic_band)),
            ("Halt beyond it", f"{row.halt_s} s, then an auction"),
            ("Auction", f"{row.auction_s} s"),
            ("Opening auction ends (UTC)", show.NOTHING if row.opens_at is None else row.opens_at.isoformat(timespec="seconds")),
            ("Resumption by an operator", "through an auction" if row.resumes_by_auction else "at once"),
            ("Market protection", _percent(row.market_protection)),
            ("Reference price", _price(row, row.reference_price)),
        ]
        lists = [
            ("Open orders", show.link(show.list_url("orders.order", symbol=row.name, status="open"), "its open orders")),
            ("Orders", show.link(show.list_url("orders.order", symbol=row.name), "all its orders")),
            ("Trades", show.link(show.list_url("orders.trade", symbol=row.name), "all its trades")),
        ]
        return [Facts("Symbol", about), Facts("Sizes", sizes), Facts("Fees and bands", money), Facts("Go to", lists)]

    def tables(self, request: HttpRequest, row: Symbol) -> Sequence[Table]:
        return [audit_table(request, f"symbol:{row.name}")]


def find_markets(request: HttpRequest, text: str) -> list[Found]:
    """Symbols and assets by how they begin."""
    large = text.upper()
    found = [
        Found(s.name, "symbol", show.url_of("markets.symbol", s.pk))
        for s in Symbol.objects.filter(name__startswith=large).order_by("name")[:10]
    ]
    return found + [Found(a.code, "asset", show.url_of("markets.asset", a.pk)) for a in Asset.objects.filter(code=large)]


add_finder(find_markets)
