"""On a million orders, trades and transfers every page reads by index, and a bounded number of rows: plans, not timings.

`python -m pytest tests/admin/test_million_rows.py -s` tells the timings as well.
"""

import time
from dataclasses import dataclass
from uuid import UUID

import pytest
from django.db import connections
from django.test import Client
from django.urls import reverse

from institutions.models import Account, Institution
from markets.models import Symbol
from orders.search import LOOKED_THROUGH
from tests.admin.conftest import text_of
from tests.admin.million import RARE, ROWS, fill, read_plans
from tests.factories import AssetFactory, SymbolFactory, UserFactory

pytestmark = pytest.mark.slow

# A page is 50 rows with what belongs to them: parents under row-level security, legs, two sides of ten accounts.
A_PAGE = 5_000


@dataclass(frozen=True)
class Archive:
    staff: Client
    bound: Client  # of bank-7
    account: Account  # of bank-7
    symbols: list[Symbol]
    order: UUID  # of the account, in the middle
    client_order_id: str  # of the account


@pytest.fixture(scope="module")
def archive(module_database: str) -> Archive:
    quote = AssetFactory()
    symbols = [SymbolFactory(base=AssetFactory(), quote=quote) for _ in range(3)]
    took_s = fill(module_database, first=symbols[0].pk, second=symbols[1].pk, asset=quote.pk)
    print(f"\nfilled in {took_s:.0f} s")
    bank = Institution.objects.get(code="bank-7")
    clients = []
    for role, institution in (("compliance", None), ("institution_admin", bank)):
        client = Client()
        client.force_login(UserFactory(role=role, institution=institution))
        clients.append(client)
    account = Account.objects.get(name="bank-7-1")
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT id FROM orders_order WHERE account_id = %s ORDER BY id OFFSET 2500 LIMIT 1", [account.pk])
        order = cursor.fetchone()[0]
        for table in ("orders_order", "orders_trade", "wallet_transfer"):
            cursor.execute(f"SELECT count(*) FROM (SELECT 1 FROM {table} LIMIT %s) x", [ROWS])
            assert cursor.fetchone()[0] >= ROWS - 1, table
        cursor.execute("SELECT client_order_id FROM orders_orderkey WHERE account_id = %s ORDER BY order_id LIMIT 1", [account.pk])
        client_order_id = cursor.fetchone()[0]
    return Archive(clients[0], clients[1], account, symbols, order, client_order_id)


ORDERS, TRADES, TRANSFERS = (
    reverse(f"admin:{name}") for name in ("orders_order_changelist", "orders_trade_changelist", "wallet_transfers")
)

# Of each: a page of the newest, one by index, from the middle, and questions whose answer is rare or not there at all.
BY_INDEX = [
    ORDERS,
    f"{ORDERS}?account={{account}}",
    f"{ORDERS}?institution=bank-7",
    f"{ORDERS}?before={{order}}",
    f"{ORDERS}?before={{order}}&account={{account}}",
    f"{ORDERS}?status=open&symbol={{symbol}}",
    f"{ORDERS}?status=open&account={{account}}",
    f"{ORDERS}?q={{order}}",
    f"{ORDERS}?q={{client_order_id}}",
    TRADES,
    f"{TRADES}?account={{account}}",
    f"{TRADES}?institution=bank-7",
    f"{TRADES}?before={{order}}",
    f"{TRADES}?q={{order}}",
    TRANSFERS,
    f"{TRANSFERS}?account={{account}}",
    f"{TRANSFERS}?before={{order}}",
    f"{TRANSFERS}?q={{order}}",
    "/admin/orders/order/{order}/change/",
    "/admin/orders/trade/{order}/change/",
    "/admin/wallet/transfers/{order}/",
    "/admin/institutions/account/{account_id}/change/",
    "/admin/markets/symbol/{symbol_id}/change/",
    "/admin/find/?q={order}",
    "/admin/find/?q=nothing-is-called-that",
]
BY_INDEX_FOR_STAFF = [f"{TRADES}?symbol={{symbol}}", f"{TRADES}?symbol={{unused}}"]
LOOKING = [
    f"{ORDERS}?status=REJECTED",
    f"{ORDERS}?status=EXPIRED",
    f"{ORDERS}?symbol={{unused}}&side=SELL",
    f"{ORDERS}?status=EXPIRED&institution=bank-7",
    f"{ORDERS}?status=EXPIRED&before={{order}}",
    f"{ORDERS}?q=a-request-that-was-never-made",
    f"{TRADES}?side=SELL",
    f"{TRADES}?symbol={{unused}}&institution=bank-7",
    f"{TRANSFERS}?kind=VENUE",
    f"{TRANSFERS}?kind=DEPOSIT",
]


def _ask(archive: Archive, client: Client, url: str, most: int) -> None:
    values = {
        "account": archive.account.name,
        "account_id": archive.account.pk,
        "symbol": archive.symbols[0].name,
        "symbol_id": archive.symbols[0].pk,
        "unused": archive.symbols[2].name,
        "order": archive.order,
        "client_order_id": archive.client_order_id,
    }
    asked = url.format(**values)
    with read_plans() as reading:
        assert client.get(asked).status_code in (200, 302)
    started = time.perf_counter()
    client.get(asked)
    print(f"{(time.perf_counter() - started) * 1000:6.0f} ms {reading.touched:7} rows {asked}")
    assert reading.statements
    assert not reading.other_scans
    assert reading.touched <= most


@pytest.mark.parametrize("url", BY_INDEX)
@pytest.mark.parametrize("who", ["staff", "bound"])
def test_what_an_index_serves_reads_about_what_it_shows(archive: Archive, who: str, url: str) -> None:
    _ask(archive, getattr(archive, who), url, A_PAGE)


@pytest.mark.parametrize("url", BY_INDEX_FOR_STAFF)
def test_the_trades_of_a_symbol_have_an_index_for_staff_who_see_all(archive: Archive, url: str) -> None:
    _ask(archive, archive.staff, url, A_PAGE)


@pytest.mark.parametrize("url", [*LOOKING, *BY_INDEX_FOR_STAFF])
def test_an_institution_looks_through_no_more_than_staff(archive: Archive, url: str) -> None:
    _ask(archive, archive.bound, url, 5 * LOOKED_THROUGH)


@pytest.mark.parametrize("url", LOOKING)
def test_what_no_index_serves_looks_through_so_many_rows_and_no_more(archive: Archive, url: str) -> None:
    _ask(archive, archive.staff, url, 5 * LOOKED_THROUGH)


def test_a_rare_status_is_found_by_going_on(archive: Archive) -> None:
    page = text_of(archive.staff.get(f"{ORDERS}?status=REJECTED"))
    assert "Looked back to" in page
    assert LOOKED_THROUGH // RARE <= page.count("off tick") <= LOOKED_THROUGH // RARE + 1
