"""Between accounts of one institution: both sides at once, never across institutions, never more than there is."""

import threading
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction

from exchange_platform.ids import uuid7
from institutions.models import Account
from institutions.services import freeze_account
from notifications.models import Outbox
from tests.wallet.conftest import Bank
from tests.wallet.test_deposit import at_once
from wallet.admission import Frozen
from wallet.asking import Asked
from wallet.ledger import IdempotencyConflict, InsufficientFunds, NotFound
from wallet.models import Balance, Transfer
from wallet.services import Movement
from wallet.transfers import SameAccount, transfer


def give(bank: Bank, amount: Any, *, to: Account | None = None, key: str = "", giver: Account | None = None) -> Movement:
    return transfer(
        from_account_id=(giver or bank.mine).pk,
        to_account_id=(to or bank.sibling).pk,
        asset="USD",
        amount=Decimal(amount),
        asked=Asked(actor="key:client", holder="key:client", path="POST /transfers", key=key),
    )


def test_both_sides_move_at_once_and_both_are_told(bank: Bank) -> None:
    told = Outbox.objects.count()
    made = give(bank, "100.25")
    assert (bank.owned(), bank.owned(bank.sibling)) == ((Decimal("899.75"), 0), (Decimal("100.25"), 0))
    row = Transfer.objects.get(id=made.transfer_id)
    assert (row.kind, row.debit_account_id, row.credit_account_id) == ("TRANSFER", bank.mine.pk, bank.sibling.pk)
    assert Outbox.objects.count() > told


def test_another_institution_is_not_there(bank: Bank) -> None:
    for giver, to in ((bank.mine, bank.theirs), (bank.theirs, bank.mine)):
        with pytest.raises(NotFound):
            give(bank, 1, to=to, giver=giver)
    with pytest.raises(SameAccount):
        give(bank, 1, to=bank.mine)
    assert bank.owned() == (1000, 0)


def test_what_is_held_cannot_be_given(bank: Bank) -> None:
    bank.ask(900)
    with pytest.raises(InsufficientFunds):
        give(bank, "100.01")
    give(bank, 100)
    assert bank.owned() == (900, 900)


@pytest.mark.parametrize("which", ["mine", "sibling"])
def test_a_frozen_account_neither_gives_nor_takes(bank: Bank, which: str) -> None:
    freeze_account(account_id=getattr(bank, which).pk, actor="olga", reason="a test")
    with pytest.raises(Frozen):
        give(bank, 1)


def test_the_same_key_moves_once(bank: Bank) -> None:
    made = at_once(8, lambda _: give(bank, 10, key="t-1"))
    assert sorted(m.replay for m in made) == [False] + [True] * 7
    assert bank.owned() == (990, 0)
    with pytest.raises(IdempotencyConflict):
        give(bank, 11, key="t-1")
    other = Asked(actor="key:another", holder="key:another", path="POST /transfers", key="t-1")
    pair = {"from_account_id": bank.mine.pk, "to_account_id": bank.sibling.pk}
    assert not transfer(**pair, asset="USD", amount=Decimal(11), asked=other).replay  # a key is its holder's own


def test_there_and_back_at_once_never_waits_for_itself(bank: Bank) -> None:
    give(bank, 500)
    results = at_once(40, lambda n: give(bank, 5) if n % 2 else give(bank, 5, giver=bank.sibling, to=bank.mine))
    assert all(isinstance(result, Movement) for result in results), results
    assert (bank.owned(), bank.owned(bank.sibling)) == ((500, 0), (500, 0))


def careless(bank: Bank, together: threading.Barrier) -> bool:
    """What a service without the account's lock would do: look, then act on what it saw."""
    with transaction.atomic(), connection.cursor() as cursor:
        row = Balance.objects.get(account_id=bank.mine.pk, asset_id=bank.usd.pk)
        is_enough = row.posted - row.held >= 30
        try:
            together.wait(2)
        except threading.BrokenBarrierError:
            pass
        if is_enough:
            cursor.execute("UPDATE wallet_balance SET held = held + 30 WHERE account_id = %s", [bank.mine.pk])
    return is_enough


def test_without_the_lock_all_would_think_there_is_enough_and_only_the_database_stops_them(bank: Bank) -> None:
    give(bank, 970)
    together = threading.Barrier(4)
    results = at_once(4, lambda _: careless(bank, together))
    assert sum(result is True for result in results) == 1  # the others were stopped by the CHECK, after they had decided wrongly
    stopped = [result for result in results if isinstance(result, Exception)]
    assert len(stopped) == 3
    assert all("balance_covers_hold" in str(result) for result in stopped)
    Balance.objects.filter(account_id=bank.mine.pk).update(held=0)


def test_a_hundred_withdrawals_and_transfers_at_once_share_what_there_is(bank: Bank) -> None:
    def act(number: int) -> Any:
        if number % 2:
            return bank.ask(30, key=f"w-{uuid7()}")
        return give(bank, 20, key=f"t-{uuid7()}")

    results = at_once(100, act)
    assert all(isinstance(result, InsufficientFunds) for result in results if isinstance(result, Exception)), results
    posted, held = bank.owned()
    given = sum(isinstance(result, Movement) for result in results)
    asked = sum(not isinstance(result, Exception | Movement) for result in results)
    assert (posted, held) == (1000 - 20 * given, 30 * asked)
    assert 0 <= posted - held < 20
