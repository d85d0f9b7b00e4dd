"""A back office with two institutions, everybody who might look at it, and a little of everything to look at."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.test import Client

from institutions.models import Account, Institution, User
from institutions.services import IssuedKey
from markets.models import Symbol
from notifications.models import DeadLetter, Outbox
from orders.models import Checkpoint
from risk.models import Position
from risk.symbol_rules import set_symbol_rule
from tests import factories
from tests.factories import (
    AccountFactory,
    AssetFactory,
    InstitutionFactory,
    SymbolFactory,
    UserFactory,
    api_key,
    fund,
    order_row,
    trade_row,
    withdrawal_row,
)
from tests.support.approvals import set_limit

STAFF = ("superuser", "compliance", "operator")
BOUND = ("institution_admin", "trader", "quant")


@dataclass(frozen=True)
class Office:
    alpha: Institution
    beta: Institution
    mine: Account  # of alpha
    theirs: Account  # of beta
    symbol: Symbol
    users: dict[str, User]
    my_key: IssuedKey
    their_key: IssuedKey
    my_order: UUID
    their_order: UUID
    trade: UUID  # I am the maker, they are the taker
    their_trade: UUID  # between two of theirs

    def client(self, role: str) -> Client:
        """Somebody of that role, logged in; bound roles are of alpha."""
        client = Client()
        client.force_login(self.users[role])
        return client


@pytest.fixture(scope="module")
def office(module_database: str) -> Office:
    factories.house()
    alpha, beta = InstitutionFactory(code="alpha"), InstitutionFactory(code="beta")
    base, quote = AssetFactory(code="BASE"), AssetFactory(code="QUOTE")
    symbol = SymbolFactory(base=base, quote=quote)
    mine, theirs = AccountFactory(institution=alpha, name="alpha-1"), AccountFactory(institution=beta, name="beta-1")
    other = AccountFactory(institution=beta, name="beta-2")
    for account in (mine, theirs):
        fund(account, base, 100)
        fund(account, quote, 10_000)
    users = {role: UserFactory(username=f"a-{role}", role=role, institution=None) for role in STAFF}
    users |= {role: UserFactory(username=f"alpha-{role}", role=role, institution=alpha) for role in BOUND}
    UserFactory(username="beta-boss", role="institution_admin", institution=beta)
    set_limit(kind="OPEN_ORDERS", value=Decimal("5"), actor="tests", reason="a test")
    set_limit(kind="DAILY_ORDERS", value=Decimal("77"), institution_id=beta.pk, actor="tests", reason="a test")
    set_symbol_rule(rule="ALLOWED", symbol_id=symbol.pk, institution_id=alpha.pk, actor="tests", reason="a test")
    set_symbol_rule(rule="BLOCKED", symbol_id=symbol.pk, institution_id=beta.pk, actor="tests", reason="a test")
    Outbox.objects.create(topic="book", stream="BASE/QUOTE", events=1, payload=b"x")
    DeadLetter.objects.create(
        topic="book", stream="gone", events=1, payload=b"x", created_at=alpha.created_at, attempts=10, error="no route"
    )
    Checkpoint.objects.create(symbol_id=symbol.pk, shard_id=0, status="TRADING", chain=b"", settled_at=alpha.created_at)
    for account, quantity in ((mine, 2), (theirs, -3)):
        Position.objects.create(account_id=account.pk, symbol_id=symbol.pk, quantity=quantity, cost=abs(quantity) * 90, realised=7)
    my_order = order_row(mine, symbol, client_order_id="my-order")
    their_order = order_row(theirs, symbol, client_order_id="their-order")
    for account, place in ((mine, "my-address"), (theirs, "their-address")):
        withdrawal_row(account, quote, place)
    return Office(
        alpha=alpha,
        beta=beta,
        mine=mine,
        theirs=theirs,
        symbol=symbol,
        users=users,
        my_key=api_key(mine),
        their_key=api_key(theirs),
        my_order=my_order,
        their_order=their_order,
        trade=trade_row(mine, theirs, symbol, maker_order_id=my_order, taker_order_id=their_order),
        their_trade=trade_row(theirs, other, symbol),
    )


def text_of(response: Any) -> str:
    """The page, which must be one."""
    assert response.status_code == 200, response.status_code
    return str(response.content.decode())
