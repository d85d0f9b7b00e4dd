"""What pre-trade limits cost: intake batches of 50 through one connection, by keys without limits and by keys with them, in turn. Processor
time of this process and of its PostgreSQL session, per order; and the pure checks alone.

First every kind is set for everybody, then each of them also for every institution, account and symbol.
"""

import os
import time
from collections.abc import Callable
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import psycopg

from bench import Emit
from bench.measure import machine
from bench.stack import Stack, running_stack

SIZE = 50
ROUNDS = 40
WARM_ROUNDS = 8
SYMBOLS = ("TEST/USDT", "BTC/USDT", "ETH/USDT")

LOOSE = {"MIN_BALANCE": 0, "MAX_SCORE": 1, "DRAWDOWN": 1000}
LIMITS_SQL = """
    INSERT INTO risk_limit (kind, value, institution_id, account_id, symbol_id)
    SELECT kind, value, institution_id, account_id, symbol_id FROM unnest(%s::text[], %s::numeric[]) AS k(kind, value)
    CROSS JOIN (SELECT NULL::bigint AS institution_id, NULL::bigint AS account_id, NULL::int AS symbol_id
                UNION ALL SELECT id, NULL, NULL FROM institutions_institution WHERE %s
                UNION ALL SELECT NULL, id, NULL FROM institutions_account WHERE kind = 'CUSTOMER' AND %s
                UNION ALL SELECT NULL, NULL, id FROM markets_symbol WHERE %s) AS scope
    ON CONFLICT (kind, institution_id, account_id, symbol_id) DO UPDATE SET value = excluded.value"""


def run(emit: Emit) -> None:
    """Emit µs per order with limits and without, the difference, and the checks alone."""
    with running_stack() as stack:
        os.environ.update(
            DJANGO_SETTINGS_MODULE="exchange_platform.settings.test", DATABASE_URL=stack.file["database_url"], STACK_HOME=str(stack.home)
        )
        import django

        django.setup()
        about: dict[str, Any] = {"batch": SIZE, "rounds": ROUNDS, "kinds": len(_kinds())}
        for name, every_scope in (("everybody", False), ("every_scope", True)):
            _set_prices_and_limits(stack, every_scope=every_scope)
            costs = _intake(stack, name)
            for keys, (own, server) in costs.items():
                emit(f"{name}_{keys}", round(own + server, 1), "µs/order", intake=round(own, 1), postgresql=round(server, 1), **about)
            difference = sum(costs["limited"]) - sum(costs["unlimited"])
            emit(f"{name}_difference", round(difference, 1), "µs/order", **about, machine=machine(None))
    emit("checks", round(_checks(), 2), "µs/order", **about)


def _kinds() -> list[str]:
    from risk.models import LimitKind

    return [str(kind) for kind in LimitKind.values]


def _set_prices_and_limits(stack: Stack, *, every_scope: bool) -> None:
    with stack.database() as connection:
        connection.execute("SET session_replication_role = replica")  # past the guard that asks for two people
        kinds = _kinds()
        connection.execute(LIMITS_SQL, [kinds, [LOOSE.get(kind, 999_999_999) for kind in kinds], *[every_scope] * 3])
        connection.execute("UPDATE markets_symbol SET reference_price = 100")


