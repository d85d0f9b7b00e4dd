"""One id from a request to all that is done because of it: in this process by a context variable, to Celery by a message header
(`exchange_platform.celery`).

To matching and the ledger it travels with the data: commands, transitions and events carry the request's id themselves.
"""

from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any, Final

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
