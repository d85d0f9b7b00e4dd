"""The Celery application. Queues, schedule and guarantees are settings (`CELERY_*`); tasks live in each app's `tasks`."""

import os
from typing import Any

from celery import Celery, bootsteps, signals
from django.db import close_old_connections
from django.utils.module_loading import import_string

from exchange_platform.telemetry.correlation import HEADER, request_id, task_name

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "exchange_platform.settings.local")

app = Celery("exchange")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.conf["CELERY_DB_REUSE_MAX"] = 10**9  # else every task would connect anew, which costs the database more than most tasks


class RelayStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """Every worker has a relay beside its tasks; one of all relays publishes at a time (`notifications.relay`)."""

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self._relay = import_string("notifications.relay.relay_thread")()

    def start(self, parent: Any) -> None:
        self._relay.__enter__()

    def stop(self, parent: Any) -> None:
        self._relay.__exit__(None, None, None)


app.steps["worker"].add(RelayStep)


@signals.setup_logging.connect
def leave_logging_alone(**_: Any) -> None:
    """Celery sets up logging of its own unless somebody says that it is done (`exchange_platform.settings.logs`)."""


@signals.task_prerun.connect
def mend_connections(**_: Any) -> None:
    """A connection that broke since the last task is dropped, and the next statement makes a new one."""
    close_old_connections()


@signals.beat_init.connect
def first_heartbeat(**_: Any) -> None:
    """Beat would wait a whole interval before it first sends; so long nobody would know that work gets done."""
    app.send_task("exchange_platform.tasks.leave_heartbeat", expires=10, retry=False)


@signals.before_task_publish.connect
def send_request_along(headers: dict[str, Any] | None = None, **_: Any) -> None:
    if headers is not None and (request := request_id.get()):
        headers[HEADER] = request


@signals.task_prerun.connect
def take_up_request(task_id: str = "", task: Any = None, **_: Any) -> None:
    """A task that nobody's request caused has an id of its own."""
    request_id.set(getattr(task.request, HEADER, None) or task_id)
    task_name.set(task.name)


@signals.task_postrun.connect
def lay_down_request(**_: Any) -> None:
    request_id.set("")
    task_name.set("")
