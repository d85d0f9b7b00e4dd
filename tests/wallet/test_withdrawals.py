"""Money goes out: held, decided by a limit or two people, sent once or given back."""

from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from institutions.models import AuditEntry
from institutions.services import freeze_account, freeze_institution
from tests.wallet.conftest import CLIENT, PLACE, STAFF, Bank, decide, decline
from tests.wallet.test_deposit import at_once
from wallet import withdrawals
from wallet.addresses import AddressCoolingOff, AddressDenied, AddressNotListed, add_address, deny_address, remove_address
from wallet.admission import Frozen
from wallet.asking import Asked, ReplayedSignature
from wallet.ledger import IdempotencyConflict, InsufficientFunds, InvalidAmount, NotFound
from wallet.models import Transfer, TransferKey, Withdrawal, WithdrawalStep
from wallet.withdrawal_requests import InvalidLimit, lower_limit
from wallet.withdrawals import NoSuchWithdrawal, WithdrawalNotOpen, cancel, complete, fail


def state(asks: Any) -> str:
    return Withdrawal.objects.get(pk=asks.withdrawal_id).state


def steps(asks: Any) -> list[tuple[str | None, str]]:
    rows = WithdrawalStep.objects.filter(withdrawal_id=asks.withdrawal_id).order_by("id")
    return list(rows.values_list("from_state", "to_state"))


def test_without_a_limit_it_waits_for_a_person_and_the_money_is_held(bank: Bank) -> None:
    asks = bank.ask("250.50")
    assert (state(asks), bank.owned()) == ("REQUESTED", (1000, Decimal("250.50")))
    waiting = bank.request_of(asks)
    assert (waiting.state, waiting.maker, waiting.institution_id) == ("PENDING", "key:client", bank.north.pk)
    assert waiting.effect["facts"]["address"] == PLACE

    decide(waiting)
    assert (state(asks), bank.owned()) == ("APPROVED", (1000, Decimal("250.50")))
    transfer_id = complete(withdrawal_id=asks.withdrawal_id, reference="chain 1", asked=STAFF)

    assert (state(asks), bank.owned()) == ("COMPLETED", (Decimal("749.50"), 0))
    transfer = Transfer.objects.get(id=transfer_id)
    assert (transfer.kind, transfer.amount, transfer.debit_account_id) == ("WITHDRAWAL", Decimal("250.50"), bank.mine.pk)
    assert steps(asks) == [(None, "REQUESTED"), ("REQUESTED", "APPROVED"), ("APPROVED", "COMPLETED")]
    actions = AuditEntry.objects.filter(subject=f"withdrawal:{asks.withdrawal_id}").order_by("id").values_list("action", flat=True)
    assert list(actions) == ["withdrawal.request", "withdrawal.approve", "withdrawal.complete"]


def test_within_the_limit_of_a_day_nobody_is_asked(bank: Bank) -> None:
    bank.allow(100)
    first, second, third = bank.ask(60), bank.ask("40.01"), bank.ask("40")
    assert [state(first), state(second), state(third)] == ["APPROVED", "REQUESTED", "APPROVED"]
    assert Withdrawal.objects.get(pk=first.withdrawal_id).is_automatic
    fail(withdrawal_id=first.withdrawal_id, asked=STAFF, reason="bounced")  # what did not go does not count
    assert state(bank.ask(60)) == "APPROVED"
    assert state(bank.ask("0.01")) == "REQUESTED"


def test_a_limit_is_lowered_by_one_and_raised_by_two(bank: Bank) -> None:
    bank.allow(100)
    with pytest.raises(InvalidLimit):
        lower_limit(asset="USD", automatic=Decimal(101), actor="olga", reason="a test")
    lower_limit(asset="USD", automatic=Decimal(10), actor="olga", reason="a test")
    assert state(bank.ask("10.01")) == "REQUESTED"


def test_a_rejected_withdrawal_gives_its_hold_back(bank: Bank) -> None:
    asks = bank.ask(300)
    decline(bank.request_of(asks))
    assert (state(asks), bank.owned()) == ("REJECTED", (1000, 0))


def test_a_failed_one_too(bank: Bank) -> None:
    bank.allow(1000)
    asks = bank.ask(300)
    fail(withdrawal_id=asks.withdrawal_id, asked=STAFF, reason="the bank said no")
    assert (state(asks), bank.owned()) == ("FAILED", (1000, 0))
    with pytest.raises(WithdrawalNotOpen):
        complete(withdrawal_id=asks.withdrawal_id, reference="late", asked=STAFF)


