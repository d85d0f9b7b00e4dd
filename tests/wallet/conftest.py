"""A house, an institution with two accounts, an asset, and people: really committed, so that races are real."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from institutions import requests
from institutions.models import Account, ChangeRequest, Institution
from markets.models import Asset
from tests.factories import AccountFactory, AssetFactory, InstitutionFactory, fund, house
from tests.money import assert_money_conserved
from tests.support.approvals import staff, two_people
from wallet import queries
from wallet.addresses import add_address
from wallet.asking import Asked
from wallet.models import Balance
from wallet.withdrawals import APPROVE_KIND, Asks, request_withdrawal, subject_of

CLIENT = Asked(actor="key:client", holder="key:client")
STAFF = Asked(actor="user:1:olga")
PLACE = "bc1-somewhere"


@dataclass
class Bank:
    """Amounts are text or whole numbers of USD."""

    north: Institution
    mine: Account
    sibling: Account
    theirs: Account
    usd: Asset

    def owned(self, account: Account | None = None) -> tuple[Decimal, Decimal]:
        """Posted and held."""
        row = Balance.objects.filter(account_id=(account or self.mine).pk, asset_id=self.usd.pk).first()
        return (Decimal(0), Decimal(0)) if row is None else (row.posted, row.held)

    def list_address(self, account: Account | None = None, address: str = PLACE) -> Any:
        made, _ = add_address(account_id=(account or self.mine).pk, asset="USD", address=address, asked=CLIENT)
        return made

    def ask(self, amount: Any, *, key: str = "", account: Account | None = None, address: str = PLACE) -> Asks:
        asked = Asked(actor="key:client", holder="key:client", path="POST /withdrawals", key=key)
        account_id = (account or self.mine).pk
        return request_withdrawal(account_id=account_id, asset="USD", amount=Decimal(amount), address=address, asked=asked)

    def allow(self, amount: Any) -> None:
        """The automatic limit."""
        two_people("withdrawal.limit", {"asset": "USD", "automatic": str(amount)})

    def request_of(self, asks: Asks) -> ChangeRequest:
        return ChangeRequest.objects.get(kind=APPROVE_KIND, subject=subject_of(asks.withdrawal_id))

    def approve(self, asks: Asks) -> None:
        decide(self.request_of(asks))


def decide(row: ChangeRequest) -> None:
    """Carla agrees."""
    carla = staff("carla", "compliance")
    requests.approve(
        change_id=row.pk, payload_hash=bytes(row.payload_hash).hex(), checker_id=carla.pk, actor=f"user:{carla.pk}:carla", reason="agreed"
    )


def decline(row: ChangeRequest) -> None:
    carla = staff("carla", "compliance")
    requests.reject(change_id=row.pk, checker_id=carla.pk, actor=f"user:{carla.pk}:carla", reason="not wanted")


@pytest.fixture
def bank(fresh_database: str, settings: Any) -> Iterator[Bank]:
    """1,000 USD on `mine`, an address that can be used at once; at the end the books agree."""
    queries.forget()
    settings.WITHDRAWAL_COOL_OFF_S = 0
    house()
    north = InstitutionFactory(code="north")
    made = Bank(
        north=north,
        mine=AccountFactory(name="north-1", institution=north),
        sibling=AccountFactory(name="north-2", institution=north),
        theirs=AccountFactory(name="south-1", institution=InstitutionFactory(code="south")),
        usd=AssetFactory(code="USD", scale=2),
    )
    fund(made.mine, made.usd, 1000)
    made.list_address()
    yield made
    assert_money_conserved()
