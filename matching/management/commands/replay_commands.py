"""Rebuild a symbol's book at any moment from its command log, and tell its state hash. Exit status 1: the log comes to something else."""

import json
import time
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from exchange_platform.db import connect_direct
from markets.units import market_by_name
from matching import snapshots
from matching.core.messages import BUY, SELL
from matching.replay import ReplayDiffers, Replayed, replay

LEVELS = 5
LIVE_SQL = "SELECT sequence, state_hash FROM orders_checkpoint WHERE symbol_id = %s"
FIRST_SQL = "SELECT min(first_sequence) FROM orders_commandlog WHERE symbol_id = %s"
REACHED_SQL = "SELECT max(last_sequence) FROM orders_commandlog WHERE symbol_id = %s AND settled_at <= %s"


class Command(BaseCommand):
    help = "Rebuild a symbol's book from its command log, up to a time or an engine sequence."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--symbol", required=True, help="such as BTC/USDT")
        parser.add_argument("--until", help="an engine sequence, or a time such as 2026-11-21T14:03:00Z; without: to the end")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        market = market_by_name(options["symbol"])
        if market is None:
            raise CommandError(f"There is no symbol {options['symbol']}.")
        sequence, moment = _until(options["until"])
        began = time.perf_counter()
        with connect_direct(name="replay", pinned=False) as connection:
            if moment is not None:
                sequence = connection.execute(REACHED_SQL, [market.id, moment]).fetchone()[0] or 0  # type: ignore[index]
            first = connection.execute(FIRST_SQL, [market.id]).fetchone()[0]  # type: ignore[index]
            begin = None
            if first not in (None, 1):
                begin = snapshots.nearest(connection, market=market, sequence=2**62 if sequence is None else sequence)
                if begin is None:
                    raise CommandError(f"The log begins at command {first}; what was before has left and no anchor tells what it came to.")
            try:
                found = replay(connection, market=market, until_sequence=sequence, begin=begin)
            except ReplayDiffers as problem:
                raise CommandError(str(problem)) from None
            live = connection.execute(LIVE_SQL, [market.id]).fetchone()
        told = _told(found, live, took_s=time.perf_counter() - began)
        if options["json"]:
            self.stdout.write(json.dumps(told))
        else:
            for name, value in told.items():
                self.stdout.write(f"{name.replace('_', ' ')}: {'-' if value is None else value}")
        if told["is_live_hash"] is False:
            raise CommandError("The live book has another state hash.")


def _until(text: str | None) -> tuple[int | None, datetime | None]:
    if text is None:
        return None, None
    if text.isdigit():
        return int(text), None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(f"--until is an engine sequence or a time such as 2026-11-21T14:03:00Z, not {text}.") from None
    return None, moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _told(found: Replayed, live: tuple[Any, ...] | None, *, took_s: float) -> dict[str, Any]:
    engine, market = found.engine, found.engine.progress.market
    book = engine.book

    def levels(side: int) -> list[list[str]]:
        return [[market.price_text(ticks), market.quantity_text(lots)] for ticks, lots in list(book.levels(side))[:LEVELS]]

    return {
        "symbol": market.name,
        "sequence": found.sequence,
        "settled_at": found.at.isoformat() if found.at else None,
        "state_hash": str(found.state_hash),
        "status": book.status,
        "open_orders": len(engine.records),
        "waiting_stops": sum(1 for _ in book.waiting()),
        "trades": engine.progress.trade_number,
        "bids": levels(BUY),
        "asks": levels(SELL),
        "commands_played": found.commands,
        "seconds": round(took_s, 3),
        "is_live_hash": int(live[1]) == found.state_hash if live is not None and live[0] == found.sequence else None,
    }
