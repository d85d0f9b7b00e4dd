"""What takes two people, done by two people."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import psycopg
from django.conf import settings

from institutions import requests
from institutions.models import ChangeRequest, User
from institutions.requests import NotPending
from institutions.services import create_user
from orders.controls import SecondPersonNeeded, set_symbol_status
from risk import services
from risk.models import Limit

PASSWORD = "correct horse battery staple"


def staff(username: str, role: str = "operator") -> User:
    """That person, made when they are not there yet."""
    found = User.objects.filter(username=username).first()
    return found or create_user(username=username, password=PASSWORD, role=role, institution_id=None, actor="tests")


def two_people(kind: str, payload: Mapping[str, Any], *, reason: str = "a test") -> dict[str, Any]:
    """Olga asks, Carla agrees. Returns what came of it."""
    olga = staff("olga")
    try:
        number = requests.submit(kind=kind, payload=payload, actor=f"user:{olga.pk}:olga", maker_id=olga.pk, reason=reason)
    except NotPending:  # Olga has asked before and lost sight of it: the database went away in between
        number = ChangeRequest.objects.filter(kind=kind, state="PENDING").latest("pk").pk
    return agree(number)


def agree(number: int) -> dict[str, Any]:
    """Carla approves what somebody has asked. Returns what came of it."""
    carla, row = staff("carla", "compliance"), ChangeRequest.objects.get(pk=number)
    return requests.approve(
        change_id=number,
        payload_hash=bytes(row.payload_hash).hex(),
        checker_id=carla.pk,
        actor=f"user:{carla.pk}:carla",
        reason="agreed",
    )


def change_status(*, symbol: str, status: str, actor: str = "olga", reason: str = "a test", request_id: str = "") -> str:
    """As `orders.controls.set_symbol_status`; with a second person where it takes one. Returns the status that was set."""
    try:
        return set_symbol_status(symbol=symbol, status=status, actor=actor, reason=reason, request_id=request_id)
    except SecondPersonNeeded:
        return str(two_people("symbol.resume", {"symbol": symbol, "status": status}, reason=reason)["status"])


def set_limit(*, kind: str, value: Decimal, actor: str = "olga", reason: str = "a test", **scope: int | None) -> None:
    """As `risk.services.set_limit`; where there is a limit already, with a second person."""
    where = {name: scope.get(name) for name in ("institution_id", "account_id", "symbol_id")}
    row = Limit.objects.filter(kind=kind, **where).first()
    if row is None or not reason.strip():
        services.set_limit(kind=kind, value=value, actor=actor, reason=reason, **where)
    elif row.value != value:
        two_people("limit.change", {"kind": kind, **where, "value": f"{value:f}"}, reason=reason)


def lift_limit(*, kind: str, reason: str = "a test", **scope: int | None) -> None:
    two_people("limit.change", {"kind": kind, **scope, "value": None}, reason=reason)


def no_limits() -> None:
    """As if nobody had ever set one: past the trigger that keeps them, which only the owner of the tables can."""
    with psycopg.connect(settings.DATABASE_URL) as owner:
        owner.execute("SET session_replication_role = replica")
        owner.execute("DELETE FROM risk_limit")
