"""Two people change what an account owns, for exactly what both saw, once."""

from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import IntegrityError, transaction

from institutions.models import AccountKind, AuditEntry, ChangeRequest
from institutions.requests import NotPending, submit
from institutions.services import ensure_house_account
from tests.factories import AccountFactory, SymbolFactory, trade_row
from tests.support.approvals import staff, two_people
from tests.wallet.conftest import STAFF, Bank, decide
from wallet import ledger
from wallet.adjustments import AlreadyCorrected, NotCorrectable
from wallet.ledger import InsufficientFunds, InvalidAmount, NotFound, asset_by_code
from wallet.models import Supply, Transfer, TransferKind
from wallet.queries import house_balance
from wallet.services import deposit
from wallet.withdrawals import complete


def adjust(bank: Bank, amount: Any, **change: Any) -> UUID:
    payload = {"account_id": bank.mine.pk, "asset": "USD", "amount": str(amount), **change}
    return UUID(two_people("wallet.adjustment", payload)["transfer_id"])


def correct(transfer_id: Any) -> UUID:
    return UUID(two_people("wallet.correction", {"transfer_id": str(transfer_id)})["transfer_id"])


def house_adjustment() -> int:
    with transaction.atomic():
        return ensure_house_account(kind=AccountKind.ADJUSTMENT)


def test_an_adjustment_gives_or_takes_against_the_house(bank: Bank) -> None:
    adjust(bank, "5.25")
    adjust(bank, "-105.25")
    assert bank.owned() == (900, 0)
    assert house_balance(account_id=house_adjustment(), asset_id=bank.usd.pk) == 100
    assert Supply.objects.get(pk=bank.usd.pk).amount == 900
    row = Transfer.objects.filter(kind="ADJUSTMENT").order_by("id").first()
    assert row is not None
    asked = ChangeRequest.objects.get(pk=int(str(row.reference).removeprefix("request:")))
    assert asked.effect["facts"]["north-1: posted after"] == "1005.25 USD"
    assert AuditEntry.objects.filter(action="wallet.adjust", subject="account:north-1").count() == 2


def test_nothing_is_approved_where_it_cannot_be_done(bank: Bank) -> None:
    bank.ask(600)
    with pytest.raises(InsufficientFunds):
        adjust(bank, "-400.01")
    assert ChangeRequest.objects.get(kind="wallet.adjustment").state == "PENDING"
    for change, error in (({"amount": "0"}, InvalidAmount), ({"amount": "NaN"}, InvalidAmount), ({"amount": "0.001"}, InvalidAmount),
                          ({"asset": "NONE"}, NotFound), ({"account_id": house_adjustment()}, NotFound)):  # fmt: skip
        with pytest.raises(error):
            adjust(bank, **{"amount": "1", **change})
    assert bank.owned() == (1000, 600)


def test_a_deposit_booked_wrongly_is_reversed_exactly_and_once(bank: Bank) -> None:
    made = deposit(account_id=bank.mine.pk, asset="USD", amount=Decimal("77.77"), reference="wire", actor="olga").transfer_id
    correct(made)
    assert bank.owned() == (1000, 0)
    with pytest.raises(AlreadyCorrected):
        correct(made)
    assert Supply.objects.get(pk=bank.usd.pk).amount == 1000


def test_two_requests_for_one_correction_reverse_it_once(bank: Bank) -> None:
    made = deposit(account_id=bank.mine.pk, asset="USD", amount=Decimal(5), reference="wire", actor="olga").transfer_id
    asked: dict[str, Any] = {"kind": "wallet.correction", "payload": {"transfer_id": str(made)}, "actor": "a", "reason": "x"}
    first = submit(**asked, maker_id=staff("olga").pk)
    with pytest.raises(NotPending, match="asked already"):
        submit(**asked, maker_id=staff("carla", "compliance").pk)
    decide(ChangeRequest.objects.get(pk=first))
    with pytest.raises(AlreadyCorrected):
        correct(made)
    assert bank.owned() == (1000, 0)


def test_a_withdrawal_and_a_correction_can_be_reversed_too(bank: Bank) -> None:
    bank.allow(1000)
    asks = bank.ask(300)
    sent = complete(withdrawal_id=asks.withdrawal_id, reference="chain", asked=STAFF)
    back = correct(sent)
    assert bank.owned() == (1000, 0)
    correct(back)
    assert bank.owned() == (700, 0)


def test_what_is_not_there_is_not_reversed(bank: Bank) -> None:
    for missing in (uuid4(), "nonsense"):
        with pytest.raises(NotFound):
            correct(missing)


def test_a_trade_is_not_reversed(fresh_database: str) -> None:
    symbol, buyer, seller = SymbolFactory(), AccountFactory(), AccountFactory()
    with pytest.raises(NotCorrectable):
        correct(trade_row(buyer, seller, symbol))


def test_an_adjustment_that_nobody_agreed_to_is_refused_by_the_database(bank: Bank) -> None:
    house = house_adjustment()
    for reference in (None, "request:1", "request:999999"):
        with pytest.raises(IntegrityError, match="nobody has agreed"), transaction.atomic():
            ledger.post(
                kind=TransferKind.ADJUSTMENT, asset=asset_by_code("USD"), debit_account_id=house, credit_account_id=bank.mine.pk,
                amount=Decimal(1), reference=reference,
            )  # fmt: skip
    assert bank.owned() == (1000, 0)


def test_what_was_agreed_to_is_not_enough_for_something_else(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service cheats; the database compares amount, asset and accounts with what was approved."""
    from wallet import adjustments

    real = ledger.post
    changes = [{"amount": Decimal(2)}, {"credit_account_id": bank.sibling.pk}, {"reference": "request:999"}]
    for number, change in enumerate(changes):
        monkeypatch.setattr(adjustments.ledger, "post", lambda change=change, **asked: real(**{**asked, **change}))
        with pytest.raises(IntegrityError, match="nobody has agreed"):
            adjust(bank, f"1.0{number}")
    assert bank.owned() == (1000, 0)


def test_a_supply_beyond_what_a_balance_can_hold_is_refused(bank: Bank) -> None:
    for account in (bank.mine, bank.sibling):
        give = {"account_id": account.pk, "asset": "USD", "amount": Decimal(4 * 10**19), "actor": "olga"}
        deposit(reference=f"wire {account.pk}", **give)  # type: ignore[arg-type]
    with pytest.raises(InvalidAmount, match="more USD than a balance can hold"):
        deposit(account_id=bank.theirs.pk, asset="USD", amount=Decimal(10**19), reference="wire", actor="olga")
    assert bank.owned(bank.theirs) == (0, 0)
