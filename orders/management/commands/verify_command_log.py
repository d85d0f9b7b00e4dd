"""Is the command log whole and unchanged? Exit status 0: yes; 1: no, every entry named; 2: the database could not be asked."""

import time
from typing import Any

import psycopg
from django.core.management.base import BaseCommand, CommandError, CommandParser

from exchange_platform.db import connect_direct
from orders import command_log


class Command(BaseCommand):
    help = "Hash the command logs again, since their last anchor, while trading goes on."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--symbol", help="only this one, such as BTC/USDT")
        parser.add_argument("--from-start", action="store_true", help="everything that has not left, and every anchor")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with connect_direct(name="command-log", autocommit=True) as connection:
                broken = self._verify(connection, options["symbol"], since_anchor=not options["from_start"])
        except psycopg.Error as problem:
            raise CommandError(f"The database could not be asked: {problem}", returncode=2) from problem
        self.stdout.write(f"{broken} breaks." if broken else "No break.")
        if broken:
            raise SystemExit(1)

    def _verify(self, connection: psycopg.Connection[Any], symbol: str | None, *, since_anchor: bool) -> int:
        wanted = [(number, name) for number, name in command_log.symbols(connection) if symbol in (None, name)]
        if symbol and not wanted:
            raise CommandError(f"There is no symbol {symbol} with a command log.")
        broken = 0
        for symbol_id, name in wanted:
            began = time.perf_counter()
            verified = command_log.verify(connection, symbol_id=symbol_id, since_anchor=since_anchor)
            took_s = time.perf_counter() - began
            self.stdout.write(f"{name}: {verified.entries:,} entries, {verified.began_at:,} to {verified.sequence:,}, {took_s:.2f} s")
            for found in verified.breaks:
                self.stdout.write(f"BREAK {found.sentence}")
            broken += len(verified.breaks)
        return broken
