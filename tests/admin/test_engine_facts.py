"""What pages tell of stops, auctions, phases and positions."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.urls import reverse

from institutions.models import AuditEntry
from markets.models import Symbol
from orders.models import SymbolStatus
from tests.admin.conftest import Office, text_of
from tests.factories import order_row, trade_row

AT = datetime(2026, 3, 2, 7, 59, 1, tzinfo=UTC)


def facts_of(page: str) -> dict[str, str]:
    """By name, without markup."""
    plain = [re.sub(r"<[^>]+>", " ", part) for part in re.findall(r"<d[td][^>]*>(.*?)</d[td]>", page, re.DOTALL)]
    words = [" ".join(part.split()) for part in plain]
    return dict(zip(words[::2], words[1::2], strict=True))


def triggered(office: Office, side: str, average: str) -> UUID:
    """A stop that was triggered at 100 and filled at `average`."""
    terms: dict[str, Any] = {"order_type": "STOP", "price": None, "protection_price": 105 if side == "BUY" else 90, "stop_price": 99}
    filled = {"quantity": 2, "filled_quantity": 2, "filled_quote": Decimal(average) * 2, "trigger_price": 100, "triggered_at": AT}
    return order_row(
        office.mine, office.symbol, status="FILLED", side=side, trigger_source="REFERENCE", reduce_only=side == "SELL", **terms, **filled
    )


@pytest.mark.parametrize(
    ("side", "average", "slippage"),
    [("BUY", "101.5", "1.5000 %"), ("BUY", "99", "-1.0000 %"), ("SELL", "98", "2.0000 %"), ("SELL", "100.00005", "0.0000 %")],
)
def test_the_slippage_of_a_triggered_stop_is_worse_when_positive(office: Office, side: str, average: str, slippage: str) -> None:
    order_id = triggered(office, side, average)
    found = facts_of(text_of(office.client("compliance").get(reverse("admin:orders_order_change", args=[str(order_id)]))))
    assert found["Slippage from trigger"].replace("-0.0000", "0.0000") == slippage
    assert (found["Stop price"], found["Trigger price"], found["Triggered by"]) == ("99.00", "100.00", "reference price")
    assert found["Triggered (UTC)"].startswith("2026-03-02 07:59:01")
    assert found["Reduce only"] == ("yes" if side == "SELL" else "no")


def test_an_order_without_a_trigger_has_no_slippage(office: Office) -> None:
    found = facts_of(text_of(office.client("compliance").get(reverse("admin:orders_order_change", args=[str(office.my_order)]))))
    assert (found["Slippage from trigger"], found["Triggered by"], found["Trigger price"]) == ("–", "–", "–")


def test_an_order_tells_when_it_expires(office: Office) -> None:
    order_id = order_row(office.mine, office.symbol, time_in_force="GTD", expire_at=AT)
    found = facts_of(text_of(office.client("compliance").get(reverse("admin:orders_order_change", args=[str(order_id)]))))
    assert found["Expires (UTC)"].startswith("2026-03-02 07:59:01")


def test_a_trade_tells_whether_an_auction_made_it(office: Office) -> None:
    for in_auction, told in ((False, "continuous trading"), (True, "auction")):
        made = trade_row(office.mine, office.theirs, office.symbol, in_auction=in_auction)
        found = facts_of(text_of(office.client("compliance").get(reverse("admin:orders_trade_change", args=[str(made)]))))
        assert found["Made in"].lower() == told


def test_a_symbol_shows_its_status_history_and_names_people_to_those_who_read_the_trail(office: Office) -> None:
    for number, (status, cause, actor) in enumerate([("HALTED", "COMMAND", "user:9:olga"), ("AUCTION", "HALT_OVER", "engine")], 1):
        row = {"symbol_id": office.symbol.pk, "number": number, "sequence": number, "at": AT}
        SymbolStatus.objects.create(status=status, cause=cause, actor=actor, **row)
    url = reverse("admin:markets_symbol_change", args=[office.symbol.pk])
    seen = text_of(office.client("compliance").get(url)).split("Status history")[1]
    assert "user:9:olga" in seen
    assert seen.index("halt over") < seen.index("command"), "the newest first"
    seen = text_of(office.client("institution_admin").get(url)).split("Status history")[1]
    assert "olga" not in seen
    assert "staff" in seen
    assert "engine" in seen


def test_an_account_shows_its_positions_and_leads_to_the_list(office: Office) -> None:
    page = text_of(office.client("institution_admin").get(reverse("admin:institutions_account_change", args=[office.mine.pk])))
    positions = re.split(r">\s*Positions\s*<", page)[-1]
    assert reverse("admin:orders_positions") + f"?account={office.mine.name}" in positions
    words = re.sub(r"<[^>]+>", " ", positions).split()
    assert [words[words.index("2.000") + step] for step in range(3)] == ["2.000", "90.00000000", "7.00000000"]


def test_phases_are_rules_that_change_with_a_reason(office: Office) -> None:
    url = reverse("admin:markets_symbol_do", args=[office.symbol.pk, "rules"])
    client = office.client("superuser")
    initial = client.get(url).context["form"].initial
    asked = {name: value for name, value in initial.items() if value not in (None, False)}
    change = {"auction_s": "300", "halt_s": "45", "opens_at": "08:00", "resumes_by_auction": "on", "reason": "a daily opening"}
    assert client.post(url, {**asked, **change}).status_code == 302
    symbol = Symbol.objects.get(pk=office.symbol.pk)
    assert (symbol.auction_s, symbol.halt_s, str(symbol.opens_at), symbol.resumes_by_auction) == (300, 45, "08:00:00", True)
    entry = AuditEntry.objects.get(action="symbol.change")
    assert entry.after == {"auction_s": 300, "halt_s": 45, "opens_at": "08:00:00", "resumes_by_auction": True}
    found = facts_of(text_of(client.get(reverse("admin:markets_symbol_change", args=[office.symbol.pk]))))
    told = [found[name] for name in ("Auction", "Halt beyond it", "Opening auction ends (UTC)", "Resumption by an operator")]
    assert told == ["300 s", "45 s, then an auction", "08:00:00", "through an auction"]
    assert "08:00:00" in text_of(client.get(url)), "the form begins with what is set"
