"""Lists of what has no page class of its own: tables whose primary key has two columns."""

from collections.abc import Sequence
from typing import Any, ClassVar

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from exchange_platform.back_office.base import list_response
from exchange_platform.back_office.listing import Column, Facts, Filters, Listed, Table


class Page:
    """A list in the admin; an instance is its view. `read_right` as in `Reader`."""

    title: ClassVar[str]
    read_right: ClassVar[str] = "back_office"
    columns: ClassVar[Sequence[Column]]
    filters: ClassVar[type[Filters]] = Filters
    empty: ClassVar[str] = "There is nothing here yet."

    def __call__(self, request: HttpRequest) -> HttpResponse:
        check(request, self.read_right)
        form = self.filters(request.GET)
        self.prepare(request, form)
        asked = {**form.question, "before": request.GET.get("before")} if form.is_valid() else None
        listed = Listed([]) if asked is None else self.find(request, asked)
        context = {**admin.site.each_context(request), "title": self.title}
        return list_response(request, context, columns=self.columns, form=form, listed=listed, empty=self.empty)

    def prepare(self, request: HttpRequest, form: Filters) -> None:
        """Fill in choices that depend on who asks."""

    def find(self, request: HttpRequest, question: dict[str, Any]) -> Listed:
        raise NotImplementedError


def check(request: HttpRequest, right: str) -> None:
    """Raises: PermissionDenied."""
    if not request.user.has_perm(right):
        raise PermissionDenied


def detail(request: HttpRequest, *, title: str, facts: Sequence[Facts], tables: Sequence[Table]) -> HttpResponse:
    """A page of facts with tables under it."""
    context = {**admin.site.each_context(request), "title": title, "facts": facts, "tables": tables}
    return TemplateResponse(request, "back_office/detail.html", context)


def missing(what: str) -> Http404:
    return Http404(f"There is no such {what}, or not for you.")
