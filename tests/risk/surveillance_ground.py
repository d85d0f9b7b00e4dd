"""What surveillance writes to, where the rooms that keep alerts and scores are not built yet: stand-ins by the same signatures."""

import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import pytest
from django.db import connection


def stand_in(patch: pytest.MonkeyPatch) -> None:
    """Modules `risk.alerts` and `risk.scores` for a test, unless they exist."""
    if find_spec("risk.alerts") is None:
        alerts = ModuleType("risk.alerts")
        alerts.raise_alert = _raise_alert  # type: ignore[attr-defined]
        patch.setitem(sys.modules, "risk.alerts", alerts)
    if find_spec("risk.scores") is None:
        scores = ModuleType("risk.scores")
        scores.set_score = lambda account_id, score: None  # type: ignore[attr-defined]
        patch.setitem(sys.modules, "risk.scores", scores)


def _raise_alert(*, dedupe_key: str, **said: Any) -> int | None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM risk_signal WHERE dedupe_key = %s", [dedupe_key])
        return None if cursor.fetchone() else 1
