"""What only the database knows of alerts, read when somebody asks for the metrics."""

from typing import Any, Final

from psycopg import Connection

from exchange_platform import metrics
from exchange_platform.telemetry.text import Readings
from risk.alert_states import Severity

_OPEN_SQL: Final = "SELECT severity, count(*) FROM risk_alert WHERE state <> 'CLOSED' GROUP BY severity"


def read(connection: Connection[Any]) -> Readings:
    """Alerts that nobody has closed, also of severities of which there is none. Raises: psycopg.Error."""
    found = dict(connection.execute(_OPEN_SQL).fetchall())
    return {metrics.alerts_open.name: [((severity.value,), float(found.get(severity, 0))) for severity in Severity]}
