"""The command log by breaking it: whatever is deleted or changed is named, and a worker does not start on it."""

import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
import structlog
from django.core.management import CommandError, call_command

from exchange_platform.db import connect_direct
from markets.models import Symbol
from matching import recovery
from matching.recovery import RecoveryRefused
from orders import command_log
from orders.chain import chain_after
from orders.command_log import Verified, anchor, anchor_grown, verify
from orders.settlement import EMPTY_CHAIN
from orders.tasks import anchor_command_logs, verify_command_logs
from tests.database.rows import refused
from tests.matching_worker.exchange import Exchange
from tests.telemetry.figures import figure

ENTRIES = 8
Superuser = psycopg.Connection[Any]


@pytest.fixture
def logged(fresh_database: str) -> Iterator[tuple[Exchange, Superuser, int]]:
    """An exchange whose log has eight entries of one command each, a superuser past every trigger, and the symbol."""
    exchange = Exchange()  # broken at the end, so nothing is reconciled then
    with closing(exchange), psycopg.connect(fresh_database, autocommit=True) as superuser:
        exchange.start_worker()
        symbol = exchange.symbol()
        seller, buyer = exchange.trader((symbol.base, 100)), exchange.trader((symbol.quote, 10_000))
        for number in range(ENTRIES):
            trader, side = (seller, "SELL") if number % 2 else (buyer, "BUY")
            exchange.placed(trader, symbol, side, "1", "100")
            exchange.settle()
        superuser.execute("SET session_replication_role = replica")
        yield exchange, superuser, symbol.pk


def check(symbol_id: int, **how: Any) -> Verified:
    with connect_direct(name="test", autocommit=True) as connection:
        return verify(connection, symbol_id=symbol_id, **how)


def problems(verified: Verified) -> list[tuple[int, str]]:
    return [(found.first_sequence, found.problem) for found in verified.breaks]


def anchored(symbol_id: int, until: int) -> None:
    with connect_direct(name="test", autocommit=True) as connection:
        anchor(connection, verify(connection, symbol_id=symbol_id, until=until))


CONTENT = "its payload, sequences, epoch, stamp or state hash was changed"
BREAKS: list[tuple[str, str, list[tuple[int, str]]]] = [
    (
        "an entry is deleted",
        "DELETE FROM orders_commandlog WHERE first_sequence = 4",
        [(5, "commands 4 to 4 are missing before this entry")],
    ),
    (
        "two entries are deleted",
        "DELETE FROM orders_commandlog WHERE first_sequence IN (4, 5)",
        [(6, "commands 4 to 5 are missing before this entry")],
    ),
    (
        "the first entries are deleted",
        "DELETE FROM orders_commandlog WHERE first_sequence < 3",
        [(3, "commands 1 to 2 are missing before this entry")],
    ),
    ("a payload is changed", "UPDATE orders_commandlog SET payload = payload || 'x' WHERE first_sequence = 4", [(4, CONTENT)]),
    ("a stamp is changed", "UPDATE orders_commandlog SET stamp_ms = stamp_ms + 1 WHERE first_sequence = 4", [(4, CONTENT)]),
    ("an epoch is changed", "UPDATE orders_commandlog SET epoch = epoch + 1 WHERE first_sequence = 4", [(4, CONTENT)]),
    ("a state hash is changed", "UPDATE orders_commandlog SET state_hash = state_hash + 1 WHERE first_sequence = 4", [(4, CONTENT)]),
    ("a chain is changed", "UPDATE orders_commandlog SET chain = sha256(chain) WHERE first_sequence = 4", [(4, "its chain was changed")]),
    (
        "the last payload is changed",
        f"UPDATE orders_commandlog SET payload = 'x' WHERE first_sequence = {ENTRIES}",
        [(ENTRIES, CONTENT)],
    ),
    (
        "the last chain is changed",
        f"UPDATE orders_commandlog SET chain = sha256(chain) WHERE first_sequence = {ENTRIES}",
        [(ENTRIES, "its chain was changed")],
    ),
    (
        "the tail is cut off",
        "DELETE FROM orders_commandlog WHERE first_sequence > 6",
        [(7, f"the command log ends at sequence 6, the checkpoint is at {ENTRIES}")],
    ),
    (
        "everything is deleted",
        "DELETE FROM orders_commandlog",
        [(1, f"the command log ends at sequence 0, the checkpoint is at {ENTRIES}")],
    ),
    (
        "an entry is there twice",
        """INSERT INTO orders_commandlog SELECT symbol_id, first_sequence, last_sequence, epoch, stamp_ms, payload, chain, state_hash,
           settled_at + interval '1 us' FROM orders_commandlog WHERE first_sequence = 4""",
        [(4, "it begins at 4 where 5 was due: commands are there twice")],
    ),
    (
        "two entries are changed, far from each other",
        "UPDATE orders_commandlog SET payload = 'x' WHERE first_sequence IN (2, 6)",
        [(2, CONTENT), (6, CONTENT)],
    ),
    (
        "the checkpoint has another state hash",
        "UPDATE orders_checkpoint SET state_hash = state_hash + 1",
        [(ENTRIES, f"the command log ends with another state hash than the checkpoint at sequence {ENTRIES}")],
    ),
]