def test_a_client_cancels_until_it_is_approved_and_the_request_goes_with_it(bank: Bank) -> None:
    asks = bank.ask(300)
    cancel(withdrawal_id=asks.withdrawal_id, asked=CLIENT)
    assert (state(asks), bank.owned(), bank.request_of(asks).state) == ("CANCELLED", (1000, 0), "WITHDRAWN")
    approved = bank.ask(200)
    bank.approve(approved)
    with pytest.raises(WithdrawalNotOpen) as refused:
        cancel(withdrawal_id=approved.withdrawal_id, asked=CLIENT)
    assert (refused.value.code, refused.value.details) == ("WITHDRAWAL_NOT_OPEN", {"status": "APPROVED"})
    cancel(withdrawal_id=approved.withdrawal_id, asked=STAFF, until_approved=False)
    assert (state(approved), bank.owned()) == ("CANCELLED", (1000, 0))


def test_what_somebody_else_cancelled_cannot_be_approved_any_more(bank: Bank) -> None:
    asks = bank.ask(300)
    cancel(withdrawal_id=asks.withdrawal_id, asked=Asked(actor="key:another"))
    assert bank.request_of(asks).state == "PENDING"
    with pytest.raises(WithdrawalNotOpen):
        decide(bank.request_of(asks))
    decline(bank.request_of(asks))  # ends the request; the withdrawal stays cancelled, nothing is released twice
    assert (state(asks), bank.owned()) == ("CANCELLED", (1000, 0))


def test_completing_twice_sends_once(bank: Bank) -> None:
    bank.allow(1000)
    asks = bank.ask(300)
    done = at_once(8, lambda _: complete(withdrawal_id=asks.withdrawal_id, reference="chain 1", asked=STAFF))
    assert len(set(done)) == 1
    assert isinstance(done[0], UUID)
    assert bank.owned() == (700, 0)
    with pytest.raises(WithdrawalNotOpen):
        complete(withdrawal_id=asks.withdrawal_id, reference="chain 2", asked=STAFF)


