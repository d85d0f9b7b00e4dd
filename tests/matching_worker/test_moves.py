"""Symbols move between real workers under load, while any of them dies or stalls at any step: nothing is lost, doubled or reordered,
and each move is done, or undone and says why."""

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
from django.conf import settings

from markets.models import Symbol
from matching import moves
from orders.settlement import LEASE_S
from tests.matching_worker.exchange import Exchange, accepted, order
from tests.matching_worker.processes import (
    Client,
    Shards,
    assert_nothing_lost_doubled_or_reordered,
    clients,
    give_up_the_shard,
    status_of,
    wait_until_settled,
)
from tests.support.stacks import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def two(exchange: Exchange, tmp_path: Path) -> Iterator[Shards]:
    """An exchange of two shards, with nobody owning them yet."""
    give_up_the_shard(exchange)
    with ExitStack() as ends:
        yield Shards(exchange, tmp_path, ends, shards_in_all=2)


def two_symbols(exchange: Exchange) -> dict[int, Symbol]:
    """One for each shard, by its shard, in the same two assets: their settlements touch the same balances."""
    base, quote = exchange.asset(), exchange.asset()
    first = exchange.symbol(base, quote)
    second = exchange.symbol(quote, base)
    return {first.pk % 2: first, second.pk % 2: second}


def ask(symbol: Symbol, target: int, *, within_s: float = 30.0) -> int:
    return moves.request(symbol=symbol.name, target=target, actor="olga", reason="a test", within_s=within_s)


def ended(two: Shards, move: int, *, within_s: float = 60.0) -> tuple[str, str]:
    """Waits for the move's end as `manage.py shards move` does not: without a hand in it. Returns (state, note)."""
    sql = "SELECT state, note FROM orders_symbolmove WHERE id = %s"
    try:
        wait_until(lambda: two.exchange.row(sql, move)[0] in ("DONE", "UNDONE"), within_s=within_s, what="the move ends")
    except AssertionError as problem:
        raise AssertionError(f"{problem}\n{two.exchange.row(sql, move)}\n{two.logs()}") from None
    state, note = two.exchange.row(sql, move)
    return str(state), str(note)


def state_of(two: Shards, move: int) -> str:
    return str(two.exchange.row("SELECT state FROM orders_symbolmove WHERE id = %s", move)[0])


@contextmanager
def locked(sql: str) -> Iterator[None]:
    """Rows locked by somebody else: whoever needs them stands still at that step."""
    with psycopg.connect(settings.DATABASE_URL) as holder:
        holder.execute(sql.encode())
        yield
        holder.rollback()


def stands_still(two: Shards, shard: int, statement: str) -> bool:
    """Whether the owner's settling connection waits for a lock in this statement."""
    sql = """SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = %s
             AND wait_event_type = 'Lock' AND query LIKE %s"""
    return two.exchange.row(sql, f"matching-{shard}-settle", f"%{statement}%") != (0,)


def acknowledged(working: Sequence[Client]) -> int:
    return sum(len(client.told.acknowledged) for client in working)


def test_a_symbol_moves_back_and_forth_under_load(two: Shards) -> None:
    exchange, symbols = two.exchange, two_symbols(two.exchange)
    two.start_and_own(0, 1)
    moving, took = symbols[0], []
    with clients(exchange, list(symbols.values()), count=4) as working:
        for target in (1, 0, 1, 0, 1, 0):
            enough = acknowledged(working) + 40
            wait_until(lambda e=enough: acknowledged(working) > e, within_s=60, what="the clients go on")  # type: ignore[misc]
            began_at = time.monotonic()
            assert ended(two, ask(moving, target)) == ("DONE", "")
            took.append(time.monotonic() - began_at)
            assert two.shard_of(moving) == target
        told = [client.stop() for client in working]
    wait_until_settled(exchange)
    assert_nothing_lost_doubled_or_reordered(exchange, told)
    assert sum(one.asked_again["SYMBOL_MOVING"] for one in told) > 0, "intake paused"
    assert exchange.row("SELECT count(*) FROM orders_trade")[0] > 20
    log = exchange.rows("SELECT epoch FROM orders_commandlog WHERE symbol_id = %s ORDER BY first_sequence", moving.pk)
    epochs = [epoch for (epoch,) in log]
    assert epochs == sorted(epochs)
    assert len(set(epochs)) >= 6, "each owner settled under an epoch of its own"
    assert max(took) < 20, took
    assert all(process.poll() is None for process in two.process.values()), two.logs()


