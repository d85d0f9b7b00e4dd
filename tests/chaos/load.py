"""Stubborn clients of the public REST API: every kind of call, each asked again with the same client ids until it is answered.

They keep what they were told, so that afterwards the exchange can be held to it.
"""

import asyncio
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from tests.chaos.rest import Key, call, keys_of
from tests.support.stacks import RunningStack

SYMBOL = "TEST/USDT"
ENDED = frozenset({"FILLED", "CANCELLED", "REJECTED", "EXPIRED"})
ANSWER_WITHIN_S = 60.0
RETRY_AFTER_S = 0.08
ORDERS_KEPT = 40  # per client, to cancel and amend
LONGEST_S = 20.0  # of an order with an end
KINDS = {
    "GTC": 40, "IOC": 8, "FOK": 5, "GTX": 8, "GTD": 12, "MARKET": 7, "BUDGET": 4, "HUGE": 2,
    "STOP": 6, "STOP_LIMIT": 6, "TAKE_PROFIT": 6, "TAKE_PROFIT_LIMIT": 6,
}  # fmt: skip


@dataclass
class Told:
    """What all clients were told."""

    acknowledged: dict[str, str] = field(default_factory=dict)  # client id → order id, of every 200, 201 and 422
    account_of: dict[str, str] = field(default_factory=dict)  # client id → account
    ended: dict[str, dict[str, Any]] = field(default_factory=dict)  # order id → the order as shown when it had ended
    cancelled: set[str] = field(default_factory=set)  # order ids whose cancel was answered 200
    contradictions: list[str] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)  # "POST /orders 201"
    broken: Counter[str] = field(default_factory=Counter)  # 503 codes and lost connections, asked again
    odd: list[str] = field(default_factory=list)  # what no client should ever see
    unanswered: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    def order(self, shown: dict[str, Any]) -> None:
        """An order as an answer shows it."""
        client_id, order_id = shown["client_order_id"], shown["order_id"]
        if self.acknowledged.setdefault(client_id, order_id) != order_id:
            self.contradictions.append(f"{client_id} was {self.acknowledged[client_id]}, then {order_id}")
        before = self.ended.get(order_id)
        if before is not None and any(before[name] != shown[name] for name in ("status", "filled_quantity", "reason", "fee")):
            self.contradictions.append(f"{order_id} had ended as {before}, then was {shown}")
        if shown["status"] in ENDED:
            self.ended[order_id] = shown


class Load:
    """Clients in a thread of their own, from `start` to `stop`."""

    def __init__(self, stack: RunningStack, *, clients: int = 8, seed: int = 1) -> None:
        self.told = Told()
        self._base_url = stack["base_url"]
        self._keys = keys_of(stack)[:-1]  # the last one is left to whoever probes
        self._seed = seed
        self._clients = clients
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load")

    def start(self) -> "Load":
        self._thread.start()
        return self

    def stop(self) -> Told:
        """Each client gets the answer it waits for, then ends."""
        self._over.set()
        self._thread.join(timeout=2 * ANSWER_WITHIN_S)
        assert not self._thread.is_alive(), "a client still waits for its answer"
        return self.told

    async def _run(self) -> None:
        async with httpx.AsyncClient(base_url=self._base_url, timeout=10) as http:
            await asyncio.gather(*(Client(self, http, number).run() for number in range(self._clients)))

    @property
    def is_over(self) -> bool:
        return self._over.is_set()


