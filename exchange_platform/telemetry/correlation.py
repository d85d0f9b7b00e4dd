"""One id from a request to all that is done because of it: in this process by a context variable, to Celery by a message header.

To matching and the ledger it travels with the data: commands, transitions and events carry the request's id themselves.
"""

from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any, Final

from celery import signals

HEADER: Final = "exchange_request_id"

request_id: ContextVar[str] = ContextVar("request_id", default="")
task_name: ContextVar[str] = ContextVar("task", default="")


def add_correlation(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: every line says by which request and in which task it came about."""
    if (request := request_id.get()) and "request_id" not in event:
        event["request_id"] = request
    if (task := task_name.get()) and "task" not in event:
        event["task"] = task
    return event


@signals.before_task_publish.connect
def _send_along(headers: dict[str, Any] | None = None, **_: Any) -> None:
    if headers is not None and (request := request_id.get()):
        headers[HEADER] = request


@signals.task_prerun.connect
def _take_up(task_id: str = "", task: Any = None, **_: Any) -> None:
    """A task that nobody's request caused has an id of its own."""
    request_id.set(getattr(task.request, HEADER, None) or task_id)
    task_name.set(task.name)


@signals.task_postrun.connect
def _lay_down(**_: Any) -> None:
    request_id.set("")
    task_name.set("")
