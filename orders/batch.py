"""One intake transaction: read under locks, decide each request, write what was decided. The caller commits.

What is read and locked is in `orders.batch_reads`, the rules are in `orders.acceptance`, the rows in `orders.batch_writes`.
"""

from datetime import datetime
from functools import partial
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg import Connection

from exchange_platform.db import array
from exchange_platform.errors import ExchangeError
from exchange_platform.ids import moment_of, ms_of, uuid7, uuid_ms
from markets.units import units_text
from orders import commands, switch
from orders.acceptance import Acceptance, accept
from orders.amends import OpenOrderView, accept_amend
from orders.batch_reads import BatchReads, KeptMarks, Target
from orders.batch_views import SymbolRules
from orders.batch_writes import AmendDraft, BatchWrites, Draft
from orders.presentation import order_view
from orders.refusals import (
    IdempotencyConflict,
    NotFound,
    NotTaken,
    OrderNotOpen,
    Refusal,
    ReplayedSignature,
    UnknownSymbol,
    refusal_of,
)
from orders.requests import (
    AmendOrder,
    AmendTaken,
    CancelAll,
    CancelAllTaken,
    CancelOrder,
    CancelTaken,
    Outcome,
    Placed,
    PlaceOrder,
    Principal,
    Request,
    SetSwitch,
    Submission,
    SwitchSet,
)

MAX_WAITING_COMMANDS: Final = 20_000
RATE_SCALE: Final = 8


