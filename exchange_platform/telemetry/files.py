"""Figures of a process in memory-mapped files that outlive it, in the format of prometheus-client's multiprocess mode.

A process takes a numbered slot by a kernel lock, at its first figure. The lock ends with the process, however it ends; whoever
takes the slot next goes on counting where the dead one stopped. So counters survive kill -9, there are never more files than
there were processes at one time, and nobody has to clean up. Source: decision 0015.
"""

import fcntl
import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import Final

import structlog
from django.conf import settings
from prometheus_client.mmap_dict import MmapedDict

log = structlog.get_logger(__name__)

_pack = Struct("dd").pack

LARGEST_ENTRY: Final = 8192
LIVE_GAUGE: Final = "gauge_live"


class _File(MmapedDict):
    """Disk space is taken before it is written to: on a full disk writing to a hole in a mapped file would end the process."""

    def __init__(self, path: Path) -> None:
        with open(path, "ab") as file:
            os.posix_fallocate(file.fileno(), 0, max(os.fstat(file.fileno()).st_size, 1 << 16))
        super().__init__(str(path))

    def _init_value(self, key: str) -> None:
        if self._used + LARGEST_ENTRY > self._capacity:
            os.posix_fallocate(self._f.fileno(), 0, self._capacity * 2)
        super()._init_value(key)


class Place:
    """Where a figure lies."""

    __slots__ = ("_file", "_position", "value")

    def __init__(self, file: _File, position: int, value: float) -> None:
        self._file = file
        self._position = position
        self.value = value

    def write(self, value: float, stamp: float) -> None:
        """The caller holds `lock`. The map is asked for each time: a file that grows gets another one."""
        self._file._m[self._position : self._position + 16] = _pack(value, stamp)


class Slot:
    """The files of this process: one per kind of figure. Where they cannot be made, figures stay in memory and nobody sees them."""

    def __init__(self) -> None:
        self.generation = 1  # changes when every figure has to be attached anew
        self.number: int | None = None
        self._lock_fd = -1
        self._files: dict[str, _File | None] = {}
        self._is_broken = False

    def attach(self, prefix: str, key: str) -> "Place | None":
        """Where a figure of this kind ("counter", "gauge_livesum") lies and what stands there already, of this process or of whoever
        had the slot before. None when there is no place. The caller holds `lock`."""
        if prefix not in self._files:
            self._files[prefix] = self._open(prefix)
        file = self._files[prefix]
        if file is None:
            return None
        try:
            value = float(file.read_value(key)[0])
        except (OSError, ValueError) as problem:
            self._give_up(problem)
            return None
        return Place(file, file._positions[key], value)

    def leave(self) -> None:
        """Give the slot up; the next figure takes one anew. Also called in a forked child, whose slot is its parent's."""
        for file in self._files.values():
            if file is not None:
                file.close()
        self._files.clear()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
        self._lock_fd, self.number, self._is_broken = -1, None, False
        self.generation += 1

    def _open(self, prefix: str) -> _File | None:
        if self._is_broken:
            return None
        try:
            if self.number is None:
                self._take()
            return _File(folder() / f"{prefix}_{self.number}.db")
        except OSError as problem:
            self._give_up(problem)
            return None

    def _take(self) -> None:
        folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        for number in itertools.count():
            fd = os.open(folder() / f"{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(fd)
                continue
            self._lock_fd, self.number = fd, number
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
            for stale in folder().glob(f"{LIVE_GAUGE}*_{number}.db"):
                stale.unlink(missing_ok=True)
            return

    def _give_up(self, problem: Exception) -> None:
        if not self._is_broken:
            self._is_broken = True
            log.warning("metrics_files_unusable", problem=str(problem))
        for prefix, file in self._files.items():
            if file is not None:
                file.close()
            self._files[prefix] = None
        self.generation += 1  # nobody may write to what is closed


lock = threading.Lock()
slot = Slot()


def _in_child() -> None:
    global lock
    lock = threading.Lock()  # a thread of the parent may have held the old one
    slot.leave()


os.register_at_fork(after_in_child=_in_child)


def folder() -> Path:
    return Path(settings.STACK_HOME) / "metrics"


def readable_files() -> list[str]:
    """Every file whose figures still hold: live gauges only of processes that live."""
    found: list[str] = []
    alive: dict[str, bool] = {}
    for path in _db_files():
        number = path.stem.rpartition("_")[2]
        if path.name.startswith(LIVE_GAUGE):
            if number not in alive:
                alive[number] = _is_taken(folder() / f"{number}.lock")
            if not alive[number]:
                continue
        found.append(str(path))
    return found


def _db_files() -> Iterator[Path]:
    yield from sorted(folder().glob("*.db"))


def _is_taken(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(fd)
