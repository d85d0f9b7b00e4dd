"""`manage.py stack`: the whole exchange in the order it has to start, and what a person is told about it."""

import argparse
import http.client
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from exchange_platform.stack.errors import StackError, StopRequested
from exchange_platform.stack.lock import HomeLock
from exchange_platform.stack.plan import PROJECT, Plan, read_plan
from exchange_platform.stack.ports import LOOPBACK, free_port, listen
from exchange_platform.stack.postgres import EmbeddedPostgres
from exchange_platform.stack.processes import ProcessSpec
from exchange_platform.stack.redis import EmbeddedRedis
from exchange_platform.stack.secret_store import HomeSecrets, load_or_make
from exchange_platform.stack.stackfile import StackFile, read_json
from exchange_platform.stack.supervisor import Supervisor
from exchange_platform.stack.unprivileged import database_identity

SHARED_BUFFERS_MB = 512
READY_PATHS = ("/health/ready", "/api/v1/symbols")  # all must answer 200 before the stack calls itself ready
HEALTHY_WITHIN_S = 30.0  # then the stack is started all the same, and says what is not well
STAGE_DEMO, STAGE_WEB, STAGE_WORKERS, STAGE_REDIS, STAGE_POSTGRESQL = range(5)
LARGE_LOG_BYTES = 20 * 1024 * 1024
ORDERS_GO_FIRST = 5  # niceness of the Celery worker: where processors are short, publishing waits for taking and matching


def main(arguments: Sequence[str] = ()) -> int:
    """Runs until a stop signal. Returns the exit status: 0 after a clean stop, 1 when the stack could not start."""
    parser = argparse.ArgumentParser(
        prog="manage.py stack",
        description="Starts the whole exchange and supervises it. Ctrl-C stops it.",
        epilog="Environment: STACK_HOME, STACK_PORT (0: any free), STACK_DEMO=0, STACK_SHARDS, STACK_STANDBYS, STACK_WEB, DATABASE_URL, "
        "REDIS_URL.",
    )
    parser.parse_args(list(arguments))
    try:
        stack = Stack(read_plan())
        stack.run()
    except StackError as problem:
        print(f"stack: {problem}", file=sys.stderr, flush=True)
        return 1
    return 0


