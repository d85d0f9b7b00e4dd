"""The PostgreSQL and the Redis of one test run.

The process that runs pytest (with xdist: the controller) chooses ports and passwords before any setting is read and hands
them to its workers through the environment. The servers start when a test first asks for the database, so a run of unit
tests never waits for them, and they end with that process, however it ends.
"""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from exchange_platform.stack.ports import LOOPBACK, free_port
from exchange_platform.stack.postgres import SUPERUSER, EmbeddedPostgres
from exchange_platform.stack.processes import ProcessSpec, spawn, tail
from exchange_platform.stack.redis import EmbeddedRedis
from exchange_platform.stack.unprivileged import database_identity

PROJECT = Path(__file__).resolve().parent.parent.parent
TEMPLATE = "test_template"
START_WITHIN_S = 120.0
POLL_S = 0.02


def worker_name() -> str:
    return os.environ.get("PYTEST_XDIST_WORKER", "main")


def prepare_environment() -> None:
    """Sets every variable that the settings read. Call it before Django is imported."""
    if worker_name() == "main":
        os.environ["EXCHANGE_TEST_HOME"] = tempfile.mkdtemp(prefix="exchange-test-")
        os.environ["EXCHANGE_TEST_PASSWORD"] = secrets.token_hex(16)
        os.environ["EXCHANGE_TEST_POSTGRESQL_PORT"] = str(free_port())
        os.environ["EXCHANGE_TEST_REDIS_PORT"] = str(free_port())
    os.environ["DJANGO_SETTINGS_MODULE"] = "exchange_platform.settings.test"
    os.environ["STACK_HOME"] = str(run_home() / worker_name())
    os.environ["DATABASE_URL"] = database_url(f"test_{worker_name()}")
    os.environ["REDIS_URL"] = redis_url()
    for name in ("EXCHANGE_DB_ROLE", "SECRET_KEY", "FIELD_ENCRYPTION_KEY"):
        os.environ.pop(name, None)


def run_home() -> Path:
    return Path(os.environ["EXCHANGE_TEST_HOME"])


def database_url(name: str) -> str:
    """The bootstrap login at one database of this run's server."""
    return (
        f"postgresql://{SUPERUSER}:{os.environ['EXCHANGE_TEST_PASSWORD']}@{LOOPBACK}:{os.environ['EXCHANGE_TEST_POSTGRESQL_PORT']}/{name}"
    )


def redis_url() -> str:
    """Each worker has a Redis database of its own."""
    name = worker_name()
    number = int(name.removeprefix("gw")) % 15 + 1 if name.startswith("gw") else 0
    return f"redis://:{os.environ['EXCHANGE_TEST_PASSWORD']}@{LOOPBACK}:{os.environ['EXCHANGE_TEST_REDIS_PORT']}/{number}"


def ask_for_servers() -> None:
    """Returns when PostgreSQL (with the migrated template) and Redis are up. Raises RuntimeError when they do not start."""
    (run_home() / "wanted").touch()
    deadline = time.monotonic() + START_WITHIN_S
    while not (run_home() / "ready").exists():
        failure = run_home() / "failed"
        if failure.exists():
            raise RuntimeError(failure.read_text())
        if time.monotonic() > deadline:
            raise RuntimeError(f"PostgreSQL and Redis were not ready within {START_WITHIN_S:.0f} s; see {run_home()}")
        time.sleep(POLL_S)


class Servers(threading.Thread):
    """Starts the servers when asked and stops them at the end. The kernel ends them with the thread that started them, so this
    thread lives as long as they do."""

    def __init__(self) -> None:
        super().__init__(name="test-servers", daemon=True)
        self._stop_asked = threading.Event()

    def run(self) -> None:
        home = run_home()
        running: list[tuple[ProcessSpec, subprocess.Popen[bytes]]] = []
        try:
            while not (home / "wanted").exists():
                if self._stop_asked.wait(POLL_S):
                    return
            try:
                self._start(home, running)
                (home / "ready").touch()
            except Exception as problem:  # whatever it is, the tests that wait must be told
                temporary = home / "failing"
                temporary.write_text(f"the servers of the test run did not start: {problem}")
                temporary.rename(home / "failed")
            self._stop_asked.wait()
        finally:
            for spec, process in reversed(running):
                process.send_signal(spec.stop_signal)
            for _, process in running:
                try:
                    process.wait(timeout=20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            shutil.rmtree(home, ignore_errors=True)

    def end(self) -> None:
        self._stop_asked.set()
        self.join(timeout=60)

    def _start(self, home: Path, running: list[tuple[ProcessSpec, "subprocess.Popen[bytes]"]]) -> None:
        password = os.environ["EXCHANGE_TEST_PASSWORD"]
        redis = EmbeddedRedis(home=home, port=int(os.environ["EXCHANGE_TEST_REDIS_PORT"]), password=password)
        postgres = EmbeddedPostgres(
            home=home,
            port=int(os.environ["EXCHANGE_TEST_POSTGRESQL_PORT"]),
            password=password,
            identity=database_identity(),
            shared_buffers_mb=64,
            durable=False,
            tell=lambda line: None,
        )
        for server, name in ((redis, "redis"), (postgres, "postgresql")):
            server.prepare()
            spec = server.spec(log=home / f"{name}.log", stage=0)
            process = spawn(spec)
            running.append((spec, process))
            self._wait_until_ready(spec, process)
        self._make_template(home)

    def _wait_until_ready(self, spec: ProcessSpec, process: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + 60
        assert spec.ready is not None
        while not spec.ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{spec.name} is not ready\n{tail(spec.log)}")
            time.sleep(POLL_S)

    def _make_template(self, home: Path) -> None:
        import psycopg

        with psycopg.connect(database_url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {TEMPLATE}")
        migrated = subprocess.run(
            [sys.executable, str(PROJECT / "manage.py"), "migrate", "--no-input", "-v", "0"],
            env={**os.environ, "DATABASE_URL": database_url(TEMPLATE)},
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
        )
        if migrated.returncode:
            raise RuntimeError(f"migrate failed:\n{migrated.stdout[-1000:]}{migrated.stderr[-4000:]}")
