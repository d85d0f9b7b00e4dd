"""What staff can do to clients in the admin: each asks its form and calls one service."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.http import HttpRequest

from exchange_platform.back_office.listing import Facts, Table
from exchange_platform.back_office.operations import Operation, ReasonForm, Shown, actor_of
from institutions import changes, services
from institutions.asking import asked_for
from institutions.back_office import reach_of
from institutions.models import Account, AccountKind, Institution, KeyKind, PreventionMode, Role, User
from institutions.rights import Right

MANY = 2000


class Words(forms.CharField):
    """A list of words, one per line or with commas between."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, widget=forms.Textarea(attrs={"rows": 2}), **kwargs)

    def clean(self, value: Any) -> Any:
        return super().clean(value).replace(",", " ").split()


def _text(words: Sequence[str]) -> str:
    return "\n".join(words)


# -- institutions


class InstitutionForm(forms.Form):
    code = forms.SlugField(max_length=40, help_text="Short and for ever: lower-case letters, digits, hyphens.")
    name = forms.CharField(max_length=120)
    cors_origins = Words(label="CORS origins", help_text="Web pages that may call the API, one per line.")


class CreateInstitution(Operation):
    name, title, right, form = "create", "New institution", Right.EDIT_CLIENTS, InstitutionForm

    def run(self, request: HttpRequest, row: Any, asked: dict[str, Any]) -> str:
        made = services.create_institution(actor=actor_of(request), **asked)
        return f"Institution {made.code} is there. Next: make its accounts and people."


class InstitutionChange(ReasonForm):
    name = forms.CharField(max_length=120)
    cors_origins = Words(label="CORS origins")
    field_order = ("name", "cors_origins", "reason")


class ChangeInstitution(Operation):
    name, title, right, form = "change", "Change", Right.EDIT_CLIENTS, InstitutionChange

    def initial(self, request: HttpRequest, row: Institution) -> dict[str, Any]:
        return {"name": row.name, "cors_origins": _text(row.cors_origins)}

    def run(self, request: HttpRequest, row: Institution, asked: dict[str, Any]) -> str:
        reason = asked.pop("reason")
        changed = changes.change_institution(institution_id=row.pk, changes=asked, actor=actor_of(request), reason=reason)
        return "Changed." if changed else "Nothing was different, so nothing was changed."


class FreezeInstitution(Operation):
    name, title, right, is_dangerous = "freeze", "Freeze", Right.FREEZE, True
    question = (
        "No account of the institution can place an order any more, from the moment this returns. Cancels go on; open orders stay open."
    )

    def is_offered(self, row: Institution) -> bool:
        return not row.is_frozen

    def run(self, request: HttpRequest, row: Institution, asked: dict[str, Any]) -> str:
        services.freeze_institution(institution_id=row.pk, actor=actor_of(request), reason=asked["reason"])
        return f"{row.code} is frozen. Open orders are still open: cancel all, if they must not fill."


class UnfreezeInstitution(Operation):
    name, title, right = "unfreeze", "Unfreeze", Right.FREEZE
    question = "Once a second person agrees, its accounts can place orders again, unless they are frozen themselves."

    def is_offered(self, row: Institution) -> bool:
        return row.is_frozen

    def run(self, request: HttpRequest, row: Institution, asked: dict[str, Any]) -> str:
        return asked_for(request, kind="institution.unfreeze", payload={"id": row.pk}, reason=asked["reason"])


# -- accounts


class AccountForm(forms.Form):
    institution = forms.ChoiceField()
    name = forms.SlugField(max_length=60, help_text="Unique and for ever.")
    beneficial_owner = forms.CharField(max_length=120, required=False)
    self_trade_prevention = forms.ChoiceField(choices=PreventionMode.choices)


class CreateAccount(Operation):
    name, title, right, form = "create", "New account", Right.EDIT_CLIENTS, AccountForm

    def prepare(self, request: HttpRequest, form: forms.Form, row: Any) -> None:
        offer_tenants(request, form)

    def run(self, request: HttpRequest, row: Any, asked: dict[str, Any]) -> str:
        institution_id = int(asked.pop("institution"))
        made = services.create_account(institution_id=institution_id, actor=actor_of(request), **asked)
        return f"Account {made.name} is there."


