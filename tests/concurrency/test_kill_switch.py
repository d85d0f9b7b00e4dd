"""The kill switch of an account, an institution and everything: nothing is open afterwards, however many place orders meanwhile."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from institutions.models import Account, AuditEntry, Institution, Platform
from institutions.services import InvalidValue
from orders import kill_switch
from orders.controls import NoSuchScope
from orders.intake import Intake, Job
from orders.kill_switch import Killed, pull, still_live
from orders.requests import Placed, Submission
from tests.matching_worker.exchange import Exchange, Trader, code_of, order
from tests.support.approvals import two_people

Intakes = Callable[[int], list[Intake]]


class Crowd:
    """Two traders of one institution and one of another, on one symbol, each with a bid that rests."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.base, self.quote = exchange.asset(), exchange.asset()
        self.symbol = exchange.symbol(self.base, self.quote)
        self.ann = exchange.trader((self.quote, 1_000_000))
        self.amy = exchange.trader((self.quote, 1_000_000), institution=self.ann.account.institution)
        self.bob = exchange.trader((self.quote, 1_000_000))
        self.all = (self.ann, self.amy, self.bob)
        for trader in self.all:
            self.bid(trader)
        exchange.settle()

    def bid(self, trader: Trader) -> Any:
        return self.exchange.place(trader, self.symbol, "BUY", "1", "10")

    def scope(self, what: str) -> dict[str, str | None]:
        names = {"account": self.ann.account.name, "institution": self.ann.account.institution.code}
        return {"account": None, "institution": None} | ({what: names[what]} if what in names else {})

    def hit(self, what: str) -> tuple[Trader, ...]:
        return {"account": (self.ann,), "institution": (self.ann, self.amy), "platform": self.all}[what]

    def pull(self, what: str) -> Killed:
        return pull(**self.scope(what), actor="olga", reason="a test", request_id="r-1")

    def open(self, *traders: Trader) -> int:
        found: int = self.exchange.row(
            "SELECT count(*) FROM orders_openorder WHERE account_id = ANY(%s)", [trader.id for trader in traders]
        )[0]
        return found


@pytest.fixture
def crowd(exchange: Exchange) -> Crowd:
    return Crowd(exchange)


SCOPES = ("account", "institution", "platform")
REFUSALS = {"account": "ACCOUNT_FROZEN", "institution": "INSTITUTION_FROZEN", "platform": "INSTITUTION_FROZEN"}


@pytest.mark.parametrize("what", SCOPES)
def test_it_freezes_and_ends_what_is_open_of_whom_it_names_and_of_nobody_else(crowd: Crowd, what: str) -> None:
    hit = crowd.hit(what)
    spared = [trader for trader in crowd.all if trader not in hit]
    assert crowd.pull(what).asked == len(hit)
    assert sum(live.orders for live in still_live(**crowd.scope(what))) == len(hit)  # they end in the worker's sequence
    crowd.exchange.settle()
    assert still_live(**crowd.scope(what)) == []
    ended = crowd.exchange.rows("SELECT reason, held FROM orders_order WHERE status = 'CANCELLED'")
    assert ended == [("KILL_SWITCH", 0)] * len(hit)
    assert {code_of(crowd.bid(trader)) for trader in hit} == {REFUSALS[what]}
    assert crowd.open(*spared) == len(spared)
    assert all(is_taken(crowd.bid(trader)) for trader in spared)
    crowd.exchange.settle()


@pytest.mark.parametrize("what", SCOPES)
def test_it_is_on_the_record_who_pulled_it_and_what_it_asked_to_end(crowd: Crowd, what: str) -> None:
    killed = crowd.pull(what)
    entry = AuditEntry.objects.get(action="kill_switch.pull")
    assert (entry.subject, entry.actor, entry.reason, entry.request_id) == (killed.subject, "olga", "a test", "r-1")
    assert entry.after == {**crowd.scope(what), "orders": killed.asked}
    assert AuditEntry.objects.filter(action=f"{what}.freeze").count() == 1
    crowd.exchange.settle()
    assert crowd.exchange.rows("SELECT DISTINCT actor FROM orders_transition WHERE cause = 'KILL_SWITCH'") == [("olga",)]


def test_pulled_again_it_asks_again_and_freezes_nothing_twice(crowd: Crowd) -> None:
    assert [crowd.pull("institution").asked for _ in range(2)] == [2, 2]
    crowd.exchange.settle()
    assert crowd.pull("institution").asked == 0
    assert AuditEntry.objects.filter(action="institution.freeze").count() == 1


@pytest.mark.parametrize("what", SCOPES)
def test_only_two_people_let_them_trade_again(crowd: Crowd, what: str) -> None:
    crowd.pull(what)
    crowd.exchange.settle()
    model, pk = {
        "account": (Account, crowd.ann.id),
        "institution": (Institution, crowd.ann.account.institution_id),
        "platform": (Platform, 1),
    }[what]
    with pytest.raises(Exception, match="request"):
        model._default_manager.filter(pk=pk).update(is_frozen=False)
    two_people(f"{what}.unfreeze", {"id": pk})
    assert is_taken(crowd.bid(crowd.ann))
    crowd.exchange.settle()


