"""What staff can do to assets and trading rules in the admin: each asks its form and calls one service."""

from typing import Any

from django import forms
from django.http import HttpRequest

from exchange_platform.back_office.operations import Operation, ReasonForm, actor_of
from institutions.asking import asked_for
from markets import services
from markets.fee_changes import ChangeFees
from markets.models import Asset, Route, Symbol
from markets.services import CHANGEABLE, FEES, ORDER_TYPES

RIGHT = "edit_markets"
MANY = 2000
DAY_S = 86_400


def _amount(**kwargs: Any) -> forms.DecimalField:
    return forms.DecimalField(max_digits=38, decimal_places=18, **{"required": False, "widget": forms.TextInput, **kwargs})


class AssetForm(forms.Form):
    code = forms.CharField(max_length=12, help_text="Capital letters and digits; for ever.")
    name = forms.CharField(max_length=60, required=False)
    scale = forms.IntegerField(min_value=0, max_value=18, initial=8, label="Decimals", help_text="For ever: amounts are exact in it.")


class CreateAsset(Operation):
    name, title, right, form = "create", "New asset", RIGHT, AssetForm

    def run(self, request: HttpRequest, row: Any, asked: dict[str, Any]) -> str:
        return f"Asset {services.create_asset(actor=actor_of(request), **asked).code} is there."


class RulesForm(forms.Form):
    """Trading rules that may change. Empty: that rule is off."""

    is_listed = forms.BooleanField(required=False, initial=True, label="Listed", help_text="Only listed symbols are known to clients.")
    route = forms.ChoiceField(choices=Route.choices)
    order_types = forms.MultipleChoiceField(
        choices=[(kind, kind.replace("_", " ")) for kind in ORDER_TYPES], widget=forms.CheckboxSelectMultiple, initial=["LIMIT", "MARKET"]
    )
    min_quantity = _amount(help_text="A whole number of lots.", required=True)
    max_quantity = _amount()
    min_price = _amount(help_text="A whole number of ticks.")
    max_price = _amount()
    min_notional = _amount(initial=0, required=True, help_text="Least price × quantity, in the quote asset.")
    max_open_orders = forms.IntegerField(min_value=1, required=False, help_text="Per account on this symbol.")
    static_band = _amount(initial="0.10", help_text="Fraction around the reference price: 0.10 is 10 %.")
    dynamic_band = _amount(initial="0.05", help_text="Fraction around the price a minute ago.")
    market_protection = _amount(initial="0.05", required=True, help_text="How far a market order may go from its reference.")
    halt_s = forms.IntegerField(
        min_value=1, max_value=DAY_S, initial=60, label="Halt (s)", help_text="Rest when a price left the dynamic band."
    )
    auction_s = forms.IntegerField(min_value=1, max_value=DAY_S, initial=60, label="Auction (s)", help_text="How long it collects orders.")
    resumes_by_auction = forms.BooleanField(
        required=False, label="Resumes by auction", help_text="When an operator resumes it after a halt."
    )
    opens_at = forms.TimeField(required=False, label="Opens at (UTC)", help_text="End of a daily opening auction; empty: there is none.")
    reference_price = _amount(help_text="For a symbol without a feed; does not age.")
    maker_fee = _amount(initial="0.001", required=True, help_text="Fraction: 0.001 is 0.1 %; negative is a rebate. Of orders to come.")
    taker_fee = _amount(initial="0.001", required=True)


class NewSymbolForm(RulesForm):
    base = forms.ChoiceField()
    quote = forms.ChoiceField()
    tick_size = _amount(required=True, help_text="Smallest step of the price; for ever.")
    lot_size = _amount(required=True, help_text="Smallest step of the quantity; for ever.")
    field_order = ("base", "quote", "tick_size", "lot_size")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("is_listed", "resumes_by_auction", "opens_at"):
            del self.fields[name]


class CreateSymbol(Operation):
    name, title, right, form = "create", "New symbol", RIGHT, NewSymbolForm

    def prepare(self, request: HttpRequest, form: forms.Form, row: Any) -> None:
        codes = [(code, code) for code in Asset.objects.order_by("code").values_list("code", flat=True)[:MANY]]
        for name in ("base", "quote"):
            field = form.fields[name]
            assert isinstance(field, forms.ChoiceField)
            field.choices = codes

    def run(self, request: HttpRequest, row: Any, asked: dict[str, Any]) -> str:
        made = services.create_symbol(actor=actor_of(request), **asked)
        return f"{made.name} is listed; a matching worker takes it up within a second or two."


class RulesChange(RulesForm, ReasonForm):
    maker_fee = None  # type: ignore[assignment]  # fees take a second person
    taker_fee = None  # type: ignore[assignment]
    field_order = (*RulesForm.base_fields, "reason")


class FeesForm(ReasonForm):
    maker_fee = _amount(required=True, help_text="Fraction: 0.001 is 0.1 %; negative is a rebate. Of orders to come.")
    taker_fee = _amount(required=True)
    field_order = ("maker_fee", "taker_fee", "reason")


class ChangeSymbolFees(Operation):
    name, title, right, form = "fees", "Change fees", RIGHT, FeesForm
    question = "Once a second person agrees, orders to come pay these; orders that were taken keep theirs."

    def initial(self, request: HttpRequest, row: Symbol) -> dict[str, Any]:
        return {name: services.plain_value(getattr(row, name)) for name in FEES}

    def run(self, request: HttpRequest, row: Symbol, asked: dict[str, Any]) -> str:
        payload = {"symbol": row.name, **{name: services.plain_value(asked[name]) for name in FEES}}
        return asked_for(request, kind=ChangeFees.kind, payload=payload, reason=asked["reason"])


class ChangeRules(Operation):
    name, title, right, form = "rules", "Change rules", RIGHT, RulesChange
    question = "Orders to come are checked by the new rules; open orders stay and keep their fees."

    def initial(self, request: HttpRequest, row: Symbol) -> dict[str, Any]:
        found = {name: getattr(row, name) for name in CHANGEABLE}
        return {name: services.plain_value(value) for name, value in found.items()}

    def run(self, request: HttpRequest, row: Symbol, asked: dict[str, Any]) -> str:
        reason = asked.pop("reason")
        changed = services.change_symbol(symbol_id=row.pk, changes=asked, actor=actor_of(request), reason=reason)
        return "The rules are changed." if changed else "Nothing was different, so nothing was changed."
