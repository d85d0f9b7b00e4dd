"""Every page."""

from django.urls import path

from dashboard import controls, views

urlpatterns = [
    path("", views.overview, name="home"),
    path("controls", controls.controls_used, name="controls-used"),
    path("phases", controls.phases, name="phases"),
    path("markets", views.overview, name="markets"),
    path("markets/<str:symbol>", views.market, name="market"),
    path("markets/<str:symbol>/controls", controls.symbol_controls, name="symbol-controls"),
]
