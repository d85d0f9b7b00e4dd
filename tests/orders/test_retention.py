"""Old months leave: only whole, only ended, only when everything agrees with and without them; and nothing is lost by it."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
import pytest
import structlog
from django.core.management import CommandError, call_command
from psycopg import errors

from exchange_platform import ids, partitions
from exchange_platform.db import connect_direct
from exchange_platform.partitions import months_after, name_of, start_of
from institutions.models import Account
from markets.models import Symbol
from matching.recovery import RecoveryRefused
from orders import retention
from orders.command_log import verify
from orders.models import ArchivedPartition
from orders.reconcile import reconcile
from orders.retention import HISTORY, Step, retire
from orders.tasks import retire_history
from tests.database.rows import one, refused
from tests.matching_worker.exchange import Exchange, Trader
from wallet.queries import house_balance

THIS_MONTH = datetime.now(UTC).date().replace(day=1)
OLD = [months_after(THIS_MONTH, months) for months in (-63, -62, -61)]
FIRST, SECOND, THIRD = OLD
LOG_MONTH = months_after(THIS_MONTH, -5)

Superuser = psycopg.Connection[Any]


class World:
    """An exchange that can go back in time, on a database that has partitions of then."""

    def __init__(self, exchange: Exchange, superuser: Superuser) -> None:
        self.exchange = exchange
        self.superuser = superuser
        self.symbol: Symbol = exchange.symbol()
        self.seller = exchange.trader((self.symbol.base, 100))
        self.buyer = exchange.trader((self.symbol.quote, 10_000))

    def go_to(self, moment: datetime | None, *, worker: datetime | None = None) -> None:
        """Intake's and the worker's clocks show this (null: what it is); they may differ."""
        ids._last_ms = 0  # a process that has never been later
        for clock, at in ((self.exchange.clock, moment), (self.exchange.worker_clock, worker or moment)):
            clock.at_ns = None if at is None else int(at.timestamp()) * 10**9

    def sell(self, quantity: str, price: str = "100") -> UUID:
        return self._place(self.seller, "SELL", quantity, price)

    def buy(self, quantity: str, price: str = "100") -> UUID:
        return self._place(self.buyer, "BUY", quantity, price)

    def _place(self, trader: Trader, side: str, quantity: str, price: str) -> UUID:
        placed = self.exchange.placed(trader, self.symbol, side, quantity, price)
        self.exchange.settle()
        return placed

    def deposits_were_made(self, month: date) -> None:
        with past_triggers(self.superuser):
            self.superuser.execute(
                "UPDATE wallet_transfer SET id = overlay(id::text PLACING left(exchange_uuid_from(%s)::text, 13) FROM 1 FOR 13)::uuid"
                " WHERE kind = 'DEPOSIT'",
                [start_of(month) + timedelta(days=1)],
            )

    def log_was_settled(self, month: date, *, up_to: int) -> None:
        make_partition(self.superuser, retention.LOG, month)
        with past_triggers(self.superuser):
            self.superuser.execute(
                "UPDATE orders_commandlog SET settled_at = %s + first_sequence * interval '1 s' WHERE last_sequence <= %s",
                [start_of(month), up_to],
            )

    def count(self, table: str) -> int:
        return int(one(self.superuser, f"SELECT count(*) FROM {table}"))

    def archived(self) -> dict[str, int]:
        return {row.name: row.rows for row in ArchivedPartition.objects.all()}


@contextmanager
def past_triggers(superuser: Superuser) -> Iterator[None]:
    superuser.execute("SET session_replication_role = replica")
    yield
    superuser.execute("RESET session_replication_role")


def make_partition(connection: Superuser, parent: str, month: date) -> None:
    bounds = [start_of(month), start_of(months_after(month, 1))]
    low, high = bounds if parent == retention.LOG else [ids.uuid_floor(bound) for bound in bounds]
    fill = "fillfactor=50" if parent == retention.ORDERS else ""
    connection.execute(
        "SELECT exchange_make_partition(%s::regclass, %s, %s, %s, %s, true)", [parent, name_of(parent, month), str(low), str(high), fill]
    )


@pytest.fixture
def world(fresh_database: str) -> Iterator[World]:
    with psycopg.connect(fresh_database, autocommit=True) as superuser, closing(Exchange()) as exchange:
        for month in OLD:
            for parent in HISTORY:
                make_partition(superuser, parent, month)
        exchange.start_worker()
        yield World(exchange, superuser)
        ids._last_ms = 0


@pytest.fixture
def lived(world: World) -> World:
    """In the first month an order is filled in part and another is placed; in the second the one is filled and the other cancelled;
    today there is a trade and an open order."""
    world.deposits_were_made(FIRST)
    world.go_to(start_of(FIRST) + timedelta(days=10))
    world.sell("1")
    bid = world.buy("0.5", "90")
    world.buy("0.4")
    world.go_to(start_of(SECOND) + timedelta(days=10))
    world.buy("0.6")
    world.exchange.cancel(world.buyer, bid)
    world.exchange.settle()
    world.go_to(None)
    world.sell("2")
    world.buy("0.5")
    return world


def done(*steps: tuple[str, str]) -> list[Step]:
    return [Step(what, subject) for what, subject in steps]


def leaving(months: list[date]) -> list[Step]:
    """The steps of these months when nothing must wait."""
    closed = [("close", f"{month:%Y-%m}") for month in months]
    return done(*closed, *sorted(("detach", name_of(parent, month)) for parent in HISTORY for month in months))


# -- what leaves, and what stays


def test_old_months_leave_whole_and_everything_still_agrees(lived: World) -> None:
    before = {table: lived.count(table) for table in HISTORY}
    fees = [house_balance(account_id=lived.symbol.fee_account_id, asset_id=asset.pk) for asset in (lived.symbol.base, lived.symbol.quote)]
    assert reconcile().is_clean
    assert retire() == leaving(OLD)
    assert reconcile().is_clean
    rows = lived.archived()
    assert rows[name_of("orders_order", FIRST)] == 3
    assert rows[name_of("orders_order", SECOND)] == 1
    assert rows[name_of("orders_trade", FIRST)] == rows[name_of("orders_trade", SECOND)] == 1
    assert rows[name_of("wallet_transfer", FIRST)] == 2 + 4
    assert rows[name_of("orders_transition", THIRD)] == 0
    for table in HISTORY:
        assert before[table] == lived.count(table) + sum(count for name, count in rows.items() if name.startswith(f"{table}_"))
        for month in OLD:
            assert lived.count(f"archive.{name_of(table, month)}") == rows[name_of(table, month)]
    assert fees == [
        house_balance(account_id=lived.symbol.fee_account_id, asset_id=asset.pk) for asset in (lived.symbol.base, lived.symbol.quote)
    ]
    assert fees[0] > 0
    assert retire() == []


def test_trading_goes_on_after_old_months_have_left(lived: World) -> None:
    retire()
    lived.buy("0.7")
    worker = lived.exchange.restart_worker()
    assert worker.engines[lived.symbol.pk].progress.trade_number == 4
    lived.buy("0.8")
    assert one(lived.superuser, "SELECT max(number) FROM orders_trade") == 5
    assert lived.exchange.balance(lived.buyer, lived.symbol.base)[0] > Decimal("2.9")
    assert reconcile().is_clean


def test_what_was_carried_forward_is_what_left(lived: World) -> None:
    retire()
    left = lived.superuser.execute(
        f"""SELECT account_id, asset_id, sum(amount) FROM (
                SELECT credit_account_id AS account_id, asset_id, amount FROM archive.{name_of("wallet_transfer", FIRST)}
                UNION ALL SELECT debit_account_id, asset_id, -amount FROM archive.{name_of("wallet_transfer", FIRST)}) AS side
            GROUP BY 1, 2 ORDER BY 1, 2"""
    ).fetchall()
    carried = lived.superuser.execute(
        "SELECT account_id, asset_id, amount FROM wallet_carriedsum WHERE month = %s ORDER BY 1, 2", [FIRST]
    ).fetchall()
    assert carried == left
    assert len(left) >= 6
    assert lived.superuser.execute("SELECT month, number FROM orders_carriedtrade ORDER BY 1").fetchall() == [(FIRST, 1), (SECOND, 2)]


def test_young_months_stay(lived: World, settings: Any) -> None:
    settings.HISTORY_KEPT_MONTHS = 62
    assert retire() == leaving([FIRST])
    assert reconcile().is_clean
    settings.HISTORY_KEPT_MONTHS = 60
    assert retire() == leaving([SECOND, THIRD])
    assert reconcile().is_clean


def test_a_month_in_which_nothing_happened_leaves_too(world: World) -> None:
    assert retire() == leaving(OLD)
    assert set(world.archived().values()) == {0}
    assert reconcile().is_clean


@pytest.mark.parametrize(("months", "days"), [(1, 90), (60, 0)])
def test_nobody_keeps_less_than_the_present(world: World, settings: Any, months: int, days: int) -> None:
    settings.HISTORY_KEPT_MONTHS, settings.COMMAND_LOG_KEPT_DAYS = months, days
    with pytest.raises(ValueError, match="at least"):
        retire()


# -- what must wait


def test_an_open_order_keeps_its_month_and_all_later_ones(lived: World) -> None:
    lived.go_to(start_of(SECOND) + timedelta(days=20))
    open_order = lived.buy("0.1", "50")
    lived.go_to(None)
    steps = retire()
    reason = f"order {open_order} is still OPEN; until it has ended its month and all later ones stay"
    assert steps[:2] == [Step("close", f"{FIRST:%Y-%m}"), Step("close", f"{SECOND:%Y-%m}", reason)]
    assert steps[2:] == leaving([FIRST])[1:]
    assert reconcile().is_clean
    lived.exchange.cancel(lived.buyer, open_order)
    lived.exchange.settle()
    assert retire() == leaving([SECOND, THIRD])
    assert reconcile().is_clean


def test_nothing_leaves_while_the_books_do_not_agree(lived: World) -> None:
    with past_triggers(lived.superuser):
        lived.superuser.execute("UPDATE wallet_balance SET posted = posted + 1 WHERE account_id = %s", [lived.seller.id])
    [step] = retire()
    assert (step.what, step.subject) == ("close", f"{FIRST:%Y-%m}")
    assert step.waits.startswith("the books do not agree before anything leaves: ")
    assert lived.count("orders_closedmonth") == lived.count("wallet_carriedsum") == lived.count("orders_archivedpartition") == 0


def test_a_trade_before_the_month_of_its_order_leaves_together_with_it(world: World, settings: Any) -> None:
    """At the turn of a month intake's clock was ahead of the worker's."""
    world.go_to(start_of(FIRST) + timedelta(days=10))
    world.sell("1")
    world.go_to(start_of(SECOND), worker=start_of(SECOND) - timedelta(seconds=1))
    world.buy("1")
    world.go_to(None)
    assert one(world.superuser, f"SELECT count(*) FROM {name_of('orders_trade', FIRST)}") == 1
    settings.HISTORY_KEPT_MONTHS = 62
    [step] = retire()
    assert "lies before the month of its order; they leave together" in step.waits
    settings.HISTORY_KEPT_MONTHS = 60
    assert retire() == leaving(OLD)
    assert reconcile().is_clean


def test_a_run_beside_another_does_nothing(lived: World) -> None:
    with connect_direct(name="test", autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [retention.ONE_AT_A_TIME])
        assert retire() == [Step("run", "retention", "another run is under way")]
        assert lived.count("orders_closedmonth") == 0
    assert retire() == leaving(OLD)


def test_a_partition_that_is_not_what_was_closed_is_not_put_away(lived: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention._Run, "detach", lambda self: None)
    retire()
    monkeypatch.undo()
    name = name_of("orders_order", FIRST)
    with past_triggers(lived.superuser):
        lived.superuser.execute(f"DELETE FROM {name} WHERE side = 'SELL'".encode())
    waiting = [step for step in retire() if step.waits]
    assert waiting == [Step("detach", name, "it has 2 rows, its month was closed with 3")]
    assert name not in lived.archived()
    assert lived.count(name) == 2


# -- detaching beside trading


def test_a_closed_month_no_longer_counts_whether_it_has_left_or_not(lived: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that dies between closing and detaching leaves nothing that disagrees, and the next one goes on."""
    monkeypatch.setattr(retention._Run, "detach", lambda self: None)
    assert retire() == done(*(("close", f"{month:%Y-%m}") for month in OLD))
    monkeypatch.undo()
    assert reconcile().is_clean
    stray = {
        "id": ids.uuid_floor(start_of(FIRST)),
        "account": lived.buyer.id,
        "house": Account.objects.filter(kind="EXTERNAL").values_list("pk", flat=True)[0],
    }
    with connect_direct(name="test") as engine, refused(engine, errors.RestrictViolation, saying="its month is closed"):
        engine.execute(
            """INSERT INTO wallet_transfer (id, leg, kind, asset_id, debit_account_id, credit_account_id, amount, created_at)
               SELECT %(id)s, 0, 'DEPOSIT', min(id), %(house)s, %(account)s, 1, now() FROM markets_asset""",
            stray,
        )
    assert retire() == leaving(OLD)[len(OLD) :]
    assert reconcile().is_clean


