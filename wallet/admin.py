"""Balances as a list and on the page of their account. The ledger's list is in the room of orders, which knows the trades."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django import forms
from django.db import connections
from django.http import HttpRequest

from exchange_platform.back_office import show
from exchange_platform.back_office.listing import PER_PAGE, Column, Filters, Listed, Table
from exchange_platform.back_office.pages import Page
from exchange_platform.back_office.panels import add_panel
from exchange_platform.back_office.site import add_page
from institutions.back_office import account_link, accounts_asked, accounts_by_id, institution_link, offer_institutions
from institutions.models import Account
from wallet import queries
from wallet.ledger import Asset


class BalanceFilters(Filters):
    institution = forms.ChoiceField(required=False)
    account = forms.CharField(required=False)
    asset = forms.CharField(required=False)


@dataclass(frozen=True, slots=True)
class BalanceRow:
    account: Account | None
    asset: Asset
    posted: Decimal
    held: Decimal

    def text(self, amount: Decimal) -> str:
        return queries.amount_text(amount, self.asset.scale)


def balance_rows(*, accounts: Sequence[int] | None, asset: str | None, after: tuple[int, int], limit: int) -> list[BalanceRow]:
    """Balances from after this (account, asset) on, by account and asset. Within the reader's scope; reads by primary key."""
    conditions, parameters = ["(b.account_id, b.asset_id) > (%s, %s)"], list[Any](after)
    if accounts is not None:
        conditions, parameters = [*conditions, "b.account_id = ANY(%s)"], [*parameters, list(accounts)]
    with connections["tenant"].cursor() as cursor:
        if asset is not None:
            with connections["default"].cursor() as plain:
                plain.execute("SELECT id FROM markets_asset WHERE code = %s", [asset])
                known = plain.fetchone()
            if known is None:
                return []
            conditions, parameters = [*conditions, "b.asset_id = %s"], [*parameters, known[0]]
        cursor.execute(
            f"""SELECT b.account_id, b.asset_id, b.posted, b.held FROM wallet_balance b WHERE {" AND ".join(conditions)}
                ORDER BY b.account_id, b.asset_id LIMIT %s""",
            [*parameters, limit],
        )
        found = cursor.fetchall()
    assets, names = queries.assets({row[1] for row in found}), accounts_by_id(row[0] for row in found)
    return [BalanceRow(names.get(account_id), assets[asset_id], posted, held) for account_id, asset_id, posted, held in found]


class Balances(Page):
    title = "Balances"
    filters = BalanceFilters
    empty = "Nobody owns anything yet. A deposit makes the first balance."
    columns = (
        Column("Account", lambda row: account_link(row.account)),
        Column("Institution", lambda row: institution_link(row.account.institution if row.account else None)),
        Column("Asset", lambda row: row.asset.code),
        Column("Posted", lambda row: row.text(row.posted), numeric=True),
        Column("Held", lambda row: row.text(row.held), numeric=True),
        Column("Available", lambda row: row.text(row.posted - row.held), numeric=True),
    )

    def prepare(self, request: HttpRequest, form: Filters) -> None:
        offer_institutions(form)

    def find(self, request: HttpRequest, question: dict[str, Any]) -> Listed:
        name = question.get("account") or question.get("q")
        accounts = accounts_asked(request, {**question, "account": name})
        account_id, _, asset_id = (question.get("before") or "").partition("-")
        after = (int(account_id), int(asset_id)) if account_id.isdigit() and asset_id.isdigit() else (0, 0)
        asset = question["asset"].upper() if "asset" in question else None
        rows = balance_rows(accounts=accounts, asset=asset, after=after, limit=PER_PAGE + 1)
        last = rows[PER_PAGE - 1] if len(rows) > PER_PAGE else None
        return Listed(rows[:PER_PAGE], f"{last.account.pk}-{last.asset.id}" if last and last.account else None)


def balances_panel(request: HttpRequest, account: Account) -> Table:
    """What the account owns."""
    found = balance_rows(accounts=[account.pk], asset=None, after=(0, 0), limit=200)
    rows = [[row.asset.code, row.text(row.posted), row.text(row.held), row.text(row.posted - row.held)] for row in found]
    empty = "It owns nothing. A deposit makes the first balance."
    if account.kind != "CUSTOMER":
        empty = "A house account has no balance row: its balance is the sum of its transfers."
    more = show.page_url("wallet_balances", account=account.name)
    return Table("Balances", ["Asset", "Posted", "Held", "Available"], rows, empty, numeric=frozenset({1, 2, 3}), more=more)


add_page("wallet/balances/", Balances(), "wallet_balances")
add_panel("institutions.account", balances_panel)
