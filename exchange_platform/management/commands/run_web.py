"""One web process: uvicorn on a listening socket that the supervisor owns, so that its death refuses nobody."""

import asyncio
import socket
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from uvicorn import Config, Server
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from exchange_platform.websocket import MESSAGE_LIMIT, DirectWebSocketProtocol

ABORT_EXTENSION = "exchange.abort"


class AbortableHttpProtocol(HttpToolsProtocol):
    """Gives the application `scope["extensions"]["exchange.abort"]`: a call that drops the connection without an answer.

    Used when a commit's outcome is unknown: no answer is truer than a guess."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        extensions: dict[str, Any] = {ABORT_EXTENSION: self._abort}
        self.scope["extensions"] = extensions

    def _abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()


class Command(BaseCommand):
    help = "Serve REST, WebSocket and pages on a listening socket that is handed over by its file descriptor."
    requires_system_checks: list[str] = []  # a replacement must be there at once; CI runs the checks

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--fd", type=int, help="file descriptor of the listening socket (without: --host and --port)")
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8000)

    def handle(self, *args: Any, **options: Any) -> None:
        config = Config(
            "exchange_platform.asgi:application",
            host=options["host"],
            port=options["port"],
            loop="uvloop",
            http=AbortableHttpProtocol,
            ws=DirectWebSocketProtocol,
            ws_max_size=MESSAGE_LIMIT,
            ws_per_message_deflate=False,  # would compress every message once per client
            lifespan="on",
            access_log=False,
            log_config=None,
            backlog=4096,
            timeout_graceful_shutdown=5,
            timeout_keep_alive=75,
            server_header=False,
        )
        server = Server(config)
        sockets = None
        if options["fd"] is not None:
            listening = socket.socket(fileno=options["fd"])
            listening.setblocking(False)
            sockets = [listening]
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(server.serve(sockets=sockets))
        if not server.started:
            raise SystemExit(3)
