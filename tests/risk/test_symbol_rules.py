from decimal import Decimal

import pytest
from django.db import IntegrityError, transaction

from institutions.models import AuditEntry
from risk.checks import ALLOWED, BLOCKED, LimitRow, Limits, RuleRow, may_trade, strictest
from risk.models import LimitKind, SymbolRule
from risk.services import InvalidLimit
from risk.symbol_rules import remove_symbol_rule, set_symbol_rule
from tests.factories import AccountFactory, SymbolFactory

SAID = {"actor": "olga", "reason": "a test"}


@pytest.mark.django_db
def test_a_rule_is_replaced_and_lifted_once_and_all_of_it_is_audited():
    account, symbol = AccountFactory(), SymbolFactory()
    scope = {"symbol_id": symbol.pk, "account_id": account.pk}
    for rule in ("BLOCKED", "ALLOWED"):
        set_symbol_rule(rule=rule, **scope, **SAID)
    assert list(SymbolRule.objects.values_list("rule", "account", "institution", "symbol_id")) == [("ALLOWED", account.pk, None, symbol.pk)]
    for _ in range(2):
        remove_symbol_rule(**scope, **SAID)
    assert not SymbolRule.objects.exists()
    entries = AuditEntry.objects.filter(action__startswith="symbol_rule.").order_by("pk")
    assert [(entry.action, entry.before, entry.after) for entry in entries] == [
        ("symbol_rule.set", None, {"rule": "BLOCKED"}),
        ("symbol_rule.set", {"rule": "BLOCKED"}, {"rule": "ALLOWED"}),
        ("symbol_rule.remove", {"rule": "ALLOWED"}, None),
    ]
    assert {entry.subject for entry in entries} == {f"symbol_rule:symbol={symbol.pk},account={account.pk}"}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"rule": "MAYBE"}, "rule"),
        ({"reason": " "}, "reason"),
        ({"symbol_id": 987_654}, "symbol"),
        ({"account_id": 987_654}, "account"),
        ({"institution_id": 987_654}, "institution"),
        ({"institution_id": 1, "account_id": 1}, "account"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_by_its_field(change, field):
    symbol = SymbolFactory()
    with pytest.raises(InvalidLimit) as refused:
        set_symbol_rule(**{"rule": "BLOCKED", "symbol_id": symbol.pk, **SAID, **change})
    assert refused.value.field == field


@pytest.mark.django_db
@pytest.mark.parametrize("change", [{"rule": "MAYBE"}, {"both": True}])
def test_the_database_refuses_it_too(change):
    account = AccountFactory()
    institution = account.institution if change.pop("both", False) else None
    with pytest.raises(IntegrityError), transaction.atomic():
        SymbolRule.objects.create(**{"rule": "BLOCKED", "symbol_id": 1, "account": account, "institution": institution, **change})


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([], True),
        ([(BLOCKED, None, None, 7)], False),
        ([(BLOCKED, None, None, 8)], True),
        ([(BLOCKED, 2, None, 7)], True),
        ([(BLOCKED, None, 4, 7)], True),
        ([(ALLOWED, None, None, 7)], True),
        ([(ALLOWED, None, None, 8)], False),
        ([(ALLOWED, None, None, 8), (ALLOWED, None, None, 7)], True),
        ([(ALLOWED, 1, None, 7), (ALLOWED, None, 3, 8)], False),
        ([(ALLOWED, 1, None, 7), (BLOCKED, None, 3, 7)], False),
        ([(ALLOWED, 2, None, 8), (ALLOWED, None, 4, 8)], True),
    ],
)
def test_who_may_trade_symbol_7_as_account_3_of_institution_1(rules, expected):
    assert may_trade([RuleRow(*rule) for rule in rules], institution_id=1, account_id=3, symbol_id=7) is expected


@pytest.mark.parametrize("kind", LimitKind.values)
def test_the_strictest_is_the_lowest_and_of_a_lower_bound_the_highest(kind):
    values = {(None, None, None): Decimal(5), (1, None, None): Decimal(3), (None, 3, None): Decimal(7), (None, None, 7): Decimal(4)}
    foreign = {(2, None, None): Decimal(0), (None, 4, None): Decimal(99), (None, None, 8): Decimal(0)}
    assert strictest({**values, **foreign}, kind, 1, 3, 7) == (7 if kind == "MIN_BALANCE" else 3)
    assert strictest(foreign, kind, 1, 3, 7) is None


def test_a_limit_on_one_symbol_does_not_bind_another():
    from risk.checks import AccountRisk

    limits = Limits([LimitRow("OPEN_ORDERS", None, None, 7, Decimal(1)), LimitRow("OPEN_ORDERS", None, None, None, Decimal(5))])
    account = AccountRisk(3, 1, 0, 0, 0, 0, 0, 0)
    assert [limits.of("OPEN_ORDERS", account, symbol_id) for symbol_id in (7, 8, 7)] == [1, 5, 1]
