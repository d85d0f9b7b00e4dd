"""100 equal requests at once are one order, through one web process and through several."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from decimal import Decimal
from typing import Any

import httpx
import pytest

from orders.intake import Intake, Job
from orders.refusals import IdempotencyConflict, ReplayedSignature
from orders.requests import Nonce, Outcome, Placed, PlaceOrder, Submission
from tests.chaos.rest import Key, call, keys_of
from tests.factories import api_key
from tests.matching_worker.exchange import Exchange, order
from tests.money import assert_money_conserved
from tests.support.stacks import RunningStack, started_stack

Intakes = Callable[[int], list[Intake]]


def put_all(intakes: list[Intake], submissions: list[Submission]) -> list[Outcome]:
    """Each submission to the next intake, all at once; the first outcome of each."""
    jobs = [Job(submission) for submission in submissions]
    ready = threading.Barrier(len(intakes))

    def run(number: int) -> None:
        ready.wait()
        for job in jobs[number :: len(intakes)]:
            intakes[number].put(job)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(intakes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    futures: list[Future[list[Outcome]]] = [job.future for job in jobs]
    return [future.result(timeout=60)[0] for future in futures]


def test_a_hundred_equal_requests_through_four_web_processes_are_one_order(exchange: Exchange, intakes: Intakes) -> None:
    symbol = exchange.symbol()
    buyer = exchange.trader((symbol.quote, 1000))
    request = order(buyer, symbol, "BUY", "1", "10", client_order_id="only-one")
    outcomes = put_all(intakes(4), [Submission((request,))] * 100)
    placed = [outcome for outcome in outcomes if isinstance(outcome, Placed)]
    assert len(placed) == 100, Counter(type(outcome).__name__ for outcome in outcomes)
    assert len({outcome.order["order_id"] for outcome in placed}) == 1
    assert sum(not outcome.replay for outcome in placed) == 1
    assert exchange.row("SELECT count(*) FROM orders_order") == (1,)
    assert exchange.balance(buyer, symbol.quote) == (1000, 10)


def test_one_client_id_with_two_bodies_at_once_is_one_order_and_conflicts(exchange: Exchange, intakes: Intakes) -> None:
    symbol = exchange.symbol()
    buyer = exchange.trader((symbol.quote, 1000))
    bodies = [order(buyer, symbol, "BUY", quantity, "10", client_order_id="contested") for quantity in ("1", "2")]
    outcomes = put_all(intakes(4), [Submission((bodies[number % 2],)) for number in range(40)])
    fresh = [outcome for outcome in outcomes if isinstance(outcome, Placed) and not outcome.replay]
    assert len(fresh) == 1
    winner = Decimal(fresh[0].order["quantity"])
    for number, outcome in enumerate(outcomes):
        if bodies[number % 2].quantity == winner:
            assert isinstance(outcome, Placed)
            assert outcome.order["order_id"] == fresh[0].order["order_id"]
        else:
            assert isinstance(outcome, IdempotencyConflict), outcome
    assert exchange.row("SELECT count(*) FROM orders_order") == (1,)


def test_a_signature_brought_to_two_web_processes_at_once_works_once(exchange: Exchange, intakes: Intakes) -> None:
    symbol = exchange.symbol()
    buyer = exchange.trader((symbol.quote, 1000))
    key = api_key(buyer.account)
    key_id = exchange.row("SELECT id FROM institutions_apikey WHERE key = %s", key.key)[0]
    two = intakes(2)
    for round_number in range(10):
        nonce = Nonce(key_id, bytes([round_number]) * 32)
        outcomes = put_all(two, [Submission((order(buyer, symbol, "BUY", "1", "1"),), nonce) for _ in range(2)])
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Placed", "ReplayedSignature"]
    assert exchange.row("SELECT count(*) FROM orders_order") == (10,)
    assert isinstance(put_all(two, [Submission((order(buyer, symbol, "BUY", "1", "1"),), nonce)])[0], ReplayedSignature)


@pytest.fixture(scope="module")
def stack_of_two() -> Any:
    with started_stack(STACK_WEB="2") as stack:
        yield stack


def post_all(stack: RunningStack, key: Key, bodies: list[dict[str, Any]]) -> list[httpx.Response]:
    """All at once, each on a connection of its own."""

    async def run() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=len(bodies))
        async with httpx.AsyncClient(base_url=stack["base_url"], limits=limits, timeout=60) as http:
            # a signature works once: each request has a recv_window, so a text, of its own
            return await asyncio.gather(
                *(call(http, key, "POST", "/orders", body=body, window=20_000 + number) for number, body in enumerate(bodies))
            )

    return asyncio.run(run())


def test_a_hundred_equal_posts_are_one_order(stack_of_two: RunningStack) -> None:
    key = keys_of(stack_of_two)[0]
    body = {
        "symbol": "TEST/USDT",
        "side": "BUY",
        "order_type": "LIMIT",
        "quantity": "1",
        "price": "50",
        "client_order_id": f"same-{time.time_ns()}",
    }
    responses = post_all(stack_of_two, key, [body] * 100)
    assert Counter(response.status_code for response in responses) == {201: 1, 200: 99}
    assert len({response.json()["order_id"] for response in responses}) == 1
    assert all((response.headers.get("Idempotent-Replay") == "true") == (response.status_code == 200) for response in responses)
    assert_money_conserved(stack_of_two["database_url"])


def test_a_hundred_spends_over_rest_never_overspend(stack_of_two: RunningStack) -> None:
    """The balance pays for 37 of 100 orders: as many are taken, and the rest say why not."""
    key = keys_of(stack_of_two)[2]

    async def available() -> Decimal:
        async with httpx.AsyncClient(base_url=stack_of_two["base_url"], timeout=30) as http:
            rows = (await call(http, key, "GET", "/balances")).json()["results"]
            return Decimal(next(row["available"] for row in rows if row["asset"] == "USDT"))

    before = asyncio.run(available())
    each = (before / 37).quantize(Decimal("0.01"), rounding="ROUND_DOWN")
    bodies = [
        {
            "symbol": "TEST/USDT",
            "side": "BUY",
            "order_type": "LIMIT",
            "quantity": "1",
            "price": f"{each}",
            "client_order_id": f"spend-{time.time_ns()}-{n}",
        }
        for n in range(100)
    ]
    responses = post_all(stack_of_two, key, bodies)
    codes = Counter(response.json().get("code", response.status_code) for response in responses)
    assert codes == {201: 37, "INSUFFICIENT_FUNDS": 63}
    assert asyncio.run(available()) == before - 37 * each
    assert_money_conserved(stack_of_two["database_url"])


def test_the_fingerprint_is_of_values_not_of_spelling() -> None:
    def asked(quantity: str, price: str) -> PlaceOrder:
        from orders.requests import Principal

        return PlaceOrder(Principal("t", 1, 1), 1, "A/B", "c", "BUY", "LIMIT", "GTC", Decimal(quantity), None, Decimal(price))

    assert asked("1.50", "10").fingerprint() == asked("1.5", "10.000").fingerprint() == asked("01.5", "10").fingerprint()
    assert asked("1.5", "10").fingerprint() != asked("10", "1.5").fingerprint()
