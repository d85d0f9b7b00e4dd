"""The monthly partitions: which there are, making them ahead, letting old ones leave. Exit status 1: something that is due must wait."""

from typing import Any

import psycopg
from django.core.management.base import BaseCommand, CommandError, CommandParser

from exchange_platform import partitions
from orders import retention
from orders.models import ArchivedPartition


class Command(BaseCommand):
    help = "List the monthly partitions; make missing ones; close and detach old ones (only shown, unless --apply)."

    def add_arguments(self, parser: CommandParser) -> None:
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--ensure", action="store_true", help="make missing partitions ahead")
        what.add_argument("--detach", action="store_true", help="show what is old enough to leave, and what must wait and why")
        parser.add_argument("--apply", action="store_true", help="with --detach: do it")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["apply"] and not options["detach"]:
            raise CommandError("--apply goes with --detach.")
        try:
            if options["ensure"]:
                with partitions.maintenance() as connection:
                    self.stdout.write(f"{partitions.ensure(connection)} partitions made.")
            elif options["detach"]:
                self._retire(apply=options["apply"])
            else:
                self._list()
        except psycopg.Error as problem:
            raise CommandError(f"The database could not do it: {problem}", returncode=2) from problem

    def _list(self) -> None:
        with partitions.maintenance() as connection:
            for found in partitions.partitions(connection):
                state = "closed" if found.is_closed else "attached"
                if found.is_pending or not found.is_attached:
                    state = "leaving"
                self.stdout.write(f"{found.name:<28} {state:<10} about {found.rows:>13,} rows {found.size / 2**20:>10,.1f} MiB")
        for row in ArchivedPartition.objects.order_by("parent", "name"):
            self.stdout.write(f"{row.name:<28} archived   {row.rows:>19,} rows, {row.detached_at:%Y-%m-%d}")

    def _retire(self, *, apply: bool) -> None:
        steps = retention.retire(dry_run=not apply)
        for step in steps:
            self.stdout.write(
                f"{step.what:<7} {step.subject:<28} {'waits: ' + step.waits if step.waits else 'done' if apply else 'would be done'}"
            )
        if not steps:
            self.stdout.write("Nothing is old enough to leave.")
        if any(step.waits for step in steps):
            raise SystemExit(1)