def test_orders_rest_where_they_were_in_the_queue(two: Shards) -> None:
    exchange, symbol = two.exchange, two_symbols(two.exchange)[0]
    two.start_and_own(0, 1)
    sellers = [exchange.trader((symbol.base, 10)) for _ in range(3)]
    buyer = exchange.trader((symbol.quote, 1000))
    resting = [accepted(exchange.take(order(seller, symbol, "SELL", "1", "10"))[0]) for seller in sellers]
    wait_until_settled(exchange)
    assert ended(two, ask(symbol, 1))[0] == "DONE"
    exchange.take(order(buyer, symbol, "BUY", "2", "10"))
    wait_until_settled(exchange)
    assert [status_of(exchange, order_id) for order_id in resting] == ["FILLED", "FILLED", "OPEN"]


def test_a_symbol_of_a_dead_owner_is_taken_over(two: Shards) -> None:
    """What it had not taken yet waits in the inbox and is matched by the new owner."""
    exchange, symbols = two.exchange, two_symbols(two.exchange)
    two.start_and_own(0, 1)
    buyer = exchange.trader((symbols[0].quote, 1000))
    two.signal(0, signal.SIGSTOP)
    waiting = accepted(exchange.take(order(buyer, symbols[0], "BUY", "1", "10"))[0])
    two.signal(0, signal.SIGKILL)
    assert ended(two, ask(symbols[0], 1)) == ("DONE", "")
    wait_until(lambda: status_of(exchange, waiting) == "OPEN", within_s=20, what="the new owner matches what waited")
    assert two.shard_of(symbols[0]) == 1
    two.start_and_own(0)
    after = accepted(exchange.take(order(buyer, symbols[0], "BUY", "1", "9"))[0])
    wait_until(lambda: status_of(exchange, after) == "OPEN", within_s=20, what="the new owner goes on")
    assert two.process[1].poll() is None


def test_a_symbol_of_a_stalled_owner_is_taken_over_and_the_old_one_commits_nothing(two: Shards) -> None:
    exchange, symbols = two.exchange, two_symbols(two.exchange)
    two.start_and_own(0, 1)
    buyer = exchange.trader((symbols[0].quote, 1000))
    two.signal(0, signal.SIGSTOP)
    stopped_at = time.monotonic()
    waiting = accepted(exchange.take(order(buyer, symbols[0], "BUY", "1", "10"))[0])
    assert ended(two, ask(symbols[0], 1)) == ("DONE", "")
    assert time.monotonic() - stopped_at > LEASE_S - 2, "not before the lease had run out"
    wait_until(lambda: status_of(exchange, waiting) == "OPEN", within_s=20, what="the new owner matches what waited")
    old = two.process[0]
    two.signal(0, signal.SIGCONT)
    assert old.wait(timeout=20) != 0, two.logs()
    [(epochs,)] = exchange.rows("SELECT array_agg(DISTINCT epoch) FROM orders_commandlog")
    assert epochs == [exchange.row("SELECT epoch FROM orders_shard WHERE id = 1")[0]]


def test_a_move_to_a_shard_that_nobody_owns_is_refused(two: Shards) -> None:
    symbols = two_symbols(two.exchange)
    two.start_and_own(0)
    with pytest.raises(moves.MoveRefused, match="No worker owns shard 1"):
        ask(symbols[0], 1)
    assert two.exchange.rows("SELECT 1 FROM orders_symbolmove") == []


def test_a_move_whose_target_dies_is_undone_and_says_so(two: Shards) -> None:
    exchange, symbol = two.exchange, two_symbols(two.exchange)[0]
    two.start_and_own(0, 1)
    buyer = exchange.trader((symbol.quote, 1000))
    two.signal(1, signal.SIGSTOP)
    move = ask(symbol, 1, within_s=4)
    wait_until(lambda: state_of(two, move) == "DRAINED", within_s=20, what="the old owner lets go")
    two.signal(1, signal.SIGKILL)
    assert ended(two, move) == ("UNDONE", "shard 1 did not take it over in time")
    assert two.shard_of(symbol) == 0
    placed = accepted(exchange.take(order(buyer, symbol, "BUY", "1", "10"))[0])
    wait_until(lambda: status_of(exchange, placed) == "OPEN", within_s=20, what="the old owner has it again")


def test_a_move_that_nobody_is_left_for_is_undone_by_the_first_who_comes(two: Shards) -> None:
    exchange, symbol = two.exchange, two_symbols(two.exchange)[0]
    two.start_and_own(0, 1)
    for shard in (0, 1):
        two.signal(shard, signal.SIGSTOP)
    move = ask(symbol, 1, within_s=1)
    for shard in (0, 1):
        two.signal(shard, signal.SIGKILL)
    time.sleep(1.2)
    two.start_and_own(0)
    assert ended(two, move) == ("UNDONE", "shard 0 did not let go of it in time")
    placed = accepted(exchange.take(order(exchange.trader((symbol.quote, 10)), symbol, "BUY", "1", "10"))[0])
    wait_until(lambda: status_of(exchange, placed) == "OPEN", within_s=20, what="its owner matches")


