"""The health document: every check side by side, each with a time limit, remembered for a second."""

import asyncio
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import psycopg
import redis
import structlog
from django.conf import settings

from api.operations.checks import DEGRADED, HEALTHY, UNHEALTHY, WITHIN_S, Finding, all_checks
from api.operations.probes import NoAnswer, Probe
from orders.presentation import timestamp

log = structlog.get_logger(__name__)

REMEMBERED_S: Final = 1.0
NEEDED: Final = ("postgresql", "matching")  # without these the exchange takes no orders; without others it takes them
UNKNOWN: Final = "the check failed; see the log"

_started_at = time.monotonic()


@dataclass(frozen=True, slots=True)
class Report:
    """`findings`: by check, with how long each took in milliseconds."""

    at: datetime
    findings: Mapping[str, tuple[Finding, float]]

    @property
    def status(self) -> str:
        if any(self.findings[name][0].status == UNHEALTHY for name in NEEDED):
            return UNHEALTHY
        return DEGRADED if any(finding.status != HEALTHY for finding, _ in self.findings.values()) else HEALTHY

    @property
    def is_ready(self) -> bool:
        """Whether requests may be sent to this process. Not whether orders are matched: a process that is taken out of service for
        that would answer reads no more, and no other would serve better."""
        return self.findings["postgresql"][0].status != UNHEALTHY

    def document(self, *, for_operators: bool) -> dict[str, Any]:
        """The answer of GET /health. To others than operators only that something is wrong is told, not what."""
        return {
            "status": self.status,
            "timestamp": timestamp(self.at),
            "version": version(),
            "uptime_s": round(time.monotonic() - _started_at, 1),
            "checks": {
                name: {"status": finding.status, "duration_ms": took_ms, "message": finding.message if for_operators else finding.outside}
                for name, (finding, took_ms) in self.findings.items()
            },
        }


class Health:
    """The checks of this process. For one event loop."""

    def __init__(self, checks: Mapping[str, Callable[[], Finding] | Finding] | None = None, *, within_s: float = WITHIN_S) -> None:
        self._checks = all_checks() if checks is None else checks
        self._probes = {name: Probe(check, name=name, within_s=within_s) for name, check in self._checks.items() if callable(check)}
        self._asking: asyncio.Task[Report] | None = None
        self._asked_at = 0.0

    async def report(self) -> Report:
        """At most `REMEMBERED_S` old. Whoever asks meanwhile waits for the same one."""
        if self._asking is None or (self._asking.done() and time.monotonic() - self._asked_at > REMEMBERED_S):
            self._asking = asyncio.create_task(self._ask())
        return await asyncio.shield(self._asking)

    async def _ask(self) -> Report:
        findings = await asyncio.gather(*(self._find(name) for name in self._checks))
        self._asked_at = time.monotonic()
        return Report(datetime.now(UTC), dict(zip(self._checks, findings, strict=True)))

    async def _find(self, name: str) -> tuple[Finding, float]:
        check = self._checks[name]
        if isinstance(check, Finding):
            return check, 0.0
        began_at = time.perf_counter()
        try:
            finding = await self._probes[name].answer()
        except NoAnswer as problem:
            finding = Finding(UNHEALTHY, str(problem))
        except (psycopg.OperationalError, psycopg.InterfaceError):
            finding = Finding(UNHEALTHY, "the database cannot be reached")
        except redis.RedisError:
            finding = Finding(UNHEALTHY, "Redis cannot be reached")
        except Exception:
            log.exception("health_check_failed", check=name)
            finding = Finding(UNHEALTHY, UNKNOWN)
        return finding, round((time.perf_counter() - began_at) * 1000, 2)


@lru_cache(maxsize=1)
def version() -> str:
    """The project's, from pyproject.toml."""
    return str(tomllib.loads((settings.BASE_DIR / "pyproject.toml").read_text())["project"]["version"])
