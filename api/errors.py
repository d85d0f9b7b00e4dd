"""One table: error code → HTTP status, for every door. What may be raised below becomes the contract's error body here."""

import math
from typing import Any, Final

import orjson
import psycopg
import structlog
from django.core.exceptions import BadRequest as DjangoBadRequest
from django.core.exceptions import SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpResponse
from rest_framework import exceptions as drf

from exchange_platform.errors import ExchangeError

log = structlog.get_logger("api.errors")

_BY_STATUS: Final[dict[int, str]] = {
    400: "MALFORMED INVALID_FIELD UNKNOWN_FIELD MISSING_FIELD CONFLICTING_FIELDS INVALID_NUMBER",
    401: "UNAUTHENTICATED INVALID_SIGNATURE STALE_TIMESTAMP REPLAYED_SIGNATURE TOKEN_EXPIRED OTP_REQUIRED",
    403: "FORBIDDEN SCOPE_MISSING IP_NOT_ALLOWED",
    404: "NOT_FOUND UNKNOWN_SYMBOL",
    405: "METHOD_NOT_ALLOWED",
    409: "IDEMPOTENCY_CONFLICT ORDER_NOT_OPEN AMEND_REFUSED WITHDRAWAL_NOT_OPEN",
    413: "TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    422: """INSUFFICIENT_FUNDS OFF_TICK OFF_LOT QUANTITY_TOO_SMALL QUANTITY_TOO_LARGE PRICE_OUT_OF_RANGE PRICE_OUTSIDE_BAND
        NOTIONAL_TOO_SMALL SYMBOL_HALTED SYMBOL_CANCEL_ONLY SYMBOL_POST_ONLY POST_ONLY_WOULD_TAKE WOULD_TRIGGER_IMMEDIATELY
        NO_REFERENCE_PRICE REDUCE_ONLY_REJECTED ORDER_TYPE_NOT_ALLOWED RISK_MAX_ORDER_VALUE RISK_MAX_POSITION RISK_DAILY_ORDERS
        RISK_OPEN_ORDERS RISK_DAILY_NOTIONAL RISK_DAILY_LOSS RISK_DRAWDOWN RISK_MIN_BALANCE RISK_SYMBOL_BLOCKED RISK_ORDER_RATE
        RISK_SCORE ACCOUNT_FROZEN INSTITUTION_FROZEN ADDRESS_NOT_LISTED ADDRESS_COOLING_OFF ADDRESS_DENIED""",
    429: "RATE_LIMITED",
    500: "INTERNAL STATEMENT_MISMATCH",
    503: "NO_MATCHING_OWNER SYMBOL_MOVING OVERLOADED DATABASE_UNAVAILABLE",
}
STATUS: Final[dict[str, int]] = {code: status for status, codes in _BY_STATUS.items() for code in codes.split()}

_DATABASE_AWAY: Final = (OperationalError, InterfaceError, psycopg.OperationalError, psycopg.InterfaceError)


class BadInput(ExchangeError):
    """The request is not one of the contract: one of the codes under 400. Nothing was stored, nothing used up."""

    code = "INVALID_FIELD"


class Unauthenticated(ExchangeError):
    """Nobody we know, or no proof of it: one of the codes under 401."""

    code = "UNAUTHENTICATED"


class Forbidden(ExchangeError):
    """Known, but not allowed: one of the codes under 403."""

    code = "FORBIDDEN"


class NotHere(ExchangeError):
    """There is no such thing, or it belongs to somebody else."""

    code = "NOT_FOUND"


class MethodNotAllowed(ExchangeError):
    """`allowed`: what the path does take, for the Allow header."""

    code = "METHOD_NOT_ALLOWED"

    def __init__(self, method: str, *, allowed: list[str]) -> None:
        super().__init__(f"This path does not take {method}; it takes {', '.join(allowed)}.")
        self.allowed = allowed


class TooLarge(ExchangeError):
    code = "TOO_LARGE"


class UnsupportedMediaType(ExchangeError):
    code = "UNSUPPORTED_MEDIA_TYPE"


class RateLimited(ExchangeError):
    """Too many requests; come again after `retry_after_s`. `allowance`: what the limit headers are to tell, if that was counted."""

    code = "RATE_LIMITED"

    def __init__(self, message: str, *, retry_after_s: int, allowance: Any = None) -> None:
        super().__init__(message, details={"retry_after": retry_after_s})
        self.allowance = allowance


class DatabaseUnavailable(ExchangeError):
    code = "DATABASE_UNAVAILABLE"


class Internal(ExchangeError):
    code = "INTERNAL"


class DropConnection(Exception):
    """A commit's outcome is unknown: the handler drops the connection, because any answer would be a guess."""


def as_exchange_error(error: BaseException, *, request_id: str) -> ExchangeError:
    """The error of the contract that this exception is to a client. What nobody foresaw is logged and becomes INTERNAL."""
    if isinstance(error, ExchangeError) and error.code in STATUS:
        return error
    if isinstance(error, _DATABASE_AWAY):
        log.warning("database_unavailable", request_id=request_id, problem=str(error).strip()[:200])
        return DatabaseUnavailable("The database cannot be reached. Nothing was changed; ask again shortly.", details={"retry_after": 1})
    if isinstance(error, Http404 | drf.NotFound):
        return NotHere("There is nothing under this path.")
    if isinstance(error, drf.ParseError | DjangoBadRequest | SuspiciousOperation):
        return BadInput("The request cannot be read.", code="MALFORMED")
    if isinstance(error, drf.UnsupportedMediaType):
        return UnsupportedMediaType("Send application/json.")
    if isinstance(error, drf.MethodNotAllowed):
        return ExchangeError("This path does not take this method.", code="METHOD_NOT_ALLOWED")
    if isinstance(error, drf.NotAuthenticated | drf.AuthenticationFailed):
        return Unauthenticated("Sign the request with an API key, or log in.")
    if isinstance(error, drf.PermissionDenied):
        return Forbidden("This is not allowed to you.")
    if isinstance(error, drf.Throttled):
        return RateLimited("Too many requests.", retry_after_s=1)
    if isinstance(error, drf.ValidationError):
        return BadInput("A field has a wrong form.")
    log.error("unexpected_error", request_id=request_id, exc_info=error)
    return Internal("Something went wrong on our side. Tell support the request_id.")


def error_body(error: ExchangeError, *, request_id: str) -> dict[str, Any]:
    """The contract's error object."""
    return {"code": error.code, "message": error.message, "field": error.field, "request_id": request_id, "details": error.details}


def error_response(error: BaseException, *, request_id: str) -> HttpResponse:
    """The whole answer for an exception, whatever it is, with Retry-After, Allow and WWW-Authenticate where they belong."""
    told = as_exchange_error(error, request_id=request_id)
    status = STATUS[told.code]
    response = HttpResponse(
        orjson.dumps(error_body(told, request_id=request_id), default=str), content_type="application/json", status=status
    )
    if status in (429, 503):
        response.headers["Retry-After"] = str(max(1, math.ceil((told.details or {}).get("retry_after", 1))))
    elif status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    elif isinstance(told, MethodNotAllowed):
        response.headers["Allow"] = ", ".join(told.allowed)
    return response


def drf_exception_handler(error: Exception, context: dict[str, Any]) -> HttpResponse:
    """Django REST framework's EXCEPTION_HANDLER, for its own views (schema and documentation)."""
    return error_response(error, request_id=getattr(context.get("request"), "request_id", ""))
