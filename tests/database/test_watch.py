"""What surveillance keeps is kept: positions never go back, what has ended stays ended, nobody is suspected who does not exist."""

from datetime import timedelta

import pytest
from psycopg import errors

from tests.database.rows import ALICE, BOB, ENGINE, NOW, TENANT, Connection, acting_as, insert, one, order_id, refused

EARLIER = order_id(1, at=NOW - timedelta(seconds=1))


@pytest.mark.parametrize("role", [None, ENGINE])
def test_a_watermark_never_goes_back_and_keeps_its_name(ground: Connection, role: str | None) -> None:
    insert(ground, "risk_watermark", position=order_id(5))
    for position in (order_id(4), EARLIER):
        with refused(ground, errors.RestrictViolation, saying="watermark orders never goes back", role=role):
            ground.execute("UPDATE risk_watermark SET position = %s", [position])
    with refused(ground, errors.RestrictViolation, saying="UPDATE on risk_watermark refused", role=role):
        ground.execute("UPDATE risk_watermark SET name = 'another'")
    for position in (order_id(5), order_id(6)):
        ground.execute("UPDATE risk_watermark SET position = %s", [position])


@pytest.mark.parametrize(("table", "words"), [("risk_accountlink", ("reason", "actor")), ("risk_watchedmark", ("mark", "reason", "actor"))])
@pytest.mark.parametrize("role", [None, ENGINE])
def test_links_and_marks_end_once_and_say_for_ever_what_they_said(
    ground: Connection, table: str, words: tuple[str, ...], role: str | None
) -> None:
    insert(ground, table)
    for word in words:
        with refused(ground, errors.RestrictViolation, saying=f"UPDATE on {table} refused", role=role):
            ground.execute(f"UPDATE {table} SET {word} = 'something else'".encode())
    ground.execute(f"UPDATE {table} SET ended_at = now()".encode())
    for change in ("ended_at = NULL", "ended_at = now() - interval '1 day'"):
        with refused(ground, errors.RestrictViolation, saying=f"{table} 1: it has ended for good", role=role):
            ground.execute(f"UPDATE {table} SET {change}".encode())
    insert(ground, table, id=2)  # it may begin anew
    with refused(
        ground, errors.UniqueViolation, constraint={"risk_accountlink": "accountlink_once", "risk_watchedmark": "watchedmark_once"}[table]
    ):
        insert(ground, table, id=3)


def test_a_link_has_its_lower_account_first(ground: Connection) -> None:
    with refused(ground, errors.CheckViolation, constraint="accountlink_in_order"):
        insert(ground, "risk_accountlink", account_id=BOB, other_id=ALICE)
    with refused(ground, errors.CheckViolation, constraint="accountlink_in_order"):
        insert(ground, "risk_accountlink", account_id=ALICE, other_id=ALICE)


@pytest.mark.parametrize("table", ["risk_signal", "risk_portfoliosnapshot"])
def test_nobody_is_judged_who_does_not_exist(ground: Connection, table: str) -> None:
    with refused(ground, errors.ForeignKeyViolation, saying=f"{table}: there is no account 777777"):
        insert(ground, table, account_id=777777)


@pytest.mark.parametrize("score", ["-0.01", "1.01", "NaN"])
def test_a_score_is_a_share(ground: Connection, score: str) -> None:
    with refused(ground, errors.CheckViolation, constraint="signal_score_is_a_share"):
        insert(ground, "risk_signal", score=score)


@pytest.mark.parametrize("table", ["risk_watermark", "risk_signal", "risk_accountlink", "risk_watchedmark", "risk_portfoliosnapshot"])
def test_institutions_learn_nothing_of_it(ground: Connection, table: str) -> None:
    insert(ground, table)
    assert one(ground, f"SELECT count(*) FROM {table}") == 1
    with acting_as(ground, TENANT), pytest.raises(errors.InsufficientPrivilege), ground.transaction():
        ground.execute(f"SELECT 1 FROM {table}".encode())
