"""`manage.py run_matching --shard N --shards M`: the matching worker of a shard.

Not a Django command: filling the registry of apps takes longer than everything else a worker does until it matches again, and it needs
no model, page or task.
"""

import argparse
import signal
from collections.abc import Sequence
from logging.config import dictConfig

import psycopg
import structlog
from django.conf import settings

from matching.recovery import RecoveryRefused
from matching.worker import Worker
from orders.settlement import Fenced

log = structlog.get_logger(__name__)

FENCED = 75
REFUSED = 78
DATABASE_LOST = 69


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="manage.py run_matching", description="Own a shard of symbols: match and settle its commands until stopped."
    )
    made.add_argument("--shard", type=int, default=0, help="which shard, from 0")
    made.add_argument("--shards", type=int, default=1, help="how many shards there are")
    return made


def main(arguments: Sequence[str]) -> int:
    """Runs until a stop signal. Returns the exit status: 0 after a clean stop, else why the supervisor has to start another."""
    options = parser().parse_args(arguments)
    dictConfig(settings.LOGGING)
    worker = Worker(shard=options.shard, shards_in_all=options.shards)
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: worker.stop())
    try:
        worker.run()
    except Fenced as error:
        log.error("matching_fenced", shard=options.shard, reason=str(error))
        return FENCED
    except RecoveryRefused as error:
        log.critical("matching_recovery_refused", shard=options.shard, reason=str(error))
        return REFUSED
    except psycopg.OperationalError as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        log.error("matching_database_lost", shard=options.shard, reason=reason)
        return DATABASE_LOST
    return 0
