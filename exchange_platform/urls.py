"""Doors by name: every path of the exchange is included from the app that serves it."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("dashboard.urls")),
    path("admin/", admin.site.urls),
    path("api/v1/", include("api.rest.urls")),
]