@pytest.mark.parametrize(("statement", "expected"), [(sql, found) for _, sql, found in BREAKS], ids=[name for name, _, _ in BREAKS])
def test_what_was_broken_is_named_and_no_worker_starts(
    logged: tuple[Exchange, Superuser, int], monkeypatch: pytest.MonkeyPatch, statement: str, expected: list[tuple[int, str]]
) -> None:
    exchange, superuser, symbol_id = logged
    assert check(symbol_id).breaks == ()
    superuser.execute(statement.encode())
    for at_once in (20_000, 3, 1):  # whatever parts it is read in
        monkeypatch.setattr(command_log, "ENTRIES_AT_ONCE", at_once)
        assert problems(check(symbol_id)) == expected
        assert problems(check(symbol_id, since_anchor=False)) == expected
    connection = exchange.connection()
    first, problem = expected[0]
    with pytest.raises(RecoveryRefused, match=f"first_sequence={first}.*{re.escape(problem)}"):
        recovery.load_shard(connection, shard=0)
    connection.rollback()


def test_a_log_rewritten_with_new_hashes_does_not_end_where_the_checkpoint_is(logged: tuple[Exchange, Superuser, int]) -> None:
    _, superuser, symbol_id = logged
    rows = superuser.execute(
        "SELECT first_sequence, last_sequence, epoch, stamp_ms, state_hash, payload FROM orders_commandlog ORDER BY first_sequence"
    ).fetchall()
    chain = EMPTY_CHAIN
    for first, last, epoch, stamp_ms, state_hash, payload in rows:
        chain = chain_after(
            chain, symbol_id=symbol_id, first_sequence=first, last_sequence=last, epoch=epoch, stamp_ms=stamp_ms + 1,
            state_hash=int(state_hash), payload=payload,
        )  # fmt: skip
        superuser.execute("UPDATE orders_commandlog SET stamp_ms = stamp_ms + 1, chain = %s WHERE first_sequence = %s", [chain, first])
    said = f"the command log ends with another hash chain than the checkpoint at sequence {ENTRIES}"
    assert problems(check(symbol_id)) == [(ENTRIES, said)]


def test_a_start_verifies_from_the_last_anchor_and_a_whole_verification_everything(logged: tuple[Exchange, Superuser, int]) -> None:
    exchange, superuser, symbol_id = logged
    anchored(symbol_id, 3)
    anchored(symbol_id, 6)
    since = check(symbol_id)
    assert (since.began_at, since.sequence, since.entries, since.breaks) == (6, ENTRIES, 2, ())
    superuser.execute("UPDATE orders_commandlog SET payload = 'x' WHERE first_sequence = 2")
    assert check(symbol_id).breaks == ()
    whole = check(symbol_id, since_anchor=False)
    assert (whole.began_at, whole.entries, problems(whole)) == (0, ENTRIES, [(2, CONTENT)])
    superuser.execute("UPDATE orders_commandlog SET payload = 'x' WHERE first_sequence = 7")
    assert problems(check(symbol_id)) == [(7, CONTENT)]
    with pytest.raises(RecoveryRefused, match="first_sequence=7"):
        exchange.restart_worker()


