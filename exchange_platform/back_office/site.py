"""The site itself: who gets in, the way around, one search box for everything."""

from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from unfold.sites import UnfoldAdminSite

from exchange_platform.back_office.finding import find
from exchange_platform.back_office.navigation import navigation

LONGEST_SEARCH = 120


class BackOfficeSite(UnfoldAdminSite):
    """The admin. A role gets in by its right, not by a flag of the framework; nothing here needs the cache server."""

    enable_nav_sidebar = True

    def has_permission(self, request: HttpRequest) -> bool:
        return request.user.is_active and bool(request.user.has_perm("back_office"))

    def get_urls(self) -> list[URLPattern]:
        return [path("find/", self.admin_view(self.find_view), name="find"), *self.page_urls(), *super().get_urls()]

    def page_urls(self) -> list[URLPattern]:
        """Pages that are of no single model, as the rooms have added them."""
        return [path(route, self.admin_view(view), name=name) for route, view, name in _pages]

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """Where to look for what."""
        groups = [
            {"title": group["title"], "entries": [item for item in group["items"] if item["permission"](request)]}
            for group in navigation(request)
        ]
        context = {**self.each_context(request), "title": "Back office", "groups": [group for group in groups if group["entries"]]}
        return TemplateResponse(request, "back_office/index.html", context)

    def find_view(self, request: HttpRequest) -> HttpResponse:
        """Everything that a text may mean; one hit opens at once."""
        text = request.GET.get("q", "").replace("\0", "").strip()[:LONGEST_SEARCH]
        found = find(request, text) if text else []
        if len(found) == 1:
            return HttpResponseRedirect(found[0].url)
        context = {**self.each_context(request), "title": "Find", "text": text, "found": found}
        return TemplateResponse(request, "back_office/find.html", context)

    def search(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The framework's own search keeps its answers in the cache server, which may be down: this one asks the database."""
        return self.find_view(request)

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        context: dict[str, Any] = super().each_context(request)
        context["find_url"] = reverse("admin:find")
        return context


_pages: list[tuple[str, Any, str]] = []


def add_page(route: str, view: Any, name: str) -> None:
    """A page of a room under the admin: its path, its view, the name of its address."""
    if (route, view, name) not in _pages:
        _pages.append((route, view, name))