def test_everything_agrees_after_each_single_detachment(lived: World, monkeypatch: pytest.MonkeyPatch) -> None:
    detach = partitions.detach
    checked: list[str] = []

    def detach_and_reconcile(connection: Any, partition: partitions.Partition) -> None:
        detach(connection, partition)
        assert reconcile().is_clean, partition.name
        checked.append(partition.name)

    monkeypatch.setattr(partitions, "detach", detach_and_reconcile)
    retire()
    assert len(checked) == len(OLD) * len(HISTORY)


def test_a_long_reader_delays_the_detachment_and_nobody_else(lived: World, fresh_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "DETACH_WAITS_S", 1)
    with psycopg.connect(fresh_database) as reader:
        reader.execute("SELECT count(*) FROM orders_order")
        steps: list[Step] = []
        run = threading.Thread(target=lambda: steps.extend(retire()))
        run.start()
        longest_s = 0.0
        while run.is_alive():
            began = time.monotonic()
            lived.sell("0.001", "200")
            longest_s = max(longest_s, time.monotonic() - began)
        run.join()
        assert longest_s < 0.9
        waiting = [step.subject for step in steps if step.waits]
        assert waiting == [name_of("orders_order", month) for month in OLD]
        assert one(reader, "SELECT count(*) FROM orders_order") >= 4
        assert reconcile().is_clean
    with partitions.maintenance() as connection:
        assert [p.name for p in partitions.partitions(connection) if p.is_pending] == waiting[:1]
        assert partitions.ensure(connection) == 0
    assert retire() == done(*(("detach", name) for name in waiting))
    assert lived.archived()[waiting[0]] == 3
    assert reconcile().is_clean


