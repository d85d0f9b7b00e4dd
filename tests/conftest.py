"""The environment comes first: settings are read as soon as Django is imported."""

from tests.support import servers

servers.prepare_environment()

import django  # noqa: E402
import pytest  # noqa: E402

from tests.support.fixtures import django_db_setup, fresh_database, module_database, running_stack  # noqa: E402

django.setup()

__all__ = ["django_db_setup", "fresh_database", "module_database", "running_stack"]

_servers: list[servers.Servers] = []


def pytest_sessionstart(session: pytest.Session) -> None:
    if servers.worker_name() == "main" and not session.config.option.collectonly:
        _servers.append(servers.Servers())
        _servers[0].start()


def pytest_unconfigure(config: pytest.Config) -> None:
    while _servers:
        _servers.pop().end()
