"""A break is a row that stays: with an alert, an owner and an end; where funds do not agree trading stops, once."""

import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from django.db import connections
from django.test import override_settings

from institutions.models import AuditEntry, User
from markets.models import Symbol
from orders import breaks
from orders.break_models import Break
from orders.reconcile import reconcile
from orders.tasks import run_reconciliation
from risk.models import Alert, AlertAccount, AlertEvidence
from tests.factories import UserFactory
from tests.matching_worker.exchange import Exchange, Trader, code_of, open_exchange


class Broken:
    """Two symbols of one quote and one of its own; money that a superuser changes past every guard."""

    def __init__(self, exchange: Exchange, url: str) -> None:
        self.exchange, self.url = exchange, url
        self.base, self.other, self.quote, self.elsewhere = (exchange.asset() for _ in range(4))
        self.symbol = exchange.symbol(self.base, self.quote)
        self.second = exchange.symbol(self.other, self.quote)
        self.apart = exchange.symbol(self.other, self.elsewhere)
        self.trader: Trader = exchange.trader((self.base, 100), (self.quote, 10_000))
        self.olga: User = UserFactory(username="olga", role="operator", institution=None)

    def change_balance(self, by: str, asset: Any = None) -> None:
        with psycopg.connect(self.url) as connection:
            connection.execute("SET LOCAL session_replication_role = replica")
            connection.execute(
                "UPDATE wallet_balance SET posted = posted + %s WHERE account_id = %s AND asset_id = %s",
                [Decimal(by), self.trader.id, (asset or self.quote).pk],
            )

    def status(self, symbol: Symbol) -> str:
        return Symbol.objects.get(pk=symbol.pk).status


@pytest.fixture
def broken(fresh_database: str) -> Iterator[Broken]:
    """A test mends what it breaks: everything is reconciled at its end."""
    with open_exchange() as exchange:
        yield Broken(exchange, fresh_database)


@pytest.fixture
def left_broken(fresh_database: str) -> Iterator[Broken]:
    """What this one breaks nobody could mend."""
    with pytest.raises(AssertionError, match="breaks:"), open_exchange() as exchange:
        yield Broken(exchange, fresh_database)


def test_a_balance_changed_by_hand_is_found_named_alerted_and_stops_its_asset(broken: Broken) -> None:
    order_id = broken.exchange.placed(broken.trader, broken.symbol, "BUY", "1", "10")
    broken.exchange.settle()
    broken.change_balance("5")
    assert run_reconciliation() == 2

    found = {row.check_name: row for row in Break.objects.all()}
    assert set(found) == {"sums", "balances"}
    row = found["balances"]
    assert (row.table_name, row.row_key) == ("wallet_balance", f"account_id={broken.trader.id} asset_id={broken.quote.pk}")
    assert (row.expected, row.found, row.asset_id, row.account_id) == ("10000", "10005", broken.quote.pk, broken.trader.id)
    assert row.halted == sorted([broken.symbol.name, broken.second.name])

    alerts = {alert.details["check"]: alert for alert in Alert.objects.all()}
    assert {(alert.severity, alert.kind) for alert in alerts.values()} == {("CRITICAL", "RECONCILIATION_BREAK")}
    assert row.sentence in alerts["balances"].title
    assert AlertEvidence.objects.get(alert=alerts["balances"]).reference == str(row.pk)
    assert AlertAccount.objects.get(alert=alerts["balances"]).account_id == broken.trader.id

    assert [broken.status(symbol) for symbol in (broken.symbol, broken.second, broken.apart)] == ["HALTED", "HALTED", "TRADING"]
    broken.exchange.settle()
    assert code_of(broken.exchange.place(broken.trader, broken.symbol, "BUY", "1", "10")) == "SYMBOL_HALTED"
    said = broken.exchange.row("SELECT status, actor FROM orders_symbolstatus WHERE symbol_id = %s ORDER BY number DESC", broken.symbol.pk)
    assert said == ("HALTED", "system:reconcile")
    entry = AuditEntry.objects.get(action="symbol.status", subject=f"symbol:{broken.symbol.name}")
    assert str(row.pk) in entry.reason
    assert broken.exchange.order(order_id)["status"] == "OPEN"  # halting cancels nothing
    mend(broken, "-5")


