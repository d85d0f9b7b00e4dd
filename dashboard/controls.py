"""An operator's controls over one market: halt, resume, auction, cancel all. One address, JSON in and out, one service call each."""

import re
from collections.abc import Callable
from typing import Any, Final
from uuid import uuid4

import orjson
import structlog
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from dashboard.pages import guarded
from dashboard.people import allowed
from dashboard.queries import latest_controls, market_phases, market_state
from exchange_platform.errors import ExchangeError
from institutions import audit, requests
from institutions.models import User
from institutions.rights import Right
from orders.controls import cancel_all, needs_two, set_symbol_status
from orders.resuming import ResumeSymbol

CANCEL_ALL: Final = "cancel_all"
SETS: Final = {"halt": "HALTED", "resume": "TRADING", "auction": "AUCTION"}
NEEDED: Final = {**dict.fromkeys(SETS, Right.SYMBOL_STATUS), CANCEL_ALL: Right.CANCEL_ALL}
REASON_LONGEST: Final = 500
_STATUS: Final = {
    "UNAUTHENTICATED": 401,
    "TOKEN_EXPIRED": 401,
    "FORBIDDEN": 403,
    "UNKNOWN_SYMBOL": 404,
    "CONFLICTING_FIELDS": 409,
}
_request_id = re.compile(r"[A-Za-z0-9._-]{1,40}").fullmatch

log = structlog.get_logger("dashboard.controls")


@require_safe
@guarded
def controls_used(request: HttpRequest) -> HttpResponse:
    """{results}: the latest controls that anybody used, for who may read the trail."""
    return _answered(request, lambda request_id: {"results": latest_controls()}, right=Right.READ_AUDIT)


@require_safe
@guarded
def phases(request: HttpRequest) -> HttpResponse:
    """{at, results}: the markets that are halted or in an auction, why and until when. Public, as the markets are."""
    return _answered(request, lambda request_id: market_phases())


# Exempt from Django's token: whoever calls proves themselves in a header that a browser never sends by itself (decision 0014).
@csrf_exempt
@require_http_methods(["GET", "POST"])
@guarded
def symbol_controls(request: HttpRequest, symbol: str) -> HttpResponse:
    """GET: how the market stands. POST {action, reason}: do it; answers how the market stands right afterwards, with
    `request_id` and, for cancel_all, `asked`: how many orders were told to end; for what takes a second person (resuming after a halt)
    `change_request`: the number under which it waits."""
    name = symbol.replace("-", "/")
    if request.method == "GET":
        return _answered(request, lambda request_id: market_state(symbol=name), right=Right.BACK_OFFICE)
    return _answered(request, lambda request_id: _act(request, name, request_id))


def _answered(request: HttpRequest, act: Callable[[str], dict[str, Any]], *, right: Right | None = None) -> HttpResponse:
    """What `act` gives for this request's id, or the error body of what was refused. `right`: needed before."""
    sent_id = request.headers.get("X-Request-ID", "")
    request_id = sent_id if _request_id(sent_id) else uuid4().hex
    try:
        if right is not None:
            allowed(request, right)
        return _answer({**act(request_id), "request_id": request_id})
    except ExchangeError as error:
        body = {"code": error.code, "message": error.message, "field": error.field, "request_id": request_id, "details": error.details}
        return _answer(body, status=_STATUS.get(error.code, 400))


def _act(request: HttpRequest, symbol: str, request_id: str) -> dict[str, Any]:
    _same_origin(request)
    action, reason = _read(request)
    person = allowed(request, NEEDED[action])
    actor = actor_of(person)
    origin = audit.Origin(ip=request.META.get("REMOTE_ADDR"), user_agent=request.headers.get("User-Agent", ""), request_id=request_id)
    told: dict[str, int] = {}
    with audit.asked_from(origin):
        if action == CANCEL_ALL:
            told["asked"] = cancel_all(symbol=symbol, account=None, institution=None, actor=actor, reason=reason, request_id=request_id)
        elif needs_two(market_state(symbol=symbol)["status"], SETS[action]):
            payload = {"symbol": symbol, "status": SETS[action]}
            told["change_request"] = requests.submit(
                kind=ResumeSymbol.kind, payload=payload, actor=actor, maker_id=person.pk, reason=reason, request_id=request_id
            )
        else:
            set_symbol_status(symbol=symbol, status=SETS[action], actor=actor, reason=reason, request_id=request_id)
    log.warning("control_used", action=action, symbol=symbol, actor=actor, request_id=request_id, **told)
    return {**market_state(symbol=symbol), **told}


def actor_of(user: User) -> str:
    """As the API names people in the audit trail."""
    return f"user:{user.pk}:{user.username}"[:80]


def _read(request: HttpRequest) -> tuple[str, str]:
    """Action and reason. Raises: ExchangeError MALFORMED, INVALID_FIELD, MISSING_FIELD."""
    if request.content_type != "application/json":
        raise ExchangeError("Send application/json.", code="MALFORMED")
    try:
        data = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        data = None
    if not isinstance(data, dict):
        raise ExchangeError("Send an object with action and reason.", code="MALFORMED")
    action, reason = data.get("action"), data.get("reason")
    if action not in NEEDED:
        raise ExchangeError(f"action must be one of {', '.join(NEEDED)}.", code="INVALID_FIELD", field="action")
    if not isinstance(reason, str) or not reason.strip():
        raise ExchangeError("Give a reason: it stands in the audit trail.", code="MISSING_FIELD", field="reason")
    if len(reason) > REASON_LONGEST:
        raise ExchangeError(f"A reason may have {REASON_LONGEST} characters.", code="INVALID_FIELD", field="reason")
    return action, reason.strip()


def _same_origin(request: HttpRequest) -> None:
    """A second lock on the door: browsers say where a request comes from. Raises: ExchangeError FORBIDDEN."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise ExchangeError("Controls are used from the exchange's own pages.", code="FORBIDDEN")


def _answer(body: dict[str, Any], *, status: int = 200) -> HttpResponse:
    response = HttpResponse(orjson.dumps(body), content_type="application/json", status=status)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Request-ID"] = body["request_id"]
    return response