class AccountChange(ReasonForm):
    beneficial_owner = forms.CharField(max_length=120, required=False)
    self_trade_prevention = forms.ChoiceField(choices=PreventionMode.choices, help_text="Of orders to come that do not say themselves.")
    field_order = ("beneficial_owner", "self_trade_prevention", "reason")


class ChangeAccount(Operation):
    name, title, right, form = "change", "Change", Right.EDIT_CLIENTS, AccountChange

    def initial(self, request: HttpRequest, row: Account) -> dict[str, Any]:
        return {"beneficial_owner": row.beneficial_owner, "self_trade_prevention": row.self_trade_prevention}

    def run(self, request: HttpRequest, row: Account, asked: dict[str, Any]) -> str:
        reason = asked.pop("reason")
        changed = changes.change_account(account_id=row.pk, changes=asked, actor=actor_of(request), reason=reason)
        return "Changed." if changed else "Nothing was different, so nothing was changed."


class FreezeAccount(Operation):
    name, title, right, is_dangerous = "freeze", "Freeze", Right.FREEZE, True
    question = "The account can place no order any more, from the moment this returns. Cancels go on; open orders stay open."

    def is_offered(self, row: Account) -> bool:
        return not row.is_frozen and row.kind == AccountKind.CUSTOMER

    def run(self, request: HttpRequest, row: Account, asked: dict[str, Any]) -> str:
        services.freeze_account(account_id=row.pk, actor=actor_of(request), reason=asked["reason"])
        return f"{row.name} is frozen. Open orders are still open: cancel all, if they must not fill."


class UnfreezeAccount(Operation):
    name, title, right = "unfreeze", "Unfreeze", Right.FREEZE
    question = "Once a second person agrees, the account can place orders again, unless its institution is frozen."

    def is_offered(self, row: Account) -> bool:
        return row.is_frozen

    def run(self, request: HttpRequest, row: Account, asked: dict[str, Any]) -> str:
        return asked_for(request, kind="account.unfreeze", payload={"id": row.pk}, reason=asked["reason"])


# -- people


class UserForm(forms.Form):
    username = forms.SlugField(max_length=150)
    password = forms.CharField(min_length=12, max_length=1000, widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}))
    role = forms.ChoiceField(choices=Role.choices)
    institution = forms.ChoiceField(required=False, help_text="None for staff of the platform.")
    email = forms.EmailField(required=False, label="E-mail")


class CreateUser(Operation):
    name, title, right, form = "create", "New person", Right.EDIT_CLIENTS, UserForm

    def prepare(self, request: HttpRequest, form: forms.Form, row: Any) -> None:
        offer_tenants(request, form)

    def run(self, request: HttpRequest, row: Any, asked: dict[str, Any]) -> str:
        institution = asked.pop("institution")
        made = services.create_user(institution_id=int(institution) if institution else None, actor=actor_of(request), **asked)
        return f"{made.username} can log in."


class UserChange(ReasonForm):
    first_name = forms.CharField(max_length=150, required=False)
    last_name = forms.CharField(max_length=150, required=False)
    email = forms.EmailField(required=False, label="E-mail")
    role = forms.ChoiceField(choices=Role.choices)
    is_active = forms.BooleanField(required=False, label="Can log in")
    field_order = ("first_name", "last_name", "email", "role", "is_active", "reason")


class ChangeUser(Operation):
    name, title, right, form = "change", "Change", Right.EDIT_CLIENTS, UserChange

    def initial(self, request: HttpRequest, row: User) -> dict[str, Any]:
        return {name: getattr(row, name) for name in ("first_name", "last_name", "email", "role", "is_active")}

    def run(self, request: HttpRequest, row: User, asked: dict[str, Any]) -> str:
        reason = asked.pop("reason")
        changed = changes.change_user(user_id=row.pk, changes=asked, actor=actor_of(request), reason=reason)
        return "Changed." if changed else "Nothing was different, so nothing was changed."


class PasswordForm(ReasonForm):
    password = forms.CharField(min_length=12, max_length=1000, widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}))
    field_order = ("password", "reason")


class SetPassword(Operation):
    name, title, right, form = "password", "Set password", Right.EDIT_CLIENTS, PasswordForm
    question = "The person is logged out everywhere in the admin."

    def run(self, request: HttpRequest, row: User, asked: dict[str, Any]) -> str:
        services.change_password(username=row.username, actor=actor_of(request), **asked)
        return f"{row.username} has a new password."


