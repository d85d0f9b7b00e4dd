"""The supervisor stays resident beside everything else, so it carries no framework."""

import subprocess
import sys

from tests.support.servers import PROJECT


def test_the_supervisor_imports_no_framework() -> None:
    shown = subprocess.run(
        [sys.executable, "-c", "import exchange_platform.stack.main, sys; print(*sorted({n.split('.')[0] for n in sys.modules}))"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert not set(shown.stdout.split()) & {"django", "celery", "psycopg", "redis", "uvicorn", "asyncio"}
