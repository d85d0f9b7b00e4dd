"""Servers and databases of the run; its environment is set by `tests.support.environment` before Django is imported."""

import pytest

from tests.support import servers
from tests.support.fixtures import _back_from_the_future, django_db_setup, fresh_database, module_database, running_stack

__all__ = ["_back_from_the_future", "django_db_setup", "fresh_database", "module_database", "running_stack"]

_servers: list[servers.Servers] = []


def pytest_sessionstart(session: pytest.Session) -> None:
    if servers.worker_name() == "main" and not session.config.option.collectonly:
        _servers.append(servers.Servers())
        _servers[0].start()


def pytest_unconfigure(config: pytest.Config) -> None:
    while _servers:
        _servers.pop().end()
