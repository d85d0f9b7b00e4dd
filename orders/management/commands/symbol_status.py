"""`manage.py symbol_status BTC/USDT HALTED --actor NAME --reason "…"`: halt, resume or restrict a symbol from the shell."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from exchange_platform.errors import ExchangeError
from orders.controls import SETTABLE, set_symbol_status


class Command(BaseCommand):
    help = "Set a symbol's status; it takes effect in the matching worker's sequence and is audited."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("symbol")
        parser.add_argument("status", choices=SETTABLE)
        parser.add_argument("--actor", required=True, help="who does it")
        parser.add_argument("--reason", required=True, help="why; kept in the audit trail")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            set_symbol_status(symbol=options["symbol"], status=options["status"], actor=options["actor"], reason=options["reason"])
        except (ExchangeError, ValueError) as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"{options['symbol']} is {options['status']}")