# -- the archive


def test_nothing_in_the_archive_can_be_changed_or_read_by_the_applications_roles(lived: World, fresh_database: str) -> None:
    retire()
    with psycopg.connect(fresh_database) as owner:
        for table in HISTORY:
            name = name_of(table, FIRST)
            for statement, saying in (
                (f"DELETE FROM archive.{name}", f"DELETE on {name} refused: its month is closed"),
                (f"INSERT INTO archive.{name} SELECT * FROM archive.{name}", f"INSERT on {name} refused: its month is closed"),
                (f"TRUNCATE archive.{name}", f"TRUNCATE on {name} refused"),
            ):
                with refused(owner, errors.RestrictViolation, saying=saying):
                    owner.execute(statement.encode())
            for role in ("exchange_engine", "exchange_tenant"):
                with refused(owner, errors.InsufficientPrivilege, saying="permission denied for schema archive", role=role):
                    owner.execute(f"SELECT FROM archive.{name}".encode())


@pytest.mark.parametrize(
    ("statement", "check"),
    [
        ("UPDATE wallet_carriedsum SET amount = amount + 1 WHERE account_id = {buyer} AND amount > 0 AND month = '{first}'", "balances"),
        ("DELETE FROM orders_carriedtrade", "trade-numbers"),
        ("DELETE FROM orders_closedmonth", "keys"),
        ("INSERT INTO orders_orderkey SELECT account_id, 'stray', '{today}', '' FROM orders_orderkey LIMIT 1", "keys"),
        ("UPDATE orders_trade SET maker_order_id = '{today}'", "parties"),
    ],
)
def test_what_was_carried_forward_is_checked_like_everything_else(lived: World, statement: str, check: str) -> None:
    """Closing hides nothing: neither its own records nor what is younger."""
    lived.sell("0.1")
    retire()
    today = ids.uuid7()
    with past_triggers(lived.superuser):
        lived.superuser.execute(statement.format(buyer=lived.buyer.id, first=FIRST, today=today).encode())
    assert check in {found.check for found in reconcile().breaks}


