"""Doors by name: every path of the exchange is included from the app that serves it."""

from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import TemplateView

urlpatterns: list[URLPattern | URLResolver] = [
    path("", TemplateView.as_view(template_name="home.html"), name="home"),
    path("api/v1/", include("api.rest.urls")),
]
