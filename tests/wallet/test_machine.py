"""Any sequence of movements and orders, with failures in the middle, against a plain model: zero sum, holds explained, nothing half done.

`LEDGER_SEQUENCES` says how many sequences are tried (default: as many as the suite has time for).
"""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck
from hypothesis import settings as how
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from institutions.models import Account, ChangeRequest
from institutions.services import create_account, create_institution
from markets.models import Asset
from markets.services import create_asset
from orders.reconcile import reconcile
from tests.factories import house
from tests.support.approvals import two_people
from tests.wallet.conftest import decide, decline
from wallet import ledger, queries, withdrawals
from wallet.addresses import add_address
from wallet.asking import Asked
from wallet.models import Balance, Supply, Withdrawal
from wallet.services import deposit
from wallet.transfers import transfer
from wallet.withdrawals import cancel, complete, fail, request_withdrawal

SEQUENCES = int(os.environ.get("LEDGER_SEQUENCES", "40"))
STEPS = int(os.environ.get("LEDGER_STEPS", "15"))
SCALE = 2
AMOUNTS = st.integers(1, 50_000).map(lambda cents: Decimal(cents) / 100)
WHO = st.integers(0, 2)


class PowerCut(BaseException):
    """Not an error that anybody handles."""


@dataclass
class Model:
    """What the ledger should say: cents would do, decimals read better."""

    posted: dict[int, Decimal] = field(default_factory=dict)
    held: dict[int, Decimal] = field(default_factory=dict)
    supply: Decimal = Decimal(0)

    def available(self, account: int) -> Decimal:
        return self.posted.get(account, Decimal(0)) - self.held.get(account, Decimal(0))

    def post(self, account: int, amount: Decimal) -> None:
        self.posted[account] = self.posted.get(account, Decimal(0)) + amount

    def hold(self, account: int, amount: Decimal) -> None:
        self.held[account] = self.held.get(account, Decimal(0)) + amount


def asked(key: str = "") -> Asked:
    return Asked(actor="key:machine", holder="key:machine", path="POST /machine", key=key)


