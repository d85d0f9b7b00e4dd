"""The web process as one ASGI application: REST goes to the API's lean handler, WebSockets to its gateway, pages and static files to
Django's own.

Rooms are named here, not imported: the platform wires them and depends on none. The order desk lives as long as the process.
"""

import asyncio
import os
import sys
from typing import Any

import django
from django.utils.module_loading import import_string

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "exchange_platform.settings.local")
django.setup(set_prefix=False)

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler  # noqa: E402
from django.core.handlers.asgi import ASGIHandler  # noqa: E402
from django.core.signals import request_finished  # noqa: E402
from django.db import connections  # noqa: E402

# Intake's thread comes back from the database many times per batch; at Python's own 5 ms it would wait longer for the interpreter than
# for the database.
SWITCH_INTERVAL_S = 0.0005
API_PREFIX = "/api/"

_api = import_string("api.handler.ApiHandler")()
_operations = import_string("api.operations.door.OperationsDoor")()
OPERATIONS_PATHS = import_string("api.operations.door.PATHS")
_stream = import_string("api.ws.app.StreamApp")()
_pages = ASGIStaticFilesHandler(ASGIHandler())


def _end_connections(**_: Any) -> None:
    """A page has a thread of its own, which ends with it: so must what it asked the database with. The API's threads stay."""
    connections.close_all()


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The ASGI application."""
    kind = scope["type"]
    if kind == "http":
        path = scope["path"]
        await (_api if path.startswith(API_PREFIX) else _operations if path in OPERATIONS_PATHS else _pages)(scope, receive, send)
    elif kind == "lifespan":
        await _live(receive, send)
    elif kind == "websocket":
        await _stream(scope, receive, send)


async def _live(receive: Any, send: Any) -> None:
    """Starts the desk before the first request and stops it after the last."""
    await receive()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    request_finished.connect(_end_connections, dispatch_uid="pages")
    try:
        desk = import_string("orders.desk.desk")()
        await asyncio.to_thread(desk.start)
        _stream.start()
    except Exception as error:
        await send({"type": "lifespan.startup.failed", "message": f"the order desk did not start: {error}"})
        raise
    figures = asyncio.create_task(import_string("exchange_platform.telemetry.buffers.flush_for_ever")())
    await send({"type": "lifespan.startup.complete"})
    await receive()
    figures.cancel()
    await _stream.stop()  # before the desk: connections leave cancels behind
    await asyncio.to_thread(desk.stop)
    await asyncio.to_thread(import_string("api.threads.shut_down"))
    await send({"type": "lifespan.shutdown.complete"})
