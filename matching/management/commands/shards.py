"""`manage.py shards`: who owns which symbols. `manage.py shards move BTC/USDT --to 1 --reason "…"`: give a symbol to another shard.

Exit status of a move: 0: done; 1: undone or refused, and why.
"""

import getpass
import json
import time
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from matching import moves, queries
from orders.settlement import LEASE_S

POLL_S = 0.1


class Command(BaseCommand):
    help = "Show the shards: owner, epoch, lease, symbols, what waits. Or move a symbol to another shard."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="JSON instead of a table")
        actions = parser.add_subparsers(dest="action", metavar="move")
        move = actions.add_parser("move", help="move a symbol; its orders stay as they are, intake pauses for a moment")
        move.add_argument("symbol")
        move.add_argument("--to", type=int, required=True, metavar="SHARD", help="the shard that gets it; somebody must own it")
        move.add_argument("--reason", required=True, help="why; kept in the audit trail")
        move.add_argument("--actor", default="", help="who does it; default: this machine's user")
        move.add_argument(
            "--within", type=float, default=moves.WITHIN_S, metavar="S", help="undone when not done by then (default %(default)g)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] == "move":
            self._move(options)
        elif options["json"]:
            found = {"shards": [asdict(row) for row in queries.shards()], "moves": [asdict(row) for row in queries.moves()]}
            self.stdout.write(json.dumps(found, indent=2, default=str))
        else:
            self._write_tables()

    def _move(self, options: dict[str, Any]) -> None:
        symbol, target, began_at = options["symbol"], options["to"], time.monotonic()
        actor = options["actor"] or f"cli:{getpass.getuser()}"
        try:
            move = moves.request(symbol=symbol, target=target, actor=actor, reason=options["reason"], within_s=options["within"])
        except (moves.MoveRefused, ValueError) as error:
            raise CommandError(str(error)) from None
        try:
            state, note = moves.state_of(move_id=move)
            while state not in (moves.DONE, moves.UNDONE):
                time.sleep(POLL_S)
                state, note = moves.state_of(move_id=move)
        except KeyboardInterrupt:
            raise CommandError(f"Move {move} goes on without you; `manage.py shards` shows it.") from None
        if state == moves.UNDONE:
            raise CommandError(f"{symbol} was not moved: {note}.")
        self.stdout.write(f"{symbol} is on shard {target} after {time.monotonic() - began_at:.1f} s (move {move})")

    def _write_tables(self) -> None:
        self.stdout.write(f"{'shard':>5}  {'owner':<28} {'epoch':>6}  {'lease':<26} {'waiting':>8} {'oldest':>8}  symbols")
        for row in queries.shards():
            oldest = "" if row.oldest_s is None else f"{row.oldest_s:.1f} s"
            self.stdout.write(
                f"{row.shard:>5}  {row.owner or 'nobody yet':<28} {row.epoch or '':>6}  {_lease(row):<26} {row.waiting:>8} {oldest:>8}"
                f"  {' '.join(row.symbols)}"
            )
        for move in queries.moves():
            asked = f"asked {move.requested_at:%Y-%m-%d %H:%M:%S} UTC by {move.actor}: {move.reason}"
            note = f" ({move.note})" if move.note else ""
            self.stdout.write(f"move {move.id}: {move.symbol} from {move.source} to {move.target} {move.state}{note}, {asked}")


def _lease(row: queries.ShardRow) -> str:
    if row.lease_s is None:
        return "never had one"
    if not row.is_owned:
        return f"ended {-row.lease_s:.1f} s ago"
    return f"renewed {max(0.0, LEASE_S - row.lease_s):.1f} s ago, {row.lease_s:.1f} s left"
