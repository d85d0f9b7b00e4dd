"""`manage.py run_matching --shard N --shards M`: the matching worker of a shard."""

import signal
from argparse import ArgumentParser
from typing import Any

import psycopg
import structlog
from django.core.management.base import BaseCommand

from matching.recovery import RecoveryRefused
from matching.worker import Worker
from orders.settlement import Fenced

log = structlog.get_logger(__name__)


class Command(BaseCommand):
    help = "Own a shard of symbols: match and settle its commands until stopped."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--shard", type=int, default=0, help="which shard, from 0")
        parser.add_argument("--shards", type=int, default=1, help="how many shards there are")

    def handle(self, *args: Any, **options: Any) -> None:
        shard, shards = options["shard"], options["shards"]
        worker = Worker(shard=shard, shards_in_all=shards)
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: worker.stop())
        try:
            worker.run()
        except Fenced as error:
            log.error("matching_fenced", shard=shard, reason=str(error))
            raise SystemExit(75) from None
        except RecoveryRefused as error:
            log.critical("matching_recovery_refused", shard=shard, reason=str(error))
            raise SystemExit(78) from None
        except psycopg.OperationalError as error:
            log.error("matching_database_lost", shard=shard, reason=str(error).splitlines()[0] if str(error) else type(error).__name__)
            raise SystemExit(69) from None