@pytest.mark.parametrize("table", ["wallet_carriedsum", "orders_closedmonth", "orders_carriedtrade", "orders_archivedpartition"])
def test_the_engine_adds_nothing_to_these_records(world: World, table: str) -> None:
    with connect_direct(name="test") as engine, refused(engine, errors.InsufficientPrivilege, saying="only maintenance writes this"):
        engine.execute(f"INSERT INTO {table} SELECT * FROM {table}".encode())


def test_the_database_refuses_sums_that_do_not_come_to_nothing(world: World) -> None:
    sums = "INSERT INTO wallet_carriedsum (month, account_id, asset_id, amount, transfers) VALUES "
    with world.superuser.transaction():
        with refused(world.superuser, errors.CheckViolation, saying="asset 1 comes to 1.000000000000000000, not to nothing"):
            world.superuser.execute(f"{sums} ('2020-01-01', 1, 1, 2, 1), ('2020-01-01', 2, 1, -1, 1)".encode())
        world.superuser.execute(f"{sums} ('2020-01-01', 1, 1, 2, 1), ('2020-01-01', 2, 1, -2, 1)".encode())
        with refused(world.superuser, errors.UniqueViolation, saying="the month was carried forward before"):
            world.superuser.execute(f"{sums} ('2020-01-01', 3, 1, 2, 1), ('2020-01-01', 4, 1, -2, 1)".encode())


