"""One machine. What the environment lacks is taken from the stack that runs in STACK_HOME, so that a command typed by hand
(`manage.py reconcile`) finds its database without a variable being set."""

import json
import os
from pathlib import Path
from typing import Any

from exchange_platform.settings import env


def _read(name: str) -> dict[str, Any]:
    home = Path(os.environ.get("STACK_HOME") or Path(__file__).resolve().parent.parent.parent / "var")
    try:
        content = json.loads((home / name).read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


_stack = _read("stack.json")
env.fill_missing({"DATABASE_URL": _stack.get("database_url"), "REDIS_URL": _stack.get("redis_url")})
_secrets = _read("secrets.json")
env.fill_missing({"SECRET_KEY": _secrets.get("secret_key"), "FIELD_ENCRYPTION_KEY": _secrets.get("field_encryption_key")})

from exchange_platform.settings.base import *  # noqa: E402, F403