class Client:
    def __init__(self, load: Load, http: httpx.AsyncClient, number: int) -> None:
        self._load = load
        self._told = load.told
        self._http = http
        self._name = f"client-{load._seed}-{number}-{time.time_ns()}"
        self._chance = random.Random(f"{load._seed}-{number}")
        self._placed = 0
        self._window = 20_000
        self._mine: list[tuple[Key, str]] = []

    async def run(self) -> None:
        actions = [self._place, self._batch, self._cancel, self._amend, self._cancel_all]
        while not self._load.is_over:
            action = self._chance.choices(actions, weights=[60, 10, 15, 12, 1])[0]
            await action(self._chance.choice(self._load._keys))
            await asyncio.sleep(self._chance.uniform(0.002, 0.02))

    # One call of each kind

    async def _place(self, key: Key) -> None:
        body = self._order(key)
        reply = await self._ask(key, "POST", "/orders", body)
        if reply is None:
            self._told.unanswered.append(body["client_order_id"])
        elif reply.status_code in (200, 201):
            self._take(key, reply.json())
        elif reply.status_code == 422:
            self._refused(body, reply.json())

    async def _batch(self, key: Key) -> None:
        bodies = [self._order(key) for _ in range(self._chance.randint(2, 12))]
        reply = await self._ask(key, "POST", "/orders/batch", {"orders": bodies}, again=self._asks_again)
        if reply is None:
            self._told.unanswered.extend(body["client_order_id"] for body in bodies)
            return
        for body, result in zip(bodies, reply.json()["results"], strict=True):
            if result["status"] in (200, 201):
                self._take(key, result["order"])
            elif result["status"] == 422:
                self._refused(body, result["error"])
            elif (result["status"], result["error"].get("field")) != (400, "expire_at"):  # asked again when its time was over
                self._told.odd.append(f"batch item {result}")

    async def _cancel(self, key: Key) -> None:
        if self._mine:
            owner, order_id = self._mine.pop(self._chance.randrange(len(self._mine)))
            reply = await self._ask(owner, "DELETE", f"/orders/{order_id}")
            if reply is not None and reply.status_code == 200:
                self._told.order(reply.json())
                self._told.cancelled.add(order_id)
            elif reply is not None and reply.status_code not in (202, 409):
                self._told.odd.append(f"cancel {reply.status_code} {reply.text[:200]}")

    async def _amend(self, key: Key) -> None:
        if self._mine:
            owner, order_id = self._chance.choice(self._mine)
            change = (
                {"quantity": self._quantity()} if self._chance.random() < 0.5 else {"price": self._price(), "quantity": self._quantity()}
            )
            reply = await self._ask(owner, "PATCH", f"/orders/{order_id}", change)
            if reply is not None and reply.status_code == 200:
                self._told.order(reply.json())
            elif reply is not None and reply.status_code not in (202, 409):
                self._told.odd.append(f"amend {reply.status_code} {reply.text[:200]}")

    async def _cancel_all(self, key: Key) -> None:
        reply = await self._ask(key, "DELETE", "/orders", params="symbol=TEST-USDT")
        if reply is not None and reply.status_code != 200:
            self._told.odd.append(f"cancel all {reply.status_code} {reply.text[:200]}")

    # What they are made of

    def _order(self, key: Key) -> dict[str, Any]:
        self._placed += 1
        client_id = f"{self._name}-{self._placed}"
        self._told.account_of[client_id] = key.account
        body: dict[str, Any] = {
            "symbol": SYMBOL,
            "side": self._chance.choice(("BUY", "SELL")),
            "client_order_id": client_id,
            "order_type": "LIMIT",
            "quantity": self._quantity(),
        }
        kind = self._chance.choices(list(KINDS), weights=list(KINDS.values()))[0]
        self._told.kinds[kind] += 1
        if kind == "MARKET":
            body |= {"order_type": "MARKET"}
        elif kind == "BUDGET":
            del body["quantity"]
            body |= {"order_type": "MARKET", "side": "BUY", "quote_quantity": f"{self._chance.randint(100, 100_000) / 100}"}
        elif kind == "HUGE":
            body |= {"quantity": "999999", "price": "150", "side": "BUY"}  # more than the account has
        elif kind.startswith(("STOP", "TAKE")):
            body |= {"order_type": kind, "stop_price": self._price(), "trigger_source": self._chance.choice(("LAST", "REFERENCE"))}
            if kind.endswith("LIMIT"):
                body |= {"price": self._price()}
        else:
            body |= {"price": self._price(), "time_in_force": kind}
        if kind == "GTD" or (kind.endswith("LIMIT") and self._chance.random() < 0.3):
            until = datetime.now(UTC) + timedelta(seconds=self._chance.uniform(1, LONGEST_S))
            body |= {"time_in_force": "GTD", "expire_at": until.isoformat(timespec="milliseconds").replace("+00:00", "Z")}
        if body["side"] == "SELL" and self._chance.random() < 0.25:
            body["reduce_only"] = True
        if self._chance.random() < 0.5:
            body["self_trade_prevention"] = self._chance.choice(("CANCEL_NEWEST", "CANCEL_OLDEST", "CANCEL_BOTH", "DECREMENT"))
        if self._chance.random() < 0.3:
            body["response_type"] = "ACK"
        return body

    def _quantity(self) -> str:
        return f"{self._chance.randint(1, 5000) / 1000:.3f}"

    def _price(self) -> str:
        return f"{100 + self._chance.randint(-25, 25) / 100:.2f}"

    def _take(self, key: Key, shown: dict[str, Any]) -> None:
        self._told.order(shown)
        if shown["status"] not in ENDED:
            self._mine.append((key, shown["order_id"]))
            del self._mine[:-ORDERS_KEPT]

    def _refused(self, body: dict[str, Any], error: dict[str, Any]) -> None:
        """Recorded as REJECTED; a replayed refusal names the order it stands for."""
        order_id = (error.get("details") or {}).get("order_id")
        if order_id is not None:
            self._told.acknowledged.setdefault(body["client_order_id"], order_id)
        self._told.answers[f"422 {error['code']}"] += 1

    def _asks_again(self, reply: httpx.Response) -> bool:
        """A batch of which an item was not taken for the moment is sent again: what was taken is replayed."""
        return any(result["status"] == 503 for result in reply.json()["results"])

    async def _ask(
        self, key: Key, method: str, path: str, body: Any = None, *, params: str = "", again: Any = None
    ) -> httpx.Response | None:
        """Asks until it is answered; a 503 or a lost connection is no answer."""
        deadline = time.monotonic() + ANSWER_WITHIN_S
        kind = f"{method} {path if path in ('/orders', '/orders/batch') else '/orders/{id}'}"
        self._told.calls[kind] += 1
        while time.monotonic() < deadline:
            self._window = 20_000 + (self._window + 1) % 10_000
            try:
                reply = await call(self._http, key, method, path, body=body, params=params, window=self._window)
            except httpx.TransportError as error:
                self._told.broken[type(error).__name__] += 1
            else:
                if reply.status_code == 503 or (again is not None and reply.status_code == 200 and again(reply)):
                    self._told.broken[reply.json().get("code", "503 of an item")] += 1
                elif reply.status_code >= 500:
                    self._told.odd.append(f"{kind}: {reply.status_code} {reply.text[:300]}")
                else:
                    self._told.answers[f"{kind} {reply.status_code}"] += 1
                    if reply.status_code in (400, 401, 403, 404, 429) and not _came_too_late(reply):
                        self._told.odd.append(f"{kind}: {reply.status_code} {reply.text[:300]}")
                    return reply
            await asyncio.sleep(RETRY_AFTER_S)
        self._told.odd.append(f"{kind} was not answered within {ANSWER_WITHIN_S:.0f} s")
        return None


def _came_too_late(reply: httpx.Response) -> bool:
    """Asked again when its time was over: 400, whatever became of it before."""
    return reply.status_code == 400 and reply.json().get("field") == "expire_at"
