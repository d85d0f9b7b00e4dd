"""Whose a symbol is: it stays where its checkpoint says, comes to another shard with a higher epoch only, and intake waits meanwhile."""

import io
import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from institutions.models import AuditEntry
from markets.models import Symbol
from matching import moves, queries, shards
from matching.worker import Worker
from orders.refusals import NotTaken
from orders.requests import CancelAllTaken
from tests.matching_worker.exchange import Exchange, Trader, accepted, order
from tests.matching_worker.processes import Shards, give_up_the_shard, status_of
from tests.support.stacks import wait_until


def shards_say(*arguments: str) -> str:
    output = io.StringIO()
    call_command("shards", *arguments, stdout=output)
    return output.getvalue()


@pytest.fixture
def market(exchange: Exchange) -> tuple[Symbol, Trader]:
    symbol = exchange.symbol()
    return symbol, exchange.trader((symbol.quote, 1000))


def another_owner(exchange: Exchange, shard: int = 1) -> Worker:
    """A worker of another shard in this process, with nothing of its own."""
    session = exchange.connection(autocommit=True, name=shards.session_name(shard))
    worker = Worker(shard=shard, shards_in_all=1)
    epoch = shards.try_acquire(session, shard=shard, owner="another")
    assert epoch is not None
    worker.epoch = epoch
    keep_for_long(exchange, shard)
    return worker


def keep_for_long(exchange: Exchange, shard: int) -> None:
    """Nobody renews this lease in the background, and a slow machine is no reason to lose it."""
    with exchange.connection(autocommit=True) as connection:
        connection.execute("UPDATE orders_shard SET expires_at = clock_timestamp() + interval '1 hour' WHERE id = %s", [shard])


def ask(symbol: Symbol, target: int = 1) -> int:
    return moves.request(symbol=symbol.name, target=target, actor="olga", reason="a test")


# -- intake


def test_intake_takes_nothing_for_a_symbol_that_moves(exchange: Exchange, market: tuple[Symbol, Trader]) -> None:
    symbol, buyer = market
    resting = exchange.placed(buyer, symbol, "BUY", "1", "10")
    exchange.settle()
    another_owner(exchange)
    move = ask(symbol)
    requests = (
        exchange.place(buyer, symbol, "BUY", "1", "10"),
        exchange.cancel(buyer, resting),
        exchange.amend(buyer, resting, quantity="2"),
    )
    for outcome in requests:
        assert isinstance(outcome, NotTaken), outcome
        assert (outcome.code, outcome.retry_after_s) == ("SYMBOL_MOVING", 1)
    assert exchange.rows("SELECT 1 FROM orders_inbox") == []
    assert isinstance(exchange.cancel_all(buyer), CancelAllTaken), "who wants out of everything is not kept waiting by one symbol"
    assert exchange.rows("SELECT symbol_id, commands FROM orders_inbox") == [(symbol.pk, 1)], "for whoever owns it then"
    other = exchange.symbol()
    exchange.placed(exchange.trader((other.quote, 10)), other, "BUY", "1", "10")
    with exchange.connection(autocommit=True) as connection:
        [under_way] = moves.live(connection, shard=0)
        assert moves.undo(connection, under_way, why="a test")
    assert moves.state_of(move_id=move) == ("UNDONE", "a test")
    exchange.placed(buyer, symbol, "BUY", "1", "10")


def test_what_was_on_its_way_when_the_move_began_is_settled_before_the_owner_lets_go(
    exchange: Exchange, market: tuple[Symbol, Trader]
) -> None:
    symbol, buyer = market
    assert exchange.worker is not None
    waiting = exchange.placed(buyer, symbol, "BUY", "1", "10")
    another_owner(exchange)
    ask(symbol)
    exchange.worker._attend_to_moves(exchange.session, exchange.settling)
    assert symbol.pk in exchange.worker.engines, "something waits still"
    exchange.settle()
    assert status_of(exchange, waiting) == "OPEN"
    exchange.worker._attend_to_moves(exchange.session, exchange.settling)
    assert symbol.pk not in exchange.worker.engines
    assert exchange.row("SELECT state FROM orders_symbolmove") == ("DRAINED",)
    exchange.worker._adopt_new_symbols(exchange.settling)
    assert symbol.pk not in exchange.worker.engines, "it is let go of for good, although the checkpoint still says shard 0"
    assert exchange.restart_worker().engines == {}


