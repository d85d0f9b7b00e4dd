"""The pages. Each is a frame; what moves in it is read from the public contract by its scripts."""

from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from dashboard.pages import guarded
from dashboard.scripts import needed_by
from markets.queries import symbols

INTERVALS: Final = ("1m", "5m", "15m", "1h", "4h", "1d")


@require_safe
@guarded
def overview(request: HttpRequest) -> HttpResponse:
    """All markets, and an operator's controls over them."""
    return render(request, "dashboard/overview.html", {"modules": needed_by("dashboard/overview.js")})


@require_safe
@guarded
def market(request: HttpRequest, symbol: str) -> HttpResponse:
    """One market: chart, book, trades, and an order form for a trader."""
    name = symbol.replace("-", "/")
    listed = [(row["symbol"], row["symbol"].replace("/", "-")) for row in symbols()]
    shown: dict[str, Any] = {"symbol": name, "listed": listed}
    if name not in dict(listed):
        return render(request, "dashboard/no_market.html", shown, status=404)
    base, quote = name.split("/")
    shown |= {"base": base, "quote": quote, "intervals": INTERVALS, "modules": needed_by("dashboard/market.js")}
    return render(request, "dashboard/market.html", shown)