def test_the_database_closes_months_in_order_old_ones_and_none_with_an_open_order(lived: World) -> None:
    close = "INSERT INTO orders_closedmonth VALUES (%s, 0, 0, 0, 0, now())"
    with lived.superuser.transaction():
        for month, saying in ((months_after(THIS_MONTH, -1), "too young"), (FIRST + timedelta(days=1), "closed_month_begins")):
            with pytest.raises(errors.CheckViolation, match=saying), lived.superuser.transaction():
                lived.superuser.execute(close, [month])
        lived.superuser.execute(close, [FIRST])
        for month in (FIRST, THIRD):
            with refused(lived.superuser, errors.CheckViolation, saying="months are closed one after the other"):
                lived.superuser.execute(close, [month])
        with past_triggers(lived.superuser):
            order = ids.uuid_floor(start_of(FIRST) + timedelta(days=3))
            lived.superuser.execute("INSERT INTO orders_openorder VALUES (%s, %s, %s)", [lived.symbol.pk, order, lived.buyer.id])
        with refused(lived.superuser, errors.CheckViolation, saying="an order of then is open"):
            lived.superuser.execute(close, [SECOND])


# -- the command log


def test_old_entries_of_the_command_log_leave_up_to_an_anchor(lived: World) -> None:
    lived.log_was_settled(LOG_MONTH, up_to=5)
    name = name_of(retention.LOG, LOG_MONTH)
    assert retire() == done(*(("close", f"{month:%Y-%m}") for month in OLD), ("anchor", name), ("detach", name)) + leaving(OLD)[len(OLD) :]
    assert lived.archived()[name] == 5
    anchors = "SELECT symbol_id, sequence, kind, trade_number FROM orders_anchor"
    assert lived.superuser.execute(anchors).fetchall() == [(lived.symbol.pk, 5, "DETACHED", 2)]
    with connect_direct(name="test", autocommit=True) as connection:
        verified = verify(connection, symbol_id=lived.symbol.pk, since_anchor=False)
    assert (verified.began_at, verified.entries, verified.breaks) == (5, 2, ())
    assert reconcile().is_clean
    lived.exchange.restart_worker()
    lived.buy("0.1")
    assert reconcile().is_clean


def test_a_quiet_symbols_whole_log_may_leave(lived: World) -> None:
    lived.log_was_settled(LOG_MONTH, up_to=99)
    retire()
    assert lived.count("orders_commandlog") == 0
    assert reconcile().is_clean
    lived.exchange.restart_worker()
    lived.buy("0.1")
    assert reconcile().is_clean


