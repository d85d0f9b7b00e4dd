"""A request's id goes along: into log lines, into the threads that work for it, and with the tasks that it sends."""

import asyncio
import queue
from typing import Any

from celery import Celery
from celery.contrib.testing.worker import start_worker

from api.threads import run_in_thread, shut_down
from exchange_platform.telemetry.correlation import add_correlation, request_id, task_name


def line() -> dict[str, Any]:
    return dict(add_correlation(None, "info", {"event": "x"}))


def test_a_line_says_by_which_request_it_came_about() -> None:
    assert line() == {"event": "x"}
    token = request_id.set("r-1")
    try:
        assert line() == {"event": "x", "request_id": "r-1"}
        assert add_correlation(None, "info", {"request_id": "told"}) == {"request_id": "told"}
    finally:
        request_id.reset(token)


def test_the_database_threads_know_whom_they_work_for() -> None:
    async def two_requests() -> list[str]:
        async def one(name: str) -> str:
            request_id.set(name)
            return await run_in_thread(request_id.get)

        return await asyncio.gather(one("r-1"), one("r-2"))

    try:
        assert asyncio.run(two_requests()) == ["r-1", "r-2"]
    finally:
        shut_down()
    assert request_id.get() == ""


def test_a_task_takes_up_the_id_of_the_request_that_sent_it() -> None:
    app = Celery("correlation", broker="memory://", backend="cache+memory://", set_as_current=False)
    seen: queue.Queue[tuple[str, str, str]] = queue.Queue()

    @app.task(name="tests.look", bind=True)  # type: ignore[untyped-decorator]
    def look(self: Any) -> None:
        seen.put((self.request.id, request_id.get(), task_name.get()))

    with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=20):
        token = request_id.set("r-1")
        look.delay()
        request_id.reset(token)
        _, told, name = seen.get(timeout=20)
        assert (told, name) == ("r-1", "tests.look")
        look.delay()
        own, told, _ = seen.get(timeout=20)
        assert told == own, "nobody's request: the task's own id"
