"""Pages of the symbols that somebody may trade, or may not. An institution sees its own rules and those for everybody."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest

from exchange_platform.back_office import show
from exchange_platform.back_office.base import Reader
from exchange_platform.back_office.listing import Column, Facts, Filters, Listed, Table, choices, newest, whole_number
from exchange_platform.back_office.operations import Operation, ReasonForm, actor_of
from institutions.back_office import account_link, audit_table, institution_link, offer_institutions, reach_of
from institutions.rights import Right
from risk import services, symbol_rules
from risk.models import SymbolRule, SymbolRuleKind
from risk.queries import symbol_id_of, symbol_names


class RuleFilters(Filters):
    institution = forms.ChoiceField(required=False)
    account = forms.CharField(required=False)
    rule = forms.ChoiceField(required=False, choices=choices(SymbolRuleKind.values))


class RuleForm(ReasonForm):
    rule = forms.ChoiceField(choices=SymbolRuleKind.choices)
    symbol = forms.CharField(max_length=25, help_text="BASE/QUOTE")
    account = forms.CharField(required=False, max_length=60, help_text="Its whole name; empty: any account.")
    institution = forms.ChoiceField(required=False)
    field_order = ("rule", "symbol", "institution", "account", "reason")


class SetRule(Operation):
    name, title, right, form = "create", "Allow or block a symbol", Right.EDIT_LIMITS, RuleForm
    question = "Whoever has symbols that are allowed may trade no others. What was said of the symbol for the same scope is replaced."

    def prepare(self, request: HttpRequest, form: forms.Form, row: Any) -> None:
        offer_institutions(form)

    def run(self, request: HttpRequest, row: Any, asked: dict[str, Any]) -> str:
        institution, account = asked["institution"], asked["account"]
        symbol_rules.set_symbol_rule(
            rule=asked["rule"],
            symbol_id=symbol_id_of(asked["symbol"]),
            institution_id=services.institution_named(institution) if institution else None,
            account_id=services.account_named(account) if account else None,
            actor=actor_of(request),
            reason=asked["reason"],
        )
        return "The rule holds from the next batch of orders on."


class RemoveRule(Operation):
    name, title, right, is_dangerous = "remove", "Lift", Right.EDIT_LIMITS, True
    question = "Nothing is said of the symbol here any more; other rules that apply still hold."

    def run(self, request: HttpRequest, row: SymbolRule, asked: dict[str, Any]) -> str:
        symbol_rules.remove_symbol_rule(
            symbol_id=row.symbol_id,
            institution_id=row.institution_id,
            account_id=row.account_id,
            actor=actor_of(request),
            reason=asked["reason"],
        )
        return "The rule is lifted."


def _symbol(row: SymbolRule) -> object:
    return symbol_names().get(row.symbol_id, show.NOTHING)


def _everybody(row: SymbolRule) -> object:
    return show.NOTHING if row.institution_id or row.account_id else "everybody"


@admin.register(SymbolRule)
class SymbolRuleAdmin(Reader):
    alias = "default"
    related = ("institution", "account__institution")
    filters = RuleFilters
    empty = "Nobody is bound to some symbols or kept from any."
    columns = (
        Column("Rule", lambda row: show.link(show.url_of("risk.symbolrule", row.pk), row.rule)),
        Column("Symbol", _symbol),
        Column("For", _everybody),
        Column("Institution", lambda row: institution_link(row.institution)),
        Column("Account", lambda row: account_link(row.account)),
    )
    makers = (SetRule(),)
    operations = (RemoveRule(),)

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
        if "rule" in question:
            rows = rows.filter(rule=question["rule"])
        if "institution" in question:
            rows = rows.filter(Q(institution__code=question["institution"]) | Q(account__institution__code=question["institution"]))
        account = question.get("account") or question.get("q")
        if account:
            rows = rows.filter(account__name=account)
        return newest(rows, whole_number(question.get("before")))

    def facts(self, request: HttpRequest, row: SymbolRule) -> Sequence[Facts]:
        about = [
            ("Rule", row.rule),
            ("Symbol", _symbol(row)),
            ("Institution", institution_link(row.institution)),
            ("Account", account_link(row.account)),
        ]
        return [Facts("Symbol rule", about)]

    def tables(self, request: HttpRequest, row: SymbolRule) -> Sequence[Table]:
        return [audit_table(request, symbol_rules.rule_subject(row.symbol_id, row.institution_id, row.account_id))]

    def title_of(self, row: SymbolRule) -> str:
        return f"{row.rule} {_symbol(row)}"