@pytest.mark.parametrize("what", SCOPES)
def test_when_it_fails_half_way_nothing_has_happened(crowd: Crowd, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(kill_switch.audit, "record", lambda **_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            crowd.pull(what)
    assert crowd.exchange.settle() == 0
    assert all(is_taken(crowd.bid(trader)) for trader in crowd.all)
    crowd.exchange.settle()


def test_a_name_that_is_none_and_no_reason_are_refused(crowd: Crowd) -> None:
    for scope in ({"account": "nobody", "institution": None}, {"account": None, "institution": "nobody"}):
        with pytest.raises(NoSuchScope):
            pull(**scope, actor="olga", reason="a test")
    with pytest.raises(InvalidValue):
        pull(account=None, institution=None, actor="olga", reason=" ")
    assert not Platform.objects.get().is_frozen
    assert crowd.exchange.settle() == 0


@pytest.mark.parametrize("what", SCOPES)
def test_nothing_slips_past_while_everybody_places_orders(crowd: Crowd, intakes: Intakes, what: str) -> None:
    """Three web processes place as fast as they can; the switch falls in the middle of it."""
    hit = crowd.hit(what)
    answers: Counter[str] = Counter()
    stop, under_way = threading.Event(), threading.Barrier(4)

    def place(intake: Intake, trader: Trader) -> None:
        is_first = True
        while not stop.is_set():
            requests = [replace(order(trader, crowd.symbol, "BUY", "1", "10"), principal=trader.unlimited) for _ in range(5)]
            jobs = [Job(Submission((request,))) for request in requests]
            for job in jobs:
                intake.put(job)
            outcomes = [job.future.result(timeout=30)[0] for job in jobs]
            answers.update("taken" if is_taken(outcome) else code_of(outcome) for outcome in outcomes)
            if is_first:
                under_way.wait(10)
                is_first = False

    def open_now() -> set[Any]:
        return {row[0] for row in crowd.exchange.rows("SELECT order_id FROM orders_openorder WHERE account_id = ANY(%s)", ids(hit))}

    threads = [threading.Thread(target=place, args=pair) for pair in zip(intakes(3), crowd.all, strict=True)]
    for thread in threads:
        thread.start()
    try:
        under_way.wait(10)
        crowd.pull(what)
        left = open_now()
        time.sleep(0.3)  # they go on trying
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert open_now() == left
    assert answers[REFUSALS[what]] > 0
    assert answers["taken"] > 0
    crowd.exchange.settle()
    assert crowd.open(*hit) == 0
    assert still_live(**crowd.scope(what)) == []
    assert {
        reason for (reason,) in crowd.exchange.rows("SELECT DISTINCT reason FROM orders_order WHERE account_id = ANY(%s)", ids(hit))
    } <= {
        "KILL_SWITCH",
        REFUSALS[what],
    }
    assert crowd.exchange.row("SELECT sum(held) FROM wallet_balance WHERE account_id = ANY(%s)", ids(hit)) == (Decimal(0),)


def is_taken(outcome: Any) -> bool:
    return isinstance(outcome, Placed) and outcome.refusal is None


def ids(traders: tuple[Trader, ...]) -> list[int]:
    return [trader.id for trader in traders]


def test_a_symbol_that_nobody_owns_keeps_its_orders_until_somebody_does_and_no_others(crowd: Crowd) -> None:
    """A cancel-all, the client's and the operator's, is obeyed where it can be at once, and elsewhere by the next owner."""
    second = crowd.exchange.symbol(crowd.exchange.asset(), crowd.quote)
    crowd.exchange.placed(crowd.ann, second, "BUY", "1", "10")
    crowd.exchange.settle()
    with crowd.exchange.connection(autocommit=True) as connection:  # the second symbol lies on a shard without a worker
        connection.execute("INSERT INTO orders_shard (id, owner, epoch, expires_at) VALUES (7, 'gone', nextval('orders_epoch'), now())")
        connection.execute("UPDATE orders_checkpoint SET shard_id = 7, epoch = nextval('orders_epoch') WHERE symbol_id = %s", [second.pk])
    assert code_of(crowd.exchange.place(crowd.ann, second, "BUY", "1", "10")) == "NO_MATCHING_OWNER"
    taken = crowd.exchange.cancel_all(crowd.ann)
    assert len(taken.order_ids) == 2  # type: ignore[union-attr]
    waiting = crowd.exchange.rows("SELECT symbol_id, commands FROM orders_inbox ORDER BY symbol_id")
    assert waiting == [(crowd.symbol.pk, 1), (second.pk, 1)]
    assert pull(account=crowd.ann.account.name, institution=None, actor="olga", reason="a test").asked == 2
    with crowd.exchange.connection(autocommit=True) as connection:
        connection.execute("UPDATE orders_checkpoint SET shard_id = 0, epoch = nextval('orders_epoch') WHERE symbol_id = %s", [second.pk])
    crowd.exchange.restart_worker()
    crowd.exchange.settle()
    assert crowd.open(crowd.ann) == 0
