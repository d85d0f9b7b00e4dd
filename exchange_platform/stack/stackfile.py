"""Files of the home that others read: written whole or not at all, readable by their owner alone."""

import json
import os
from pathlib import Path
from typing import Any


def write_private_json(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as file:
        json.dump(content, file, indent=1)
        file.write("\n")
    os.replace(temporary, path)


def read_json(path: Path) -> dict[str, Any]:
    """The object in the file; empty when there is none."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


class StackFile:
    """stack.json: what runs where, with which log-ins. Rewritten after every replacement of a process."""

    def __init__(self, home: Path) -> None:
        self.path = home / "stack.json"
        self._content: dict[str, Any] = {}
        self._published = False

    def publish(self, content: dict[str, Any]) -> None:
        self._content = content
        self._published = True
        write_private_json(self.path, content)

    def update_processes(self, processes: dict[str, int]) -> None:
        """Does nothing before the first `publish`: the file appears when the stack is ready, not earlier."""
        if self._published and processes != self._content["processes"]:
            self.publish({**self._content, "processes": processes})

    def remove(self) -> None:
        self._published = False
        self.path.unlink(missing_ok=True)
