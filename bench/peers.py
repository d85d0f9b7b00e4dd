"""The book beside LightMatchingEngine, a Python matching engine from the package index, on one flow in one run; every trade compared.

The peer knows limit orders and cancels alone, so the flow of `bench.core` is played without amends, with orders that take resting what they
do not get, and every order is another account's.
"""

import gc
import statistics
import time
from typing import Any

from lightmatchingengine.lightmatchingengine import LightMatchingEngine, Side

from bench import Emit
from bench.core import CANCEL, PLACE, SEED, WARM_ORDERS, Flow
from matching.core import book as module
from matching.core.book import Book
from matching.core.messages import BUY, CANCEL_NEWEST, GTC, TRADE

COMMANDS = 40_000
ROUNDS = 5
SYMBOL = "X"

Fill = tuple[int, int, int]  # maker, price, quantity


def run(emit: Emit) -> None:
    """Operations per second of both, alternately, and the ratio of the medians."""
    warm, timed = Flow(SEED).make(WARM_ORDERS, COMMANDS)
    book = Book()
    warm_flow, flow = _limits_and_cancels(warm, book), _limits_and_cancels(timed, book)
    ours, theirs = [], []
    for _ in range(ROUNDS):
        seconds, fills = _ours(warm_flow, flow)
        peer_seconds, peer_fills = _theirs(warm_flow, flow)
        assert fills == peer_fills, "the trades differ"
        ours.append(len(flow) / seconds)
        theirs.append(len(flow) / peer_seconds)
    about = {"commands": len(flow), "trades": len(fills), "rounds": ROUNDS, "compiled": not str(module.__file__).endswith(".py")}
    emit("ours", round(statistics.median(ours)), "operations/s", **about)
    emit("light_matching_engine", round(statistics.median(theirs)), "operations/s", **about)
    emit("ratio", round(statistics.median(a / b for a, b in zip(ours, theirs, strict=True)), 1), "times", **about)


def _limits_and_cancels(commands: list[Any], book: Book) -> list[tuple[int, tuple[Any, ...]]]:
    """Ids count the placed orders from 1, as the peer gives them. Without cancels of what has ended, which the peer does not survive;
    `book` plays along to know them."""
    found = []
    for which, arguments in commands:
        if which == PLACE:
            order_id, _, side, price, lots, *_ = arguments
            book.place(order_id, order_id, side, price, lots, GTC, CANCEL_NEWEST)
            found.append((PLACE, (order_id, side, price, lots)))
        elif which == CANCEL and arguments[0] in book:
            book.cancel(arguments[0], "")
            found.append((CANCEL, (arguments[0],)))
    return found


def _ours(warm: list[Any], flow: list[Any]) -> tuple[float, list[Fill]]:
    book, fills = Book(), list[Fill]()
    events = book.events

    def play(commands: list[Any]) -> None:
        place, cancel = book.place, book.cancel
        for which, arguments in commands:
            if which == PLACE:
                order_id, side, price, lots = arguments
                place(order_id, order_id, side, price, lots, GTC, CANCEL_NEWEST)
                for event in events:
                    if event[0] is TRADE:
                        fills.append((event[1], event[3], event[4]))
            else:
                cancel(arguments[0], "USER_CANCEL")
            events.clear()

    return _timed(play, warm, flow), fills


def _theirs(warm: list[Any], flow: list[Any]) -> tuple[float, list[Fill]]:
    engine, fills = LightMatchingEngine(), list[Fill]()

    def play(commands: list[Any]) -> None:
        add, cancel = engine.add_order, engine.cancel_order
        for which, arguments in commands:
            if which == PLACE:
                order_id, side, price, lots = arguments
                _, trades = add(SYMBOL, price, lots, Side.BUY if side == BUY else Side.SELL)
                for trade in trades:
                    if trade.order_id != order_id:
                        fills.append((trade.order_id, trade.trade_price, trade.trade_qty))
            else:
                cancel(arguments[0], SYMBOL)

    return _timed(play, warm, flow), fills


def _timed(play: Any, warm: list[Any], flow: list[Any]) -> float:
    play(warm)
    gc.collect()
    gc.disable()
    started = time.perf_counter()
    play(flow)
    taken = time.perf_counter() - started
    gc.enable()
    return taken
