"""Deposits that are really committed, so that the races are real and the tenants' role can read them."""

import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection, connections, transaction

from exchange_platform.ids import uuid7
from institutions.models import Account, AuditEntry
from institutions.queries import find_account
from institutions.services import freeze_account
from markets.models import Asset
from tests.factories import ACTOR, AccountFactory, AssetFactory, InstitutionFactory, fund, house
from wallet import ledger
from wallet import queries as wallet
from wallet.models import Balance, Transfer, TransferKey, TransferKind
from wallet.services import InvalidReference, Movement, deposit


@pytest.fixture(autouse=True)
def _committed(fresh_database: str) -> None:
    wallet.forget()
    house()


@pytest.fixture
def usd() -> Asset:
    return AssetFactory(code="USD", scale=2)


@pytest.fixture
def account() -> Account:
    return AccountFactory(name="north-1", institution=InstitutionFactory(code="north"))


def give(account: Account, amount: Any, *, reference: str = "wire 1", asset: str = "USD") -> Movement:
    return deposit(account_id=account.pk, asset=asset, amount=Decimal(amount), reference=reference, actor=ACTOR)


def nothing_moved() -> bool:
    audited = AuditEntry.objects.filter(action="wallet.deposit").exists()
    return not (Transfer.objects.exists() or TransferKey.objects.exists() or Balance.objects.exists() or audited)


def at_once(count: int, act: Callable[[int], Any]) -> list[Any]:
    """What `act` gives or raises in so many threads that start together."""
    together, results = threading.Barrier(count), [None] * count

    def run(number: int) -> None:
        try:
            together.wait()
            results[number] = act(number)
        except Exception as problem:
            results[number] = problem  # type: ignore[call-overload]
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


def test_a_deposit_comes_from_outside_and_is_audited(account, usd):
    movement = give(account, "100.10")

    transfer = Transfer.objects.get(id=movement.transfer_id)
    outside = find_account("house-external")
    assert not movement.replay
    assert (transfer.kind, transfer.amount, transfer.reference) == ("DEPOSIT", Decimal("100.10"), "wire 1")
    assert (transfer.debit_account_id, transfer.credit_account_id) == (outside.id, account.pk)
    assert wallet.balances(institution_id=None) == [
        {"account": "north-1", "asset": "USD", "posted": "100.10", "held": "0.00", "available": "100.10"}
    ]
    assert wallet.house_balance(account_id=outside.id, asset_id=usd.pk) == Decimal("-100.10")
    entry = AuditEntry.objects.get(action="wallet.deposit")
    assert (entry.subject, entry.after["amount"], entry.after["reference"]) == ("account:north-1", "100.10", "wire 1")


def test_the_outside_world_has_no_balance_row(account, usd):
    give(account, 5)
    assert list(Balance.objects.values_list("account_id", flat=True)) == [account.pk]


def test_the_same_reference_is_credited_once(account, usd):
    first = give(account, "100")
    again = give(account, "100.00")

    assert (again.transfer_id, again.replay) == (first.transfer_id, True)
    assert wallet.balances(institution_id=None)[0]["posted"] == "100.00"
    assert AuditEntry.objects.filter(action="wallet.deposit").count() == 1


def test_a_reference_that_was_another_deposit_is_a_conflict(account, usd):
    give(account, 100)
    for change in ({"amount": 101}, {"account": AccountFactory()}):
        with pytest.raises(ledger.IdempotencyConflict) as refused:
            give(change.get("account", account), change.get("amount", 100))
        assert refused.value.code == "IDEMPOTENCY_CONFLICT"
    assert wallet.balances(institution_id=None)[0]["posted"] == "100.00"


def test_one_reference_sent_eight_times_at_once_is_credited_once(account, usd):
    results = at_once(8, lambda _: give(account, 100))

    assert sorted(r.replay for r in results) == [False] + [True] * 7
    assert len({r.transfer_id for r in results}) == 1
    assert wallet.balances(institution_id=None)[0]["posted"] == "100.00"


def test_different_deposits_at_once_are_all_credited(account, usd):
    at_once(8, lambda n: give(account, 1, reference=f"wire {n}"))
    assert wallet.balances(institution_id=None)[0]["posted"] == "8.00"


@pytest.mark.parametrize("amount", ["0", "-1", "NaN", "-Infinity", "Infinity", "0.001", "100000000000000000000", "1e-30"])
def test_an_amount_that_is_no_amount_is_refused_and_uses_nothing_up(account, usd, amount):
    with pytest.raises(ledger.InvalidAmount) as refused:
        give(account, amount)
    assert (refused.value.code, refused.value.field) == ("INVALID_NUMBER", "amount")
    assert nothing_moved()


def test_an_amount_is_never_rounded_even_with_more_digits_than_pythons_context(account):
    AssetFactory(code="FINE", scale=18)
    AssetFactory(code="ROUGH", scale=17)
    give(account, "12345678901234567890.123456789012345678", asset="FINE")
    with pytest.raises(ledger.InvalidAmount):
        give(account, "12345678901234567890.123456789012345678", asset="ROUGH", reference="wire 2")

    row = wallet.balances(institution_id=None)[0]
    assert (row["posted"], row["available"]) == ("12345678901234567890.123456789012345678",) * 2