class IntakeBatch:
    """One transaction over some submissions. `decide_and_write` leaves it uncommitted."""

    def __init__(self, connection: Connection[Any], submissions: list[Submission], *, now_ns: int, marks: KeptMarks | None = None) -> None:
        self._connection = connection
        self._submissions = submissions
        self._now_ms = now_ns // 1_000_000
        self._reads = BatchReads(connection, now_s=self._now_ms / 1000, marks=marks)
        self._writes = BatchWrites()
        self._new: dict[tuple[int, str], Draft] = {}
        self._moments: dict[int, datetime] = {}

    def decide_and_write(self) -> list[list[Outcome]]:
        """Outcomes per submission, per request, in order. Nothing is committed yet. Raises: psycopg.Error."""
        replayed = self._reads.read(self._submissions)
        now_s = self._now_ms // 1000
        for account in self._reads.accounts.values():
            account.risk.roll(max(now_s, account.risk.second))  # whoever waited for the lock never turns time back
        answers: list[list[Outcome]] = []
        for index, submission in enumerate(self._submissions):
            if index in replayed:
                refusal = ReplayedSignature("This signature has been used. Sign again with a new timestamp.")
                answers.append([refusal] * len(submission.requests))
            else:
                answers.append([self._answer(request) for request in submission.requests])
        self._writes.write(self._connection, self._reads, self._moment(self._now_ms))
        self._give_back_nonces(answers)
        return answers

    @property
    def drafts(self) -> list[Draft]:
        """The new orders, taken or refused."""
        return self._writes.drafts

    def look_up(self, connection: Connection[Any]) -> bool | None:
        """After a broken commit, on a new connection: True it happened, False it did not, None not known (yet).

        What the transaction wrote says that it happened. Transaction numbers alone could not: after a crash those that never got
        to disk are given out again. So the number is only asked whether the transaction may still be running, and first.
        """
        probes: list[tuple[str, list[Any]]] = []
        if self._writes.drafts:
            probes.append(("SELECT 1 FROM orders_order WHERE id = %s", [self._writes.drafts[0].order_id]))
        elif self._writes.amends:
            probes.append(("SELECT 1 FROM orders_amend WHERE id = %s", [self._writes.amends[0].amend_id]))
        elif self._reads.spent:
            spent = self._reads.spent[0]
            sql = "SELECT 1 FROM institutions_spentnonce WHERE api_key_id = %s AND digest = %s"
            probes.append((sql, [spent.api_key_id, spent.digest]))
        if not probes:
            return None if self._writes.inbox else False
        running = False
        try:
            row = connection.execute("SELECT pg_xact_status(%s::text::xid8)", [str(self._reads.transaction_id)]).fetchone()
            running = row is not None and row[0] == "in progress"
        except psycopg.DataError:  # a number that the restarted server has not reached yet
            connection.rollback()
        if any(connection.execute(sql, parameters).fetchone() for sql, parameters in probes):
            return True
        return None if running else False

    def _give_back_nonces(self, answers: list[list[Outcome]]) -> None:
        """A submission of which nothing was taken because the system could not (503) has used up nothing."""
        for submission, outcomes in zip(self._submissions, answers, strict=True):
            nonce = submission.nonce
            if nonce in self._reads.spent and all(isinstance(outcome, NotTaken) for outcome in outcomes):
                sql = "DELETE FROM institutions_spentnonce WHERE api_key_id = %s AND digest = %s"
                self._connection.execute(sql, [nonce.api_key_id, nonce.digest])
                self._reads.spent.remove(nonce)

    def _moment(self, ms: int) -> datetime:
        """Milliseconds since 1970 as a time; most of a batch share one."""
        found = self._moments.get(ms)
        if found is None:
            found = self._moments[ms] = moment_of(ms)
        return found

    # -- deciding

    def _answer(self, request: Request) -> Outcome:
        try:
            match request:
                case PlaceOrder():
                    return self._place(request)
                case CancelOrder():
                    return self._cancel(request)
                case CancelAll():
                    return self._cancel_all(request)
                case AmendOrder():
                    return self._amend(request)
                case SetSwitch():
                    return self._set_switch(request)
        except ExchangeError as refusal:
            return refusal

    def _place(self, request: PlaceOrder) -> Outcome:
        reads = self._reads
        symbol_id = reads.market_ids.get(request.symbol)
        if symbol_id is None or not (rules := reads.rules[symbol_id]).is_listed:
            raise UnknownSymbol(f"There is no symbol {request.symbol}.", field="symbol")
        account = reads.accounts.get(request.account_id)
        if account is None:
            raise NotFound("There is no such account.", field="account")
        key = (account.id, request.client_order_id)
        if (known := self._replay(request, key)) is not None:
            return known
        _check_owner(rules, reads.moving)
        if rules.waiting > MAX_WAITING_COMMANDS:
            raise NotTaken(f"{rules.market.name} has too many commands waiting. Ask again.", code="OVERLOADED")
        order_id = uuid7(ms=self._now_ms)
        rates = (units_text(rules.maker_rate, RATE_SCALE), units_text(rules.taker_rate, RATE_SCALE))
        draft = Draft(request, order_id, account, rules.market, rates, self._moment(uuid_ms(order_id)))
        try:
            draft.accepted = accepted = accept(request, account, rules, reads.limits)
        except Refusal as refusal:
            draft.refusal = refusal
        else:
            rules.waiting += 1
            self._writes.enqueue(symbol_id, _place_command(draft, accepted, rules))
        self._new[key] = draft
        self._writes.drafts.append(draft)
        return Placed(order_id, draft.view, refusal=draft.refusal)

    def _replay(self, request: PlaceOrder, key: tuple[int, str]) -> Outcome | None:
        """The order this client id already means, if any. Raises: IdempotencyConflict."""
        draft = self._new.get(key)
        if draft is not None:
            if draft.request.fingerprint() != request.fingerprint():
                raise _conflict(request)
            return Placed(draft.order_id, draft.view, replay=True, refusal=draft.refusal)
        known = self._reads.keys.get(key)
        if known is None:
            return None
        order_id, fingerprint = known
        if fingerprint != request.fingerprint():
            raise _conflict(request)
        row = self._reads.existing.get(order_id)
        if row is None:
            message = f"client_order_id {request.client_order_id} means an order of years ago that has been archived. Use a new one."
            raise IdempotencyConflict(message, field="client_order_id")
        return Placed(order_id, partial(order_view, row), replay=True, refusal=refusal_of(row))

    def _target(self, principal: Principal, order_id: UUID) -> Target:
        """The order, when it is within the principal's reach and open. Raises: NotFound, OrderNotOpen, NotTaken."""
        target = self._reads.targets.get(order_id)
        if (
            target is None
            or (principal.institution_id is not None and target.institution_id != principal.institution_id)
            or (principal.account_id is not None and target.account_id != principal.account_id)
        ):
            raise NotFound("There is no such order.")
        if target.has_ended:
            raise OrderNotOpen(f"The order has ended: {target.row[8]}.", details={"status": target.row[8]})
        _check_owner(self._reads.rules[target.symbol_id], self._reads.moving)
        return target

    def _cancel(self, request: CancelOrder) -> Outcome:
        target = self._target(request.principal, request.order_id)
        self._writes.enqueue(target.symbol_id, _cancel_command(request, request.order_id))
        return CancelTaken(request.order_id, request.reason, target.row)

    def _cancel_all(self, request: CancelAll) -> Outcome:
        only = None if request.symbol is None else self._reads.market_ids.get(request.symbol)
        if request.symbol is not None and only is None:
            raise UnknownSymbol(f"There is no symbol {request.symbol}.", field="symbol")
        found = [
            (symbol_id, order_id)
            for account_id in request.account_ids
            for symbol_id, order_id in self._reads.open.get(account_id, [])
            if only is None or symbol_id == only
        ]
        # Also where nobody owns the symbol at the moment: one such must not keep the others open, and whoever owns it next obeys.
        for symbol_id, order_id in found:
            self._writes.enqueue(symbol_id, _cancel_command(request, order_id))
        return CancelAllTaken(tuple(order_id for _, order_id in found))

    def _amend(self, request: AmendOrder) -> Outcome:
        target = self._target(request.principal, request.order_id)
        market, row = self._reads.markets[target.symbol_id], target.row
        side, order_type, quantity, filled, prevented, price = row[5], row[6], row[9], row[11], row[12], row[13]
        if order_type == "MARKET":
            raise OrderNotOpen("A market order cannot be amended.")
        bound = target.protection_price if price is None else price
        assert bound is not None
        pending = self._reads.pending_amends.setdefault(request.order_id, [])
        view = OpenOrderView(
            order_id=request.order_id,
            side=side,
            ticks=market.ticks(bound),
            total=market.lots(quantity),
            done=market.lots(filled) + market.lots(prevented),
            pending=tuple(pending),
            is_priced=price is not None,
        )
        account = self._reads.accounts[target.account_id]
        accepted = accept_amend(request, view, account, self._reads.rules[market.id], self._reads.limits)
        pending.append((accepted.ticks, accepted.total))
        draft = AmendDraft(uuid7(ms=self._now_ms), request, target, market, accepted)
        self._writes.amends.append(draft)
        self._writes.enqueue(market.id, _amend_command(draft))
        return AmendTaken(request.order_id, draft.amend_id, row)

    def _set_switch(self, request: SetSwitch) -> Outcome:
        """Written at once: it touches nothing that other requests of the batch decide on."""
        accounts = array(request.account_ids)
        if request.timeout_ms == 0:
            self._reads.run(switch.CLEAR_SQL, [accounts, request.holder])
            return SwitchSet(0, None)
        seconds = request.timeout_ms / 1000
        found = self._reads.run(switch.SET_SQL, [request.holder, seconds, request.reason, request.principal.actor, accounts])
        return SwitchSet(request.timeout_ms, found.fetchone()[0])  # type: ignore[index]


