"""Listed here for `manage.py help`. manage.py hands `stack` to the supervisor before any setting is read."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from exchange_platform.stack.main import main


class Command(BaseCommand):
    help = "Start the whole exchange (PostgreSQL, Redis, web, matching, Celery) and supervise it until Ctrl-C."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        pass

    def handle(self, *args: Any, **options: Any) -> None:
        raise SystemExit(main())
