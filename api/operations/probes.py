"""Questions that may never be answered, put in threads of their own and waited for only so long.

A server that is stopped keeps its connections open and answers nothing; neither a driver's time limits nor the server's own end such a
wait. So the wait is left behind: the thread is a daemon, and while it hangs nobody starts a second one.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

import psycopg

from exchange_platform.db import connect_direct

T = TypeVar("T")


class NoAnswer(Exception):
    """The time limit passed."""


class Probe(Generic[T]):
    """One question. Whoever asks while it is being asked waits for the same answer."""

    def __init__(self, ask: Callable[[], T], *, name: str, within_s: float) -> None:
        self._ask = ask
        self._name = name
        self.within_s = within_s
        self._asked: Future[T] | None = None

    async def answer(self) -> T:
        """Raises: NoAnswer, or what the question raises."""
        if self._asked is None or self._asked.done():
            self._asked = Future()
            threading.Thread(target=self._run, args=(self._asked,), name=f"probe-{self._name}", daemon=True).start()
        waiting = asyncio.wrap_future(self._asked)
        waiting.add_done_callback(_taken_note_of)
        done, _ = await asyncio.wait({waiting}, timeout=self.within_s)
        if not done:
            raise NoAnswer(f"no answer within {self.within_s:g} s")
        return waiting.result()

    def _run(self, asked: "Future[T]") -> None:
        try:
            asked.set_result(self._ask())
        except BaseException as problem:
            asked.set_exception(problem)


def _taken_note_of(waiting: "asyncio.Future[Any]") -> None:
    """An answer that came too late is nobody's; its exception is not to be reported as lost."""
    if not waiting.cancelled():
        waiting.exception()


class Database:
    """A connection that a probe keeps between questions. For one thread at a time."""

    def __init__(self, name: str, *, statement_timeout_ms: int) -> None:
        self._name = name
        self._statement_timeout_ms = statement_timeout_ms
        self._connection: psycopg.Connection[Any] | None = None

    def ask(self, question: Callable[[psycopg.Connection[Any]], T]) -> T:
        """`question` on the connection; once more on a new one when the old one turns out to be gone. Raises: psycopg.Error."""
        kept = self._connection
        if kept is not None and not kept.closed:
            try:
                return question(kept)
            except (psycopg.OperationalError, psycopg.InterfaceError):
                if not kept.closed and not kept.broken:
                    raise
        self._connection = connection = connect_direct(name=self._name, autocommit=True, pinned=False)
        connection.execute(f"SET statement_timeout = {self._statement_timeout_ms}")
        return question(connection)

    def forget(self) -> None:
        """Close the connection; for tests."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