@pytest.mark.parametrize("where", ["move", "post", "record"])
def test_killed_while_completing_it_is_completed_by_the_next_attempt(bank: Bank, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    bank.allow(1000)
    asks = bank.ask(300)
    at: Any = {"move": withdrawals, "post": withdrawals.ledger, "record": withdrawals.audit}[where]
    real = getattr(at, where)

    def killed(*args: Any, **kwargs: Any) -> None:
        real(*args, **kwargs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(at, where, killed)
        with pytest.raises(KeyboardInterrupt):
            complete(withdrawal_id=asks.withdrawal_id, reference="chain 1", asked=STAFF)
    assert (state(asks), bank.owned()) == ("APPROVED", (1000, 300))
    complete(withdrawal_id=asks.withdrawal_id, reference="chain 1", asked=STAFF)
    assert (state(asks), bank.owned()) == ("COMPLETED", (700, 0))


def test_complete_and_fail_at_once_agree_on_one_of_them(bank: Bank) -> None:
    bank.allow(1000)
    for _ in range(5):
        asks = bank.ask(10)
        acts = [
            lambda asks=asks: complete(withdrawal_id=asks.withdrawal_id, reference="chain", asked=STAFF),
            lambda asks=asks: fail(withdrawal_id=asks.withdrawal_id, asked=STAFF, reason="no"),
            lambda asks=asks: cancel(withdrawal_id=asks.withdrawal_id, asked=STAFF, until_approved=False),
        ]
        results = at_once(3, lambda n, acts=acts: acts[n]())
        assert sum(isinstance(result, WithdrawalNotOpen) for result in results) == 2
        assert bank.owned()[1] == 0


def test_a_hundred_at_once_take_no_more_than_there_is(bank: Bank) -> None:
    results = at_once(100, lambda n: bank.ask(30, key=f"w-{n}"))
    refused = [result for result in results if isinstance(result, InsufficientFunds)]
    assert len(refused) == 100 - 33
    assert bank.owned() == (1000, 990)


def test_the_same_key_asks_once_and_another_body_conflicts(bank: Bank) -> None:
    first, again = bank.ask("10", key="w-1"), bank.ask("10.00", key="w-1")
    assert (again.withdrawal_id, again.replay) == (first.withdrawal_id, True)
    assert bank.owned() == (1000, 10)
    with pytest.raises(IdempotencyConflict):
        bank.ask("11", key="w-1")
    assert at_once(4, lambda _: bank.ask("10", key="w-2").withdrawal_id).__len__() == 4
    assert bank.owned() == (1000, 20)


def test_what_is_refused_uses_nothing_up(bank: Bank) -> None:
    with pytest.raises(InsufficientFunds):
        bank.ask("1000.01", key="w-1")
    assert not TransferKey.objects.filter(key="w-1").exists()
    assert bank.owned() == (1000, 0)
    assert not bank.ask(1000, key="w-1").replay


def test_a_signature_works_once(bank: Bank) -> None:
    asked = Asked(actor="key:client", holder="key:client", path="POST /withdrawals", key="w-1", signature=(7, b"digest"))
    ask = {"account_id": bank.mine.pk, "asset": "USD", "amount": Decimal(1), "address": PLACE}
    withdrawals.request_withdrawal(**ask, asked=asked)  # type: ignore[arg-type]
    with pytest.raises(ReplayedSignature):
        withdrawals.request_withdrawal(**ask, asked=asked)  # type: ignore[arg-type]


@pytest.mark.parametrize("amount", ["0", "-1", "NaN", "Infinity", "0.001", "1e20"])
def test_an_amount_that_is_no_amount_is_refused(bank: Bank, amount: str) -> None:
    with pytest.raises(InvalidAmount):
        bank.ask(amount)
    assert bank.owned() == (1000, 0)


def test_a_frozen_account_or_institution_withdraws_nothing(bank: Bank) -> None:
    waiting = bank.ask(10)
    freeze_account(account_id=bank.mine.pk, actor="olga", reason="a test")
    with pytest.raises(Frozen) as refused:
        bank.ask(10)
    assert refused.value.code == "ACCOUNT_FROZEN"
    with pytest.raises(Frozen):
        bank.approve(waiting)
    assert (state(waiting), bank.request_of(waiting).state) == ("REQUESTED", "PENDING")
    freeze_institution(institution_id=bank.north.pk, actor="olga", reason="a test")
    with pytest.raises(Frozen) as refused:
        bank.ask(10)
    assert refused.value.code == "INSTITUTION_FROZEN"
    assert bank.owned() == (1000, 10)


def test_only_a_listed_address_of_this_account_and_asset_takes_money(bank: Bank) -> None:
    for address in ("bc1-elsewhere", PLACE + "x"):
        with pytest.raises(AddressNotListed):
            bank.ask(1, address=address)
    with pytest.raises(AddressNotListed):
        bank.ask(1, account=bank.sibling)


def test_a_new_address_waits_and_so_does_one_that_comes_back(bank: Bank, settings: Any) -> None:
    settings.WITHDRAWAL_COOL_OFF_S = 24 * 3600
    listed = bank.list_address(address="bc1-new")
    with pytest.raises(AddressCoolingOff) as refused:
        bank.ask(1, address="bc1-new")
    assert refused.value.details is not None
    assert bank.list_address(address="bc1-new") == listed  # listing it again changes nothing
    old = bank.list_address()
    assert bank.list_address() == old
    remove_address(account_id=bank.mine.pk, address_id=old, asked=CLIENT)
    with pytest.raises(AddressNotListed):
        bank.ask(1)
    assert bank.list_address() != old
    with pytest.raises(AddressCoolingOff):
        bank.ask(1)


def test_a_denied_address_is_neither_listed_nor_used_nor_approved(bank: Bank) -> None:
    waiting = bank.ask(10)
    assert deny_address(address=PLACE, actor="olga", reason="sanctions")
    assert not deny_address(address=PLACE, actor="olga", reason="again")
    for act in (lambda: bank.ask(1), lambda: bank.approve(waiting), lambda: bank.list_address(bank.sibling)):
        with pytest.raises(AddressDenied):
            act()


def test_what_is_not_there_is_not_found(bank: Bank) -> None:
    with pytest.raises(NoSuchWithdrawal):
        complete(withdrawal_id=uuid4(), reference="x", asked=STAFF)
    with pytest.raises(NotFound):
        add_address(account_id=999_999, asset="USD", address="x", asked=CLIENT)
    with pytest.raises(NotFound):
        add_address(account_id=bank.mine.pk, asset="NONE", address="x", asked=CLIENT)
