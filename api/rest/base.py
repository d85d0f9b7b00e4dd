"""What every view of this API has in common: declared access, coroutine handlers, answers in JSON."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar

import orjson
from django.http import HttpResponse
from rest_framework.views import APIView

from api.auth import Caller
from api.errors import Unauthenticated
from api.handler import ApiRequest
from api.rest.openapi import ContractSchema


class ApiView(APIView):
    """A view whose handlers are coroutines: `async def get(self, request: ApiRequest, ...) -> HttpResponse`.

    `access` tells by method what the caller needs: a right of `api.auth`, PUBLIC or NOBODY. The handler in front has checked it, and
    translates whatever is raised here. Of Django REST framework it keeps what describes an API (the schema); negotiation,
    parsers and request wrapping would cost 500 µs a request for one media type.
    """

    access: ClassVar[dict[str, str]] = {}
    is_lean: ClassVar[bool] = True
    schema = ContractSchema()

    async def dispatch(self, request: ApiRequest, **kwargs: Any) -> HttpResponse:  # type: ignore[override]
        act: Callable[..., Awaitable[HttpResponse]] = getattr(self, "get" if request.method == "HEAD" else request.method.lower())
        return await act(request, **kwargs)


def answer(data: Any, *, status: int = 200, replay: bool = False) -> HttpResponse:
    """`data` as JSON; `replay` sets Idempotent-Replay."""
    response = HttpResponse(orjson.dumps(data), content_type="application/json", status=status)
    if replay:
        response.headers["Idempotent-Replay"] = "true"
    return response


def caller_of(request: ApiRequest) -> Caller:
    """The caller of a request that needed one."""
    if request.caller is None:
        raise Unauthenticated("Sign the request with an API key, or log in.")
    return request.caller


def page(rows: Sequence[Any], *, next_cursor: str | None = None) -> HttpResponse:
    """A list as every list is answered."""
    return answer({"results": rows, "next_cursor": next_cursor})
