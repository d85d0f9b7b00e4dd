"""Log lines are JSON objects on standard error, one per event, from structlog and from plain logging alike."""

import logging
import sys
from collections.abc import Iterable
from types import TracebackType
from typing import Any

import structlog
from structlog.typing import Processor

from exchange_platform.telemetry.correlation import add_correlation
from exchange_platform.telemetry.redaction import know_secrets, redact

SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    add_correlation,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]


def configure_structlog(*, secrets: Iterable[str]) -> None:
    """`secrets`: values, and addresses with passwords, that no line may contain."""
    know_secrets(secrets)
    logging.captureWarnings(True)
    if not sys.stderr.isatty():
        sys.excepthook = _log_last_words
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def _log_last_words(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What ends a process is a line like any other, secrets taken out."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        logging.getLogger("exchange_platform").critical("process_failed", exc_info=(kind, error, trace))


def logging_settings(level: str) -> dict[str, Any]:
    """The platform's own rooms speak from INFO upwards; everything else from `level`."""
    rooms = ["exchange_platform", "orders", "matching", "wallet", "risk", "notifications", "institutions", "markets", "api"]
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {
                "()": structlog.stdlib.ProcessorFormatter,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    structlog.processors.format_exc_info,
                    redact,
                    structlog.processors.JSONRenderer(default=str),
                ],
                "foreign_pre_chain": SHARED,
            }
        },
        "handlers": {"standard_error": {"class": "logging.StreamHandler", "formatter": "json"}},
        "root": {"handlers": ["standard_error"], "level": level},
        "loggers": {
            **{room: {"level": "INFO"} for room in rooms},
            # A refused request is the client's affair and is answered with its code; only server errors are logged.
            "django.request": {"level": "ERROR"},
            "django.security.DisallowedHost": {"level": "CRITICAL"},
            "py.warnings": {"level": "ERROR"},
        },
    }
