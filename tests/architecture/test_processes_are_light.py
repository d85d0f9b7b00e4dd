"""What stays resident beside everything else, or has to be back in a moment, carries no more than it needs."""

import os
import subprocess
import sys

from tests.support.servers import PROJECT


def imported_with(module: str) -> set[str]:
    shown = subprocess.run(
        [sys.executable, "-c", f"import {module}, sys; print(*sorted(sys.modules))"],
        cwd=PROJECT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "exchange_platform.settings.test"},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(shown.stdout.split())


def test_the_supervisor_imports_no_framework() -> None:
    rooms = {name.partition(".")[0] for name in imported_with("exchange_platform.stack.main")}
    assert not rooms & {"django", "celery", "psycopg", "redis", "uvicorn", "asyncio"}


def test_a_matching_worker_starts_without_models_and_tasks() -> None:
    """Its start is most of the time in which nothing is matched after a kill."""
    found = imported_with("matching.main")
    assert "matching.core.book" in found
    assert not found & {"django.db.models", "django.template", "celery", "rest_framework", "redis"}
