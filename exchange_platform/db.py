"""Database words that every app uses: who owns a transaction, exact sums, direct connections, bulk literals.

No model is imported here: a matching worker starts without the registry of apps.

Three roles (decision 0003): the maintenance login of DATABASE_URL migrates; `exchange_engine` (alias `default`) takes and
settles orders for all tenants; `exchange_tenant` (alias `tenant`) reads under row-level security.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from decimal import Context, Decimal
from typing import Any, Final

import psycopg
from django.conf import settings
from django.db import connections, transaction

PLATFORM_WIDE = "all"

# Sums, differences and products of NUMERIC(38, 18) fit whole; Python's own 28 digits would round them.
EXACT: Final = Context(prec=76)

# Generic plans cached while tables were empty once cost a factor of four: on the hot connections index scans are pinned.
ENGINE_OPTIONS = " ".join(
    f"-c {option}"
    for option in (
        "plan_cache_mode=force_generic_plan",
        "enable_seqscan=off",
        "enable_hashjoin=off",
        "enable_mergejoin=off",
        "jit=off",
        "lock_timeout=5000",
        "statement_timeout=30000",
        # A process that is stopped in the middle of a transaction keeps others from the rows it locked. The limit is on the whole
        # transaction (PostgreSQL 17 and later): after a pipeline the server does not notice that a session idles in one.
        "transaction_timeout=8000",
        "synchronous_commit=on",
        "timezone=UTC",
    )
)


def plain_text(value: Decimal) -> str:
    """Decimal notation without an exponent and without trailing zeros: "0.001", "0", "-0.0002".

    Never rounds; `Decimal.normalize` would, to the 28 digits of Python's own context.
    """
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def own(using: str = "default") -> transaction.Atomic:
    """A transaction this function owns: it commits when the block ends, and refuses to run inside another."""
    return transaction.atomic(using=using, durable=True)


def require_transaction(using: str = "default") -> None:
    """For functions that join their caller's transaction. Raises: RuntimeError when there is none."""
    if not connections[using].in_atomic_block:
        raise RuntimeError("this function joins a transaction; its caller must own one")


@contextmanager
def tenant_scope(institution_id: int | None) -> Iterator[Any]:
    """A read transaction as the tenants' role, bound to one institution (None: staff of the platform, who see all).

    Yields a cursor. The setting is LOCAL, so it ends with the transaction and survives PgBouncer in transaction mode.
    """
    scope = PLATFORM_WIDE if institution_id is None else str(institution_id)
    with transaction.atomic(using="tenant"), connections["tenant"].cursor() as cursor:
        cursor.execute("SELECT set_config('exchange.institution', %s, true)", [scope])
        yield cursor


def connect_direct(*, autocommit: bool = False, name: str = "engine", pinned: bool = True) -> psycopg.Connection[Any]:
    """A session-level connection of the engine's role, past any pooler: for intake, settlement, LISTEN and leases.

    Args: name: shown in pg_stat_activity. pinned: index scans pinned (the hot path); not for reports.
    Raises: psycopg.OperationalError.
    """
    database = settings.DATABASES["default"]
    return psycopg.connect(
        host=database["HOST"] or None,
        port=database["PORT"] or None,
        dbname=database["NAME"],
        user=database["USER"],
        password=database["PASSWORD"] or None,
        application_name=name,
        autocommit=autocommit,
        connect_timeout=5,
        options=ENGINE_OPTIONS if pinned else "-c timezone=UTC -c jit=off",
        keepalives_idle=5,
        keepalives_interval=2,
        keepalives_count=3,
        tcp_user_timeout=15_000,
        prepare_threshold=1,
    )


def array(values: Iterable[object]) -> str:
    """A PostgreSQL array literal of values that need no quoting (numbers, uuids, codes); None becomes NULL.

    psycopg's own list adaptation costs more than the whole statement; this is a join.
    """
    return "{" + ",".join(["NULL" if v is None else str(v) for v in values]) + "}"


def quoted(text: str) -> str:
    """Any text as an element of an array literal."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def text_array(values: Iterable[str | None]) -> str:
    """A PostgreSQL array literal of any text."""
    return "{" + ",".join(["NULL" if v is None else quoted(v) for v in values]) + "}"


def columns(rows: Iterable[tuple[object, ...]]) -> list[str | None]:
    """Rows as one array literal per column, for `unnest`. Values need no quoting, or are `quoted`; NULL is the word.

    A column of NULLs alone is no array at all: `unnest` fills it up to the longest one, and nobody has to write or read it.
    """
    found: list[str | None] = []
    for column in zip(*rows, strict=True):
        if column[0] == "NULL" and column.count("NULL") == len(column):
            found.append(None)
        else:
            found.append("{" + ",".join(map(str, column)) + "}")
    return found