def test_a_balance_that_would_not_fit_is_refused(account, usd):
    give(account, "89999999999999999999")
    with pytest.raises(ledger.InvalidAmount):
        give(account, "1", reference="wire 2")
    assert wallet.balances(institution_id=None)[0]["posted"] == "89999999999999999999.00"


@pytest.mark.parametrize("reference", ["", "x" * 121])
def test_a_deposit_needs_a_reference_of_some_length(account, usd, reference):
    with pytest.raises(InvalidReference):
        give(account, 1, reference=reference)
    assert nothing_moved()


def test_only_customers_accounts_and_known_assets_are_credited(account, usd):
    with pytest.raises(ledger.NotFound) as refused:
        give(account, 1, asset="GHOST")
    assert refused.value.field == "asset"
    assert nothing_moved()

    give(account, 1)
    outside = Account.objects.get(name="house-external")
    for stranger in (outside, Account(pk=987654)):
        with pytest.raises(ledger.NotFound) as refused:
            give(stranger, 1, reference="wire 2")
        assert refused.value.field == "account"


def test_a_frozen_account_still_receives_what_has_arrived(account, usd):
    freeze_account(account_id=account.pk, actor=ACTOR, reason="court order")
    give(account, 1)
    assert wallet.balances(institution_id=None)[0]["posted"] == "1.00"


class TestMovementsBetweenCustomers:
    def move(self, asset: Asset, debit: Account, credit: Account, amount: Any) -> None:
        with transaction.atomic():
            ledger.post(
                kind=TransferKind.TRANSFER,
                asset=ledger.asset_by_code(asset.code),
                debit_account_id=debit.pk,
                credit_account_id=credit.pk,
                amount=Decimal(amount),
            )

    def posted(self) -> dict[str, str]:
        return {row["account"]: row["posted"] for row in wallet.balances(institution_id=None)}

    def test_what_one_gives_the_other_has(self, account, usd):
        other = AccountFactory(name="south-1", institution=account.institution)
        fund(account, usd, 10)
        self.move(usd, account, other, "3.50")
        assert self.posted() == {"north-1": "6.50", "south-1": "3.50"}

    def test_nobody_gives_more_than_is_available(self, account, usd):
        other = AccountFactory(name="south-1", institution=account.institution)
        fund(account, usd, 10)
        Balance.objects.filter(account_id=account.pk).update(held=4)

        with pytest.raises(ledger.InsufficientFunds) as refused:
            self.move(usd, account, other, "6.01")
        assert refused.value.code == "INSUFFICIENT_FUNDS"
        self.move(usd, account, other, 6)
        assert self.posted() == {"north-1": "4.00", "south-1": "6.00"}

    def test_nobody_gives_what_he_never_had(self, account, usd):
        with pytest.raises(ledger.InsufficientFunds):
            self.move(usd, account, AccountFactory(), 1)

    def test_an_account_gives_nothing_to_itself(self, account, usd):
        fund(account, usd, 10)
        with pytest.raises(IntegrityError, match="transfer_two_accounts"):
            self.move(usd, account, account, 1)
        assert self.posted() == {"north-1": "10.00"}

    def test_money_passed_round_in_both_directions_at_once_neither_deadlocks_nor_gets_lost(self, account, usd):
        other = AccountFactory(name="south-1", institution=account.institution)
        fund(account, usd, 50)
        fund(other, usd, 50)

        pairs = [(account, other), (other, account)]
        problems = [r for r in at_once(8, lambda n: [self.move(usd, *pairs[n % 2], 1) for _ in range(5)]) if isinstance(r, Exception)]

        assert problems == []
        assert self.posted() == {"north-1": "50.00", "south-1": "50.00"}

    def test_a_balance_spent_by_eight_at_once_is_spent_once(self, account, usd):
        other = AccountFactory(name="south-1", institution=account.institution)
        fund(account, usd, 3)

        results = at_once(8, lambda _: self.move(usd, account, other, 1))

        assert sum(isinstance(r, ledger.InsufficientFunds) for r in results) == 5
        assert self.posted() == {"north-1": "0.00", "south-1": "3.00"}


def test_the_ledger_posts_nothing_without_a_transaction(account, usd):
    with pytest.raises(RuntimeError, match="joins a transaction"):
        ledger.post(
            kind=TransferKind.DEPOSIT,
            asset=ledger.asset_by_code("USD"),
            debit_account_id=account.pk,
            credit_account_id=AccountFactory().pk,
            amount=Decimal(1),
        )


def test_reading_a_balance_and_then_writing_it_loses_money_which_is_why_the_row_is_locked(account, usd):
    """The race that `ledger.post` has not: two that read before either writes."""
    fund(account, usd, 10)
    read = threading.Barrier(2)

    def careless(_: int) -> None:
        posted = Balance.objects.get(account_id=account.pk).posted
        read.wait()
        with connection.cursor() as cursor:
            cursor.execute("UPDATE wallet_balance SET posted = %s WHERE account_id = %s", [posted + 1, account.pk])

    at_once(2, careless)
    assert Balance.objects.get(account_id=account.pk).posted == 11  # not 12


def test_the_moment_of_a_transfer_is_its_ids(account, usd):
    give(account, 1)
    transfer = Transfer.objects.get()
    assert int(transfer.created_at.timestamp() * 1000) == transfer.id.int >> 80
    assert abs((transfer.id.int >> 80) - (uuid7().int >> 80)) < 60_000
