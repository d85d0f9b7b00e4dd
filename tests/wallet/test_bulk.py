"""Many deposits at once: all or none, each once, and no slower way around what a single one is held to."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from django.db import connections

from institutions.models import AuditEntry
from tests.factories import AssetFactory
from tests.money import assert_money_conserved
from tests.wallet.conftest import Bank
from wallet import ledger
from wallet.bulk import Incoming, deposit_many
from wallet.models import Transfer
from wallet.services import InvalidReference, Movement, deposit


def file_of(bank: Bank, *amounts: str, first: int = 1) -> list[Incoming]:
    """Deposits in turn to two accounts of one institution, referenced by number."""
    accounts = (bank.mine, bank.sibling)
    return [
        Incoming(accounts[number % 2].pk, bank.usd.code, Decimal(amount), f"wire {number}") for number, amount in enumerate(amounts, first)
    ]


def book(deposits: Sequence[Incoming]) -> list[Movement]:
    return deposit_many(deposits=deposits, actor="tests", reason="a file")


def test_a_file_is_credited_and_balances_are_the_sums(bank: Bank) -> None:
    before = bank.owned(bank.mine)[0], bank.owned(bank.sibling)[0]
    done = book(file_of(bank, "1", "2", "3", "4"))
    assert [movement.replay for movement in done] == [False] * 4
    assert (bank.owned(bank.mine)[0] - before[0], bank.owned(bank.sibling)[0] - before[1]) == (6, 4)
    rows = Transfer.objects.filter(id__in=[movement.transfer_id for movement in done]).order_by("id")
    assert [(row.kind, row.amount, row.reference) for row in rows] == [
        ("DEPOSIT", Decimal(number), f"wire {number}") for number in (1, 2, 3, 4)
    ]
    entry = AuditEntry.objects.get(action="wallet.deposit_many")
    assert (entry.after["deposits"], entry.after["replays"]) == (4, 0)


def test_what_was_credited_before_is_a_replay_whichever_way_it_came(bank: Bank) -> None:
    alone = deposit(account_id=bank.sibling.pk, asset=bank.usd.code, amount=Decimal(1), reference="wire 1", actor="tests")
    first = book(file_of(bank, "1", "2"))
    again = book(file_of(bank, "1", "2", "3"))
    assert [movement.replay for movement in first] == [True, False]
    assert [movement.replay for movement in again] == [True, True, False]
    assert [movement.transfer_id for movement in again[:2]] == [alone.transfer_id, first[1].transfer_id]
    assert Transfer.objects.filter(reference__startswith="wire").count() == 3


def test_an_empty_file_is_nothing(bank: Bank) -> None:
    assert book([]) == []


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"amount": Decimal("0.001")}, ledger.InvalidAmount),
        ({"amount": Decimal(-1)}, ledger.InvalidAmount),
        ({"amount": Decimal("NaN")}, ledger.InvalidAmount),
        ({"amount": Decimal("9.9e19")}, ledger.InvalidAmount),
        ({"asset": "NONE"}, ledger.NotFound),
        ({"account_id": 0}, ledger.NotFound),
        ({"reference": ""}, InvalidReference),
        ({"reference": "wire 1"}, InvalidReference),
        ({"reference": "used"}, ledger.IdempotencyConflict),
    ],
)
def test_one_wrong_one_and_nothing_is_credited(bank: Bank, wrong: dict[str, Any], error: type[Exception]) -> None:
    deposit(account_id=bank.mine.pk, asset=bank.usd.code, amount=Decimal(7), reference="used", actor="tests")
    before, transfers = bank.owned(bank.mine), Transfer.objects.count()
    values = {"account_id": bank.mine.pk, "asset": bank.usd.code, "amount": Decimal(1), "reference": "wire 9", **wrong}
    with pytest.raises(error):
        book([*file_of(bank, "1", "2"), Incoming(**values)])
    assert (bank.owned(bank.mine), Transfer.objects.count()) == (before, transfers)
    assert [movement.replay for movement in book(file_of(bank, "1", "2"))] == [False, False], "their references are not used up"


def test_files_that_overlap_at_once_are_each_credited_once(bank: Bank) -> None:
    AssetFactory(code="OTHER", scale=2)
    before = bank.owned(bank.mine)[0] + bank.owned(bank.sibling)[0]
    files = [file_of(bank, *["1"] * 20, first=first) for first in (1, 6, 11, 3, 1)]

    def run(one: list[Incoming]) -> list[Movement]:
        try:
            return book(one)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(files)) as pool:
        done = list(pool.map(run, files))
    new = [movement for movements in done for movement in movements if not movement.replay]
    assert len(new) == 30
    assert bank.owned(bank.mine)[0] + bank.owned(bank.sibling)[0] - before == 30
    by_reference: dict[str, set[Any]] = {}
    for one, movements in zip(files, done, strict=True):
        for incoming, movement in zip(one, movements, strict=True):
            by_reference.setdefault(incoming.reference, set()).add(movement.transfer_id)
    assert all(len(ids) == 1 for ids in by_reference.values()), "everybody was told the same transfer"
    assert_money_conserved()
