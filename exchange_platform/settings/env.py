"""The one reader of the environment. A missing or malformed variable is named and the process stops."""

import base64
import binascii
import os
from collections.abc import Collection, Mapping


class BadEnvironment(SystemExit):
    """Stops the process with one plain line instead of a traceback."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"Environment variable {name} {problem}")


def text(name: str, default: str | None = None) -> str:
    """The variable, or `default`. Raises BadEnvironment when it is missing (or empty) and has no default."""
    value = os.environ.get(name, "")
    if value:
        return value
    if default is None:
        raise BadEnvironment(name, "is not set and has no default. Set it, or start through `manage.py stack`, which sets it.")
    return default


def whole_number(name: str, default: int) -> int:
    raw = text(name, str(default))
    try:
        return int(raw)
    except ValueError:
        raise BadEnvironment(name, f"must be a whole number, not {raw!r}.") from None


def flag(name: str, default: bool) -> bool:
    raw = text(name, "1" if default else "0").lower()
    if raw in {"1", "true", "yes", "on"}:
        return True
    if raw in {"0", "false", "no", "off"}:
        return False
    raise BadEnvironment(name, f"must be 1 or 0, not {raw!r}.")


def names(name: str, default: str = "") -> list[str]:
    """A comma-separated list, in the order given, without empty entries."""
    return [part.strip() for part in text(name, default or ",").split(",") if part.strip()]


def choices(name: str, allowed: Collection[str], default: str) -> list[str]:
    """As `names`: at least one, each of them allowed and named once."""
    chosen = names(name, default)
    if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(allowed):
        raise BadEnvironment(name, f"must name some of {', '.join(sorted(allowed))}, each once and with commas between.")
    return chosen


def key_32_bytes(name: str) -> str:
    """A 32-byte key as URL-safe base64, checked and returned as it stands."""
    raw = text(name)
    try:
        decoded = base64.urlsafe_b64decode(raw)
    except (binascii.Error, ValueError):
        decoded = b""
    if len(decoded) != 32:
        raise BadEnvironment(name, "must be 32 bytes in URL-safe base64.")
    return raw


def fill_missing(values: Mapping[str, str | None]) -> None:
    """Sets those variables that the environment does not have yet."""
    for name, value in values.items():
        if value and not os.environ.get(name):
            os.environ[name] = value
