"""A statement adds up, whatever the period, and says so when the ledger does not."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from django.db import connection

from institutions.models import Account
from orders.retention import retire
from tests.orders.test_retention import FIRST, OLD, SECOND, THIRD, World, world
from tests.wallet.conftest import STAFF, Bank
from tests.wallet.test_transfers import give
from wallet.ledger import NotFound
from wallet.statements import InvalidPeriod, Statement, StatementMismatch, Total, as_csv, as_json, statement
from wallet.withdrawals import complete

__all__ = ["world"]
DAY = timedelta(days=1)


def read(account: Account, start: datetime, end: datetime | None = None, institution_id: int | None = None) -> Statement:
    now = datetime.now(UTC) + timedelta(seconds=5)
    return statement(institution_id=institution_id, account_id=account.pk, start=start, end=end or now, now=now)


def adds_up(found: Statement) -> None:
    for total in found.totals:
        lines = [line for line in found.lines if line.asset_id == total.asset_id]
        assert total.opening + sum((line.amount for line in lines), Decimal(0)) == total.closing
        if lines:
            assert lines[-1].balance == total.closing


def test_movements_lead_from_the_opening_to_the_closing(bank: Bank) -> None:
    before = datetime.now(UTC) - DAY
    bank.allow(500)
    asks = bank.ask(300)
    give(bank, "0.25")
    complete(withdrawal_id=asks.withdrawal_id, reference="chain", asked=STAFF)
    found = read(bank.mine, before)
    adds_up(found)
    assert found.totals == [Total(bank.usd.pk, Decimal(0), Decimal("699.75"), Decimal("699.75"))]
    assert [(line.kind, line.amount) for line in found.lines] == [
        ("DEPOSIT", 1000), ("TRANSFER", Decimal("-0.25")), ("WITHDRAWAL", -300),
    ]  # fmt: skip
    later = read(bank.mine, found.lines[1].at)  # a period begins with its first moment and ends before its last
    assert (later.totals[0].opening, len(later.lines)) == (1000, 2)
    first = read(bank.mine, before, found.lines[1].at)
    assert (first.totals[0].closing, len(first.lines)) == (1000, 1)
    told = as_json(later)
    assert told["assets"] == [{"asset": "USD", "opening": "1000.00", "movements": "-300.25", "closing": "699.75"}]
    assert as_csv(first).splitlines()[-1].endswith(",CLOSING,USD,,1000.00,")


def test_a_period_without_movements_has_totals_alone(bank: Bank) -> None:
    start = datetime.now(UTC) - 30 * DAY
    found = read(bank.mine, start, start + DAY)
    assert (found.lines, found.totals) == ([], [Total(bank.usd.pk, Decimal(0), Decimal(0), Decimal(0))])


def test_only_what_is_in_reach_is_told(bank: Bank) -> None:
    start = datetime.now(UTC) - DAY
    assert read(bank.mine, start, institution_id=bank.north.pk).account == "north-1"
    with pytest.raises(NotFound):
        read(bank.theirs, start, institution_id=bank.north.pk)


def test_a_period_has_a_beginning_before_its_end_and_before_now(bank: Bank) -> None:
    now = datetime.now(UTC)
    for start, end in ((now, now), (now, now - DAY), (now + DAY, now + 2 * DAY)):
        with pytest.raises(InvalidPeriod):
            statement(institution_id=None, account_id=bank.mine.pk, start=start, end=end, now=now)


def test_where_the_ledger_does_not_add_up_there_is_no_statement(bank: Bank, fresh_database: str) -> None:
    with psycopg.connect(fresh_database, autocommit=True) as superuser:
        superuser.execute("UPDATE wallet_balance SET posted = posted + 1")
        with pytest.raises(StatementMismatch):
            read(bank.mine, datetime.now(UTC) - DAY)
        superuser.execute("UPDATE wallet_balance SET posted = posted - 1")


def test_trades_and_closed_months_are_in_it(world: World) -> None:
    world.deposits_were_made(FIRST)
    for month in OLD:
        world.go_to(datetime(month.year, month.month, 10, tzinfo=UTC))
        world.sell("1")
        world.buy("1")
    world.go_to(None)
    world.sell("2")
    world.buy("2")
    account = world.buyer.account
    start = datetime(FIRST.year, FIRST.month, 1, tzinfo=UTC)
    before = {month: read(account, datetime(month.year, month.month, 1, tzinfo=UTC)) for month in OLD}
    assert len(before[FIRST].lines) == 1 + 4 * 3  # a deposit; two legs and a fee of each trade
    assert {step.what for step in retire()}

    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM wallet_carriedsum")
        row: Any = cursor.fetchone()
    assert row[0] > 0
    for month in OLD:
        after = read(account, datetime(month.year, month.month, 1, tzinfo=UTC))
        adds_up(after)
        assert after.totals == before[month].totals
    whole = read(account, start)
    assert [(line.kind, line.id) for line in whole.lines][:2] == [("MONTH", None)] * 2
    between = read(account, start, datetime(THIRD.year, THIRD.month, 1, tzinfo=UTC))
    adds_up(between)
    assert {line.reference for line in between.lines} == {f"{FIRST:%Y-%m}", f"{SECOND:%Y-%m}"}
    for wrong in (start + DAY, start + timedelta(hours=1)):
        with pytest.raises(InvalidPeriod, match="whole months"):
            read(account, wrong)
