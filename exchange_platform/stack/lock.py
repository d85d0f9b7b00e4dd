"""One supervisor per home. The kernel drops the lock when its holder dies, however it dies."""

import fcntl
import os
from pathlib import Path

from exchange_platform.stack.errors import StackError


class HomeLock:
    def __init__(self, home: Path) -> None:
        self.path = home / "stack.lock"
        self._fd = -1

    def acquire(self) -> None:
        """Raises StackError that tells which process holds the home."""
        while True:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                holder = os.read(fd, 32).decode(errors="replace").strip() or "unknown"
                os.close(fd)
                raise StackError(
                    f"A stack already runs in {self.path.parent} (supervisor pid {holder}). Stop it with Ctrl-C or `kill {holder}`, "
                    "or start a second one with another STACK_HOME and STACK_PORT=0."
                ) from None
            if self._still_ours(fd):
                break
            os.close(fd)  # the previous holder removed the file between our open and our lock
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd

    def release(self) -> None:
        if self._fd >= 0:
            self.path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = -1

    def _still_ours(self, fd: int) -> bool:
        try:
            named = os.stat(self.path)
        except FileNotFoundError:
            return False
        opened = os.fstat(fd)
        return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)
