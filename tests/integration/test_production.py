"""The processes of docker-compose.yml, started by their own command lines with production settings, take an order end to end."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest

from exchange_platform.stack.ports import free_port
from tests.deploy.compose import FILLED, compose
from tests.integration.test_operations import call, health, order, series, sick
from tests.support.servers import PROJECT, redis_url
from tests.support.stacks import NOT_INHERITED, wait_until

pytestmark = pytest.mark.slow

SERVICES = ("matching", "web", "worker", "beat")


class Production:
    """Looks to the calls of `test_operations` like a stack."""

    def __init__(self, home: Path, database: str) -> None:
        self.home = home
        self.port = free_port()
        self.services = compose(FILLED)["services"]
        inherited = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED and not name.startswith("EXCHANGE_")}
        here = {"STACK_HOME": str(home), "DATABASE_URL": database, "REDIS_URL": redis_url()}
        self.environment = {**inherited, **self.services["web"]["environment"], **here}
        self.content = {"base_url": f"http://127.0.0.1:{self.port}", "database_url": database}
        (home / "celery").mkdir(parents=True)

    def __getitem__(self, name: str) -> object:
        return self.content[name]

    def command(self, service: str) -> list[str]:
        """As it stands in the file, on this machine's paths and port."""
        changed = {"python": sys.executable, "0.0.0.0": "127.0.0.1", "8000": str(self.port)}
        state = self.services[service]["environment"]["STACK_HOME"]
        return [changed.get(word, word.replace(state, str(self.home))) for word in self.services[service]["command"]]

    def once(self, command: list[str]) -> None:
        done = subprocess.run(command, cwd=PROJECT, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    @contextmanager
    def running(self, service: str) -> Iterator["subprocess.Popen[bytes]"]:
        with open(self.log(service), "wb") as log:
            process = subprocess.Popen(self.command(service), cwd=PROJECT, env=self.environment, stdout=log, stderr=log)
        try:
            yield process
            assert process.poll() is None, f"{service} ended:\n{self.log(service).read_text()}"
        finally:
            process.terminate()
            try:
                assert process.wait(timeout=30) in (0, -15), f"{service}:\n{self.log(service).read_text()}"
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise

    def log(self, service: str) -> Path:
        return self.home / f"{service}.log"

    def wait_until_healthy(self) -> None:
        last: dict[str, object] = {}

        def is_healthy() -> bool:
            try:
                last.update(health(self)[1])  # type: ignore[arg-type]
            except OSError:
                return False
            return last["status"] == "healthy"

        try:
            wait_until(is_healthy, within_s=90, what="healthy")
        except AssertionError:
            logs = {service: self.log(service).read_text()[-2000:] for service in SERVICES}
            raise AssertionError(f"not healthy: {last}\n{logs}") from None


def test_an_order_end_to_end(fresh_database: str, tmp_path: Path) -> None:
    production = Production(tmp_path / "state", fresh_database)
    production.once(production.command("migrate"))
    credentials = tmp_path / "demo.json"
    production.once([sys.executable, "manage.py", "seed_demo", "--credentials", str(credentials)])
    production.content["api_keys"] = json.loads(credentials.read_text())["api_keys"]
    with ExitStack() as processes:
        for service in SERVICES:
            processes.enter_context(production.running(service))
        production.wait_until_healthy()
        assert call(production, "alpha-1", "POST", "/orders", order("maker", "SELL")) == 201  # type: ignore[arg-type]
        assert call(production, "beta-1", "POST", "/orders", order("taker", "BUY")) == 201  # type: ignore[arg-type]
        assert series(production)["trades_executed_total", (("symbol", "TEST/USDT"),)] == 1  # type: ignore[arg-type]
        with psycopg.connect(fresh_database, autocommit=True) as connection:
            statuses = connection.execute("SELECT status, count(*) FROM orders_order GROUP BY 1").fetchall()
            assert statuses == [("FILLED", 2)]
            waiting = "SELECT count(*) FROM notifications_outbox"
            wait_until(lambda: connection.execute(waiting).fetchone() == (0,), within_s=20, what="the worker's relay has told the news")
        assert sick(health(production)[1]) == set()  # type: ignore[arg-type]
    for service in SERVICES:
        for line in filter(None, production.log(service).read_text().splitlines()):
            if line.startswith("worker: Warm shutdown"):  # what Celery says from within its signal handler, past all logging
                continue
            assert "event" in json.loads(line), f"{service}: {line}"
