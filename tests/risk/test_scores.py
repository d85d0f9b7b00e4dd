from decimal import Decimal

import pytest
from django.db import transaction

from risk.models import AccountState
from risk.scores import InvalidScore, set_score
from tests.factories import AccountFactory

pytestmark = pytest.mark.django_db


def test_a_score_is_kept_and_replaced():
    account = AccountFactory()
    for score in ("0.4", "1", "0.125", "0"):
        with transaction.atomic():
            set_score(account.pk, Decimal(score))
        assert AccountState.objects.get(pk=account.pk).score == Decimal(score)


@pytest.mark.parametrize("score", ["-0.001", "1.001", "0.0001", "NaN", "Infinity"])
def test_what_is_no_score_is_refused(score):
    account = AccountFactory()
    with pytest.raises(InvalidScore) as refused, transaction.atomic():
        set_score(account.pk, Decimal(score))
    assert refused.value.field == "score"


def test_an_account_that_is_not_there_has_no_score():
    with pytest.raises(InvalidScore), transaction.atomic():
        set_score(987_654, Decimal("0.5"))
