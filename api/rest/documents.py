"""The OpenAPI document and its two readers. All they need is served from here, so they work without the internet."""

from functools import lru_cache
from typing import Any, ClassVar

import orjson
from django.http import HttpResponse
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularRedocView, SpectacularSwaggerView

from api.handler import PUBLIC, ApiRequest
from api.rest.base import ApiView
from api.threads import run_in_thread


@lru_cache(maxsize=1)
def _document() -> bytes:
    document: Any = SchemaGenerator().get_schema(request=None, public=True)
    return orjson.dumps(document, default=str, option=orjson.OPT_NON_STR_KEYS)


@extend_schema(exclude=True)
class SchemaView(ApiView):
    access = {"GET": PUBLIC}

    async def get(self, request: ApiRequest) -> HttpResponse:
        content = await run_in_thread(_document)
        return HttpResponse(content, content_type="application/json")


class _Page:
    access: ClassVar[dict[str, str]] = {"GET": PUBLIC}
    is_lean: ClassVar[bool] = False


@extend_schema(exclude=True)
class SwaggerView(_Page, SpectacularSwaggerView):
    """Swagger UI."""


@extend_schema(exclude=True)
class RedocView(_Page, SpectacularRedocView):
    """Redoc, in a page of ours: the one it comes with fetches fonts from elsewhere."""

    template_name = "redoc.html"
