"""The stack as a person meets it: it starts, replaces what dies, says plainly what is wrong, and leaves nothing."""

import os
import signal
import socket
import stat
import subprocess
import sys
import urllib.error
import urllib.request

import psutil
import pytest

from exchange_platform.stack.processes import is_alive
from tests.support.servers import PROJECT
from tests.support.stacks import RunningStack, stack_environment, stack_home, stack_in, started_stack, wait_until

pytestmark = pytest.mark.slow


def get(stack: RunningStack, path: str) -> int:
    try:
        with urllib.request.urlopen(stack["base_url"] + path, timeout=60) as answer:  # noqa: S310 - our own address
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code


def run_second(home: object, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(PROJECT / "manage.py"), "stack"],
        cwd=PROJECT,
        env=stack_environment(home, **variables),  # type: ignore[arg-type]
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_stack_json_tells_everything_a_client_needs(running_stack: RunningStack) -> None:
    content = running_stack.read()
    assert set(content) == {
        *("base_url", "ws_url", "grpc_target", "venue_url", "venue_key", "venue_secret", "database_url", "redis_url"),
        *("supervisor", "processes", "users", "api_keys", "symbols"),
    }
    assert content["supervisor"] == running_stack.process.pid
    assert {"postgresql", "redis", "web-0", "matching-0", "worker-0", "beat"} <= set(content["processes"])
    assert all(is_alive(pid) for pid in content["processes"].values())
    assert {"BTC/USDT", "ETH/USDT", "TEST/USDT"} <= set(content["symbols"])
    assert stat.S_IMODE((running_stack.home / "stack.json").stat().st_mode) == 0o600
    assert get(running_stack, "/api/v1/time") == 200


def test_postgresql_is_durable_and_not_run_by_root(running_stack: RunningStack) -> None:
    import psycopg

    with psycopg.connect(running_stack["database_url"]) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            row = connection.execute(f"SHOW {setting}".encode()).fetchone()
            assert row == ("on",), setting
    assert psutil.Process(running_stack.pid("postgresql")).uids().real != 0


def test_the_supervisor_is_small(running_stack: RunningStack) -> None:
    assert psutil.Process(running_stack.process.pid).memory_info().rss < 60 * 1024 * 1024


@pytest.mark.parametrize("name", ["web-0", "matching-0", "worker-0", "beat", "redis", "postgresql"])
def test_a_killed_process_is_replaced_and_stack_json_is_true(running_stack: RunningStack, name: str) -> None:
    killed = running_stack.kill(name)
    successor = running_stack.wait_until_replaced(name, killed)
    assert psutil.Process(successor).ppid() == running_stack.process.pid
    wait_until(lambda: get(running_stack, "/api/v1/symbols") == 200, within_s=30, what="the API answers again")
    wait_until(
        lambda: all(is_alive(pid) for pid in running_stack["processes"].values()), within_s=30, what="every process in stack.json lives"
    )


def test_nobody_is_refused_while_the_web_process_is_replaced(running_stack: RunningStack) -> None:
    running_stack.kill("web-0")
    assert get(running_stack, "/api/v1/time") == 200  # waits in the backlog of the socket that the supervisor holds


def test_a_second_stack_in_the_same_home_is_told_who_is_there(running_stack: RunningStack) -> None:
    second = run_second(running_stack.home)
    assert second.returncode == 1
    assert f"supervisor pid {running_stack.process.pid}" in second.stderr
    assert running_stack["supervisor"] == running_stack.process.pid


def test_a_busy_port_is_told_with_what_to_do(running_stack: RunningStack) -> None:
    port = running_stack["base_url"].rpartition(":")[2]
    with stack_home() as home:
        second = run_second(home, STACK_PORT=port)
        assert second.returncode == 1
        assert f"Port {port}" in second.stderr
        assert "STACK_PORT=0" in second.stderr
        assert not (home / "stack.lock").exists()


def test_a_wrong_variable_is_named() -> None:
    with stack_home() as home:
        refused = run_second(home, STACK_SHARDS="none")
    assert refused.returncode == 1
    assert "STACK_SHARDS" in refused.stderr


