"""What staff do to money in the admin: one call of a service each; what takes two people is only asked for."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.urls import reverse

from institutions.models import AuditEntry, ChangeRequest
from tests.admin.conftest import Office, text_of
from tests.factories import AccountFactory, AssetFactory, fund, withdrawal_row
from tests.support.approvals import two_people
from wallet.models import Address, Balance, DeniedAddress, Transfer, Withdrawal, WithdrawalLimit
from wallet.withdrawal_requests import automatic_limit


def do(office: Office, role: str, model: str, pk: object, name: str, **asked: Any) -> Any:
    url = reverse(f"admin:{model}_make", args=[name]) if pk is None else reverse(f"admin:{model}_do", args=[str(pk), name])
    return office.client(role).post(url, {"reason": "a test", **asked})


def quote(office: Office) -> Balance:
    return Balance.objects.get(account_id=office.mine.pk, asset_id=office.symbol.quote_id)


def approved(office: Office) -> Any:
    two_people("withdrawal.limit", {"asset": "QUOTE", "automatic": str(automatic_limit(office.symbol.quote_id) + 1000)})
    made = withdrawal_row(office.mine, office.symbol.quote, "my-address", 5)
    assert Withdrawal.objects.get(pk=made).state == "APPROVED"
    return made


def test_a_deposit_is_credited_once(office: Office) -> None:
    before, asked = quote(office).posted, {"asset": "quote", "amount": "12.5", "reference": "wire 7"}
    for _ in range(2):
        assert do(office, "operator", "institutions_account", office.mine.pk, "deposit", **asked).status_code == 302
    assert quote(office).posted == before + Decimal("12.5")
    assert AuditEntry.objects.filter(action="wallet.deposit", after__reference="wire 7").count() == 1


@pytest.mark.parametrize("amount", ["0", "-1", "NaN", "1e30", "0.000000001"])
def test_a_wrong_amount_is_told_beside_the_form(office: Office, amount: str) -> None:
    asked = {"asset": "QUOTE", "amount": amount, "reference": f"wire {amount}"}
    answer = do(office, "operator", "institutions_account", office.mine.pk, "deposit", **asked)
    assert answer.status_code == 200
    assert list(answer.context["form"].errors) == ["amount"]


def test_an_adjustment_and_a_correction_wait_for_a_second_person(office: Office) -> None:
    before, account = quote(office).posted, office.mine.pk
    assert do(office, "operator", "institutions_account", account, "adjust", asset="quote", amount="-2").status_code == 302
    moved = Transfer.objects.filter(kind="DEPOSIT", credit_account_id=account).latest("id")
    assert do(office, "operator", "institutions_account", account, "correct", transfer_id=str(moved.id)).status_code == 302
    assert quote(office).posted == before
    asked = ChangeRequest.objects.filter(state="PENDING", kind__startswith="wallet.").order_by("pk")
    assert [(row.kind, row.maker_user_id) for row in asked] == [
        ("wallet.adjustment", office.users["operator"].pk),
        ("wallet.correction", office.users["operator"].pk),
    ]
    foreign = Transfer.objects.filter(kind="DEPOSIT", credit_account_id=office.theirs.pk).latest("id")
    assert "no such movement" in text_of(do(office, "operator", "institutions_account", account, "correct", transfer_id=str(foreign.id)))


def test_an_adjustment_is_asked_for_to_the_last_digit(office: Office) -> None:
    AssetFactory(code="FINE", scale=18)
    amount = "12345678901234567890.123456789012345678"  # more digits than Python's own context keeps
    assert do(office, "operator", "institutions_account", office.mine.pk, "adjust", asset="fine", amount=amount).status_code == 302
    asked = ChangeRequest.objects.get(kind="wallet.adjustment", payload__contains="FINE")
    assert json.loads(asked.payload)["amount"] == amount
    assert asked.effect["after"] == {"adjustment": f"{amount} FINE"}


def test_a_withdrawal_is_sent_fails_or_is_cancelled(office: Office) -> None:
    for name, asked, state in (("complete", {"reference": "chain 9"}, "COMPLETED"), ("fail", {}, "FAILED"), ("cancel", {}, "CANCELLED")):
        made = approved(office)
        assert "It was sent" in text_of(office.client("operator").get(reverse("admin:wallet_withdrawal_change", args=[str(made)])))
        assert do(office, "operator", "wallet_withdrawal", made, name, **asked).status_code == 302
        assert Withdrawal.objects.get(pk=made).state == state
        page = text_of(office.client("compliance").get(reverse("admin:wallet_withdrawal_change", args=[str(made)])))
        assert state in page
        assert "It was sent" not in page
        assert do(office, "operator", "wallet_withdrawal", made, name, **asked).status_code == 404


@pytest.mark.parametrize("role", ["compliance", "institution_admin"])
def test_who_may_not_move_money_does_not(office: Office, role: str) -> None:
    made = Withdrawal.objects.filter(account_id=office.mine.pk, state="REQUESTED").latest("id").pk
    for model, pk, name, asked in (
        ("institutions_account", office.mine.pk, "deposit", {"asset": "QUOTE", "amount": "1", "reference": "mine"}),
        ("institutions_account", office.mine.pk, "adjust", {"asset": "QUOTE", "amount": "1"}),
        ("wallet_withdrawal", made, "cancel", {}),
        ("wallet_withdrawal", None, "limit", {"asset": "QUOTE", "automatic": "0"}),
        ("wallet_address", None, "deny", {"address": "my-address"}),
    ):
        assert do(office, role, model, pk, name, **asked).status_code == 403, name
    assert Withdrawal.objects.get(pk=made).state == "REQUESTED"


def test_an_institution_keeps_its_own_addresses(office: Office) -> None:
    asked = {"asset": "quote", "address": "a-new-one", "label": "cold"}
    assert do(office, "institution_admin", "institutions_account", office.mine.pk, "address", **asked).status_code == 302
    assert do(office, "institution_admin", "institutions_account", office.theirs.pk, "address", **asked).status_code == 404
    made = Address.objects.get(address="a-new-one")
    assert made.usable_at > datetime.now(UTC) + timedelta(hours=23)
    assert do(office, "operator", "wallet_address", made.pk, "remove").status_code == 403
    assert do(office, "institution_admin", "wallet_address", made.pk, "remove").status_code == 302
    assert Address.objects.get(pk=made.pk).removed_at is not None


def test_an_address_is_denied_and_a_limit_is_lowered_by_one_person(office: Office) -> None:
    assert do(office, "operator", "wallet_address", None, "deny", address="evil").status_code == 302
    assert DeniedAddress.objects.get().reason == "a test"
    approved(office)
    assert do(office, "superuser", "wallet_withdrawal", None, "limit", asset="QUOTE", automatic="1").status_code == 302
    assert WithdrawalLimit.objects.get().automatic == 1
    assert do(office, "superuser", "wallet_withdrawal", None, "limit", asset="QUOTE", automatic="2").status_code == 302
    assert WithdrawalLimit.objects.get().automatic == 1


def test_a_statement_is_a_list_and_a_file(office: Office) -> None:
    page, file = reverse("admin:wallet_statements"), reverse("admin:wallet_statement_csv")
    fund(AccountFactory(institution=office.alpha, name="alpha-clean"), office.symbol.quote, 7)
    asked = {"account": "alpha-clean", "start": datetime.now(UTC).strftime("%Y-%m-%d")}
    for role in ("institution_admin", "compliance"):
        shown = text_of(office.client(role).get(page, asked))
        assert "As a file (CSV)" in shown
        assert "QUOTE: 0.00000000 → 7.00000000" in shown
        sheet = office.client(role).get(file, asked)
        assert sheet.headers["Content-Type"] == "text/csv; charset=utf-8"
        assert sheet.content.decode().splitlines()[-1].endswith("CLOSING,QUOTE,,7.00000000,")
    broken = text_of(office.client("compliance").get(page, {"account": "alpha-1"}))  # its trade moved no balance
    assert "does not add up" in broken
    assert "As a file" not in text_of(office.client("institution_admin").get(page, {"account": "beta-1"}))
    assert office.client("institution_admin").get(file, {"account": "beta-1"}).status_code == 404
    assert office.client("compliance").get(file).status_code == 404