def test_without_the_anchor_that_stands_for_what_left_no_worker_starts(lived: World) -> None:
    lived.log_was_settled(LOG_MONTH, up_to=5)
    retire()
    with past_triggers(lived.superuser):
        lived.superuser.execute("DELETE FROM orders_anchor")
    with pytest.raises(RecoveryRefused, match=r"first_sequence=6, settled at .*: commands 1 to 5 are missing before this entry"):
        lived.exchange.restart_worker()
    assert "command-log" in {found.check for found in reconcile().breaks}


def test_a_broken_log_does_not_leave(lived: World, settings: Any) -> None:
    settings.HISTORY_KEPT_MONTHS = 100
    lived.log_was_settled(LOG_MONTH, up_to=5)
    with past_triggers(lived.superuser):
        lived.superuser.execute("UPDATE orders_commandlog SET payload = 'x' WHERE first_sequence = 2")
    [step] = retire()
    assert (step.what, step.subject) == ("anchor", name_of(retention.LOG, LOG_MONTH))
    assert "first_sequence=2" in step.waits
    assert lived.count("orders_anchor") == 0


def test_a_log_whose_clock_went_back_stays(lived: World, settings: Any) -> None:
    settings.HISTORY_KEPT_MONTHS = 100
    lived.log_was_settled(LOG_MONTH, up_to=5)
    with past_triggers(lived.superuser):
        lived.superuser.execute("UPDATE orders_commandlog SET settled_at = now() WHERE first_sequence = 2")
    [step] = retire()
    assert step.waits == f"symbol {lived.symbol.pk} has earlier commands in a later month: the clock went back"


# -- the command, the task, the margin


def test_the_command_lists_and_shows_what_would_leave_before_it_does(lived: World, capsys: pytest.CaptureFixture[str]) -> None:
    lived.log_was_settled(LOG_MONTH, up_to=5)
    steps = 3 + 1 + 13
    call_command("partitions", "--detach")
    told = capsys.readouterr().out.splitlines()
    assert len(told) == steps
    assert all(line.endswith("would be done") for line in told)
    for record in ("orders_closedmonth", "wallet_carriedsum", "orders_anchor", "orders_archivedpartition"):
        assert lived.count(record) == 0
    call_command("partitions")
    before = capsys.readouterr().out
    assert "archived" not in before
    call_command("partitions", "--detach", "--apply")
    told = capsys.readouterr().out.splitlines()
    assert len(told) == steps
    assert all(line.endswith(" done") for line in told)
    call_command("partitions")
    listed = capsys.readouterr().out
    assert listed.count("archived") == 13
    assert len(listed.splitlines()) == len(before.splitlines())
    call_command("partitions", "--detach")
    assert "Nothing is old enough to leave." in capsys.readouterr().out
    with pytest.raises(CommandError, match="goes with --detach"):
        call_command("partitions", "--apply")


def test_the_command_says_what_must_wait_and_exits_with_1(lived: World, capsys: pytest.CaptureFixture[str]) -> None:
    lived.go_to(start_of(FIRST) + timedelta(days=20))
    lived.buy("0.1", "50")
    for options in ((), ("--apply",)):
        with pytest.raises(SystemExit) as ended:
            call_command("partitions", "--detach", *options)
        assert ended.value.code == 1
        assert "is still OPEN; until it has ended" in capsys.readouterr().out


def test_the_command_makes_what_is_missing(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    last = name_of("orders_trade", months_after(THIS_MONTH, 2))
    world.superuser.execute(f"DROP TABLE {last}".encode())
    call_command("partitions", "--ensure")
    assert capsys.readouterr().out == "1 partitions made.\n"
    assert world.count(last) == 0


def test_the_task_logs_every_step(lived: World) -> None:
    lived.go_to(start_of(THIRD) + timedelta(days=20))
    lived.buy("0.1", "50")
    with structlog.testing.capture_logs() as logs:
        assert retire_history() == 2 + 2 * len(HISTORY)
    [waits] = [line for line in logs if line["event"] == "history_waits"]
    assert (waits["what"], waits["subject"], waits["log_level"]) == ("close", f"{THIRD:%Y-%m}", "warning")
    assert len([line for line in logs if line["event"] == "history_left"]) == 2 + 2 * len(HISTORY)
