"""The end of spent nonces."""

import psycopg
import pytest

from orders import tasks
from orders.tasks import purge_spent_nonces
from tests.database.rows import Connection, column


def spend(connection: Connection, first: int, count: int, *, seconds_ago: int) -> None:
    connection.execute(
        """INSERT INTO institutions_spentnonce (api_key_id, digest, spent_at)
           SELECT 1, int4send(n), now() - make_interval(secs => %s) FROM generate_series(%s::int, %s::int) AS n""",
        [seconds_ago, first, first + count - 1],
    )


def left(url: str) -> int:
    with psycopg.connect(url) as connection:
        return len(column(connection, "SELECT digest FROM institutions_spentnonce"))


def test_nonces_go_when_their_signatures_have_long_expired(fresh_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "NONCES_PER_CHUNK", 10)
    with psycopg.connect(fresh_database) as connection:
        spend(connection, 1, 25, seconds_ago=125)
        spend(connection, 101, 3, seconds_ago=110)
        spend(connection, 201, 2, seconds_ago=0)
    assert purge_spent_nonces() == 25
    assert left(fresh_database) == 5
    assert purge_spent_nonces() == 0


def test_a_run_does_its_share_and_leaves_the_rest(fresh_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "NONCES_PER_CHUNK", 10)
    monkeypatch.setattr(tasks, "CHUNKS_AT_MOST", 2)
    with psycopg.connect(fresh_database) as connection:
        spend(connection, 1, 25, seconds_ago=300)
    assert purge_spent_nonces() == 20
    assert purge_spent_nonces() == 5


def test_nonces_that_somebody_holds_are_passed_over(fresh_database: str) -> None:
    with psycopg.connect(fresh_database) as connection:
        spend(connection, 1, 5, seconds_ago=300)
    with psycopg.connect(fresh_database) as holder:
        holder.execute("SELECT FROM institutions_spentnonce LIMIT 2 FOR UPDATE")
        assert purge_spent_nonces() == 3
    assert purge_spent_nonces() == 2
