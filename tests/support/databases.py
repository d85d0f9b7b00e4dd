"""Clones of the migrated template database. A clone takes the place of a flush: the database refuses TRUNCATE."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import psycopg
from django.conf import settings
from django.db import connections

from exchange_platform.settings.database import ENGINE_ROLE, TENANT_ROLE, role_url
from markets import units
from orders import market_data
from tests.support.servers import TEMPLATE, ask_for_servers, database_url, worker_name
from wallet import queries as wallet_queries

_numbers = count(1)


def administer(statement: str) -> None:
    with psycopg.connect(database_url("postgres"), autocommit=True) as connection:
        connection.execute(statement.encode())


def clone_template(name: str) -> None:
    """Makes a database with every migration applied and nothing else in it."""
    ask_for_servers()
    administer(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY {CLONE_STRATEGY}")


CLONE_STRATEGY = "wal_log"


def drop(name: str) -> None:
    administer(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@contextmanager
def fresh_clone() -> Iterator[str]:
    """A database of its own, to which both of Django's connections, the settings and DATABASE_URL in the environment (for
    child processes) lead inside the block. Everything committed in it is gone afterwards. Yields its bootstrap address."""
    name = f"fresh_{worker_name()}_{next(_numbers)}"
    clone_template(name)
    before = database_url(_database_name())
    _lead_to(database_url(name), name)
    try:
        yield database_url(name)
    finally:
        connections.close_all()
        _lead_to(before, before.rpartition("/")[2])
        drop(name)


def _database_name() -> str:
    return str(connections.settings["default"]["NAME"])


def _lead_to(url: str, name: str) -> None:
    connections.close_all()
    for alias in connections:
        # Django hands the same dictionary to each thread's connection, so this reaches threads started later as well.
        connections.settings[alias]["NAME"] = name
        connections[alias].settings_dict["NAME"] = name
    os.environ["DATABASE_URL"] = url
    _set("DATABASE_URL", url)
    _set("ENGINE_DATABASE_URL", role_url(url, ENGINE_ROLE))
    _set("TENANT_DATABASE_URL", role_url(url, TENANT_ROLE))
    for remembers in (units, wallet_queries, market_data):  # what never changes of a database is remembered by the process
        remembers.forget()


def _set(name: str, value: Any) -> None:
    setattr(settings, name, value)
