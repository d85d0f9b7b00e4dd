"""Surveillance over the database: what happened is judged once, whatever happens to who judges."""

import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import psycopg
import pytest
from django.conf import settings
from django.db import connection

from exchange_platform.db import own
from institutions.models import Account
from markets.models import Symbol
from risk import findings, links, money, post_trade, tasks, watermarks
from risk.portfolios import take_snapshots
from risk.post_trade import judge_orders, judge_trades
from tests.factories import AccountFactory, AssetFactory, InstitutionFactory, SymbolFactory, fund, order_row, trade_row
from tests.risk.surveillance_ground import stand_in
from wallet.services import deposit

AGO_MS = 120_000

Row = tuple[object, ...]


def rows(sql: str, *parameters: object) -> list[Row]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return list(cursor.fetchall())


def signals() -> list[Row]:
    return rows("SELECT kind, account_id FROM risk_signal ORDER BY kind, account_id")


@pytest.fixture
def market(fresh_database: str, monkeypatch: pytest.MonkeyPatch) -> Symbol:
    stand_in(monkeypatch)
    return SymbolFactory(quote=AssetFactory(code="USDT"))  # type: ignore[no-any-return]


@pytest.fixture
def now_ms() -> int:
    return int(time.time() * 1000) - AGO_MS


def two_of(owner: str) -> tuple[Account, Account]:
    institution = InstitutionFactory()
    return AccountFactory(institution=institution, beneficial_owner=owner), AccountFactory(institution=institution, beneficial_owner=owner)


def wash(symbol: Symbol, one: Account, other: Account, now_ms: int, times: int = 3) -> list[UUID]:
    made = []
    for n in range(times):
        at = now_ms + n * 1_000
        maker = order_row(one, symbol, at_ms=at - 500, side="SELL", status="FILLED")
        taker = order_row(other, symbol, at_ms=at, status="FILLED")
        made.append(trade_row(one, other, symbol, at_ms=at, maker_order_id=maker, taker_order_id=taker))
    return made


def test_accounts_of_one_owner_that_trade_with_each_other_are_found_once(market: Symbol, now_ms: int) -> None:
    one, other = two_of("Ada Lovelace")
    trades = wash(market, one, other, now_ms)
    done = judge_trades(symbol_id=market.pk)
    assert (done.rows, done.alerts) == (3, 3)  # as it rises from LOW to HIGH
    assert signals() == [("WASH_TRADING", one.pk)] * 3 + [("WASH_TRADING", other.pk)] * 3
    assert rows("SELECT position FROM risk_watermark WHERE name = %s", f"trades:{market.pk}") == [(trades[-1],)]
    assert judge_trades(symbol_id=market.pk).rows == 0


def test_linked_accounts_count_as_one_owners_until_the_link_ends(market: Symbol, now_ms: int) -> None:
    one, other = AccountFactory(), AccountFactory()
    links.link_accounts(account=one.name, other=other.name, actor="carla", reason="one address, one telephone")
    wash(market, one, other, now_ms)
    assert judge_trades(symbol_id=market.pk).alerts == 3
    [(link_id,)] = rows("SELECT id FROM risk_accountlink")
    links.unlink_accounts(link_id=int(str(link_id)), actor="carla", reason="a mistake")
    with pytest.raises(links.InvalidLink):
        links.unlink_accounts(link_id=int(str(link_id)), actor="carla", reason="again")
    assert links.active_links() == []
    assert [row[0] for row in rows("SELECT action FROM institutions_auditentry WHERE actor = 'carla' ORDER BY id")] == [
        "account.link", "account.unlink",
    ]  # fmt: skip


def test_trades_that_are_too_fresh_wait(market: Symbol) -> None:
    one, other = two_of("Ada Lovelace")
    wash(market, one, other, int(time.time() * 1000) - 3_000)
    assert judge_trades(symbol_id=market.pk).rows == 0
    assert market.pk not in post_trade.symbols_behind()


