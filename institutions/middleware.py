"""Who asks, for the pages: reads are bound to the person's institution, and the audit trail knows where a change came from."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, HttpResponseBase

from exchange_platform.db import tenant_scope
from exchange_platform.ids import uuid7
from institutions import audit, logins
from institutions.models import User
from institutions.rights import Right, may

ADMIN = "/admin/"
LOGIN = "/admin/login/"
AGENT_LENGTH = 300


class ReachMiddleware:
    """Everything that a page of the admin reads as the tenants' role, it reads within one transaction and one institution.

    Staff of the platform see all. The page is rendered inside, so a template cannot read past it either. The API does not
    come by here: it has a handler of its own.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        with audit.asked_from(_origin(request)):
            if not request.path.startswith(ADMIN):
                return self._get_response(request)
            if request.path == LOGIN and request.method == "POST":
                return self._log_in(request)
            user = request.user
            if not isinstance(user, User) or not may(user, Right.BACK_OFFICE):
                return self._get_response(request)
            user.is_staff = True  # for this request: what the templates of the admin ask before they show a search box
            with tenant_scope(user.institution_id):
                return self._get_response(request)

    def _log_in(self, request: HttpRequest) -> HttpResponseBase:
        """Slowed down when somebody guesses; on the record either way."""
        username = request.POST.get("username", "")
        if not logins.may_try(username=username, ip=_ip(request)):
            told = "Too many attempts from this address. Wait five minutes, then try again."
            return HttpResponse(told, status=429, content_type="text/plain; charset=utf-8", headers={"Retry-After": "300"})
        response = self._get_response(request)
        if response.status_code != 403:  # a form without its token has not been read
            logins.record_attempt(username=username, succeeded=isinstance(request.user, User) and response.status_code == 302)
        return response


def _origin(request: HttpRequest) -> audit.Origin:
    agent = request.headers.get("User-Agent", "")[:AGENT_LENGTH]
    return audit.Origin(ip=_ip(request), user_agent=agent, request_id=uuid7().hex)


def _ip(request: HttpRequest) -> str | None:
    return request.META.get("REMOTE_ADDR") or None
