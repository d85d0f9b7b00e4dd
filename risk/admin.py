"""Pages of limits. An institution sees those that are its own and those for everybody."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest

from exchange_platform.back_office import show
from exchange_platform.back_office.base import Reader
from exchange_platform.back_office.listing import Column, Facts, Filters, Listed, Table, choices, newest, whole_number
from exchange_platform.back_office.operations import Operation, ReasonForm
from exchange_platform.back_office.panels import add_panel
from exchange_platform.db import plain_text
from institutions.asking import asked_for
from institutions.back_office import account_link, audit_table, institution_link, offer_institutions, reach_of
from institutions.models import Account
from institutions.rights import Right
from risk import (
    alert_admin,  # noqa: F401  Django looks for pages in `admin` alone
    rules_admin,  # noqa: F401
    services,
)
from risk.limit_changes import ChangeLimit
from risk.models import AccountState, DayResult, Limit, LimitKind
from risk.queries import limits_of_account, subject_of, symbol_id_of, symbol_names

RESULTS_SHOWN = 31


class LimitFilters(Filters):
    institution = forms.ChoiceField(required=False)
    account = forms.CharField(required=False)
    kind = forms.ChoiceField(required=False, choices=choices(LimitKind.values))


UNITS = (
    "ORDER_VALUE in the quote asset; orders for what counts orders; MAX_POSITION in BTC; "
    "DAILY_NOTIONAL, DAILY_LOSS and MIN_BALANCE in USDT; DRAWDOWN in percent; MAX_SCORE from 0 to 1."
)


class LimitForm(ReasonForm):
    kind = forms.ChoiceField(choices=LimitKind.choices)
    value = forms.DecimalField(
        min_value=0,
        max_digits=38,
        decimal_places=18,
        widget=forms.TextInput,
        help_text=UNITS,
    )
    account = forms.CharField(required=False, max_length=60, help_text="Its whole name; empty: any account.")
    symbol = forms.CharField(required=False, max_length=25, help_text="BASE/QUOTE; empty: any symbol.")
    institution = forms.ChoiceField(required=False)
    field_order = ("kind", "value", "institution", "account", "symbol", "reason")


class SetLimit(Operation):
    name, title, right, form = "create", "Set a limit", Right.EDIT_LIMITS, LimitForm
    question = "Once a second person agrees, intake goes by it. The strictest limit that applies wins; one for the same scope is replaced."

    def prepare(self, request: HttpRequest, form: forms.Form, row: Any) -> None:
        offer_institutions(form)

    def run(self, request: HttpRequest, row: Any, asked: dict[str, Any]) -> str:
        institution, account, symbol = asked.pop("institution"), asked.pop("account"), asked.pop("symbol")
        payload = {
            "kind": asked["kind"],
            "institution_id": services.institution_named(institution) if institution else None,
            "account_id": services.account_named(account) if account else None,
            "symbol_id": symbol_id_of(symbol) if symbol else None,
            "value": f"{asked['value']:f}",
        }
        return asked_for(request, kind=ChangeLimit.kind, payload=payload, reason=asked["reason"])


class RemoveLimit(Operation):
    name, title, right, is_dangerous = "remove", "Lift", Right.EDIT_LIMITS, True
    question = "Once a second person agrees, orders are no longer checked against this bound; others that apply still hold."

    def run(self, request: HttpRequest, row: Limit, asked: dict[str, Any]) -> str:
        scope = {"institution_id": row.institution_id, "account_id": row.account_id, "symbol_id": row.symbol_id}
        return asked_for(request, kind=ChangeLimit.kind, payload={"kind": row.kind, **scope, "value": None}, reason=asked["reason"])


def _scope(row: Limit) -> object:
    named = row.institution_id or row.account_id or row.symbol_id
    return show.NOTHING if named else "everybody"


def _value(row: Limit) -> str:
    return plain_text(row.value)


@admin.register(Limit)
class LimitAdmin(Reader):
    alias = "default"
    related = ("institution", "account__institution")
    filters = LimitFilters
    empty = "No limit is set: orders are only checked for funds and rules. Set one for everybody, an institution, an account or a symbol."
    columns = (
        Column("Kind", lambda row: show.link(show.url_of("risk.limit", row.pk), row.kind)),
        Column("Value", _value, numeric=True),
        Column("For", _scope),
        Column("Institution", lambda row: institution_link(row.institution)),
        Column("Account", lambda row: account_link(row.account)),
        Column("Symbol", lambda row: symbol_names().get(row.symbol_id, show.NOTHING)),
    )
    makers = (SetLimit(),)
    operations = (RemoveLimit(),)

    def prepare(self, request: HttpRequest, form: Filters) -> None:
        offer_institutions(form)

    def rows(self, request: HttpRequest) -> Any:
        found, bound = super().rows(request), reach_of(request)
        if bound is None:
            return found
        everybody = Q(institution=None, account=None)
        return found.filter(everybody | Q(institution_id=bound) | Q(account__institution_id=bound))

    def find(self, request: HttpRequest, question: dict[str, Any]) -> Listed:
        rows = self.rows(request)
        if "kind" in question:
            rows = rows.filter(kind=question["kind"])
        if "institution" in question:
            rows = rows.filter(Q(institution__code=question["institution"]) | Q(account__institution__code=question["institution"]))
        account = question.get("account") or question.get("q")
        if account:
            rows = rows.filter(account__name=account)
        return newest(rows, whole_number(question.get("before")))

    def facts(self, request: HttpRequest, row: Limit) -> Sequence[Facts]:
        about = [
            ("Kind", row.kind),
            ("Value", _value(row)),
            ("Institution", institution_link(row.institution)),
            ("Account", account_link(row.account)),
            ("Symbol", symbol_names().get(row.symbol_id or 0, show.NOTHING)),
        ]
        return [Facts("Limit", about)]

    def tables(self, request: HttpRequest, row: Limit) -> Sequence[Table]:
        return [audit_table(request, subject_of(row))]

    def title_of(self, row: Limit) -> str:
        return f"{row.kind} {_value(row)}"


def limits_panel(request: HttpRequest, account: Account) -> Table:
    """What bounds the account, the strictest of each kind first, and where its counters stand."""
    state = AccountState.objects.filter(pk=account.pk).first()
    counters: dict[str, object] = {}
    if state is not None:
        counters = {"OPEN_ORDERS": state.open_orders, "DAILY_ORDERS": state.day_orders, "MAX_SCORE": state.score}
    rows = [
        [limit.kind, _value(limit), counters.get(limit.kind, show.NOTHING), _owner(limit), symbol_names().get(limit.symbol_id or 0, "any")]
        for limit in limits_of_account(account)
    ]
    return Table(
        "Limits",
        ["Kind", "Limit", "Now", "Set for", "Symbol"],
        rows,
        "Nothing bounds this account but its funds and the rules of the symbols.",
        numeric=frozenset({1, 2}),
    )


def _owner(limit: Limit) -> str:
    if limit.account_id:
        return "the account"
    return "its institution" if limit.institution_id else "everybody"


def results_panel(request: HttpRequest, account: Account) -> Table:
    """What the account won or lost by trading on its last days, in USDT, and the peak its drawdown is measured from."""
    rows = [
        [row.day.isoformat(), *map(plain_text, (row.opening, row.latest, row.peak, row.high, row.equity))]
        for row in DayResult.objects.filter(account_id=account.pk).order_by("-day")[:RESULTS_SHOWN]
    ]
    return Table(
        "Results in USDT",
        ["Day (UTC)", "At midnight", "Latest", "Peak", "Peak of 30 days", "Equity"],
        rows,
        "The account has not traded yet.",
        numeric=frozenset({1, 2, 3, 4, 5}),
    )


add_panel("institutions.account", limits_panel)
add_panel("institutions.account", results_panel)
