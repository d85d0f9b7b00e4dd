"""Does everything agree? Exit status 0: yes; 1: a break, named to its row; 2: the database could not be asked.

What is found is kept like that of the scheduled runs, with its alerts and halts (`orders.breaks`); `--look-only` changes nothing.
"""

import json
from collections.abc import Sequence
from typing import Any

import psycopg
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from orders import breaks
from orders.reconcile import Report, reconcile


class Command(BaseCommand):
    help = "Cross-check ledger, orders, trades, history and book on one snapshot, while trading goes on."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
        parser.add_argument("--look-only", action="store_true", help="keep nothing, raise no alert, halt nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            report, kept = (reconcile(), None) if options["look_only"] else breaks.run()
        except (psycopg.Error, DatabaseError) as problem:
            raise CommandError(f"The database could not be asked: {problem}", returncode=2) from problem
        if options["json"]:
            self.stdout.write(json.dumps(report.as_json(), indent=2))
        else:
            self._write_table(report, [] if kept is None else kept.halted)
        if not report.is_clean:
            raise SystemExit(1)

    def _write_table(self, report: Report, halted: Sequence[str]) -> None:
        rows = ", ".join(f"{count:,} {name}" for name, count in report.rows.items())
        self.stdout.write(f"Snapshot of {report.started_at:%Y-%m-%d %H:%M:%S} UTC: {rows}\n\n")
        for check in report.checks:
            verdict = f"{check.breaks:,} BROKEN" if check.breaks else "ok"
            self.stdout.write(f"  {check.name:<16} {verdict:>12} {check.duration.total_seconds():7.2f} s  {check.compares}\n")
        self.stdout.write("\n")
        for found in report.breaks:
            self.stdout.write(f"BREAK {found.check}: {found.table} {found.key}\n")
            self.stdout.write(f"      {found.sentence}\n      expected {found.expected}, found {found.found}\n")
        if report.broken > len(report.breaks):
            self.stdout.write(f"… and {report.broken - len(report.breaks):,} more\n")
        if halted:
            self.stdout.write(f"Halted: {', '.join(halted)}. To resume them needs two people.\n")
        verdict = {0: "No break.", 1: "1 break."}.get(report.broken, f"{report.broken:,} breaks.")
        self.stdout.write(f"{verdict} {report.duration.total_seconds():.2f} s\n")