def _intake(stack: Stack, name: str) -> dict[str, tuple[float, float]]:
    """Own and the server's µs per order, by kind of key: the mean of all rounds."""
    from exchange_platform.db import ENGINE_OPTIONS
    from orders.batch import IntakeBatch
    from orders.batch_reads import KeptMarks
    from orders.requests import PlaceOrder, Principal, Submission

    numbers, marks = count(), KeptMarks()
    with psycopg.connect(stack.file["database_url"], options=ENGINE_OPTIONS, prepare_threshold=1) as connection:
        accounts = connection.execute(
            "SELECT id, institution_id FROM institutions_account WHERE kind = 'CUSTOMER' AND name <> 'outside' ORDER BY id"
        ).fetchall()
        server = psutil.Process(connection.info.backend_pid)

        def batch(unlimited: bool) -> None:
            requests: list[PlaceOrder] = []
            for place in range(SIZE):
                number, (account_id, institution_id) = next(numbers), accounts[place % len(accounts)]
                requests.append(PlaceOrder(
                    principal=Principal("key:bench", institution_id, account_id, unlimited), account_id=account_id,
                    symbol=SYMBOLS[number % len(SYMBOLS)], client_order_id=f"{name}-{number}", side="BUY", order_type="LIMIT",
                    time_in_force="GTC", quantity=Decimal(1), price=Decimal(91 + number % 3),
                ))  # fmt: skip
            work = IntakeBatch(connection, [Submission((request,)) for request in requests], now_ns=time.time_ns(), marks=marks)
            answers = work.decide_and_write()
            connection.commit()
            refused = [draft.refusal for draft in work.drafts if draft.refusal]
            if refused or len(answers) != SIZE:
                raise RuntimeError(f"{len(refused)} of {SIZE} orders were refused: {refused[:1]}")

        found: dict[str, list[tuple[float, float]]] = {"unlimited": [], "limited": []}
        for turn in range(WARM_ROUNDS + ROUNDS):
            for keys, rounds in found.items():
                used = _cpu(lambda keys=keys: batch(keys == "unlimited"), server)  # type: ignore[misc]
                if turn >= WARM_ROUNDS:
                    rounds.append(used)
            stack.wait_until_settled()
    return {keys: (_per_order(rounds, 0), _per_order(rounds, 1)) for keys, rounds in found.items()}


def _cpu(call: Callable[[], None], server: psutil.Process) -> tuple[float, float]:
    """Seconds of this thread and of the session, by the kernel's scheduler: its other clock ticks in hundredths."""
    before, began = _ran_ns(server), time.thread_time()
    call()
    return time.thread_time() - began, (_ran_ns(server) - before) / 1e9


def _ran_ns(process: psutil.Process) -> int:
    return int(Path(f"/proc/{process.pid}/schedstat").read_text().split()[0])


def _per_order(rounds: list[tuple[float, float]], which: int) -> float:
    return sum(used[which] for used in rounds) / (len(rounds) * SIZE) * 1e6


def _checks() -> float:
    """µs per order of the pure checks, an account with five positions."""
    from risk import checks
    from risk.exposures import Exposure, Holding
    from risk.marks import Mark, Marks

    money = Decimal("123.456")
    marks = Marks([Mark(n, n + 1, 1, "BTC" if n == 1 else f"C{n}", "USDT", money, 0, money, None) for n in range(1, 6)])
    limits = checks.Limits(
        [checks.LimitRow(kind, None, None, None, Decimal(LOOSE.get(kind, 999_999_999))) for kind in _kinds()], marks=marks, today=1
    )

    def once() -> None:
        for _ in range(SIZE // 10):  # ten orders of each account
            account = checks.AccountRisk(1, 1, 0, 0, 0, 0, 0, 0)
            for symbol_id in range(1, 6):
                holding = Holding(money, money, money)
                account.standing.exposures[symbol_id] = Exposure(money, money, money, 1, money, holding, 1, holding)
            account.standing.balances = [(n, money) for n in range(1, 7)]
            for _ in range(10):
                _ask_all(checks, limits, account, money)

    once()
    began = time.thread_time()
    for _ in range(200):
        once()
    return (time.thread_time() - began) / (200 * SIZE) * 1e6


def _ask_all(checks: Any, limits: Any, account: Any, money: Decimal) -> None:
    buy = checks.Buy(2, "C2", "USDT", 1, money, Decimal(0), money)
    found = [
        checks.check_symbol(limits, account, 2, "C2/USDT"),
        checks.check_score(limits, account, 2),
        checks.check_rate(limits, account, 2),
        checks.check_order_value(limits, account, 2, money),
        checks.check_open_orders(limits, account, 2, None, 0),
        checks.check_notional(limits, account, 2, 1, money),
        checks.check_position(limits, account, buy),
        checks.check_losses(limits, account, 2),
        checks.check_balance(limits, account, 2, 1, money),
    ]
    account.standing.count(2, buying=money, spending=Decimal(0), value=money)
    if any(found):
        raise RuntimeError(f"refused: {found}")
