"""Who asks, for the pages: reads are bound to the person's institution, and the audit trail knows where a change came from."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase

from exchange_platform.db import tenant_scope
from exchange_platform.ids import uuid7
from institutions import audit
from institutions.models import User
from institutions.rights import Right, may

AGENT_LENGTH = 300


class ReachMiddleware:
    """Everything that a page of the admin reads as the tenants' role, it reads within one transaction and one institution.

    Staff of the platform see all. The page is rendered inside, so a template cannot read past it either. The API does not
    come by here: it has a handler of its own.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        user = request.user if request.path.startswith("/admin/") else None
        if not isinstance(user, User) or not may(user, Right.BACK_OFFICE):
            return self._get_response(request)
        user.is_staff = True  # for this request: what the templates of the admin ask before they show a search box
        origin = audit.Origin(
            ip=request.META.get("REMOTE_ADDR") or None,
            user_agent=request.headers.get("User-Agent", "")[:AGENT_LENGTH],
            request_id=uuid7().hex,
        )
        with audit.asked_from(origin), tenant_scope(user.institution_id):
            return self._get_response(request)