def mend(broken: Broken, by: str) -> None:
    broken.change_balance(by)
    assert run_reconciliation() == 0


def test_a_second_run_changes_nothing_but_when_it_was_last_seen(broken: Broken) -> None:
    broken.change_balance("5")
    run_reconciliation()
    before = everything()
    seen = Break.objects.get(check_name="sums").last_seen_at
    run_reconciliation()
    assert everything() == before
    assert Break.objects.get(check_name="sums").last_seen_at > seen
    mend(broken, "-5")


def everything() -> tuple[Any, ...]:
    breaks_now = list(Break.objects.order_by("pk").values("pk", "state", "gone_at", "halted", "first_seen_at"))
    return breaks_now, Alert.objects.count(), AuditEntry.objects.count()


def test_a_symbol_that_was_resumed_is_not_halted_again_for_a_break_that_is_known(broken: Broken) -> None:
    broken.change_balance("5")
    run_reconciliation()
    Symbol.objects.filter(pk=broken.symbol.pk).update(status="TRADING")
    run_reconciliation()
    assert broken.status(broken.symbol) == "TRADING"
    broken.change_balance("1", broken.base)  # another one
    run_reconciliation()
    assert broken.status(broken.symbol) == "HALTED"
    broken.change_balance("-1", broken.base)
    mend(broken, "-5")


