"""Background work of risk: surveillance after the trade, portfolios, scores that fade. Each task reads what there is to do from
PostgreSQL."""

from datetime import UTC, datetime
from typing import Final

import structlog
from celery import shared_task

from exchange_platform.db import own
from exchange_platform.ids import ms_of
from risk import findings, money, portfolios, post_trade

logger = structlog.get_logger(__name__)

STRETCHES_AT_MOST: Final = 50
ACCOUNTS_AT_ONCE: Final = 100


@shared_task(name="risk.tasks.watch_trades")
def watch_trades(symbol_id: str) -> int:
    """Judge a symbol's trades that can be judged. Called when news of its trades went out. Returns how many. Harmless to repeat."""
    judged = 0
    for _ in range(STRETCHES_AT_MOST):
        done = post_trade.judge_trades(symbol_id=int(symbol_id))
        if not done.rows:
            break
        judged += done.rows
        if done.alerts:
            logger.warning("surveillance_alerts", symbol_id=int(symbol_id), alerts=done.alerts)
    return judged


@shared_task(name="risk.tasks.sweep_surveillance")
def sweep_surveillance() -> int:
    """Judge what nobody was called for: trades of every symbol, the pace of orders, movements. Returns how many alerts were raised.
    Harmless to repeat."""
    alerts = 0
    for symbol_id in post_trade.symbols_behind():
        watch_trades(str(symbol_id))
    for judge in (post_trade.judge_orders, money.judge_movements):
        for _ in range(STRETCHES_AT_MOST):
            done = judge()
            if not done.rows:
                break
            alerts += done.alerts
    if alerts:
        logger.warning("surveillance_alerts", alerts=alerts)
    return alerts


@shared_task(name="risk.tasks.take_portfolio_snapshots")
def take_portfolio_snapshots() -> int:
    """A snapshot of every portfolio, one per hour. Returns how many were taken. Harmless to repeat."""
    return portfolios.take_snapshots(at=datetime.now(UTC).replace(minute=0, second=0, microsecond=0))


@shared_task(name="risk.tasks.fade_scores")
def fade_scores() -> int:
    """Let the scores of suspected accounts fall with time. Returns how many were reckoned. Harmless to repeat."""
    now_ms = ms_of(datetime.now(UTC))
    after = reckoned = 0
    while accounts := findings.suspected(after=after, now_ms=now_ms, limit=ACCOUNTS_AT_ONCE):
        with own():
            findings.set_scores(accounts, now_ms=now_ms)
        after = accounts[-1]
        reckoned += len(accounts)
    return reckoned