def test_what_intake_adds_after_the_owner_let_go_waits_for_the_new_one(exchange: Exchange, market: tuple[Symbol, Trader]) -> None:
    """An intake transaction that had read before the move was asked for may commit after it."""
    symbol, buyer = market
    assert exchange.worker is not None
    other = another_owner(exchange)
    late = exchange.placed(buyer, symbol, "BUY", "1", "10")
    [(commands, payload)] = exchange.rows("SELECT commands, payload FROM orders_inbox")
    with exchange.connection() as meddling:
        meddling.execute("DELETE FROM orders_inbox")
    ask(symbol)
    exchange.worker._attend_to_moves(exchange.session, exchange.settling)
    with exchange.connection() as meddling:
        meddling.execute("INSERT INTO orders_inbox (symbol_id, commands, payload) VALUES (%s, %s, %s)", [symbol.pk, commands, payload])
    assert exchange.worker.settle_once(exchange.settling) == 0
    settling = exchange.connection()
    other._attend_to_moves(exchange.connection(autocommit=True), settling)
    assert other.settle_once(settling) == 1
    assert status_of(exchange, late) == "OPEN"


# -- epochs


def test_a_symbol_settles_at_a_shard_whose_epoch_was_lower(exchange: Exchange, market: tuple[Symbol, Trader]) -> None:
    symbol, buyer = market
    other = another_owner(exchange)
    for _ in range(3):
        exchange.restart_worker()
    exchange.placed(buyer, symbol, "BUY", "1", "10")
    exchange.settle()
    assert exchange.worker is not None
    assert other.epoch < exchange.worker.epoch
    ask(symbol)
    exchange.worker._attend_to_moves(exchange.session, exchange.settling)
    settling = exchange.connection()
    other._attend_to_moves(exchange.connection(autocommit=True), settling)
    assert other.epoch > exchange.worker.epoch
    assert exchange.row("SELECT shard_id, epoch FROM orders_checkpoint") == (1, other.epoch)
    keep_for_long(exchange, 1)
    order_id = exchange.placed(buyer, symbol, "BUY", "1", "10")
    assert other.settle_once(settling) == 1
    assert status_of(exchange, order_id) == "OPEN"


def test_an_undone_move_takes_nothing_over(exchange: Exchange, market: tuple[Symbol, Trader]) -> None:
    """The flip and the undoing have one row to change: whoever comes second finds it changed."""
    symbol, _ = market
    assert exchange.worker is not None
    other = another_owner(exchange)
    ask(symbol)
    exchange.worker._attend_to_moves(exchange.session, exchange.settling)
    with exchange.connection(autocommit=True) as connection:
        [drained] = moves.live(connection, shard=1)
        assert moves.undo(connection, drained, why="a test")
        assert not moves.undo(connection, drained, why="again")
    settling = exchange.connection()
    assert moves.take_over(settling, drained, epoch=other.epoch) is None
    exchange.worker._look_for_symbols(exchange.session, exchange.settling)
    assert symbol.pk in exchange.worker.engines
    assert exchange.row("SELECT shard_id FROM orders_checkpoint") == (0,)


# -- another number of shards


@pytest.fixture
def workers(exchange: Exchange, tmp_path: Path) -> Iterator[Shards]:
    give_up_the_shard(exchange)
    with ExitStack() as ends:
        yield Shards(exchange, tmp_path, ends, shards_in_all=2)


@pytest.mark.slow
def test_with_fewer_shards_only_symbols_without_a_shard_are_dealt_out_again(workers: Shards) -> None:
    exchange = workers.exchange
    symbols = [exchange.symbol() for _ in range(4)]
    buyers = {symbol.pk: exchange.trader((symbol.quote, 1000)) for symbol in symbols}
    workers.start_and_own(0, 1)
    for symbol in symbols:
        exchange.placed(buyers[symbol.pk], symbol, "BUY", "1", "10")
    first = next(symbol for symbol in symbols if symbol.pk % 2 == 0)
    moved = moves.request(symbol=first.name, target=1, actor="olga", reason="a test")
    wait_until(lambda: moves.state_of(move_id=moved)[0] == "DONE", within_s=30, what="the move")
    workers.signal(0, signal.SIGTERM)
    assert workers.process[0].wait(timeout=20) == 0
    workers.shards_in_all = 1
    workers.start(0)
    wait_until(lambda: workers.owns(0), within_s=60, what="the only worker that is left by number")
    assert {workers.shard_of(symbol) for symbol in symbols} == {0, 1}, "shard 1 has an owner still, so nobody takes its symbols"
    workers.signal(1, signal.SIGKILL)
    wait_until(lambda: {workers.shard_of(symbol) for symbol in symbols} == {0}, within_s=30, what=f"they come to shard 0 {workers.logs()}")
    for symbol in symbols:
        placed = accepted(exchange.take(order(buyers[symbol.pk], symbol, "BUY", "1", "9"))[0])
        wait_until(lambda p=placed: status_of(exchange, p) == "OPEN", within_s=20, what=f"shard 0 matches {workers.logs()}")  # type: ignore[misc]
    assert workers.process[0].poll() is None


