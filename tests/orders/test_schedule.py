"""Opening auctions: when they are due, from what, and never against a person's will."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from django.db import connections

from institutions.models import AuditEntry
from markets.models import Symbol
from orders.schedule import open_auctions, window_at
from orders.tasks import open_auctions as open_auctions_task
from tests.matching_worker.exchange import Exchange, open_exchange
from tests.support.approvals import change_status

DAY = timedelta(days=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("opens_at", "auction_s", "now", "window"),
    [
        ("08:00", 60, "2026-03-02 07:58:59.999", None),
        ("08:00", 60, "2026-03-02 07:59:00", ("2026-03-02 07:59:00", "2026-03-02 08:00:00")),
        ("08:00", 60, "2026-03-02 07:59:59.999", ("2026-03-02 07:59:00", "2026-03-02 08:00:00")),
        ("08:00", 60, "2026-03-02 08:00:00", None),
        ("00:00:30", 60, "2026-03-02 23:59:30", ("2026-03-02 23:59:30", "2026-03-03 00:00:30")),
        ("00:00:30", 60, "2026-03-03 00:00:29", ("2026-03-02 23:59:30", "2026-03-03 00:00:30")),
        ("00:00", 60, "2026-02-28 23:59:30", ("2026-02-28 23:59:00", "2026-03-01 00:00:00")),
        ("00:00", 60, "2026-03-01 00:00:00", None),
        ("12:00", 86_400, "2026-03-02 12:00:00", ("2026-03-02 12:00:00", "2026-03-03 12:00:00")),
    ],
)
def test_the_window_ends_at_the_opening_and_may_begin_the_day_before(
    opens_at: str, auction_s: int, now: str, window: tuple[str, str] | None
) -> None:
    expected = None if window is None else (utc(window[0]), utc(window[1]))
    assert window_at(opens_at=time.fromisoformat(opens_at), auction_s=auction_s, now=utc(now)) == expected


@pytest.fixture
def exchange(fresh_database: str) -> Iterator[Exchange]:
    with open_exchange() as made:
        yield made


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def symbol(exchange: Exchange, now: datetime) -> Symbol:
    """Its window began half an hour ago, as the real clock has it, and lasts for another."""
    made = exchange.symbol(auction_s=3600)
    Symbol.objects.filter(pk=made.pk).update(opens_at=(now + DAY / 48).time())
    return made


def put(exchange: Exchange, symbol: Symbol, status: str, *, settled: bool = True) -> None:
    change_status(symbol=symbol.name, status=status, actor="olga", reason="a test")
    if settled:
        exchange.settle()


def statuses(exchange: Exchange, symbol: Symbol) -> list[tuple[Any, ...]]:
    return exchange.rows("SELECT status, actor FROM orders_symbolstatus WHERE symbol_id = %s ORDER BY number", symbol.pk)


def halted_by_itself(exchange: Exchange, symbol: Symbol, cause: str = "PRICE_BAND") -> None:
    """As the engine leaves it, without the trades that lead there (tests of auctions have them)."""
    with connections["default"].cursor() as cursor:
        cursor.execute("UPDATE markets_symbol SET status = 'HALTED' WHERE id = %s", [symbol.pk])
        cursor.execute(
            """UPDATE orders_checkpoint SET status = 'HALTED', conditions = conditions || jsonb_build_object('cause', %s::text)
               WHERE symbol_id = %s""",
            [cause, symbol.pk],
        )


@pytest.mark.parametrize("before", ["TRADING", "POST_ONLY", "CANCEL_ONLY"])
def test_a_symbol_is_put_into_its_opening_auction_with_an_audited_reason(
    exchange: Exchange, symbol: Symbol, now: datetime, before: str
) -> None:
    if before != "TRADING":
        put(exchange, symbol, before)
    assert open_auctions(now=now - DAY / 24) == [], "an hour ago it was not due"
    assert open_auctions(now=now) == [symbol.name]
    exchange.settle()
    assert statuses(exchange, symbol)[-1] == ("AUCTION", "schedule")
    entry = AuditEntry.objects.get(action="symbol.status", actor="schedule")
    assert (entry.subject, entry.before, entry.after) == (f"symbol:{symbol.name}", {"status": before}, {"status": "AUCTION"})
    assert entry.reason.startswith("opening auction until ")


def test_once_per_window_whoever_ended_it_and_again_the_next_day(exchange: Exchange, symbol: Symbol, now: datetime) -> None:
    assert open_auctions(now=now) == [symbol.name]
    assert open_auctions(now=now) == [], "it is in it"
    exchange.settle()
    put(exchange, symbol, "TRADING")
    assert open_auctions(now=now) == [], "an operator has ended it"
    assert open_auctions(now=now + DAY) == [symbol.name]


def test_ended_before_the_worker_had_begun_it_it_does_not_begin_again(exchange: Exchange, symbol: Symbol, now: datetime) -> None:
    assert open_auctions(now=now) == [symbol.name]
    put(exchange, symbol, "TRADING", settled=False)
    assert open_auctions(now=now) == []


def test_an_operators_auction_within_the_window_counts(exchange: Exchange, symbol: Symbol, now: datetime) -> None:
    put(exchange, symbol, "AUCTION")
    put(exchange, symbol, "TRADING")
    assert open_auctions(now=now) == []


def test_a_halt_that_a_person_commanded_stays(exchange: Exchange, symbol: Symbol, now: datetime) -> None:
    put(exchange, symbol, "HALTED", settled=False)
    assert open_auctions(now=now) == [], "the worker does not know of it yet"
    exchange.settle()
    assert open_auctions(now=now) == []
    assert statuses(exchange, symbol) == [("HALTED", "olga")]


@pytest.mark.parametrize("cause", ["PRICE_BAND", "AUCTION_BAND", ""])
def test_a_halt_that_nobody_commanded_ends_in_the_opening_auction(exchange: Exchange, symbol: Symbol, now: datetime, cause: str) -> None:
    halted_by_itself(exchange, symbol, cause)
    assert open_auctions(now=now) == [symbol.name]


def test_a_person_who_halts_what_has_halted_by_itself_is_heeded_at_once(exchange: Exchange, symbol: Symbol, now: datetime) -> None:
    halted_by_itself(exchange, symbol)
    put(exchange, symbol, "HALTED", settled=False)
    assert open_auctions(now=now) == []


def test_delisted_unlisted_and_symbols_without_a_time_are_left_alone(exchange: Exchange, symbol: Symbol, now: datetime) -> None:
    put(exchange, symbol, "DELISTED")
    hidden = exchange.symbol(auction_s=3600)
    Symbol.objects.filter(pk=hidden.pk).update(is_listed=False, opens_at=(now + DAY / 48).time())
    exchange.symbol(auction_s=3600)
    assert open_auctions(now=now) == []


def test_two_beats_at_once_open_it_once(exchange: Exchange, symbol: Symbol, now: datetime) -> None:
    def beat() -> list[str]:
        try:
            return open_auctions(now=now)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        opened = [name for found in [pool.submit(beat) for _ in range(4)] for name in found.result()]
    assert opened == [symbol.name]
    exchange.settle()
    assert statuses(exchange, symbol) == [("AUCTION", "schedule")]


def test_the_task_goes_by_the_clock(exchange: Exchange, symbol: Symbol) -> None:
    assert open_auctions_task() == 1
    assert open_auctions_task() == 0
