"""Lists go from page to page without counting, whatever they hold; the box finds by what compliance is given."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connections, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from exchange_platform import partitions
from exchange_platform.ids import uuid7
from exchange_platform.partitions import months_after, start_of
from institutions import audit
from institutions.models import AuditEntry, User
from tests.admin.conftest import Office, text_of
from tests.factories import order_row, trade_row

ORDERS, TRADES = "admin:orders_order_changelist", "admin:orders_trade_changelist"
DAY_MS = 86_400_000


def _ids(page: str, model: str) -> list[str]:
    """The rows of a list, by the links to their pages, in order."""
    return list(dict.fromkeys(re.findall(rf'<td data-title="[A-Z][a-z]+"><a class="bo-link" href="/admin/{model}/([^/]+)/change/', page)))


def _walk(client: Client, url: str, model: str) -> list[list[str]]:
    """Every page of a list, by following what says Older."""
    pages: list[list[str]] = []
    while url:
        page = text_of(client.get(url))
        pages.append(_ids(page, model))
        found = re.search(r'rel="next" href="(\?[^"]+)"', page)
        url = (url.partition("?")[0] + found[1].replace("&amp;", "&")) if found else ""
    return pages


@pytest.fixture(scope="module")
def many(office: Office) -> list[UUID]:
    """120 orders of two accounts over a little more than a day that ended a day ago, by id; every tenth rejected."""
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    made = []
    for n in range(120):
        account = office.mine if n % 2 else office.theirs
        status = "REJECTED" if n % 10 == 0 else "CANCELLED"
        made.append(order_row(account, office.symbol, at_ms=now_ms - DAY_MS - n * 800_000, status=status))
    return sorted(made, reverse=True)


def test_older_leads_through_every_order_once_newest_first(office: Office, many: list[UUID]) -> None:
    pages = _walk(office.client("compliance"), reverse(ORDERS), "orders/order")
    assert [len(page) for page in pages] == [50, 50, 22]
    assert [one for page in pages for one in page][2:] == [str(order_id) for order_id in many]


def test_filters_go_along_from_page_to_page(office: Office, many: list[UUID]) -> None:
    pages = _walk(office.client("compliance"), reverse(ORDERS) + "?account=alpha-1&status=CANCELLED", "orders/order")
    assert [len(page) for page in pages] == [50, 10]


def test_a_status_that_few_have_is_found_behind_all_others(office: Office, many: list[UUID]) -> None:
    [page] = _walk(office.client("compliance"), reverse(ORDERS) + "?status=REJECTED&institution=beta", "orders/order")
    assert len(page) == 12


def test_when_a_filter_has_looked_long_enough_it_says_how_far_it_came(
    office: Office, many: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orders.search.LOOKED_THROUGH", 30)
    client = office.client("compliance")
    first = text_of(client.get(reverse(ORDERS) + "?status=REJECTED"))
    assert "Looked back to" in first
    pages = _walk(client, reverse(ORDERS) + "?status=REJECTED", "orders/order")
    assert len(pages) == 4
    assert sum(len(page) for page in pages) == 12  # each once, although no page was full


def test_days_are_whole_and_inclusive(office: Office, many: list[UUID]) -> None:
    def day_of(order_id: UUID) -> str:
        return datetime.fromtimestamp((order_id.int >> 80) / 1000, UTC).date().isoformat()

    day = day_of(many[60])
    expected = [str(order_id) for order_id in many if day_of(order_id) == day]
    assert 0 < len(expected) < len(many)
    pages = _walk(office.client("compliance"), f"{reverse(ORDERS)}?start={day}&end={day}", "orders/order")
    assert [one for page in pages for one in page] == expected


def test_a_filter_that_is_none_is_told_and_shows_nothing(office: Office) -> None:
    page = text_of(office.client("compliance").get(reverse(ORDERS) + "?start=yesterday&status=HAPPY"))
    assert "Enter a valid date" in page
    assert "not one of the available choices" in page
    assert not _ids(page, "orders/order")
    page = text_of(office.client("compliance").get(reverse(ORDERS) + "?symbol=NO/SUCH"))
    assert "Nothing matches" in page
    assert text_of(office.client("compliance").get(reverse(ORDERS) + "?before=nonsense"))


def test_open_orders_are_those_that_have_not_ended(office: Office, many: list[UUID]) -> None:
    page = text_of(office.client("compliance").get(reverse(ORDERS) + "?status=open"))
    assert set(_ids(page, "orders/order")) == {str(office.my_order), str(office.their_order)}


ARCHIVE = "orders_archivedpartition_changelist"
LISTS = [
    "orders_order_changelist",
    "orders_trade_changelist",
    "wallet_transfers",
    "wallet_balances",
    "orders_positions",
    "institutions_account_changelist",
]


@pytest.mark.parametrize("name", [*LISTS, "institutions_auditentry_changelist", "institutions_apikey_changelist"])
def test_a_list_never_counts_and_asks_no_more_for_more_rows(office: Office, many: list[UUID], name: str) -> None:
    for _ in range(3):
        trade_row(office.mine, office.theirs, office.symbol)
    client, url = office.client("compliance"), reverse(f"admin:{name}")
    client.get(url)  # what is remembered for good
    first = _statements(client, url)
    assert not [sql for sql in first if re.search(r"\bcount\(", sql, re.IGNORECASE)]
    assert len(first) < 20, "\n".join(first)
    for _ in range(5):
        trade_row(office.theirs, office.mine, office.symbol)
    assert len(_statements(client, url)) == len(first)


def _statements(client: Client, url: str) -> list[str]:
    with CaptureQueriesContext(connections["tenant"]) as tenant, CaptureQueriesContext(connections["default"]) as default:
        assert client.get(url).status_code == 200
    return [query["sql"] for query in [*tenant.captured_queries, *default.captured_queries]]


def test_one_order_leads_to_all_that_belongs_to_it(office: Office) -> None:
    client = office.client("compliance")
    order = text_of(client.get(reverse("admin:orders_order_change", args=[str(office.my_order)])))
    for name, pk in [
        ("orders_trade_change", office.trade),
        ("orders_order_change", office.their_order),
        ("institutions_account_change", office.mine.pk),
        ("institutions_institution_change", office.alpha.pk),
        ("markets_symbol_change", office.symbol.pk),
    ]:
        assert reverse(f"admin:{name}", args=[str(pk)]) in order, name
    assert reverse("admin:wallet_balances") + "?account=alpha-1" in order
    trade = text_of(client.get(reverse("admin:orders_trade_change", args=[str(office.trade)])))
    assert "MAKER FEE" in trade
    assert reverse("admin:orders_order_change", args=[str(office.their_order)]) in trade
    account = text_of(client.get(reverse("admin:institutions_account_change", args=[office.mine.pk])))
    assert "10000.00000000" in account
    assert reverse("admin:orders_order_change", args=[str(office.my_order)]) in account


def _found(office: Office, text: str) -> Any:
    """Where the box leads: the page itself for one hit, else the pages it offers."""
    response = office.client("compliance").get("/admin/find/", {"q": text})
    return response["Location"] if response.status_code == 302 else re.findall(r'<li><a href="([^"]+)"', text_of(response))


def test_the_box_finds_by_every_term(office: Office) -> None:
    order = reverse("admin:orders_order_change", args=[str(office.my_order)])
    trade = reverse("admin:orders_trade_change", args=[str(office.trade)])
    assert _found(office, str(office.my_order)) == order
    assert _found(office, office.my_order.hex) == order
    assert _found(office, "my-order") == order
    assert _found(office, str(office.trade)) == trade
    assert _found(office, "alpha-1") == reverse("admin:institutions_account_change", args=[office.mine.pk])
    assert reverse("admin:institutions_institution_change", args=[office.alpha.pk]) in _found(office, "alpha")
    assert _found(office, office.symbol.name.lower()) == reverse("admin:markets_symbol_change", args=[office.symbol.pk])
    assert _found(office, office.my_key.key) == reverse("admin:institutions_apikey_change", args=[office.my_key.id])
    assert _found(office, "beta-boss") == reverse("admin:institutions_user_change", args=[_pk("beta-boss")])
    assert _found(office, str(uuid7())) == []


def _pk(username: str) -> int:
    return User.objects.get(username=username).pk


def test_a_deposit_is_found_by_its_reference(office: Office) -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT reference, id FROM wallet_transfer WHERE kind = 'DEPOSIT' ORDER BY id LIMIT 1")
        reference, transfer_id = cursor.fetchone()
    assert _found(office, reference) == reverse("admin:wallet_transfer", args=[str(transfer_id)])
    listed = text_of(office.client("compliance").get(reverse("admin:wallet_transfers"), {"q": reference}))
    assert reference in listed


def test_orders_are_found_by_a_trade_and_by_a_request(office: Office) -> None:
    client = office.client("compliance")
    both = set(_ids(text_of(client.get(reverse(ORDERS), {"q": str(office.trade)})), "orders/order"))
    assert both == {str(office.my_order), str(office.their_order)}
    with connections["default"].cursor() as cursor:
        cursor.execute(
            """INSERT INTO orders_transition (order_id, sequence, from_status, to_status, cause, actor, request_id, at)
               VALUES (%s, 0, NULL, 'PENDING', 'place', 'key:x', 'req-77', now())""",
            [office.my_order],
        )
    assert _ids(text_of(client.get(reverse(ORDERS), {"q": "req-77"})), "orders/order") == [str(office.my_order)]


def test_the_audit_trail_is_found_by_whom_what_when_and_request(office: Office) -> None:
    with transaction.atomic(), audit.asked_from(audit.Origin(ip="10.9.9.9", request_id="req-audit")):
        audit.record(
            actor="olga", action="symbol.status", subject="symbol:X/Y", reason="why", before={"status": "A"}, after={"status": "B"}
        )
    entry = AuditEntry.objects.get(request_id="req-audit")
    url, client = reverse("admin:institutions_auditentry_changelist"), office.client("compliance")
    today, yesterday = (datetime.now(UTC) - timedelta(days=n) for n in (0, 1))
    for query, expected in [
        ({"actor": "olga"}, True),
        ({"subject": "symbol:X/Y", "action": "symbol.status"}, True),
        ({"q": "req-audit"}, True),
        ({"actor": "olga", "start": today.date().isoformat()}, True),
        ({"actor": "olga", "end": yesterday.date().isoformat()}, False),
        ({"actor": "nobody"}, False),
    ]:
        page = text_of(client.get(url, query))
        assert (reverse("admin:institutions_auditentry_change", args=[entry.pk]) in page) == expected, query
    assert _found(office, "req-audit") == reverse("admin:institutions_auditentry_change", args=[entry.pk])
    assert "status: A → B" in text_of(client.get(url, {"actor": "olga"}))


def test_an_empty_list_tells_what_to_do(office: Office) -> None:
    page = text_of(office.client("compliance").get(reverse(ORDERS), {"account": "alpha-1", "status": "EXPIRED"}))
    assert "Clear the filters" in page
    assert "Nothing matches" in page


@pytest.mark.parametrize("name", [*LISTS, "institutions_auditentry_changelist", ARCHIVE])
@pytest.mark.parametrize("before", ["nonsense", "9" * 40, "-1", "9999999999999999-9999999999", "\0", "٣"])
def test_a_cursor_that_somebody_made_up_breaks_nothing(office: Office, name: str, before: str) -> None:
    assert office.client("compliance").get(reverse(f"admin:{name}"), {"before": before}).status_code == 200


@pytest.mark.parametrize("text", ["\0", "%", "'; --", "ö" * 200, "0" * 32, "/", "\\"])
def test_whatever_is_typed_into_the_box_is_answered(office: Office, text: str) -> None:
    client = office.client("compliance")
    assert client.get("/admin/find/", {"q": text}).status_code == 200
    others = ("institutions_user_changelist", "markets_symbol_changelist", "orders_checkpoint_changelist", ARCHIVE)
    for name in (*LISTS, *others):
        assert client.get(reverse(f"admin:{name}"), {"q": text}).status_code == 200, name


def test_what_has_left_is_listed_newest_first_and_says_where_it_is_kept(office: Office) -> None:
    client = office.client("compliance")
    assert "Nothing has left yet" in text_of(client.get(reverse(f"admin:{ARCHIVE}")))
    first = date(2015, 1, 1)
    with partitions.maintenance() as owner:
        for month in (months_after(first, number) for number in range(60)):
            bounds = [start_of(month), start_of(months_after(month, 1))]
            owner.execute(
                "INSERT INTO orders_archivedpartition VALUES (%s, 'orders_commandlog', %s, %s, 7, now())",
                [partitions.name_of("orders_commandlog", month), *bounds],
            )
    pages = _walk(client, reverse(f"admin:{ARCHIVE}"), "orders/archivedpartition")
    assert [len(page) for page in pages] == [50, 10]
    listed = [name for page in pages for name in page]
    assert listed == [partitions.name_of("orders_commandlog", months_after(first, number)) for number in reversed(range(60))]
    page = text_of(client.get(reverse("admin:orders_archivedpartition_change", args=[listed[0]])))
    assert "archive.orders_commandlog_2019_12" in page
    assert "Where the logs begin now" in page
    assert client.get(reverse("admin:orders_archivedpartition_change", args=["orders_commandlog_1999_01"])).status_code == 404
