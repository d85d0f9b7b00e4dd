"""docker-compose.yml as Docker would read it."""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from tests.support.servers import PROJECT

TEXT = (PROJECT / "docker-compose.yml").read_text()
_variable = re.compile(r"\$(?:(\$)|\{(\w+)(?:(:\?|:-)([^}]*))?\})")


class NotSet(Exception):
    """A variable that must be set is not."""


def compose(values: Mapping[str, str]) -> dict[str, Any]:
    """The file with variables put in. Raises: NotSet, naming the first that is missing or empty."""
    found = _filled(yaml.safe_load(TEXT), values)
    assert isinstance(found, dict)
    return found


def _filled(node: Any, values: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _filled(value, values) for key, value in node.items()}
    if isinstance(node, list):
        return [_filled(item, values) for item in node]
    return _variable.sub(lambda found: _value(found, values), node) if isinstance(node, str) else node


def _value(found: "re.Match[str]", values: Mapping[str, str]) -> str:
    dollar, name, operator, rest = found.groups()
    if dollar:
        return "$"
    if value := values.get(name, ""):
        return value
    if operator == ":-":
        return str(rest)
    raise NotSet(name)


def example() -> dict[str, str]:
    """Variables of .env.example with what they are set to there."""
    lines = (PROJECT / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))  # type: ignore[misc]


FILLED = {
    **example(),
    "POSTGRES_PASSWORD": "p0",
    "REDIS_PASSWORD": "r0",
    "SECRET_KEY": "k" * 40,
    "FIELD_ENCRYPTION_KEY": "dGVzdC1rZXktdGhhdC1wcm90ZWN0cy1ub3RoaW5nISE=",
    "ALLOWED_HOSTS": "exchange.example",
}