def _check_owner(rules: SymbolRules, moving: set[int]) -> None:
    if not rules.is_owned:
        message = f"No matching worker owns {rules.market.name} at the moment. Ask again."
        raise NotTaken(message, code="NO_MATCHING_OWNER", retry_after_s=2)
    if rules.market.id in moving:
        raise NotTaken(f"{rules.market.name} is being moved to another matching worker. Ask again.", code="SYMBOL_MOVING")


def _conflict(request: PlaceOrder) -> IdempotencyConflict:
    message = f"client_order_id {request.client_order_id} already means another order. Use a new one."
    return IdempotencyConflict(message, field="client_order_id")


# -- commands (see orders.commands for their layout)


def _place_command(draft: Draft, accepted: Acceptance, rules: SymbolRules) -> commands.Command:
    request, order_id, account_id = draft.request, draft.order_id.hex, draft.account.id
    prevention = commands.PREVENTIONS[accepted.prevention]
    tail = [rules.maker_rate, rules.taker_rate, request.request_id]
    if accepted.lots == 0:
        return [commands.PLACE_BY_BUDGET, order_id, account_id, accepted.ticks, str(accepted.hold), prevention, *tail]
    order_type, side = request.order_type, commands.SIDES[request.side]
    time_in_force = commands.book_time_in_force(order_type, request.time_in_force)
    body = [order_id, account_id, side, accepted.ticks, accepted.lots, time_in_force, prevention, *tail]
    if not (accepted.stop_ticks or request.expire_at or request.reduce_only):
        return [commands.PLACE, *body]
    expire_ms = ms_of(request.expire_at) if request.expire_at else 0
    rising = bool(accepted.stop_ticks) and commands.is_rising(order_type, request.side)
    source = commands.TRIGGER_SOURCES[request.trigger_source] if request.trigger_source else 0
    terms = [expire_ms, int(request.reduce_only), accepted.stop_ticks, int(rising), source, int(order_type not in commands.MARKET_TYPES)]
    return [commands.PLACE_WITH_TERMS, *body, *terms]


def _cancel_command(request: CancelOrder | CancelAll, order_id: UUID) -> commands.Command:
    return [commands.CANCEL, order_id.hex, request.reason, request.principal.actor, request.request_id]


def _amend_command(draft: AmendDraft) -> commands.Command:
    accepted, request = draft.accepted, draft.request
    return [
        commands.AMEND, request.order_id.hex, draft.amend_id.hex, draft.target.account_id, commands.SIDES[draft.target.row[5]],
        accepted.ticks, accepted.total, str(accepted.extra), request.principal.actor, request.request_id, accepted.lots,
        str(accepted.steps),
    ]  # fmt: skip