def test_a_run_that_is_killed_before_its_commit_has_done_nothing_and_the_next_one_does_it(
    broken: Broken, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken.change_balance("5")
    nothing = everything()
    with monkeypatch.context() as patched:
        patched.setattr(breaks, "_halt", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_reconciliation()
    assert everything() == nothing
    run_reconciliation()
    assert Alert.objects.count() == 2
    assert broken.status(broken.symbol) == "HALTED"
    mend(broken, "-5")


def test_of_several_runs_at_once_one_raises_the_alerts_and_halts(broken: Broken) -> None:
    broken.change_balance("5")
    report, together = reconcile(), threading.Barrier(3)
    kept: list[breaks.Kept] = []

    def keep() -> None:
        try:
            together.wait(10)
            kept.append(breaks.keep(report))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=keep) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(len(run.new) for run in kept) == sorted(len(run.halted) for run in kept) == [0, 0, 2]
    assert (Break.objects.count(), Alert.objects.count()) == (2, 2)
    assert AuditEntry.objects.filter(action="symbol.status", subject=f"symbol:{broken.symbol.name}").count() == 1
    mend(broken, "-5")


def test_what_is_gone_stays_until_somebody_says_what_it_was(broken: Broken) -> None:
    broken.change_balance("5")
    run_reconciliation()
    row = Break.objects.get(check_name="balances")
    with pytest.raises(breaks.StillThere):
        breaks.resolve(break_id=row.pk, resolution="nothing", actor="olga")
    mend(broken, "-5")
    row.refresh_from_db()
    assert (row.state, row.gone_at is None) == ("OPEN", False)
    breaks.own_break(break_id=row.pk, user_id=broken.olga.pk, actor="olga")
    for empty in ("", " "):
        with pytest.raises(breaks.InvalidAnswer):
            breaks.resolve(break_id=row.pk, resolution=empty, actor="olga")
    breaks.resolve(break_id=row.pk, resolution="A hand in the database, taken back.", actor="olga")
    row.refresh_from_db()
    assert (row.state, row.resolution, row.resolved_by, row.owner) == (
        "RESOLVED",
        "A hand in the database, taken back.",
        "olga",
        broken.olga,
    )
    for again in (
        lambda: breaks.resolve(break_id=row.pk, resolution="no", actor="olga"),
        lambda: breaks.own_break(break_id=row.pk, user_id=broken.olga.pk, actor="olga"),
    ):
        with pytest.raises(breaks.AlreadyResolved):
            again()
    actions = AuditEntry.objects.filter(subject=f"break:{row.pk}").order_by("pk").values_list("action", flat=True)
    assert list(actions) == ["break.own", "break.resolve"]
    assert broken.status(broken.symbol) == "HALTED"  # two people resume it


def test_one_that_comes_back_is_a_new_one(broken: Broken) -> None:
    broken.change_balance("5")
    run_reconciliation()
    mend(broken, "-5")
    broken.change_balance("5")
    run_reconciliation()
    rows = Break.objects.filter(check_name="balances").order_by("pk")
    assert [row.gone_at is None for row in rows] == [False, True]
    assert Alert.objects.count() == 4
    mend(broken, "-5")


def test_a_report_that_comes_late_takes_nothing_back(broken: Broken) -> None:
    clean = reconcile()
    broken.change_balance("5")
    found = reconcile()
    breaks.keep(found)
    assert breaks.keep(clean).gone == ()
    assert not Break.objects.exclude(gone_at=None).exists()
    mend(broken, "-5")
    assert breaks.keep(found) == breaks.Kept((), (), (), ())
    assert Break.objects.count() == 2


def test_a_check_of_which_not_all_breaks_are_named_takes_none_for_gone(broken: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    broken.change_balance("5")
    broken.change_balance("5", broken.base)
    run_reconciliation()
    monkeypatch.setattr("orders.reconcile.NAMED_AT_MOST", 1)
    run_reconciliation()
    assert not Break.objects.exclude(gone_at=None).exists()
    monkeypatch.undo()
    broken.change_balance("-5", broken.base)
    mend(broken, "-5")


@override_settings(RECONCILE_HALTS=False)
def test_halting_can_be_switched_off(broken: Broken) -> None:
    broken.change_balance("5")
    run_reconciliation()
    assert broken.status(broken.symbol) == "TRADING"
    assert Alert.objects.filter(severity="CRITICAL").count() == 2
    mend(broken, "-5")


def test_guards_that_are_off_raise_one_critical_alert_per_run_and_stop_nothing(left_broken: Broken) -> None:
    with psycopg.connect(left_broken.url) as connection:
        connection.execute("ALTER TABLE wallet_balance DISABLE TRIGGER USER")
    run_reconciliation()
    alert = Alert.objects.get()
    assert (alert.severity, alert.details["breaks"]) == ("CRITICAL", 3)
    assert left_broken.status(left_broken.symbol) == "TRADING"


@pytest.mark.parametrize(
    ("sql", "check", "asset", "halts"),
    [
        ("UPDATE orders_order SET filled_quote = filled_quote + 1 WHERE id = %(order)s", "fills", None, "symbol"),
        ("UPDATE wallet_transfer SET amount = amount + 1 WHERE id = %(trade)s AND leg = 1", "trade-transfers", "quote", "both"),
        ("DELETE FROM wallet_transfer WHERE id = %(trade)s AND leg = 1", "trade-transfers", "quote", "both"),
        ("UPDATE orders_transition SET to_status = 'CANCELLED' WHERE order_id = %(order)s AND sequence > 0", "transitions", None, ""),
    ],
)
def test_what_a_break_concerns_follows_from_its_row(left_broken: Broken, sql: str, check: str, asset: str | None, halts: str) -> None:
    order_id = left_broken.exchange.placed(left_broken.trader, left_broken.symbol, "SELL", "1", "10")
    other = left_broken.exchange.trader((left_broken.quote, 100))
    left_broken.exchange.placed(other, left_broken.symbol, "BUY", "1", "10")
    left_broken.exchange.settle()
    (trade,) = left_broken.exchange.row("SELECT id FROM orders_trade")
    with psycopg.connect(left_broken.url) as connection:
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute(sql.encode(), {"order": order_id, "trade": trade})
    breaks.run()
    row = Break.objects.filter(check_name=check).order_by("pk")[0]
    assert row.asset_id == (None if asset is None else left_broken.quote.pk)
    assert (
        row.halted
        == {
            "symbol": [left_broken.symbol.name],
            "both": sorted([left_broken.symbol.name, left_broken.second.name]),
            "": [],
        }[halts]
    )
    if not halts:
        assert {alert.severity for alert in Alert.objects.all()} == {"HIGH"}


def test_nobody_else_owns_a_break(broken: Broken) -> None:
    broken.change_balance("5")
    run_reconciliation()
    row = Break.objects.order_by("pk")[0]
    carla = UserFactory(role="trader")
    with pytest.raises(breaks.InvalidAnswer):
        breaks.own_break(break_id=row.pk, user_id=carla.pk, actor="carla")
    with pytest.raises(breaks.NoSuchBreak):
        breaks.own_break(break_id=row.pk + 100, user_id=broken.olga.pk, actor="olga")
    mend(broken, "-5")
