"""Balances as a list and on the page of their account. The ledger's list is in the room of orders, which knows the trades."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django import forms
from django.http import HttpRequest

from exchange_platform.back_office import show
from exchange_platform.back_office.listing import PER_PAGE, Column, Filters, Listed, Table, whole_number
from exchange_platform.back_office.pages import Page
from exchange_platform.back_office.panels import add_panel
from exchange_platform.back_office.site import add_page
from institutions.back_office import account_link, accounts_asked, accounts_by_id, institution_link, offer_institutions
from institutions.models import Account
from wallet import queries, statement_pages, withdrawal_pages
from wallet.ledger import Asset
from wallet.queries import BalanceRow

__all__ = ["statement_pages", "withdrawal_pages"]  # pages that register themselves

MANY = 200


class BalanceFilters(Filters):
    institution = forms.ChoiceField(required=False)
    account = forms.CharField(required=False)
    asset = forms.CharField(required=False)


@dataclass(frozen=True, slots=True)
class Line:
    """A balance with its account (null: out of reach) and asset."""

    account: Account | None
    asset: Asset
    balance: BalanceRow

    def text(self, amount: Decimal) -> str:
        return queries.amount_text(amount, self.asset.scale)

    @property
    def cells(self) -> list[str]:
        """Posted, held and available."""
        posted, held = self.balance.posted, self.balance.held
        return [self.text(posted), self.text(held), self.text(posted - held)]


def lines(found: Sequence[BalanceRow]) -> list[Line]:
    """One statement, for the names."""
    assets, names = queries.assets({row.asset_id for row in found}), accounts_by_id(row.account_id for row in found)
    return [Line(names.get(row.account_id), assets[row.asset_id], row) for row in found]


class Balances(Page):
    title = "Balances"
    filters = BalanceFilters
    empty = "Nobody owns anything yet. A deposit makes the first balance."
    columns = (
        Column("Account", lambda row: account_link(row.account)),
        Column("Institution", lambda row: institution_link(row.account.institution if row.account else None)),
        Column("Asset", lambda row: row.asset.code),
        Column("Posted", lambda row: row.cells[0], numeric=True),
        Column("Held", lambda row: row.cells[1], numeric=True),
        Column("Available", lambda row: row.cells[2], numeric=True),
    )

    def prepare(self, request: HttpRequest, form: Filters) -> None:
        offer_institutions(form)

    def find(self, request: HttpRequest, question: dict[str, Any]) -> Listed:
        name = question.get("account") or question.get("q")
        accounts = accounts_asked(request, {**question, "account": name})
        account, _, asset = (question.get("before") or "").partition("-")
        after = (whole_number(account) or 0, whole_number(asset) or 0)
        asset_id = None
        if "asset" in question:
            asset_id = queries.asset_id_of(question["asset"].upper())
            if asset_id is None:
                return Listed([])
        found = queries.balance_page(account_ids=accounts, asset_id=asset_id, after=after, limit=PER_PAGE + 1)
        last = found[PER_PAGE - 1] if len(found) > PER_PAGE else None
        return Listed(lines(found[:PER_PAGE]), f"{last.account_id}-{last.asset_id}" if last else None)


def balances_panel(request: HttpRequest, account: Account) -> Table:
    """What the account owns."""
    found = queries.balance_page(account_ids=[account.pk], limit=MANY)
    rows = [[line.asset.code, *line.cells] for line in lines(found)]
    empty = "It owns nothing. A deposit makes the first balance."
    if account.kind != "CUSTOMER":
        empty = "A house account has no balance row: its balance is the sum of its transfers."
    more = show.page_url("wallet_balances", account=account.name)
    return Table("Balances", ["Asset", "Posted", "Held", "Available"], rows, empty, numeric=frozenset({1, 2, 3}), more=more)


add_page("wallet/balances/", Balances(), "wallet_balances")
add_panel("institutions.account", balances_panel)
