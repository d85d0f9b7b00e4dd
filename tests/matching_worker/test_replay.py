"""The command log alone rebuilds a book, to the state hash, at any moment; and says where it cannot."""

import json
import random
import time
from decimal import Decimal
from io import StringIO
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError

from exchange_platform.db import connect_direct
from markets.units import market_by_id
from matching import snapshots
from matching.replay import ReplayDiffers, Replayed, replay
from orders.reference import publish_price
from tests.matching_worker.exchange import Exchange, order
from tests.matching_worker.test_stops import Stage
from tests.support.approvals import change_status

SECOND = 1_000_000_000


def play(stage: Stage, **until: Any) -> Replayed:
    with connect_direct(name="replay", pinned=False) as connection:
        return replay(connection, market=market_by_id(stage.symbol.pk), **until)


def a_busy_day(exchange: Exchange, *, seed: int, steps: int) -> Stage:
    """Orders of every kind, cancels, amends, halts, auctions, prices, and a worker that dies now and then."""
    chance = random.Random(seed)
    exchange.worker_clock.at_ns = time.time_ns() // SECOND * SECOND
    stage = Stage(exchange, dynamic_band=Decimal("0.02"), halt_s=5, auction_s=5)
    stage.trade_at("100")
    traders = (stage.ann, stage.bob, stage.cid)
    placed: list[Any] = []
    for step in range(steps):
        trader, side = chance.choice(traders), chance.choice(("BUY", "SELL"))
        price, stop = f"{chance.uniform(98, 102):.2f}", f"{chance.uniform(97, 103):.2f}"
        quantity = f"{chance.randint(1, 5)}"
        mode = chance.choice(("CANCEL_NEWEST", "CANCEL_OLDEST", "CANCEL_BOTH", "DECREMENT"))
        roll = chance.random()
        if roll < 0.45:
            request = order(trader, stage.symbol, side, quantity, price, self_trade_prevention=mode,
                            time_in_force=chance.choice(("GTC", "GTC", "GTC", "IOC", "FOK", "GTX")))  # fmt: skip
            placed.append((trader, exchange.take(request)[0]))
        elif roll < 0.55:
            placed.append((trader, exchange.place(trader, stage.symbol, side, quantity, reduce_only=side == "SELL")))
        elif roll < 0.70:
            kind = chance.choice(("STOP", "STOP_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT"))
            limit = price if kind.endswith("LIMIT") else None
            request = order(trader, stage.symbol, side, quantity, limit, order_type=kind, stop_price=Decimal(stop), time_in_force="GTC",
                            trigger_source=chance.choice(("LAST", "REFERENCE")), self_trade_prevention=mode)  # fmt: skip
            placed.append((trader, exchange.take(request)[0]))
        elif roll < 0.80 and placed:
            who, outcome = chance.choice(placed)
            exchange.amend(who, outcome.order_id, price=price, quantity=quantity)
        elif roll < 0.90 and placed:
            who, outcome = chance.choice(placed)
            exchange.cancel(who, outcome.order_id)
        elif roll < 0.95:
            publish_price(symbol=stage.symbol.name, price=Decimal(f"{chance.uniform(98, 102):.4f}"), source="test")
        elif roll < 0.97:
            change_status(symbol=stage.symbol.name, status=chance.choice(("HALTED", "AUCTION", "POST_ONLY")), actor="o", reason="r")
        else:
            change_status(symbol=stage.symbol.name, status="TRADING", actor="o", reason="r")
        if chance.random() < 0.3:
            exchange.worker_clock.at_ns += int(chance.uniform(0, 4) * SECOND)
            exchange.settle()
        if step % 60 == 59:
            exchange.settle()
            exchange.restart_worker()
    exchange.settle()
    return stage


@pytest.mark.parametrize("seed", range(4))
def test_the_log_gives_the_live_books_hash_whatever_happened(exchange: Exchange, seed: int) -> None:
    stage = a_busy_day(exchange, seed=seed, steps=240)
    assert exchange.worker is not None
    live = exchange.worker.engines[stage.symbol.pk]
    again = play(stage)
    assert again.sequence == live.progress.sequence > 120
    assert again.state_hash == live.progress.state_hash
    assert again.engine.progress.place_number == live.progress.place_number
    assert again.engine.progress.trade_number == live.progress.trade_number
    assert [*again.engine.book.queue(0)] == [*live.book.queue(0)]
    assert [*again.engine.book.queue(1)] == [*live.book.queue(1)]
    assert [*again.engine.book.waiting()] == [*live.book.waiting()]
    positions = {account: (p.lots, p.cost, p.realised) for account, p in live.progress.positions.items()}
    assert {account: (p.lots, p.cost, p.realised) for account, p in again.engine.progress.positions.items()} == positions
    again.engine.book.check()
    live.book.check()


