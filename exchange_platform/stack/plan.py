"""What to start, read once from the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from exchange_platform.stack.errors import StackError

PROJECT = Path(__file__).resolve().parent.parent.parent
DEFAULT_PORT = 8000


@dataclass(frozen=True, slots=True)
class Plan:
    """`standbys`: for each shard, beside its owner. `database_url` and `redis_url` are None when the embedded servers are to be used;
    `port` 0 means any free one."""

    home: Path
    port: int
    shards: int
    standbys: int
    web_processes: int
    demo: bool
    database_url: str | None
    redis_url: str | None


def read_plan(environment: Mapping[str, str] = os.environ) -> Plan:
    """Raises StackError that names the variable."""
    return Plan(
        home=Path(environment.get("STACK_HOME") or PROJECT / "var").expanduser().resolve(),
        port=_number(environment, "STACK_PORT", default=DEFAULT_PORT, lowest=0, highest=65535),
        shards=_number(environment, "STACK_SHARDS", default=1, lowest=1, highest=64),
        standbys=_number(environment, "STACK_STANDBYS", default=0, lowest=0, highest=8),
        web_processes=_number(environment, "STACK_WEB", default=1, lowest=1, highest=64),
        demo=environment.get("STACK_DEMO", "1") not in {"0", "false", "no", "off"},
        database_url=environment.get("DATABASE_URL") or None,
        redis_url=environment.get("REDIS_URL") or None,
    )


def _number(environment: Mapping[str, str], name: str, *, default: int, lowest: int, highest: int) -> int:
    raw = environment.get(name) or str(default)
    if not raw.isascii() or not raw.isdigit() or not lowest <= int(raw) <= highest:
        raise StackError(f"{name} must be a whole number from {lowest} to {highest}, not {raw!r}.")
    return int(raw)
