"""The buttons of the kill switch, and the page of the platform that carries the one for everything."""

from collections.abc import Sequence
from typing import Any, TypedDict

from django.contrib import admin
from django.http import HttpRequest

from exchange_platform.back_office import show
from exchange_platform.back_office.base import Reader
from exchange_platform.back_office.listing import Column, Facts, Listed, Table
from exchange_platform.back_office.operations import Operation, actor_of, add_operation
from institutions.asking import asked_for
from institutions.back_office import audit_table
from institutions.models import Account, AccountKind, Institution, Platform
from institutions.rights import Right
from orders.controls import live_orders
from orders.kill_switch import pull, still_live
from orders.operations import live_table

WAIT_S = 3.0  # for the workers, before it is told what is still live


class Whom(TypedDict):
    """By name or code; both null: everybody."""

    account: str | None
    institution: str | None


class Kill(Operation):
    """Of whatever `scope` makes of the row."""

    name, title, right, is_dangerous = "kill", "Kill switch", Right.KILL_SWITCH, True
    question = (
        "Freezes and cancels in one step: no order is taken any more from the moment this returns, and everything that is open is asked to "
        "end, with the reason KILL_SWITCH. Trading again takes a second person."
    )

    def scope(self, row: Any) -> Whom:
        raise NotImplementedError

    def effect(self, request: HttpRequest, row: Any) -> Sequence[Facts | Table]:
        return [live_table(live_orders(symbol=None, **self.scope(row)))]

    def run(self, request: HttpRequest, row: Any, asked: dict[str, Any]) -> str:
        killed = pull(**self.scope(row), actor=actor_of(request), reason=asked["reason"])
        live = still_live(**self.scope(row), within_s=WAIT_S)
        left = sum(found.orders for found in live)
        where = f" on {', '.join(found.symbol for found in live)}, which wait for their worker" if live else ""
        return f"Frozen. {killed.asked} orders were asked to end; {left} are still live{where}."


class KillAccount(Kill):
    def is_offered(self, row: Account) -> bool:
        return row.kind == AccountKind.CUSTOMER

    def scope(self, row: Account) -> Whom:
        return {"account": row.name, "institution": None}


class KillInstitution(Kill):
    def is_offered(self, row: Institution) -> bool:
        return not row.is_house

    def scope(self, row: Institution) -> Whom:
        return {"account": None, "institution": row.code}


class KillEverything(Kill):
    title = "Kill switch for everything"

    def scope(self, row: Platform) -> Whom:
        return {"account": None, "institution": None}


class UnfreezeEverything(Operation):
    name, title, right = "unfreeze", "Unfreeze", Right.FREEZE
    question = "Once a second person agrees, everybody can place orders again who is not frozen by themselves."

    def is_offered(self, row: Platform) -> bool:
        return row.is_frozen

    def run(self, request: HttpRequest, row: Platform, asked: dict[str, Any]) -> str:
        return asked_for(request, kind="platform.unfreeze", payload={"id": row.pk}, reason=asked["reason"])


def _state(row: Platform) -> object:
    return show.badge("frozen" if row.is_frozen else "active")


@admin.register(Platform)
class PlatformAdmin(Reader):
    plural = "Platform"
    read_right = "read_platform"
    alias = "default"
    columns = (
        Column("Platform", lambda row: show.link(show.url_of("institutions.platform", row.pk), "everybody")),
        Column("State", _state),
    )
    operations = (KillEverything(), UnfreezeEverything())

    def find(self, request: HttpRequest, question: dict[str, Any]) -> Listed:
        return Listed(list(self.rows(request)))

    def facts(self, request: HttpRequest, row: Platform) -> Sequence[Facts]:
        return [Facts("Everybody", [("State", _state(row))])]

    def tables(self, request: HttpRequest, row: Platform) -> Sequence[Table]:
        return [live_table(live_orders(symbol=None, account=None, institution=None)), audit_table(request, "platform")]

    def title_of(self, row: Platform) -> str:
        return "Platform"


add_operation("institutions.account", KillAccount())
add_operation("institutions.institution", KillInstitution())