def test_without_its_anchor_a_log_is_verified_from_the_one_before(logged: tuple[Exchange, Superuser, int]) -> None:
    _, superuser, symbol_id = logged
    anchored(symbol_id, 3)
    anchored(symbol_id, 6)
    superuser.execute("UPDATE orders_commandlog SET payload = 'x' WHERE first_sequence = 5")
    assert check(symbol_id).breaks == ()
    superuser.execute("DELETE FROM orders_anchor WHERE sequence = 6")
    assert problems(check(symbol_id)) == [(5, CONTENT)]


def test_a_changed_anchor_is_named(logged: tuple[Exchange, Superuser, int]) -> None:
    _, superuser, symbol_id = logged
    anchored(symbol_id, 3)
    anchored(symbol_id, 6)
    superuser.execute("UPDATE orders_anchor SET chain = sha256(chain) WHERE sequence = 6")
    assert problems(check(symbol_id)) == [(6, "the anchor at sequence 6 says something else than this entry, which ends at 6")]
    said = [(6, "the anchor (VERIFIED) at sequence 6 says something else than the log")]
    assert problems(check(symbol_id, since_anchor=False)) == said


def test_an_anchor_does_not_stand_for_entries_that_are_gone(logged: tuple[Exchange, Superuser, int]) -> None:
    _, superuser, symbol_id = logged
    anchored(symbol_id, 6)
    superuser.execute("DELETE FROM orders_commandlog WHERE first_sequence <= 6")
    assert problems(check(symbol_id)) == [(1, "commands 1 to 6 are missing: an anchor at 6 says that they were there")]
    assert problems(check(symbol_id, since_anchor=False))[0] == (7, "commands 1 to 6 are missing before this entry")


def test_an_anchor_says_what_the_log_says_or_is_refused(logged: tuple[Exchange, Superuser, int]) -> None:
    _, superuser, symbol_id = logged
    anchored(symbol_id, 4)
    assert superuser.execute("SELECT sequence, kind, trade_number, payload FROM orders_anchor").fetchall() == [(4, "VERIFIED", 2, None)]
    columns = "symbol_id, sequence, kind, chain, state_hash, stamp_ms, trade_number, at"
    for change, error, saying in (
        ("5, 'VERIFIED', chain, state_hash", psycopg.errors.CheckViolation, "no entry of the log says the same"),
        ("4, 'VERIFIED', sha256(chain), state_hash", psycopg.errors.CheckViolation, "no entry of the log says the same"),
        ("4, 'DETACHED', chain, state_hash", psycopg.errors.InsufficientPrivilege, "only maintenance lets a log begin"),
    ):
        with connect_direct(name="test") as engine, refused(engine, error, saying=saying):
            copied = f"SELECT symbol_id, {change}, stamp_ms, trade_number, now() FROM orders_anchor"
            engine.execute(f"INSERT INTO orders_anchor ({columns}) {copied}".encode())
    with connect_direct(name="test") as engine, refused(engine, psycopg.errors.InsufficientPrivilege, saying="permission denied"):
        engine.execute("UPDATE orders_anchor SET payload = ''")


