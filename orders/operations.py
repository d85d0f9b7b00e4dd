"""What operators can do to markets and to other people's orders in the admin: each shows its effect and calls one service."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.http import HttpRequest

from exchange_platform.back_office.listing import Facts, Table
from exchange_platform.back_office.operations import Operation, ReasonForm, actor_of, add_operation
from institutions.asking import asked_for
from institutions.models import Account, AccountKind, Institution
from institutions.rights import Right
from markets.models import Symbol
from markets.units import market_by_name
from orders.controls import LiveOrders, cancel_all, live_orders, needs_two, set_symbol_status
from orders.presentation import fixed
from orders.resuming import ResumeSymbol


def live_table(found: Sequence[LiveOrders]) -> Table:
    """What is open within a scope, and what it holds."""
    rows: list[Sequence[object]] = []
    for live in found:
        market = market_by_name(live.symbol)
        assert market is not None
        held = f"{fixed(live.held_base, market.base_scale)} {market.base}", f"{fixed(live.held_quote, market.quote_scale)} {market.quote}"
        rows.append([live.symbol, live.orders, live.buys, live.sells, *held])
    headings = ["Symbol", "Open orders", "Buys", "Sells", "Held for sells", "Held for buys"]
    return Table("Open now", headings, rows, "Nothing is open.", numeric=frozenset({1, 2, 3, 4, 5}))


class SymbolStatusOperation(Operation):
    """Sets one status; `from_statuses`: when it is offered."""

    right = Right.SYMBOL_STATUS
    status: str
    from_statuses: tuple[str, ...]

    def is_offered(self, row: Symbol) -> bool:
        return row.status in self.from_statuses

    def effect(self, request: HttpRequest, row: Symbol) -> Sequence[Facts | Table]:
        return [live_table(live_orders(symbol=row.name, account=None, institution=None))]

    def run(self, request: HttpRequest, row: Symbol, asked: dict[str, Any]) -> str:
        if needs_two(row.status, self.status):
            payload = {"symbol": row.name, "status": self.status}
            return asked_for(request, kind=ResumeSymbol.kind, payload=payload, reason=asked["reason"])
        set_symbol_status(symbol=row.name, status=self.status, actor=actor_of(request), reason=asked["reason"])
        return f"{row.name} is {self.status.replace('_', ' ')} from the next order on; its worker follows in its sequence."


class Halt(SymbolStatusOperation):
    name, title, is_dangerous, status = "halt", "Halt", True, "HALTED"
    from_statuses = ("TRADING", "POST_ONLY", "CANCEL_ONLY", "AUCTION")
    question = "Nothing matches any more. Open orders stay, cancels go on, orders on their way are rejected and their holds released."


class Resume(SymbolStatusOperation):
    name, title, status = "resume", "Resume", "TRADING"
    from_statuses = ("HALTED", "POST_ONLY", "CANCEL_ONLY", "AUCTION")
    question = (
        "Orders are taken and matched again; after a halt, once a second person agrees. An auction ends now: what it has collected "
        "trades at one price."
    )


class Auction(SymbolStatusOperation):
    name, title, status = "auction", "Auction", "AUCTION"
    from_statuses = ("TRADING", "HALTED", "POST_ONLY", "CANCEL_ONLY")
    question = "Orders are collected and do not match; when the symbol's time for an auction is over they trade together at one price."


class PostOnly(SymbolStatusOperation):
    name, title, status = "post-only", "Post only", "POST_ONLY"
    from_statuses = ("TRADING", "HALTED", "CANCEL_ONLY")
    question = "Only orders that rest are taken; nobody can take liquidity."


class CancelOnly(SymbolStatusOperation):
    name, title, is_dangerous, status = "cancel-only", "Cancel only", True, "CANCEL_ONLY"
    from_statuses = ("TRADING", "HALTED", "POST_ONLY")
    question = "No new orders are taken; people can only cancel what they have."


class CancelAllForm(ReasonForm):
    symbol = forms.ChoiceField(required=False)
    field_order = ("symbol", "reason")


class CancelAll(Operation):
    """Of whatever `scope` makes of the row."""

    name, title, right, is_dangerous = "cancel-all", "Cancel all orders", Right.CANCEL_ALL, True
    question = (
        "Every order that is open now is asked to end, with the reason ADMIN_CANCEL; its hold comes back. Some may fill before their turn "
        "comes. What is placed afterwards stays: halt or freeze first to keep it out."
    )

    def scope(self, row: Any) -> dict[str, str | None]:
        raise NotImplementedError

    def effect(self, request: HttpRequest, row: Any) -> Sequence[Facts | Table]:
        return [live_table(live_orders(**{"symbol": None, "account": None, "institution": None, **self.scope(row)}))]

    def run(self, request: HttpRequest, row: Any, asked: dict[str, Any]) -> str:
        scope = {"symbol": asked.get("symbol") or None, **self.scope(row)}
        count = cancel_all(
            symbol=scope.get("symbol"),
            account=scope.get("account"),
            institution=scope.get("institution"),
            actor=actor_of(request),
            reason=asked["reason"],
        )
        return f"{count} orders were asked to end. Under open orders you see what is still live." if count else "Nothing was open."


class CancelAllOfSymbol(CancelAll):
    def is_offered(self, row: Symbol) -> bool:
        return row.status != "DELISTED"

    def scope(self, row: Symbol) -> dict[str, str | None]:
        return {"symbol": row.name}


class CancelAllOnSymbols(CancelAll):
    """With a symbol to choose."""

    form = CancelAllForm

    def prepare(self, request: HttpRequest, form: forms.Form, row: Any) -> None:
        field = form.fields["symbol"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [("", "all symbols"), *((name, name) for name in Symbol.objects.order_by("name").values_list("name", flat=True))]


class CancelAllOfAccount(CancelAllOnSymbols):
    def is_offered(self, row: Account) -> bool:
        return row.kind == AccountKind.CUSTOMER

    def scope(self, row: Account) -> dict[str, str | None]:
        return {"account": row.name}


class CancelAllOfInstitution(CancelAllOnSymbols):
    def is_offered(self, row: Institution) -> bool:
        return not row.is_house

    def scope(self, row: Institution) -> dict[str, str | None]:
        return {"institution": row.code}


def register() -> None:
    for operation in (Halt(), Resume(), Auction(), PostOnly(), CancelOnly(), CancelAllOfSymbol()):
        add_operation("markets.symbol", operation)
    add_operation("institutions.account", CancelAllOfAccount())
    add_operation("institutions.institution", CancelAllOfInstitution())