def test_two_stacks_run_side_by_side(running_stack: RunningStack) -> None:
    with started_stack(STACK_WEB="2", STACK_SHARDS="2", STACK_STANDBYS="1") as other:
        assert other["base_url"] != running_stack["base_url"]
        assert {"web-0", "web-1", "matching-0", "matching-1", "matching-0-standby-0", "matching-1-standby-0"} <= set(other["processes"])
        assert get(other, "/api/v1/time") == get(running_stack, "/api/v1/time") == 200
        secrets = {key["secret"] for key in other["api_keys"]}
        assert secrets.isdisjoint({key["secret"] for key in running_stack["api_keys"]})
        a_standby_takes_over(other)


def a_standby_takes_over(stack: RunningStack) -> None:
    """Of the two processes for a shard the one with the lease is killed; the other has it before there could be a third."""
    import psycopg

    def owner() -> int:
        with psycopg.connect(stack["database_url"]) as connection:
            row = connection.execute("SELECT owner FROM orders_shard WHERE id = 0 AND expires_at > clock_timestamp()").fetchone()
        return int(row[0].rpartition(":")[2]) if row else 0

    pids = {name: pid for name, pid in stack["processes"].items() if name.startswith("matching-0")}
    wait_until(lambda: owner() in pids.values(), within_s=30, what="shard 0 has its owner")
    first = owner()
    [standby] = set(pids.values()) - {first}
    stack.kill(next(name for name, pid in pids.items() if pid == first))
    wait_until(lambda: owner() not in (0, first), within_s=30, what="shard 0 has an owner again")
    assert owner() == standby
    assert get(stack, "/api/v1/symbols") == 200


def test_ctrl_c_leaves_nothing() -> None:
    with started_stack() as stack:
        assert stack.stop(signal.SIGINT) == 0


def test_nothing_survives_a_killed_supervisor_and_the_next_one_says_so() -> None:
    with stack_home() as home:
        with stack_in(home) as killed:
            children = killed.everything_of_it() - {killed.process.pid}
            keys = killed["api_keys"]
            killed.process.kill()
            killed.process.wait()
            wait_until(lambda: not any(is_alive(pid) for pid in children), within_s=20, what="the children end with their supervisor")
            assert (home / "stack.json").exists()
        with stack_in(home) as successor:
            assert f"supervisor pid {killed.process.pid}" in successor.output
            assert {key["key"] for key in successor["api_keys"]} == {key["key"] for key in keys}
            assert successor.stop() == 0


def test_a_postgresql_left_by_a_killed_supervisor_is_ended_first() -> None:
    from exchange_platform.stack.ports import free_port
    from exchange_platform.stack.postgres import EmbeddedPostgres
    from exchange_platform.stack.unprivileged import database_identity

    told: list[str] = []
    with stack_home() as home:
        home.mkdir()

        def server() -> EmbeddedPostgres:
            return EmbeddedPostgres(
                home=home,
                port=free_port(),
                password="x",
                identity=database_identity(),
                shared_buffers_mb=32,
                durable=True,
                tell=told.append,
            )

        first = server()
        first.prepare()
        spec = first.spec(log=home / "log", stage=0)
        identity = spec.identity
        with open(spec.log, "ab") as log:
            orphan = subprocess.Popen(
                spec.argv,
                cwd=spec.folder,
                env=spec.environment,
                stdout=log,
                stderr=log,
                user=identity.uid if identity else None,
                group=identity.gid if identity else None,
                extra_groups=[] if identity else None,
            )
        wait_until(first.is_ready, within_s=30, what="PostgreSQL")
        second = server()
        second.prepare()
        assert orphan.wait(timeout=10) == 0
        assert any(str(orphan.pid) in line for line in told)


def test_a_lock_file_that_nobody_holds_stops_nobody() -> None:
    """A lock file that nobody holds (its supervisor was killed) stops nobody."""
    from exchange_platform.stack.lock import HomeLock

    with stack_home() as home:
        home.mkdir()
        (home / "stack.lock").write_text("1\n")
        lock = HomeLock(home)
        lock.acquire()
        assert (home / "stack.lock").read_text().strip() == str(os.getpid())
        lock.release()
        assert not (home / "stack.lock").exists()


def test_the_web_socket_outlives_its_process() -> None:
    from exchange_platform.stack.ports import listen

    server = listen(0, variable="STACK_PORT")
    try:
        with socket.create_connection(server.getsockname(), timeout=2):
            pass
    finally:
        server.close()