def test_it_stops_at_a_sequence_in_the_middle_of_a_batch_and_at_a_time(exchange: Exchange) -> None:
    stage = Stage(exchange)
    first = [exchange.placed(stage.ann, stage.symbol, "BUY", "1", f"{price}") for price in range(90, 95)]
    exchange.settle()
    between = exchange.row("SELECT now()")[0]
    exchange.cancel(stage.ann, first[0])
    exchange.settle()
    assert len(play(stage).engine.book) == 4
    assert len(play(stage, until=between).engine.book) == 5
    middle = play(stage, until_sequence=play(stage, until=between).sequence - 2)
    assert len(middle.engine.book) == 3


def test_a_log_that_comes_to_something_else_is_named(exchange: Exchange) -> None:
    stage = a_busy_day(exchange, seed=9, steps=40)
    market = market_by_id(stage.symbol.pk)
    with psycopg.connect(settings.DATABASE_URL) as owner:
        owner.execute("SET session_replication_role = replica")
        owner.execute(
            """UPDATE orders_commandlog SET state_hash = state_hash + 1 WHERE symbol_id = %s AND first_sequence = (
               SELECT max(first_sequence) FROM orders_commandlog WHERE symbol_id = %s)""",
            [market.id, market.id],
        )
        with pytest.raises(ReplayDiffers, match="give state hash"):
            replay(owner, market=market)
        owner.execute("DELETE FROM orders_commandlog WHERE symbol_id = %s AND first_sequence = 1", [market.id])
        with pytest.raises(ReplayDiffers, match="are missing from the log"):
            replay(owner, market=market)
        owner.rollback()


@pytest.mark.parametrize("seed", [1, 2])
def test_a_replay_can_begin_in_the_middle(exchange: Exchange, seed: int) -> None:
    stage = a_busy_day(exchange, seed=seed, steps=120)
    ends = exchange.rows("SELECT last_sequence FROM orders_commandlog WHERE last_sequence < 60 ORDER BY last_sequence DESC LIMIT 1")
    whole, middle = play(stage), play(stage, until_sequence=ends[0][0])
    again = snapshots.load(snapshots.dump(middle.engine), market_by_id(stage.symbol.pk))
    assert snapshots.dump(again) == snapshots.dump(middle.engine)
    rest = play(stage, begin=again)
    assert (rest.sequence, rest.state_hash) == (whole.sequence, whole.state_hash)
    assert snapshots.dump(rest.engine) == snapshots.dump(whole.engine)


def run(*arguments: str) -> dict[str, Any]:
    told = StringIO()
    call_command("replay_commands", *arguments, "--json", stdout=told)
    found: dict[str, Any] = json.loads(told.getvalue())
    return found


def test_the_command_tells_the_book_at_a_sequence_a_time_and_now(exchange: Exchange) -> None:
    stage = Stage(exchange)
    exchange.placed(stage.ann, stage.symbol, "BUY", "1", "90")
    exchange.settle()
    between = exchange.row("SELECT now()")[0]
    stage.stop(stage.ann, "SELL", "80")
    now = run("--symbol", stage.symbol.name)
    assert (now["is_live_hash"], now["open_orders"], now["waiting_stops"], now["bids"]) == (True, 2, 1, [["90.00", "1.000"]])
    before = run("--symbol", stage.symbol.name, "--until", between.isoformat())
    assert (before["is_live_hash"], before["open_orders"], before["sequence"]) == (None, 1, now["sequence"] - 1)
    assert run("--symbol", stage.symbol.name, "--until", str(before["sequence"]))["state_hash"] == before["state_hash"]
    with pytest.raises(CommandError, match="There is no symbol"):
        run("--symbol", "NO/SUCH")
    with pytest.raises(CommandError, match="an engine sequence or a time"):
        run("--symbol", stage.symbol.name, "--until", "yesterday")