def test_orders_that_pressed_are_read_with_their_ends(market: Symbol, now_ms: int) -> None:
    abuser, victim = AccountFactory(), AccountFactory()
    for n in range(2):
        at = now_ms + n * 20_000
        ended = datetime.fromtimestamp((at + 1_500) / 1000, UTC)
        for level in range(3):
            order_row(
                abuser, market, at_ms=at - 4_000 + level, side="SELL", status="CANCELLED", quantity=Decimal(20),
                price=Decimal("100.10") + level * Decimal("0.01"), updated_at=ended,
            )  # fmt: skip
        wanted = order_row(abuser, market, at_ms=at - 3_000, status="FILLED")
        taker = order_row(victim, market, at_ms=at, side="SELL", status="FILLED")
        trade_row(abuser, victim, market, at_ms=at, taker_side="SELL", maker_order_id=wanted, taker_order_id=taker)
    assert judge_trades(symbol_id=market.pk).alerts == 2
    assert signals() == [("LAYERING", abuser.pk)] * 2


def test_context_that_was_judged_before_still_counts(market: Symbol, now_ms: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A circle whose legs are judged one by one is found with the last leg, and not again."""
    ring = [AccountFactory() for _ in range(3)]
    for n, seller in enumerate(ring):
        trade_row(seller, ring[(n + 1) % 3], market, at_ms=now_ms + n * 5_000, quantity="7")
    monkeypatch.setattr(post_trade, "TRADES_AT_ONCE", 1)
    assert [judge_trades(symbol_id=market.pk).alerts for _ in range(4)] == [0, 0, 1, 0]
    assert signals() == [("CIRCULAR_TRADING", account.pk) for account in sorted(ring, key=lambda a: a.pk)]


def test_who_stuffs_the_book_is_found_once(market: Symbol, now_ms: int) -> None:
    account, slow = AccountFactory(), AccountFactory()
    for n in range(80):
        at = now_ms + n * 40
        order_row(account, market, at_ms=at, status="CANCELLED", updated_at=datetime.fromtimestamp((at + 100) / 1000, UTC))
    for n in range(10):
        order_row(slow, market, at_ms=now_ms + n * 500, status="CANCELLED")
    assert judge_orders().alerts == 1
    assert signals() == [("VELOCITY", account.pk)]
    assert judge_orders().rows == 0


STEPS: dict[str, tuple[object, str]] = {
    "before anything": (watermarks, "take"),
    "before the alerts": (findings, "write"),
    "between alerts and scores": (findings, "set_scores"),
    "before the watermark": (watermarks, "move"),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_failure_at_any_step_leaves_nothing_and_the_next_call_does_it_all(
    market: Symbol, now_ms: int, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two_of("Ada Lovelace")
    wash(market, one, other, now_ms)
    room, name = STEPS[step]
    _break(monkeypatch, room, name)
    with pytest.raises(RuntimeError, match="killed"):
        judge_trades(symbol_id=market.pk)
    assert signals() == []
    assert rows("SELECT 1 FROM risk_watermark") == []
    monkeypatch.undo()
    stand_in(monkeypatch)
    assert judge_trades(symbol_id=market.pk).alerts == 3
    assert len(signals()) == 6


def _break(patch: pytest.MonkeyPatch, room: object, name: str) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("killed")

    patch.setattr(room, name, broken)


def test_judging_again_from_an_earlier_position_raises_nothing_anew(market: Symbol, now_ms: int) -> None:
    one, other = two_of("Ada Lovelace")
    wash(market, one, other, now_ms)
    assert tasks.watch_trades(str(market.pk)) == 3
    rows_before = signals()
    # As if the watermark had been lost with a restored backup.
    with psycopg.connect(settings.DATABASE_URL, autocommit=True) as maintenance:
        maintenance.execute("ALTER TABLE risk_watermark DISABLE TRIGGER ALL")
        maintenance.execute("DELETE FROM risk_watermark")
        maintenance.execute("ALTER TABLE risk_watermark ENABLE TRIGGER ALL")
    done = judge_trades(symbol_id=market.pk)
    assert (done.rows, done.alerts) == (3, 0)
    assert signals() == rows_before


# -- movements


def age_movements(by: timedelta) -> None:
    """Movements are made now; what is looked at is older."""
    with psycopg.connect(settings.DATABASE_URL, autocommit=True) as maintenance:
        maintenance.execute("SET session_replication_role = replica")
        for identity, leg in maintenance.execute("SELECT id, leg FROM wallet_transfer ORDER BY id").fetchall():
            moved = UUID(int=identity.int - (int(by.total_seconds() * 1000) << 80))
            maintenance.execute(
                "UPDATE wallet_transfer SET id = %s, created_at = created_at - %s WHERE id = %s AND leg = %s", [moved, by, identity, leg]
            )


def test_deposits_just_below_the_threshold_are_found_once(market: Symbol) -> None:
    account = AccountFactory()
    for _ in range(4):
        fund(account, market.quote, "9500")
    age_movements(timedelta(minutes=1))
    done = money.judge_movements()
    assert (done.rows, done.alerts) == (4, 1)
    assert signals() == [("AML_STRUCTURING", account.pk)]
    assert money.judge_movements().rows == 0


def test_a_reference_on_the_watch_list_is_found(market: Symbol) -> None:
    links.watch_mark(mark=" BC1-Evil ", actor="carla", reason="sanctioned")
    account = AccountFactory()
    fund(account, market.quote, "10")
    deposit(account_id=account.pk, asset="USDT", amount=Decimal(5), reference="from bc1-evil 77", actor="tests")
    age_movements(timedelta(minutes=1))
    assert money.judge_movements().alerts == 1
    assert signals() == [("AML_WATCH_LIST", account.pk)]


# -- scores


def test_scores_rise_with_what_was_found_and_fade(market: Symbol, now_ms: int, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = two_of("Ada Lovelace")
    set_to: list[tuple[int, Decimal]] = []
    scores = __import__("risk.scores", fromlist=["set_score"])
    monkeypatch.setattr(scores, "set_score", lambda account, score: set_to.append((account, score)))
    wash(market, one, other, now_ms)
    judge_trades(symbol_id=market.pk)
    assert [account for account, _ in set_to] == [one.pk, other.pk]
    assert set_to[0][1] > Decimal("0.3")
    with own():
        findings.set_scores([one.pk], now_ms=now_ms + 60 * 86_400_000)
    assert set_to[-1][1] == 0
    assert tasks.fade_scores() == 2
    assert [(severity, score) for _, severity, score, _ in findings.reasons_of(one.pk)] == [
        ("HIGH", Decimal("0.88")), ("MEDIUM", Decimal("0.75")), ("LOW", Decimal("0.5")),
    ]  # fmt: skip


def test_portfolios_are_seen_once_an_hour_and_told_beyond_their_limits(market: Symbol) -> None:
    account, plain = AccountFactory(), AccountFactory()
    fund(account, market.quote, "50000")
    fund(account, market.base, "100")
    fund(plain, market.quote, "50000")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE markets_symbol SET reference_price = 500 WHERE id = %s", [market.pk])
    at = datetime.now(UTC) + timedelta(seconds=1)
    assert take_snapshots(at=at) == 2
    assert take_snapshots(at=at) == 0
    found = rows("SELECT equity, inflow, concentration, drawdown, daily_loss FROM risk_portfoliosnapshot WHERE account_id = %s", account.pk)
    assert found == [(100_000, 100_000, Decimal("0.5"), 0, 0)]
    assert signals() == [("PORTFOLIO_CONCENTRATION", account.pk)]
    with connection.cursor() as cursor:
        cursor.execute("UPDATE markets_symbol SET reference_price = 200 WHERE id = %s", [market.pk])
    assert take_snapshots(at=at + timedelta(hours=1)) == 2
    later = rows("SELECT equity, drawdown, daily_loss FROM risk_portfoliosnapshot WHERE account_id = %s ORDER BY at DESC", account.pk)[0]
    assert later == (70_000, Decimal("0.3"), 30_000)
    assert {kind for kind, _ in signals()} == {"PORTFOLIO_CONCENTRATION", "PORTFOLIO_DRAWDOWN", "PORTFOLIO_DAILY_LOSS"}
