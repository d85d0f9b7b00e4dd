"""The one bounded pool in which this process waits for the database on behalf of requests.

Never a thread per request: Django's own async handler pays 1,300 µs for that. Each thread keeps its connections open; one
that broke (PostgreSQL was restarted) is thrown away, and the next request of that thread opens a new one.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar

from django.db import connections

THREADS: Final = 8

P = ParamSpec("P")
R = TypeVar("R")


class _Pool:
    executor: ThreadPoolExecutor | None = None


def executor() -> ThreadPoolExecutor:
    """The pool of this process, made when first asked for."""
    if _Pool.executor is None:
        _Pool.executor = ThreadPoolExecutor(THREADS, thread_name_prefix="api")
    return _Pool.executor


def shut_down() -> None:
    """Waits for what is running, then ends the threads. A new pool is made when one is needed again."""
    if _Pool.executor is not None:
        _Pool.executor.shutdown(wait=True, cancel_futures=True)
        _Pool.executor = None


def _discard_broken_connections() -> None:
    for connection in connections.all(initialized_only=True):
        connection.close_if_unusable_or_obsolete()


def _run(function: Callable[[], Any]) -> Any:
    _discard_broken_connections()
    try:
        return function()
    finally:
        _discard_broken_connections()


async def run_in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """`function` in the pool, awaited, with the request's id for what it logs. Raises what it raises."""
    work = partial(copy_context().run, _run, partial(function, *args, **kwargs))
    result: R = await asyncio.get_running_loop().run_in_executor(executor(), work)
    return result
