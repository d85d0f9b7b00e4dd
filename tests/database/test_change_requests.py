"""What takes two people, by the database: whoever writes, the maker does not decide and nothing is decided but what was asked."""

import pytest
from psycopg import errors

from tests.database.rows import ALICE, ENGINE, NORTH, NOW, Connection, insert, one, refused, without_triggers

OLGA, CARLA, TRADER, GONE = 981, 982, 983, 984  # people: two of staff, one of a tenant, one of staff who has left
UPDATE = "UPDATE institutions_changerequest SET "
BY_CARLA = f"checker = 'carla', checker_user_id = {CARLA}"
APPROVED = UPDATE + f"state = 'APPROVED', {BY_CARLA}, approved_hash = payload_hash"

both_roles = pytest.mark.parametrize("role", [None, ENGINE])


@pytest.fixture
def asked(ground: Connection) -> Connection:
    """Alice is frozen, and Olga has asked to unfreeze her."""
    people = [(OLGA, "olga", "operator", None, True), (CARLA, "carla", "compliance", None, True), (TRADER, "tom", "trader", NORTH, True),
              (GONE, "gone", "operator", None, False)]  # fmt: skip
    for number, name, role, institution, is_active in people:
        insert(
            ground, "institutions_user", id=number, username=name, role=role, institution_id=institution, is_active=is_active, password="",
            is_superuser=False, is_staff=True, first_name="", last_name="", email="", date_joined=NOW,
        )  # fmt: skip
    ground.execute("UPDATE institutions_account SET is_frozen = true WHERE id = %s", [ALICE])
    insert(ground, "institutions_changerequest", maker_user_id=OLGA)
    return ground


@both_roles
@pytest.mark.parametrize(
    "change",
    [
        "payload = '{}'",
        "payload_hash = sha256('x')",
        "effect = '{}'",
        "maker = 'somebody else'",
        f"maker_user_id = {CARLA}",
        "reason = 'another'",
        "subject = 'account:bob'",
        "kind = 'platform.unfreeze'",
        "institution_id = NULL",
        "expires_at = expires_at + interval '1 day'",
        "created_at = created_at - interval '1 day'",
        f"payload = '{{}}', state = 'APPROVED', {BY_CARLA}, approved_hash = sha256('{{}}')",
    ],
)
def test_what_was_asked_stays_as_it_was_asked(asked: Connection, change: str, role: str | None) -> None:
    with refused(asked, errors.RestrictViolation, saying="stays as it was asked", role=role):
        asked.execute((UPDATE + change).encode())


@both_roles
@pytest.mark.parametrize(
    ("change", "saying"),
    [
        (f"state = 'APPROVED', checker = maker, checker_user_id = {OLGA}, approved_hash = payload_hash", "another person than its maker"),
        (f"state = 'APPROVED', checker = 'x', checker_user_id = {OLGA}, approved_hash = payload_hash", "another person than its maker"),
        (f"state = 'APPROVED', checker = maker, checker_user_id = {CARLA}, approved_hash = payload_hash", "another person than its maker"),
        ("state = 'APPROVED', checker = 'x', approved_hash = payload_hash", "another person than its maker"),
        (f"state = 'REJECTED', checker = maker, checker_user_id = {OLGA}", "another person than its maker"),
        (f"state = 'APPROVED', checker = 'x', checker_user_id = {TRADER}, approved_hash = payload_hash", "staff of the platform"),
        (f"state = 'APPROVED', checker = 'x', checker_user_id = {GONE}, approved_hash = payload_hash", "staff of the platform"),
        (f"state = 'APPROVED', {BY_CARLA}, approved_hash = sha256('x')", "what was approved is not what was asked"),
        (f"state = 'APPROVED', {BY_CARLA}", "what was approved is not what was asked"),
        (f"state = 'WITHDRAWN', {BY_CARLA}", "only its maker"),
        (f"state = 'WITHDRAWN', checker = maker, checker_user_id = {CARLA}", "only its maker"),
        ("state = 'EXPIRED'", "has time until"),
    ],
)
def test_who_may_not_decide_does_not(asked: Connection, change: str, saying: str, role: str | None) -> None:
    with refused(asked, errors.CheckViolation, saying=saying, role=role):
        asked.execute((UPDATE + change).encode())


def test_a_result_comes_with_an_approval_alone(asked: Connection) -> None:
    with refused(asked, errors.RestrictViolation, saying="stays so"):
        asked.execute((APPROVED + ", result = '{}'").encode())


