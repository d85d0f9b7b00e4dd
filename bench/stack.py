"""A whole stack of its own for a benchmark, and what its processes cost: started in a temporary home, stopped at the end."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg

PROJECT = Path(__file__).resolve().parent.parent
NOT_INHERITED = (
    "DATABASE_URL",
    "REDIS_URL",
    "SECRET_KEY",
    "FIELD_ENCRYPTION_KEY",
    "DJANGO_SETTINGS_MODULE",
    "EXCHANGE_DB_ROLE",
    "PYTHONDONTWRITEBYTECODE",
)
START_WITHIN_S = 180.0
STOP_WITHIN_S = 60.0


class Stack:
    """A running stack. `file` is stack.json as it stands now."""

    def __init__(self, home: Path, supervisor: "subprocess.Popen[bytes]") -> None:
        self.home = home
        self.supervisor = supervisor

    @property
    def file(self) -> dict[str, Any]:
        content = json.loads((self.home / "stack.json").read_text())
        assert isinstance(content, dict)
        return content

    @property
    def base_url(self) -> str:
        return str(self.file["base_url"])

    def pid(self, name: str) -> int:
        return int(self.file["processes"][name])

    def log(self, name: str) -> str:
        return (self.home / "logs" / f"{name}.log").read_text(errors="replace")

    def unlimited_keys(self) -> list[dict[str, Any]]:
        """One key per demo account, without request limits."""
        return [key for key in self.file["api_keys"] if key["unlimited"]]

    @contextmanager
    def database(self) -> Iterator["psycopg.Connection[Any]"]:
        """The maintenance login, for looking."""
        with psycopg.connect(self.file["database_url"], autocommit=True) as connection:
            yield connection

    def count(self, sql: str) -> int:
        """The one number that `sql` selects."""
        with self.database() as connection:
            row = connection.execute(sql.encode()).fetchone()
        assert row is not None
        return int(row[0] or 0)

    def trades(self) -> int:
        """How many there were, ever."""
        return self.count("SELECT sum(trade_number) FROM orders_checkpoint")

    def wait_until_settled(self, within_s: float = 60.0) -> float:
        """Wait until no command waits for matching; returns how long that took."""
        started = time.perf_counter()
        with self.database() as connection:
            while connection.execute("SELECT EXISTS (SELECT FROM orders_inbox)").fetchone() != (False,):
                if time.perf_counter() - started > within_s:
                    raise TimeoutError(f"commands still wait after {within_s:.0f} s")
                time.sleep(0.01)
        return time.perf_counter() - started


@contextmanager
def running_stack(**variables: str) -> Iterator[Stack]:
    """A stack without demo traffic on free ports; `variables` go on top of its environment."""
    folder = Path(tempfile.mkdtemp(prefix="exchange-bench-"))
    home = folder / "home"
    kept = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED and not name.startswith("STACK_")}
    kept["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")  # compiled once, as everywhere, and not read from an older working copy
    with open(folder / "output", "wb") as output:
        supervisor = subprocess.Popen(
            [sys.executable, str(PROJECT / "manage.py"), "stack"],
            cwd=PROJECT,
            env={**kept, "STACK_HOME": str(home), "STACK_PORT": "0", "STACK_DEMO": "0", **variables},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START_WITHIN_S
        while not (home / "stack.json").exists():
            if supervisor.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the stack did not start:\n{(folder / 'output').read_text(errors='replace')[-4000:]}")
            time.sleep(0.05)
        yield Stack(home, supervisor)
    finally:
        if supervisor.poll() is None:
            supervisor.send_signal(signal.SIGTERM)
            try:
                supervisor.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                supervisor.kill()
                supervisor.wait()
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Cpu:
    """Processor seconds since `at`, by name: the processes of stack.json (PostgreSQL by the name of its session), this one as
    `generator`, and `machine`: whatever was busy on this machine."""

    at: float
    seconds: dict[str, float]

    def since(self, earlier: "Cpu") -> dict[str, float]:
        return {name: round(used - earlier.seconds.get(name, 0.0), 3) for name, used in self.seconds.items()}


def cpu_of(stack: Stack) -> Cpu:
    """What everybody has used up to now."""
    seconds: dict[str, float] = {}
    with stack.database() as connection:
        sessions = dict(connection.execute("SELECT pid, application_name FROM pg_stat_activity WHERE application_name <> ''").fetchall())
    for name, pid in stack.file["processes"].items():
        with suppress(psutil.NoSuchProcess):
            if name != "postgresql":
                seconds[name] = _used(psutil.Process(pid))
                continue
            postmaster = psutil.Process(pid)
            seconds["postgresql/ended"] = sum(postmaster.cpu_times()[2:4])
            for process in [postmaster, *postmaster.children()]:
                with suppress(psutil.NoSuchProcess):
                    label = f"postgresql/{sessions.get(process.pid, 'other')}"
                    seconds[label] = seconds.get(label, 0.0) + _used(process)
    seconds["generator"] = _used(psutil.Process())
    machine = psutil.cpu_times()
    seconds["machine"] = sum(machine) - machine.idle - getattr(machine, "iowait", 0.0) - getattr(machine, "guest", 0.0)
    return Cpu(time.perf_counter(), seconds)


def cpu_per_order(before: Cpu, after: Cpu, orders: int) -> dict[str, float]:
    """Microseconds of processor per order by process, all of PostgreSQL once more as `postgresql`, what counts left out below 1 µs."""
    used = after.since(before)
    used["postgresql"] = sum(seconds for name, seconds in used.items() if name.startswith("postgresql/"))
    ours = sum(seconds for name, seconds in used.items() if name != "machine" and not name.startswith("postgresql/"))
    used["others on this machine"] = max(0.0, used.pop("machine") - ours)
    found = {name: round(seconds / max(orders, 1) * 1e6, 1) for name, seconds in used.items()}
    return {name: cost for name, cost in sorted(found.items(), key=lambda item: -item[1]) if cost >= 1.0}


def _used(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