# Who is killed, what is locked, who stands still there and in which statement.
STEPS = {
    "the source before it drains": (0, "SELECT 1 FROM orders_symbolmove WHERE id = {} FOR UPDATE", 0, "UPDATE orders_symbolmove"),
    "the source after it let go": (0, "SELECT 1 FROM orders_checkpoint WHERE symbol_id = {} FOR UPDATE", 1, "SET shard_id"),
    "the target before it flips": (1, "SELECT 1 FROM orders_checkpoint WHERE symbol_id = {} FOR UPDATE", 1, "SET shard_id"),
}


CASES = [(step, successor) for step in STEPS for successor in (True, False) if step != "the source after it let go" or not successor]


@pytest.mark.parametrize(("step", "successor"), CASES, ids=[f"{step}, {'with' if kept else 'without'} a successor" for step, kept in CASES])
def test_a_worker_killed_in_the_middle_of_a_move(two: Shards, step: str, successor: bool) -> None:
    """Held at that step by a lock, killed, the lock given back. With a successor, or the other worker alone."""
    exchange, symbols = two.exchange, two_symbols(two.exchange)
    killed, lock, held_up, statement = STEPS[step]
    expected = ("UNDONE", "shard 1 did not take it over in time") if killed == 1 and not successor else ("DONE", "")
    within_s = 60 if expected[0] == "DONE" else 8
    two.start_and_own(0, 1)
    # The source settles nothing of a symbol whose checkpoint is locked, so only the other one may be busy then.
    busy = list(symbols.values()) if held_up == 0 else [symbols[1]]
    with clients(exchange, busy) as working:
        time.sleep(0.5)
        with ExitStack() as holding:
            if held_up == 1:
                holding.enter_context(locked(lock.format(symbols[0].pk)))
                move = ask(symbols[0], 1, within_s=within_s)
            else:
                two.signal(0, signal.SIGSTOP)
                move = ask(symbols[0], 1, within_s=within_s)
                holding.enter_context(locked(lock.format(move)))
                two.signal(0, signal.SIGCONT)
            wait_until(lambda: stands_still(two, held_up, statement), within_s=30, what=f"shard {held_up} stands still: {two.logs()}")
            two.signal(killed, signal.SIGKILL)
        if successor:
            two.start_and_own(killed)
        verdict = ended(two, move, within_s=90)
        if not successor:
            two.start_and_own(killed)  # its other symbol has clients who wait
    assert verdict == expected
    assert two.shard_of(symbols[0]) == (1 if verdict[0] == "DONE" else 0)
    buyer = exchange.trader((symbols[0].quote, 1000))
    placed = accepted(exchange.take(order(buyer, symbols[0], "BUY", "1", "10"))[0])
    wait_until(lambda: status_of(exchange, placed) in ("OPEN", "FILLED"), within_s=20, what=f"its owner matches: {two.logs()}")
    wait_until_settled(exchange)
    working[0].told.acknowledged.append((symbols[0].name, placed))
    assert_nothing_lost_doubled_or_reordered(exchange, [client.told for client in working])


def test_a_new_owner_killed_right_after_the_flip_has_it_for_good(two: Shards) -> None:
    exchange, symbol = two.exchange, two_symbols(two.exchange)[0]
    two.start_and_own(0, 1)
    buyer = exchange.trader((symbol.quote, 1000))
    assert ended(two, ask(symbol, 1))[0] == "DONE"
    two.signal(1, signal.SIGKILL)
    two.start_and_own(1)
    placed = accepted(exchange.take(order(buyer, symbol, "BUY", "1", "10"))[0])
    wait_until(lambda: status_of(exchange, placed) == "OPEN", within_s=20, what="its successor matches")
    assert two.shard_of(symbol) == 1
    assert two.process[0].poll() is None


def test_a_standby_takes_over_in_the_middle_of_a_move(two: Shards) -> None:
    exchange, symbol = two.exchange, two_symbols(two.exchange)[0]
    two.start_and_own(0, 1)
    two.signal(1, signal.SIGSTOP)
    move = ask(symbol, 1)
    wait_until(lambda: state_of(two, move) == "DRAINED", within_s=20, what="the old owner lets go")
    two.start(1)
    assert ended(two, move) == ("DONE", "")
    assert two.owns(1), "the standby has the shard once the lease is over"
    assert two.shard_of(symbol) == 1
    placed = accepted(exchange.take(order(exchange.trader((symbol.quote, 10)), symbol, "BUY", "1", "10"))[0])
    wait_until(lambda: status_of(exchange, placed) == "OPEN", within_s=20, what="the standby matches")