class Ledger(RuleBasedStateMachine):
    """Three accounts of one institution, one asset. Every rule does to the ledger and the model what one person or client would."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.withdrawals: dict[UUID, tuple[int, Decimal, str]] = {}
        self.moved: list[tuple[UUID, int, int | None, Decimal]] = []  # id, credited, debited (null: the house), amount

    @initialize()
    def open(self) -> None:
        house()
        name = uuid4().hex[:8]
        self.asset: Asset = create_asset(code=f"M{name[:7]}".upper(), scale=SCALE, actor="machine")
        institution = create_institution(code=f"m-{name}", name="Machine", actor="machine")
        self.accounts: list[Account] = [
            create_account(institution_id=institution.pk, name=f"m-{name}-{n}", actor="machine") for n in range(3)
        ]
        for account in self.accounts:
            add_address(account_id=account.pk, asset=self.asset.code, address="out", asked=asked())

    # -- what happens

    @rule(who=WHO, amount=AMOUNTS)
    def deposit(self, who: int, amount: Decimal) -> None:
        account, reference = self.accounts[who].pk, f"wire {uuid4()}"
        for is_first in (True, False):  # told twice by the outside world
            made = deposit(account_id=account, asset=self.asset.code, amount=amount, reference=reference, actor="machine")
            assert made.replay is not is_first
        self.model.post(account, amount)
        self.model.supply += amount
        self.moved.append((made.transfer_id, account, None, amount))

    @rule(giver=WHO, step=st.integers(1, 2), amount=AMOUNTS)
    def transfer(self, giver: int, step: int, amount: Decimal) -> None:
        debit, credit = self.accounts[giver].pk, self.accounts[(giver + step) % 3].pk
        key = str(uuid4())

        def act() -> Any:
            return transfer(from_account_id=debit, to_account_id=credit, asset=self.asset.code, amount=amount, asked=asked(key))

        if self.model.available(debit) < amount:
            with pytest.raises(ledger.InsufficientFunds):
                act()
            return
        made = act()
        assert act().transfer_id == made.transfer_id
        self.model.post(debit, -amount)
        self.model.post(credit, amount)
        self.moved.append((made.transfer_id, credit, debit, amount))

    @rule(who=WHO, amount=AMOUNTS)
    def withdraw(self, who: int, amount: Decimal) -> None:
        account = self.accounts[who].pk
        if self.model.available(account) < amount:
            with pytest.raises(ledger.InsufficientFunds):
                request_withdrawal(account_id=account, asset=self.asset.code, amount=amount, address="out", asked=asked())
            return
        made = request_withdrawal(account_id=account, asset=self.asset.code, amount=amount, address="out", asked=asked())
        self.model.hold(account, amount)
        self.withdrawals[made.withdrawal_id] = (account, amount, "REQUESTED")

    def in_state(self, *states: str) -> list[UUID]:
        return [known for known, (_, _, state) in self.withdrawals.items() if state in states]

    @precondition(lambda self: self.in_state("REQUESTED"))
    @rule(pick=st.randoms(use_true_random=False), ends=st.booleans())
    def decide(self, pick: random.Random, ends: bool) -> None:
        wanted = pick.choice(self.in_state("REQUESTED"))
        account, amount, _ = self.withdrawals[wanted]
        if ends:
            cancel(withdrawal_id=wanted, asked=asked())
            self.model.hold(account, -amount)
        else:
            approve(wanted)
        self.withdrawals[wanted] = (account, amount, "CANCELLED" if ends else "APPROVED")

    @precondition(lambda self: self.in_state("APPROVED"))
    @rule(
        pick=st.randoms(use_true_random=False), ends=st.sampled_from(["complete", "fail"]), at=st.sampled_from(["", "move", "post", "ends"])
    )
    def send(self, pick: random.Random, ends: str, at: str) -> None:
        """Perhaps the power fails in the middle: then nothing has happened, and it is done again."""
        wanted = pick.choice(self.in_state("APPROVED"))
        account, amount, _ = self.withdrawals[wanted]

        def act() -> None:
            if ends == "complete":
                complete(withdrawal_id=wanted, reference=f"chain {wanted}", asked=asked())
            else:
                fail(withdrawal_id=wanted, asked=asked(), reason="a test")

        if at:
            with power_cut(at), pytest.raises(PowerCut):
                act()
            self.books_agree()
        act()
        self.model.hold(account, -amount)
        if ends == "complete":
            self.model.post(account, -amount)
            self.model.supply -= amount
            act()  # told twice: done once
        else:
            with pytest.raises(withdrawals.WithdrawalNotOpen):
                act()
        self.withdrawals[wanted] = (account, amount, "COMPLETED" if ends == "complete" else "FAILED")

    @rule(who=WHO, amount=AMOUNTS, takes=st.booleans())
    def adjust(self, who: int, amount: Decimal, takes: bool) -> None:
        account, change = self.accounts[who].pk, -amount if takes else amount
        payload = {"account_id": account, "asset": self.asset.code, "amount": f"{change}"}
        if self.model.available(account) + change < 0:
            with pytest.raises(ledger.InsufficientFunds):
                two_people("wallet.adjustment", payload, reason=str(uuid4()))
            reject_all()
            return
        made = two_people("wallet.adjustment", payload)
        self.model.post(account, change)
        self.model.supply += change
        if not takes:
            self.moved.append((UUID(made["transfer_id"]), account, None, amount))

    @precondition(lambda self: self.moved)
    @rule(pick=st.randoms(use_true_random=False))
    def reverse(self, pick: random.Random) -> None:
        transfer_id, credited, debited, amount = pick.choice(self.moved)
        payload = {"transfer_id": str(transfer_id)}
        if self.model.available(credited) < amount:
            with pytest.raises(ledger.InsufficientFunds):
                two_people("wallet.correction", payload)
            reject_all()
            return
        two_people("wallet.correction", payload)
        self.moved.remove((transfer_id, credited, debited, amount))
        self.model.post(credited, -amount)
        if debited is None:
            self.model.supply -= amount
        else:
            self.model.post(debited, amount)

    @rule(who=WHO, amount=AMOUNTS, is_cut=st.booleans())
    def order_comes_and_goes(self, who: int, amount: Decimal, is_cut: bool) -> None:
        """What intake and settlement do to a balance: hold, release, or the transaction is lost."""
        account, asset = self.accounts[who].pk, ledger.asset_by_code(self.asset.code)
        try:
            with transaction.atomic():
                if self.model.available(account) < amount:
                    with pytest.raises(ledger.InsufficientFunds):
                        ledger.hold(account_id=account, asset=asset, amount=amount)
                    return
                ledger.hold(account_id=account, asset=asset, amount=amount)
                if is_cut:
                    raise PowerCut
                ledger.release(account_id=account, asset=asset, amount=amount)
        except PowerCut:
            pass

    # -- what always holds

    @invariant()
    def books_agree(self) -> None:
        if not hasattr(self, "asset"):
            return
        rows = Balance.objects.filter(asset_id=self.asset.pk)
        told = {row.account_id: (row.posted, row.held) for row in rows}
        for account in self.accounts:
            expected = (self.model.posted.get(account.pk, Decimal(0)), self.model.held.get(account.pk, Decimal(0)))
            assert told.get(account.pk, (0, 0)) == expected
        supply = Supply.objects.filter(pk=self.asset.pk).first()
        assert (Decimal(0) if supply is None else supply.amount) == self.model.supply == sum(self.model.posted.values())
        states = dict(Withdrawal.objects.filter(asset_id=self.asset.pk).values_list("pk", "state"))
        assert states == {known: state for known, (_, _, state) in self.withdrawals.items()}

    def teardown(self) -> None:
        if hasattr(self, "asset"):
            with connection.cursor() as cursor:
                cursor.execute(NOT_ZERO_SQL, [self.asset.pk])
                assert cursor.fetchone() is None


NOT_ZERO_SQL = """
    SELECT flow.account_id FROM (
        SELECT account_id, asset_id, sum(amount) AS amount FROM wallet_entry WHERE asset_id = %s GROUP BY 1, 2) flow
    JOIN institutions_account a ON a.id = flow.account_id AND a.kind = 'CUSTOMER'
    LEFT JOIN wallet_balance b ON b.account_id = flow.account_id AND b.asset_id = flow.asset_id
    WHERE b.posted IS DISTINCT FROM flow.amount LIMIT 1"""


def approve(withdrawal_id: UUID) -> None:
    decide(ChangeRequest.objects.get(kind="withdrawal.approve", subject=f"withdrawal:{withdrawal_id}", state="PENDING"))


def reject_all() -> None:
    for row in ChangeRequest.objects.filter(state="PENDING", kind__startswith="wallet."):
        decline(row)


@contextmanager
def power_cut(at: str) -> Iterator[None]:
    """The power fails after the withdrawal's move, after the ledger was written, or after everything but the commit."""
    patch = pytest.MonkeyPatch()
    try:
        if at == "move":
            patch.setattr(withdrawals, "move", _cut(withdrawals.move))
        elif at == "post":
            for function in ("post", "release"):
                patch.setattr(ledger, function, _cut(getattr(ledger, function)))
        else:
            real = withdrawals.deciding

            @contextmanager
            def deciding() -> Iterator[None]:
                with real():
                    yield
                    raise PowerCut

            patch.setattr(withdrawals, "deciding", deciding)
        yield
    finally:
        patch.undo()


def _cut(real: Any) -> Any:
    def act(*args: Any, **named: Any) -> None:
        real(*args, **named)
        raise PowerCut

    return act


def test_no_sequence_loses_or_makes_money(fresh_database: str, settings: Any) -> None:
    settings.WITHDRAWAL_COOL_OFF_S = 0
    queries.forget()
    run_state_machine_as_test(Ledger, settings=SETTINGS)
    report = reconcile()
    assert report.is_clean, [found.sentence for found in report.breaks[:10]]


SETTINGS = how(max_examples=SEQUENCES, stateful_step_count=STEPS, deadline=None, print_blob=True, suppress_health_check=list(HealthCheck))
