"""Positions as a list and on the page of their account, with balances' rights. Read, never edited: settlement writes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.http import HttpRequest

from exchange_platform.back_office import show
from exchange_platform.back_office.listing import PER_PAGE, Column, Filters, Listed, Table, whole_number
from exchange_platform.back_office.pages import Page
from institutions.back_office import account_link, accounts_asked, accounts_by_id, institution_link, offer_institutions
from institutions.models import Account
from markets.units import market_by_id, market_by_name
from orders.positions import PositionRow, position_page, position_views
from orders.rows import symbol_link

MANY = 200
FIGURES = ("quantity", "average_entry_price", "realised_pnl", "unrealised_pnl")
HEADINGS = ("Quantity", "Average entry price", "Realised", "Unrealised")


class PositionFilters(Filters):
    institution = forms.ChoiceField(required=False)
    account = forms.CharField(required=False)
    symbol = forms.CharField(required=False)


@dataclass(frozen=True, slots=True)
class Line:
    """A position with its account (null: out of reach) and the figures as clients see them."""

    account: Account | None
    symbol_id: int
    figures: Sequence[str | None]


def lines(found: Sequence[PositionRow]) -> list[Line]:
    """One statement for the names, and those for last prices that nobody has asked for within a second."""
    names = accounts_by_id(row.account_id for row in found)
    return [
        Line(names.get(row.account_id), row.symbol_id, [view[name] for name in FIGURES])
        for row, view in zip(found, position_views(found), strict=True)
    ]


def _figure(at: int, heading: str) -> Column:
    return Column(heading, lambda row: row.figures[at] or show.NOTHING, numeric=True)


class Positions(Page):
    title = "Positions"
    filters = PositionFilters
    empty = "Nobody has traded yet. An account's first trade of a symbol makes the first position."
    columns = (
        Column("Account", lambda row: account_link(row.account)),
        Column("Institution", lambda row: institution_link(row.account.institution if row.account else None)),
        Column("Symbol", lambda row: symbol_link(market_by_id(row.symbol_id))),
        *(_figure(at, heading) for at, heading in enumerate(HEADINGS)),
    )

    def prepare(self, request: HttpRequest, form: Filters) -> None:
        offer_institutions(form)

    def find(self, request: HttpRequest, question: dict[str, Any]) -> Listed:
        name = question.get("account") or question.get("q")
        accounts = accounts_asked(request, {**question, "account": name})
        account, _, symbol = (question.get("before") or "").partition("-")
        after = (whole_number(account) or 0, whole_number(symbol) or 0)
        symbol_id = None
        if "symbol" in question:
            market = market_by_name(question["symbol"].upper())
            if market is None:
                return Listed([])
            symbol_id = market.id
        found = position_page(account_ids=accounts, symbol_id=symbol_id, after=after, limit=PER_PAGE + 1)
        last = found[PER_PAGE - 1] if len(found) > PER_PAGE else None
        return Listed(lines(found[:PER_PAGE]), f"{last.account_id}-{last.symbol_id}" if last else None)


def positions_panel(request: HttpRequest, account: Account) -> Table:
    """What the account has bought and not sold again, symbol by symbol."""
    found = position_page(account_ids=[account.pk], limit=MANY)
    rows = [[symbol_link(market_by_id(line.symbol_id)), *(text or show.NOTHING for text in line.figures)] for line in lines(found)]
    more = show.page_url("orders_positions", account=account.name)
    return Table("Positions", ["Symbol", *HEADINGS], rows, "It has not traded yet.", numeric=frozenset({1, 2, 3, 4}), more=more)
