"""Whole stacks for tests: `manage.py stack` in a home of its own, and proof that nothing of it is left afterwards."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from exchange_platform.stack.processes import is_alive, tail
from tests.support.servers import PROJECT

NOT_INHERITED = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "FIELD_ENCRYPTION_KEY", "DJANGO_SETTINGS_MODULE", "EXCHANGE_DB_ROLE")


def stack_environment(home: Path, **variables: str) -> dict[str, str]:
    """The environment of a stack in `home` on free ports without demo traffic; `variables` go on top."""
    inherited = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    inherited = {name: value for name, value in inherited.items() if not name.startswith(("STACK_", "PYTEST_", "EXCHANGE_TEST_", "COV_"))}
    return {**inherited, "STACK_HOME": str(home), "STACK_PORT": "0", "STACK_DEMO": "0", **variables}


def wait_until(condition: Callable[[], object], *, within_s: float, what: str) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s:.0f} s: {what}")
        time.sleep(0.02)


class RunningStack:
    """A stack that a test started. `stack["base_url"]` reads the present stack.json; `output` is what it told so far."""

    def __init__(self, home: Path, **variables: str) -> None:
        self.home = home
        self.environment = stack_environment(home, **variables)
        self._output = home.with_name(home.name + ".out")
        with open(self._output, "wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(PROJECT / "manage.py"), "stack"],
                cwd=PROJECT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._seen: set[int] = set()

    def wait_until_ready(self, within_s: float = 120.0) -> "RunningStack":
        def ready() -> bool:
            if self.process.poll() is not None:
                raise AssertionError(f"the stack ended with status {self.process.returncode}:\n{self.output}")
            try:
                return json.loads((self.home / "stack.json").read_text())["supervisor"] == self.process.pid
            except FileNotFoundError:
                return False

        try:
            wait_until(ready, within_s=within_s, what="stack.json")
        except AssertionError as problem:
            raise AssertionError(f"{problem}\n{self.output}\n{self.log('web-0')}\n{self.log('matching-0')}") from None
        return self

    def read(self) -> dict[str, Any]:
        """stack.json as it stands now."""
        content = json.loads((self.home / "stack.json").read_text())
        self._seen.update(content["processes"].values())
        assert isinstance(content, dict)
        return content

    def __getitem__(self, name: str) -> Any:
        return self.read()[name]

    def pid(self, name: str) -> int:
        return int(self.read()["processes"][name])

    def log(self, name: str) -> str:
        return tail(self.home / "logs" / f"{name}.log", 40)

    @property
    def output(self) -> str:
        return self._output.read_text(errors="replace")

    def kill(self, name: str) -> int:
        """kill -9; returns the pid that was killed."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_until_replaced(self, name: str, killed: int, within_s: float = 30.0) -> int:
        """Waits until stack.json names a successor that lives; returns its pid."""

        def replaced() -> bool:
            pid = self.pid(name)
            return pid != killed and is_alive(pid)

        wait_until(replaced, within_s=within_s, what=f"{name} is replaced")
        return self.pid(name)

    def everything_of_it(self) -> set[int]:
        """The supervisor and all that descends from it, at present or named in stack.json before."""
        try:
            descendants = {child.pid for child in psutil.Process(self.process.pid).children(recursive=True)}
        except psutil.NoSuchProcess:
            descendants = set()
        self._seen |= descendants
        return {self.process.pid, *self._seen}

    def stop(self, how: signal.Signals = signal.SIGTERM, within_s: float = 60.0) -> int:
        """Stops it and proves that no process, lock or stack.json is left. Returns its exit status."""
        pids = self.everything_of_it()
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            status = self.process.wait(timeout=within_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the stack did not stop within {within_s:.0f} s:\n{self.output}") from None
        self.prove_nothing_left(pids)
        return status

    def prove_nothing_left(self, pids: set[int]) -> None:
        left = [pid for pid in pids if is_alive(pid)]
        assert not left, f"processes left: {[_describe(pid) for pid in left]}\n{self.output}"
        for name in ("stack.lock", "stack.json"):
            assert not (self.home / name).exists(), f"{name} is left:\n{self.output}"


def _describe(pid: int) -> str:
    try:
        return f"{pid} {' '.join(psutil.Process(pid).cmdline())}"
    except psutil.Error:
        return str(pid)


@contextmanager
def stack_home() -> Iterator[Path]:
    """A folder outside pytest's own temporary tree, whose mode pytest sets back while PostgreSQL has to pass through it."""
    folder = Path(tempfile.mkdtemp(prefix="exchange-stack-"))
    try:
        yield folder / "home"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def started_stack(**variables: str) -> Iterator[RunningStack]:
    """A ready stack in a home of its own; stopped at the end, with the proof that nothing is left."""
    with stack_home() as home, stack_in(home, **variables) as stack:
        yield stack


@contextmanager
def stack_in(home: Path, **variables: str) -> Iterator[RunningStack]:
    """As `started_stack`, in a home that the caller keeps. Whatever happens inside, the stack does not outlive the block."""
    stack = RunningStack(home, **variables)
    try:
        yield stack.wait_until_ready()
    except BaseException:
        stack.process.terminate()
        try:
            stack.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            stack.process.kill()
            stack.process.wait()
        raise
    if stack.process.poll() is None:
        stack.stop()
