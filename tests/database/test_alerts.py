"""An alert moves as its table says, and not at all without its history; the database holds it against every role."""

import pytest
from psycopg import errors

from risk.alert_states import LEGAL_MOVES, State
from tests.database.rows import ALERT, ENGINE, NORTH, TENANT, Connection, insert, one, refused


@pytest.fixture
def alert(ground: Connection) -> Connection:
    """A new alert, and somebody who can have it."""
    ground.execute(
        """INSERT INTO institutions_user (id, username, password, first_name, last_name, email, is_superuser, is_staff, is_active,
               date_joined, role) VALUES (981, 'carla', '', '', '', '', false, false, true, now(), 'compliance')"""
    )
    insert(ground, "risk_alert")
    insert(ground, "risk_alerthistory")
    ground.execute("SET CONSTRAINTS ALL IMMEDIATE")
    ground.execute("SET CONSTRAINTS ALL DEFERRED")
    return ground


CHANGE = """UPDATE risk_alert SET number = number + 1, state = %s, assignee_id = 981, closed_at = CASE WHEN %s = 'CLOSED' THEN now() END,
    close_reason = CASE WHEN %s = 'CLOSED' THEN 'nothing' ELSE '' END WHERE id = %s"""


def move(connection: Connection, state: str, *, told: bool = True) -> None:
    connection.execute(CHANGE.encode(), [state, state, state, ALERT])
    if told:
        number = one(connection, "SELECT number FROM risk_alert WHERE id = %s", ALERT)
        insert(connection, "risk_alerthistory", number=number, change="MOVED", state=state, assignee_id=981)
    connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    connection.execute("SET CONSTRAINTS ALL DEFERRED")


# How a state is reached.
WAYS = {"NEW": (), "INVESTIGATING": ("INVESTIGATING",), "ESCALATED": ("ESCALATED",), "CLOSED": ("CLOSED",)}


@pytest.mark.parametrize("after", State)
@pytest.mark.parametrize("before", State)
@pytest.mark.parametrize("role", [None, ENGINE])
def test_it_moves_as_the_table_says_and_no_other_way(alert: Connection, before: State, after: State, role: str | None) -> None:
    for step in WAYS[before]:
        move(alert, step)
    if before == after or after in LEGAL_MOVES[before]:
        move(alert, after)
        assert one(alert, "SELECT state FROM risk_alert WHERE id = %s", ALERT) == after
    else:
        with refused(alert, errors.CheckViolation, saying="is not a legal move", role=role):
            move(alert, after)


def test_no_step_is_taken_without_its_row_of_history(alert: Connection) -> None:
    with refused(alert, errors.CheckViolation, saying="its history does not tell of number 2", role=ENGINE):
        move(alert, "INVESTIGATING", told=False)


def test_its_history_tells_of_no_step_that_was_not_taken(alert: Connection) -> None:
    with refused(alert, errors.CheckViolation, saying="nothing has happened that would be number 2", role=ENGINE):
        insert(alert, "risk_alerthistory", number=2, change="CLOSED", state="CLOSED")
        alert.execute("SET CONSTRAINTS ALL IMMEDIATE")


def test_an_alert_without_history_is_not_raised(ground: Connection) -> None:
    with refused(ground, errors.CheckViolation, saying="its history does not tell of number 1", role=ENGINE):
        insert(ground, "risk_alert")
        ground.execute("SET CONSTRAINTS ALL IMMEDIATE")


def test_no_number_is_left_out(alert: Connection) -> None:
    with refused(alert, errors.CheckViolation, saying="number 3 does not follow 1", role=ENGINE):
        alert.execute("UPDATE risk_alert SET number = 3")


@pytest.mark.parametrize(("column", "value"), [("state", "'CLOSED'"), ("number", "2"), ("assignee_id", "981")])
def test_it_begins_as_new(alert: Connection, column: str, value: str) -> None:
    with refused(alert, errors.CheckViolation, saying="begins as NEW"):
        alert.execute(
            f"""INSERT INTO risk_alert (kind, severity, title, dedupe_key, details, due_at, {column})
                VALUES ('TEST', 'LOW', 'A test.', 'another', '{{}}', now(), {value})""".encode()
        )


@pytest.mark.parametrize("role", [None, ENGINE])
@pytest.mark.parametrize("change", ["severity = 'HIGH'", "title = 'Nothing.'", "dedupe_key = 'x'", "details = '[]'", "symbol_id = 5"])
def test_what_was_raised_stays_as_it_was(alert: Connection, change: str, role: str | None) -> None:
    with refused(alert, errors.RestrictViolation, saying="UPDATE on risk_alert refused", role=role):
        alert.execute(f"UPDATE risk_alert SET number = number + 1, {change}".encode())


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("state = 'CLOSED'", "alert_closed_says_why"),
        ("state = 'CLOSED', closed_at = now()", "alert_closed_says_why"),
        ("close_reason = 'nothing'", "alert_closed_says_why"),
        ("state = 'INVESTIGATING'", "alert_worked_by_somebody"),
        ("state = 'ESCALATED'", "alert_worked_by_somebody"),
    ],
)
def test_the_database_refuses(alert: Connection, change: str, constraint: str) -> None:
    with refused(alert, errors.CheckViolation, constraint=constraint):
        alert.execute(f"UPDATE risk_alert SET number = number + 1, {change}".encode())


@pytest.mark.parametrize("table", ["risk_alert", "risk_alertaccount", "risk_alertevidence", "risk_alertnote", "risk_alerthistory"])
@pytest.mark.parametrize("scope", ["all", str(NORTH)])
def test_institutions_read_nothing_of_it(alert: Connection, table: str, scope: str) -> None:
    with refused(alert, errors.InsufficientPrivilege, saying=f"permission denied for table {table}", role=TENANT):
        alert.execute("SELECT set_config('exchange.institution', %s, true)", [scope])
        alert.execute(f"SELECT FROM {table}".encode())