def test_logs_are_anchored_when_they_have_grown(logged: tuple[Exchange, Superuser, int], monkeypatch: pytest.MonkeyPatch) -> None:
    exchange, superuser, symbol_id = logged
    with connect_direct(name="test", autocommit=True) as connection:
        assert anchor_grown(connection) == []
        monkeypatch.setattr(command_log, "ANCHOR_EVERY", ENTRIES)
        [verified] = anchor_grown(connection)
        assert (verified.began_at, verified.sequence) == (0, ENTRIES)
        assert anchor_grown(connection) == []
    assert superuser.execute("SELECT sequence, trade_number FROM orders_anchor").fetchall() == [(ENTRIES, ENTRIES // 2)]
    assert check(symbol_id).entries == 0
    assert exchange.restart_worker().engines[symbol_id].progress.sequence == ENTRIES


def test_a_broken_log_is_not_anchored_but_logged(logged: tuple[Exchange, Superuser, int], monkeypatch: pytest.MonkeyPatch) -> None:
    _, superuser, symbol_id = logged
    assert verify_command_logs() == 0
    assert figure("command_log_breaks_open") == 0
    monkeypatch.setattr(command_log, "ANCHOR_EVERY", 1)
    superuser.execute("DELETE FROM orders_commandlog WHERE first_sequence = 4")
    for task in (anchor_command_logs, verify_command_logs):
        with structlog.testing.capture_logs() as logs:
            assert task() == 1
        [error] = [line for line in logs if line["log_level"] == "error"]
        assert error["event"] == "command_log_broken"
        assert f"symbol_id={symbol_id} first_sequence=5" in error["sentence"]
    assert superuser.execute("SELECT count(*) FROM orders_anchor").fetchone() == (0,)
    assert figure("command_log_breaks_open") == 1
    alerts = superuser.execute("SELECT kind, severity, symbol_id, title FROM risk_alert").fetchall()
    assert alerts == [("COMMAND_LOG_BREAK", "CRITICAL", symbol_id, error["sentence"])]  # one, whoever found it


def test_the_lease_is_renewed_while_a_long_log_is_verified(
    logged: tuple[Exchange, Superuser, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange, _, symbol_id = logged
    monkeypatch.setattr(command_log, "ENTRIES_AT_ONCE", 3)
    renewed: list[int] = []
    assert check(symbol_id, renew=lambda: renewed.append(1)).entries == ENTRIES
    assert len(renewed) == 3
    connection = exchange.connection()
    recovery.load_shard(connection, shard=0, renew=lambda: renewed.append(1))
    connection.rollback()
    assert len(renewed) == 3 + 3 + 1


def test_it_is_verified_while_trading_goes_on(logged: tuple[Exchange, Superuser, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries that are added in the middle of a verification are no break."""
    exchange, superuser, symbol_id = logged
    superuser.execute("SET session_replication_role = origin")
    monkeypatch.setattr(command_log, "ENTRIES_AT_ONCE", 3)
    symbol = Symbol.objects.get(pk=symbol_id)
    more = exchange.trader((symbol.base, 1))
    added: list[int] = []

    def trade() -> None:
        if not added:
            added.append(1)
            exchange.placed(more, symbol, "SELL", "1", "200")
            exchange.settle()

    verified = check(symbol_id, renew=trade)
    assert verified.breaks == ()
    assert verified.sequence == ENTRIES + 1


def test_the_command_names_every_break_and_exits_with_1(
    logged: tuple[Exchange, Superuser, int], capsys: pytest.CaptureFixture[str]
) -> None:
    _, superuser, _ = logged
    anchored(logged[2], 6)
    call_command("verify_command_log")
    assert ": 2 entries, 6 to 8, " in capsys.readouterr().out
    call_command("verify_command_log", "--from-start")
    assert ": 8 entries, 0 to 8, " in capsys.readouterr().out
    superuser.execute("DELETE FROM orders_commandlog WHERE first_sequence = 2")
    call_command("verify_command_log")
    assert "No break." in capsys.readouterr().out
    [(name,)] = superuser.execute("SELECT name FROM markets_symbol").fetchall()
    with pytest.raises(SystemExit) as ended:
        call_command("verify_command_log", "--from-start", "--symbol", name)
    assert ended.value.code == 1
    told = capsys.readouterr().out
    assert "first_sequence=3, settled at" in told
    assert "commands 2 to 2 are missing before this entry" in told
    with pytest.raises(CommandError, match="no symbol NO/SUCH"):
        call_command("verify_command_log", "--symbol", "NO/SUCH")
