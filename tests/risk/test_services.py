from decimal import Decimal

import pytest
from django.db import IntegrityError, transaction

from institutions.models import AuditEntry, ChangeRequest
from risk.models import Limit
from risk.services import InvalidLimit, lift_limit, put_limit, set_limit
from tests.factories import AccountFactory
from tests.support import approvals

pytestmark = pytest.mark.django_db


def test_a_limit_is_set_then_changed_and_both_are_audited():
    account = AccountFactory()
    set_limit(kind="OPEN_ORDERS", value=Decimal(5), account_id=account.pk, actor="olga", reason="too busy")
    with pytest.raises(IntegrityError), transaction.atomic():
        put_limit(kind="OPEN_ORDERS", value=Decimal(7), account_id=account.pk, actor="olga", reason="alone")
    approvals.set_limit(kind="OPEN_ORDERS", value=Decimal(7), account_id=account.pk)

    assert list(Limit.objects.filter(account=account).values_list("kind", "value")) == [("OPEN_ORDERS", 7)]
    first, second = AuditEntry.objects.filter(action="limit.set").order_by("pk")
    assert (first.before, first.after, first.subject) == (None, {"value": "5"}, f"limit:OPEN_ORDERS,account={account.pk}")
    assert (Decimal(second.before["value"]), second.after) == (5, {"value": "7"})


def test_the_platforms_own_limit_stays_one():
    approvals.set_limit(kind="OPEN_ORDERS", value=Decimal(100))
    found = Limit.objects.filter(kind="OPEN_ORDERS", account=None, institution=None, symbol_id=None)
    assert [row.value for row in found] == [100]


def test_a_limit_is_lifted_once():
    account = AccountFactory()
    set_limit(kind="OPEN_ORDERS", value=Decimal(5), account_id=account.pk, actor="olga", reason="test")
    scope = {"institution_id": None, "account_id": account.pk, "symbol_id": None}
    approvals.lift_limit(kind="OPEN_ORDERS", **scope)
    with pytest.raises(InvalidLimit):
        approvals.lift_limit(kind="OPEN_ORDERS", **scope)

    assert not Limit.objects.filter(account=account).exists()
    assert Limit.objects.filter(kind="OPEN_ORDERS").exists()
    assert AuditEntry.objects.filter(action="limit.remove").count() == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"kind": "MOOD"}, "kind"),
        ({"value": Decimal("NaN")}, "value"),
        ({"value": Decimal(-1)}, "value"),
        ({"value": Decimal("1e18")}, "value"),
        ({"reason": " "}, "reason"),
        ({"account_id": 987654}, "account"),
        ({"institution_id": 987654}, "institution"),
    ],
)
def test_a_limit_that_cannot_be_is_refused_by_its_field(change, field):
    with pytest.raises(InvalidLimit) as refused:
        set_limit(**{"kind": "OPEN_ORDERS", "value": Decimal(5), "actor": "olga", "reason": "test", **change})
    assert refused.value.field == field


def test_a_limit_joins_its_callers_transaction_and_goes_with_it():
    account = AccountFactory()
    asked = {"kind": "OPEN_ORDERS", "account_id": account.pk, "actor": "olga", "reason": "test"}
    with transaction.atomic():
        put_limit(value=Decimal(5), **asked)
        assert Limit.objects.filter(account=account).exists()
        with pytest.raises(IntegrityError), transaction.atomic():
            lift_limit(**asked)
        transaction.set_rollback(True)
    assert not Limit.objects.filter(account=account).exists()
    assert not AuditEntry.objects.filter(action__startswith="limit.").exists()


def test_a_limit_is_shown_to_the_second_person_to_the_last_digit():
    value, account = "123456789012345678.123456789012345678", AccountFactory()
    payload = {"kind": "ORDER_VALUE", "institution_id": None, "account_id": account.pk, "symbol_id": None, "value": value}
    assert approvals.two_people("limit.change", payload) == {"limit": value}
    assert ChangeRequest.objects.latest("pk").effect["after"] == {"limit": value}
    assert f"{Limit.objects.get(account=account).value:f}" == value