class Stack:
    """One home, one supervisor. `run` holds the lock from its first line to its last."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.home = plan.home
        self.logs = plan.home / "logs"
        self._begun_at = time.monotonic()
        self._stackfile = StackFile(plan.home)
        self._supervisor = Supervisor(changed=self._stackfile.update_processes, tell=self._tell)
        self._environment: dict[str, str] = {}

    def run(self) -> None:
        """Starts, watches, stops. Raises StackError when it could not start; everything is stopped by then."""
        self._make_home()
        lock = HomeLock(self.home)
        lock.acquire()
        try:
            self._supervisor.take_signals()
            self._replace_stale_file()
            web_socket = listen(self.plan.port, variable="STACK_PORT")
            try:
                self._start(web_socket)
                self._supervisor.run()
            except StopRequested:
                pass
            finally:
                self._tell("stopping")
                self._supervisor.stop_all()
                web_socket.close()
                self._stackfile.remove()
        finally:
            lock.release()
        self._tell("everything has stopped")

    def _make_home(self) -> None:
        try:
            if not self.home.exists():
                self.home.mkdir(parents=True)
                self.home.chmod(0o711)  # PostgreSQL's user passes through; what is inside is closed
            self.logs.mkdir(mode=0o700, exist_ok=True)
            (self.home / "celery").mkdir(mode=0o700, exist_ok=True)
        except OSError as problem:
            raise StackError(f"STACK_HOME {self.home} cannot be used: {problem.strerror} ({problem.filename}).") from None

    def _replace_stale_file(self) -> None:
        if self._stackfile.path.exists():
            earlier = read_json(self._stackfile.path).get("supervisor", "unknown")
            self._tell(f"an earlier stack (supervisor pid {earlier}) was killed and left its stack.json; it is replaced")
            self._stackfile.remove()

    # Starting

    def _start(self, web_socket: socket.socket) -> None:
        self._tell(f"home {self.home}")
        secrets = load_or_make(self.home)
        database_url = self.plan.database_url or self._start_postgres(secrets)
        redis_url = self.plan.redis_url or self._start_redis(secrets)
        self._environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": os.environ.get("DJANGO_SETTINGS_MODULE") or "exchange_platform.settings.local",
            "PYTHONUNBUFFERED": "1",
            "STACK_HOME": str(self.home),
            "STACK_DEMO": "1" if self.plan.demo else "0",
            "STACK_SHARDS": str(self.plan.shards),
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "SECRET_KEY": os.environ.get("SECRET_KEY") or secrets.secret_key,
            "FIELD_ENCRYPTION_KEY": os.environ.get("FIELD_ENCRYPTION_KEY") or secrets.field_encryption_key,
        }
        self._environment.pop("EXCHANGE_DB_ROLE", None)
        demo_file = self.home / "demo.json"
        self._step("database schema", lambda: self._supervisor.run_once(self._manage("migrate", "migrate", "--no-input", "-v", "1")))
        self._step(
            "institutions, users, keys, symbols",
            lambda: self._supervisor.run_once(self._manage("seed_demo", "seed_demo", "--credentials", str(demo_file))),
        )
        demo_file.chmod(0o600)
        base_url = f"http://{LOOPBACK}:{web_socket.getsockname()[1]}"
        self._step("matching, web and background processes", lambda: self._start_services(web_socket))
        if self.plan.demo:
            trade = ["run_demo_market", "--base-url", base_url, "--credentials", str(demo_file)]
            self._supervisor.start(self._manage("demo-0", *trade, stage=STAGE_DEMO))
        self._publish(base_url, database_url, redis_url, read_json(demo_file))

    def _start_postgres(self, secrets: HomeSecrets) -> str:
        server = EmbeddedPostgres(
            home=self.home,
            port=free_port(),
            password=secrets.database_password,
            identity=database_identity(),
            shared_buffers_mb=SHARED_BUFFERS_MB,
            durable=True,
            tell=self._tell,
        )

        def start() -> None:
            server.prepare()
            self._supervisor.start(server.spec(log=self._log("postgresql"), stage=STAGE_POSTGRESQL), ready_within_s=300)

        self._step("PostgreSQL", start)
        return server.url

    def _start_redis(self, secrets: HomeSecrets) -> str:
        server = EmbeddedRedis(home=self.home, port=free_port(), password=secrets.redis_password)

        def start() -> None:
            server.prepare()
            self._supervisor.start(server.spec(log=self._log("redis"), stage=STAGE_REDIS), ready_within_s=30)

        self._step("Redis", start)
        return server.url

    def _start_services(self, web_socket: socket.socket) -> None:
        for shard in range(self.plan.shards):
            arguments = ["run_matching", "--shard", str(shard), "--shards", str(self.plan.shards)]
            # Equals: the first to get the lease owns the shard, the others wait for it, whatever they are called.
            for name in (f"matching-{shard}", *(f"matching-{shard}-standby-{number}" for number in range(self.plan.standbys))):
                self._supervisor.start(self._manage(name, *arguments, stage=STAGE_WORKERS))
        fd = web_socket.fileno()
        for number in range(self.plan.web_processes):
            self._supervisor.start(self._manage(f"web-{number}", "run_web", "--fd", str(fd), stage=STAGE_WEB, pass_fds=(fd,)))
        celery = ["-m", "celery", "-A", "exchange_platform.celery", "--quiet"]
        # One process with threads: tasks wait for PostgreSQL and Redis, and no pool process can be orphaned.
        worker = ["worker", "-n", "worker-0@%h", "-P", "threads", "-c", "4", "-Q", "background", "-l", "WARNING"]
        worker += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        self._supervisor.start(self._python("worker-0", *celery, *worker, stage=STAGE_WORKERS, niceness=ORDERS_GO_FIRST))
        schedule = str(self.home / "celery" / "beat-schedule")
        self._supervisor.start(self._python("beat", *celery, "beat", "-l", "WARNING", "-s", schedule, stage=STAGE_WORKERS))
        port = web_socket.getsockname()[1]
        for path in READY_PATHS:
            self._supervisor.wait_until(lambda path=path: _answers(port, path), within_s=90, what=f"GET {path}")  # type: ignore[misc]
        self._wait_until_healthy(port)

    def _wait_until_healthy(self, port: int) -> None:
        """Orders are matched and scheduled work is done from here on. What orders need must be there, the rest may be missing."""
        began_at = time.monotonic()
        late_at = began_at + HEALTHY_WITHIN_S
        self._supervisor.wait_until(
            lambda: (status := _health(port).get("status")) == "healthy" or (status == "degraded" and time.monotonic() > late_at),
            within_s=90,
            what="GET /health",
        )
        for name, check in _health(port).get("checks", {}).items():
            if check["status"] != "healthy":
                self._tell(f"{name} is {check['status']}: {check['message']}")

    def _manage(self, name: str, *arguments: str, stage: int = STAGE_WORKERS, pass_fds: tuple[int, ...] = ()) -> ProcessSpec:
        return self._python(name, str(PROJECT / "manage.py"), *arguments, stage=stage, pass_fds=pass_fds)

    def _python(self, name: str, *arguments: str, stage: int, pass_fds: tuple[int, ...] = (), niceness: int = 0) -> ProcessSpec:
        return ProcessSpec(
            name=name,
            argv=[sys.executable, *arguments],
            log=self._log(name),
            environment=self._environment,
            folder=PROJECT,
            stage=stage,
            pass_fds=pass_fds,
            needs=("postgresql",),
            niceness=niceness,
        )

    def _log(self, name: str) -> Path:
        path = self.logs / f"{name}.log"
        if path.exists() and path.stat().st_size > LARGE_LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
        return path

    # Telling

    def _publish(self, base_url: str, database_url: str, redis_url: str, demo: dict[str, Any]) -> None:
        content: dict[str, Any] = {
            "base_url": base_url,
            "ws_url": f"ws{base_url.removeprefix('http')}/stream",
            "grpc_target": None,
            "venue_url": None,
            "venue_key": None,
            "venue_secret": None,
            "database_url": database_url,
            "redis_url": redis_url,
            "supervisor": os.getpid(),
            "processes": self._supervisor.processes,
            "users": demo.get("users", []),
            "api_keys": demo.get("api_keys", []),
            "symbols": demo.get("symbols", []),
        }
        self._stackfile.publish(content)
        print(_summary(content, self._stackfile.path, time.monotonic() - self._begun_at), flush=True)

    def _step(self, what: str, action: Callable[[], None]) -> None:
        begun_at = time.monotonic()
        self._tell(f"starting: {what}")
        action()
        self._tell(f"   ready: {what} ({time.monotonic() - begun_at:.1f} s)")

    def _tell(self, line: str) -> None:
        try:
            print(f"[{time.monotonic() - self._begun_at:6.1f} s] {line}", flush=True)
        except OSError:
            pass  # the terminal is gone; the stack is not


def _answers(port: int, path: str) -> bool:
    return _get(port, path)[0] == 200


def _health(port: int) -> dict[str, Any]:
    """The health document; empty when there is none."""
    try:
        content = json.loads(_get(port, "/health")[1])
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _get(port: int, path: str) -> tuple[int, bytes]:
    """Status and body; 0 when nobody answers."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def _summary(content: dict[str, Any], path: Path, took_s: float) -> str:
    base = content["base_url"]
    rows = [
        ("Markets", f"{base}/"),
        ("API", f"{base}/api/v1"),
        ("API documentation", f"{base}/api/v1/docs   {base}/api/v1/redoc"),
        ("Metrics", f"{base}/metrics"),
        ("Addresses, keys, pids", str(path)),
    ]
    lines = ["", f"The exchange is ready after {took_s:.1f} s."]
    lines += [f"  {name:<22} {value}" for name, value in rows]
    if content["users"]:
        lines += ["", f"  {'user':<28} {'password':<28} {'role':<20} institution"]
        lines += [
            f"  {user.get('username', ''):<28} {user.get('password', ''):<28} {user.get('role', ''):<20} {user.get('institution') or '-'}"
            for user in content["users"]
        ]
    lines += ["", "Ctrl-C stops everything.", ""]
    return "\n".join(lines)