# -- API keys


class KeyForm(forms.Form):
    account = forms.ChoiceField(help_text="The account that signs with it, or any account of an institution.")
    kind = forms.ChoiceField(
        choices=KeyKind.choices, help_text="HMAC: the secret is made here and shown once. Ed25519: the client keeps its own."
    )
    public_key = forms.CharField(required=False, help_text="Ed25519 only: 32 raw bytes in base64.")
    scopes = forms.MultipleChoiceField(
        choices=[(scope, scope) for scope in ("read", "trade")],
        widget=forms.CheckboxSelectMultiple,
        initial=["read", "trade"],
        help_text="The scope withdraw comes later, with a second person.",
    )
    ip_allow_list = Words(label="Allowed addresses", help_text="Addresses or networks, one per line; none: from anywhere.")
    label = forms.CharField(max_length=80, required=False)


class CreateKey(Operation):
    name, title, right, form = "create", "New API key", Right.EDIT_KEYS, KeyForm

    def prepare(self, request: HttpRequest, form: forms.Form, row: Any) -> None:
        accounts = Account.objects.using("tenant").filter(kind=AccountKind.CUSTOMER).select_related("institution").order_by("name")[:MANY]
        institutions = Institution.objects.using("tenant").filter(is_house=False).order_by("code")[:MANY]
        field = form.fields["account"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [
            *((f"account:{a.pk}", f"{a.name} ({a.institution.code})") for a in accounts),
            *((f"institution:{i.pk}", f"any account of {i.code}") for i in institutions),
        ]

    def run(self, request: HttpRequest, row: Any, asked: dict[str, Any]) -> Shown:
        what, _, number = asked.pop("account").partition(":")  # one of the choices, so within reach
        account = Account.objects.using("tenant").get(pk=number) if what == "account" else None
        made = services.create_api_key(
            institution_id=account.institution_id if account else int(number),
            account_id=account.pk if account else None,
            actor=actor_of(request),
            **{**asked, "public_key": asked["public_key"] or None},
        )
        return Shown({"Key": made.key, "Secret": made.secret or "the client's own"})


class ScopesForm(ReasonForm):
    scopes = forms.MultipleChoiceField(
        choices=[(scope, scope) for scope in ("read", "trade", "withdraw")],
        widget=forms.CheckboxSelectMultiple,
        help_text="Withdraw needs a list of allowed addresses.",
    )
    field_order = ("scopes", "reason")


class ChangeKeyScopes(Operation):
    name, title, right, form = "scopes", "Change scopes", Right.EDIT_KEYS, ScopesForm
    question = "Once a second person agrees, requests signed with the key may do just this, from the next one on."

    def is_offered(self, row: Any) -> bool:
        return bool(row.is_active)

    def initial(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        return {"scopes": row.scopes}

    def run(self, request: HttpRequest, row: Any, asked: dict[str, Any]) -> str:
        return asked_for(request, kind="api_key.scopes", payload={"key": row.key, "scopes": asked["scopes"]}, reason=asked["reason"])


class RevokeKey(Operation):
    name, title, right, is_dangerous = "revoke", "Revoke", Right.EDIT_KEYS, True
    question = "The key opens nothing any more, for ever. Whoever trades with it needs a new one."

    def is_offered(self, row: Any) -> bool:
        return bool(row.is_active)

    def effect(self, request: HttpRequest, row: Any) -> Sequence[Facts | Table]:
        return [Facts("", [("Key", row.key), ("Account", row.account or "any of the institution"), ("Label", row.label)])]

    def run(self, request: HttpRequest, row: Any, asked: dict[str, Any]) -> str:
        services.revoke_api_key(key=row.key, actor=actor_of(request), reason=asked["reason"])
        return "The key is revoked."


def offer_tenants(request: HttpRequest, form: forms.Form) -> None:
    """Fill the choice `institution` with the tenants in reach, by id."""
    rows = Institution.objects.using("tenant").filter(is_house=False).order_by("code")
    field = form.fields["institution"]
    assert isinstance(field, forms.ChoiceField)
    none = [] if field.required or reach_of(request) is not None else [("", "none")]
    field.choices = [*none, *((str(i.pk), f"{i.code}: {i.name}") for i in rows[:MANY])]
