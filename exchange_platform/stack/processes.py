"""Child processes that cannot outlive their supervisor: own session, and a signal from the kernel when the parent dies."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True)
class Identity:
    """An operating-system user to run as."""

    user: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """How to run one process. `stage`: processes of a lower stage are stopped first. `ready`: None means ready when started.
    `needs`: names of processes that must be ready before this one is started again. `niceness`: how far it lets others go first."""

    name: str
    argv: list[str]
    log: Path
    environment: dict[str, str]
    folder: Path
    stage: int
    stop_signal: signal.Signals = signal.SIGTERM
    stop_within_s: float = 8.0
    death_signal: signal.Signals = signal.SIGKILL
    identity: Identity | None = None
    pass_fds: tuple[int, ...] = ()
    ready: Callable[[], bool] | None = None
    needs: tuple[str, ...] = field(default=())
    niceness: int = 0


def spawn(spec: ProcessSpec) -> "subprocess.Popen[bytes]":
    """Starts it with its output appended to its log. The file descriptors in `pass_fds` are inherited, no others."""
    with open(spec.log, "ab", buffering=0) as log:
        return subprocess.Popen(
            spec.argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=spec.folder,
            env=spec.environment,
            start_new_session=True,
            pass_fds=spec.pass_fds,
            preexec_fn=_before_exec(spec.identity, spec.death_signal, spec.niceness),
        )


def _before_exec(identity: Identity | None, death_signal: signal.Signals, niceness: int) -> Callable[[], None]:
    parent = os.getpid()

    def prepare() -> None:
        if niceness:
            os.nice(niceness)
        if identity is not None:
            os.setgroups([])
            os.setgid(identity.gid)
            os.setuid(identity.uid)
            os.umask(0o077)
        if _libc is not None:
            _libc.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)  # after setuid, which clears it
            if os.getppid() != parent:
                os._exit(1)

    return prepare


def adopt_orphans() -> None:
    """Grandchildren whose parent was killed become children of this process instead of init's, so that it can end them."""
    if _libc is not None:
        _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_session(pid: int) -> None:
    """Ends whatever is left in the process group that `spawn` made for this pid."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def is_alive(pid: int) -> bool:
    """A zombie counts as dead."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return sys.platform != "linux"


def tail(path: Path, lines: int = 20) -> str:
    try:
        with open(path, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 16_384))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
