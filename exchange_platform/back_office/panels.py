"""Tables that upper rooms hang on the pages of lower ones: an account's balances on the account's page, which knows no wallet."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest

from exchange_platform.back_office.listing import Table

Panel = Callable[[HttpRequest, Any], Table]
_panels: dict[str, list[Panel]] = {}


def add_panel(model: str, panel: Panel) -> None:
    """`model`: "app.model". Panels stand in the order in which the rooms are installed."""
    if panel not in _panels.setdefault(model, []):
        _panels[model].append(panel)


def panels_of(model: str) -> list[Panel]:
    return _panels.get(model, [])