@both_roles
@pytest.mark.parametrize("state", ["APPROVED", "REJECTED"])
@pytest.mark.parametrize(
    "change",
    [
        "state = 'PENDING'",
        "state = 'WITHDRAWN'",
        "state = 'EXPIRED'",
        f"checker_user_id = {OLGA}",
        "check_reason = 'x'",
        "approved_hash = NULL",
    ],
)
def test_a_decision_is_final(asked: Connection, state: str, change: str, role: str | None) -> None:
    asked.execute((UPDATE + f"state = '{state}', {BY_CARLA}, approved_hash = payload_hash").encode())
    with refused(asked, errors.RestrictViolation, saying="stays so", role=role):
        asked.execute((UPDATE + change).encode())


@both_roles
def test_nothing_edits_the_payload_of_what_is_approved(asked: Connection, role: str | None) -> None:
    asked.execute(APPROVED.encode())
    with refused(asked, errors.RestrictViolation, saying="stays as it was asked", role=role):
        asked.execute((UPDATE + "payload = '{}'").encode())


def test_what_came_of_it_is_told_once(asked: Connection) -> None:
    asked.execute(APPROVED.encode())
    asked.execute((UPDATE + "result = '{\"is_frozen\": false}'").encode())
    with refused(asked, errors.RestrictViolation, saying="stays so"):
        asked.execute((UPDATE + "result = '{}'").encode())


def test_out_of_time_nothing_is_approved(asked: Connection) -> None:
    with without_triggers(asked):
        asked.execute((UPDATE + "expires_at = clock_timestamp()").encode())
    with refused(asked, errors.CheckViolation, saying="expired at"):
        asked.execute(APPROVED.encode())
    asked.execute((UPDATE + "state = 'EXPIRED'").encode())


@both_roles
@pytest.mark.parametrize(
    "wrong",
    [
        {"state": "APPROVED", "checker": "carla", "checker_user_id": CARLA, "checked_at": NOW},
        {"checked_at": NOW},
        {"result": "{}"},
        {"approved_hash": b"x"},
        {"expires_at": NOW},
    ],
)
def test_a_request_begins_undecided_and_with_time(asked: Connection, wrong: dict[str, object], role: str | None) -> None:
    with refused(asked, errors.CheckViolation, role=role):
        insert(asked, "institutions_changerequest", **{"subject": "account:bob", **wrong})


def test_the_hash_is_the_databases(asked: Connection) -> None:
    found = one(asked, "SELECT payload_hash = sha256(convert_to(payload, 'UTF8')) FROM institutions_changerequest")
    assert found is True


@both_roles
@pytest.mark.parametrize(
    "statement",
    [
        f"UPDATE institutions_account SET is_frozen = false WHERE id = {ALICE}",
        f"UPDATE institutions_institution SET is_frozen = false WHERE id = {NORTH}",
        "UPDATE institutions_platform SET is_frozen = false",
    ],
)
def test_nothing_is_unfrozen_without_an_approval(asked: Connection, statement: str, role: str | None) -> None:
    asked.execute("UPDATE institutions_institution SET is_frozen = true WHERE id = %s", [NORTH])
    asked.execute("UPDATE institutions_platform SET is_frozen = true")
    with refused(asked, errors.CheckViolation, saying="unfreezing takes an approved request", role=role):
        asked.execute(statement.encode())


def test_an_approval_unfreezes_what_it_names_and_nothing_else(asked: Connection) -> None:
    asked.execute("UPDATE institutions_institution SET is_frozen = true WHERE id = %s", [NORTH])
    asked.execute(APPROVED.encode())
    with refused(asked, errors.CheckViolation, saying="unfreezing takes an approved request"):
        asked.execute("UPDATE institutions_institution SET is_frozen = false WHERE id = %s", [NORTH])
    asked.execute("UPDATE institutions_account SET is_frozen = false WHERE id = %s", [ALICE])


@both_roles
def test_other_fees_and_more_scopes_take_an_approval(asked: Connection, role: str | None) -> None:
    insert(asked, "institutions_apikey", id=1, key="k", institution_id=NORTH)
    with refused(asked, errors.CheckViolation, saying="other fees take an approved request", role=role):
        asked.execute("UPDATE markets_symbol SET taker_fee = taker_fee + 0.001")
    with refused(asked, errors.CheckViolation, saying="more scopes take an approved request", role=role):
        asked.execute("UPDATE institutions_apikey SET scopes = '{read,trade}' WHERE key = 'k'")
