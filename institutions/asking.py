"""How an operation of the back office asks for what takes a second person."""

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest

from exchange_platform.back_office.operations import actor_of
from institutions import requests


def asked_for(request: HttpRequest, *, kind: str, payload: Mapping[str, Any], reason: str) -> str:
    """Ask; returns the sentence that says so. Owns its transaction. Raises: ExchangeError."""
    number = requests.submit(kind=kind, payload=payload, actor=actor_of(request), maker_id=request.user.pk, reason=reason)
    return f"Asked for, as request {number}. Nothing has changed yet: another person decides within 24 hours, under Requests."