def test_with_more_shards_every_symbol_stays_where_it_is(exchange: Exchange, market: tuple[Symbol, Trader]) -> None:
    symbols = [exchange.symbol() for _ in range(3)]
    assert exchange.worker is not None
    assert len(exchange.worker.engines) == 4
    session, settling = exchange.connection(autocommit=True), exchange.connection()
    second = Worker(shard=1, shards_in_all=2)
    epoch = shards.try_acquire(session, shard=1, owner="second")
    assert epoch is not None
    second.epoch = epoch
    second._look_for_symbols(session, settling)
    assert second.engines == {}
    assert exchange.row("SELECT array_agg(DISTINCT shard_id) FROM orders_checkpoint") == ([0],)
    assert len(symbols) == 3


def test_two_who_stand_in_for_a_shard_at_once_do_not_end_each_other(exchange: Exchange) -> None:
    """The lock of one is no sign of a stalled owner to the other, although no lease holds."""
    one, two = (exchange.connection(autocommit=True, name=shards.session_name(shard)) for shard in (1, 2))
    with shards.stand_in(one, shard=7, owner="one") as epoch:
        assert epoch is not None
        shards.release(one, shard=7, epoch=epoch)
        with shards.stand_in(two, shard=7, owner="two") as nothing:
            assert nothing is None
        assert one.execute("SELECT 1").fetchone() == (1,)
    with shards.stand_in(two, shard=7, owner="two") as later:
        assert later is not None
        assert later > epoch


# -- the command line


def test_what_the_command_shows(exchange: Exchange, market: tuple[Symbol, Trader]) -> None:
    symbol, buyer = market
    exchange.placed(buyer, symbol, "BUY", "1", "10")
    exchange.placed(buyer, symbol, "BUY", "1", "10")
    exchange.keep_lease()
    told = json.loads(shards_say("--json"))
    [shard] = told["shards"]
    assert exchange.worker is not None
    assert (shard["shard"], shard["owner"], shard["epoch"]) == (0, "test", exchange.worker.epoch)
    assert (shard["symbols"], shard["waiting"]) == ([symbol.name], 2)
    assert 0 < shard["lease_s"] <= 5
    assert 0 <= shard["oldest_s"] < 30
    assert told["moves"] == []
    assert symbol.name in shards_say()
    exchange.settle()
    [row] = queries.shards()
    assert (row.waiting, row.oldest_s) == (0, None)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["NO/SUCH", "--to", "1"], "There is no symbol NO/SUCH"),
        (["{}", "--to", "0"], "is on shard 0"),
        (["{}", "--to", "7"], "No worker owns shard 7"),
        (["{}", "--to", "1", "--reason", " "], "needs an actor and a reason"),
    ],
)
def test_what_cannot_be_moved_is_refused_in_words(
    exchange: Exchange, market: tuple[Symbol, Trader], arguments: list[str], why: str
) -> None:
    another_owner(exchange)
    exchange.keep_lease()
    given = [argument.format(market[0].name) for argument in arguments]
    with pytest.raises(CommandError, match=why):
        shards_say("move", *given, *([] if "--reason" in given else ["--reason", "a test"]))
    assert exchange.rows("SELECT 1 FROM orders_symbolmove") == []


def test_a_symbol_moves_once_at_a_time(exchange: Exchange, market: tuple[Symbol, Trader]) -> None:
    another_owner(exchange)
    ask(market[0])
    with pytest.raises(moves.MoveRefused, match="being moved already"):
        ask(market[0])


def test_a_move_is_asked_for_by_name_and_audited_and_its_failure_is_said(exchange: Exchange, market: tuple[Symbol, Trader]) -> None:
    symbol, _ = market
    another_owner(exchange)
    with pytest.raises(CommandError, match=f"{symbol.name} was not moved: no worker attended to it in time"):
        shards_say("move", symbol.name, "--to", "1", "--reason", "too busy", "--actor", "olga", "--within", "0")
    entry = AuditEntry.objects.get(action="symbol.move")
    assert (entry.actor, entry.subject, entry.reason) == ("olga", f"symbol:{symbol.name}", "too busy")
    assert entry.before == {"shard": 0}
    assert entry.after is not None
    assert entry.after["shard"] == 1
    assert "UNDONE (no worker attended to it in time)" in shards_say()
