"""Pages of institutions, accounts, people, API keys and the audit trail."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.models import Group
from django.http import HttpRequest

from exchange_platform.back_office import show
from exchange_platform.back_office.base import Reader, as_uuid
from exchange_platform.back_office.finding import Found, add_finder
from exchange_platform.back_office.listing import (
    ANY,
    Column,
    DatedFilters,
    Facts,
    Filters,
    Listed,
    Table,
    bounds,
    choices,
    newest,
    whole_number,
)
from institutions import dead_letters, operations, request_pages
from institutions.back_office import account_link, audit_table, changed, institution_link, offer_institutions, reach_of
from institutions.models import Account, AccountKind, ApiKey, AuditEntry, Institution, Role, User

admin.site.unregister(Group)  # rights follow from the role, never from a group

NEVER = 2**62
FROZEN = [ANY, ("yes", "frozen"), ("no", "not frozen")]


class ClientFilters(Filters):
    institution = forms.ChoiceField(required=False)


class InstitutionFilters(Filters):
    frozen = forms.ChoiceField(required=False, choices=FROZEN)


class AccountFilters(ClientFilters):
    kind = forms.ChoiceField(required=False, choices=choices(AccountKind.values))
    frozen = forms.ChoiceField(required=False, choices=FROZEN)


class UserFilters(ClientFilters):
    role = forms.ChoiceField(required=False, choices=choices(Role.values))


class KeyFilters(ClientFilters):
    state = forms.ChoiceField(required=False, choices=[ANY, ("active", "active"), ("revoked", "revoked")])


class AuditFilters(DatedFilters):
    actor = forms.CharField(required=False, label="Who")
    action = forms.CharField(required=False)
    subject = forms.CharField(required=False, label="To what")


class ClientReader(Reader):
    """Of rows that belong to an institution and are not under row-level security: bound to it here."""

    alias = "default"
    filters = ClientFilters

    def rows(self, request: HttpRequest) -> Any:
        found, institution_id = super().rows(request), reach_of(request)
        return found if institution_id is None else found.filter(institution_id=institution_id)

    def prepare(self, request: HttpRequest, form: Filters) -> None:
        offer_institutions(form)


def _frozen(rows: Any, question: dict[str, Any]) -> Any:
    return rows.filter(is_frozen=question["frozen"] == "yes") if "frozen" in question else rows


def _by_institution(rows: Any, question: dict[str, Any]) -> Any:
    return rows.filter(institution__code=question["institution"]) if "institution" in question else rows


@admin.register(Institution)
class InstitutionAdmin(Reader):
    filters = InstitutionFilters
    columns = (
        Column("Code", institution_link),
        Column("Name", lambda row: row.name),
        Column("State", lambda row: show.badge("frozen" if row.is_frozen else "active")),
        Column("House", lambda row: show.yes(row.is_house, "house")),
        Column("Created (UTC)", lambda row: show.moment(row.created_at)),
    )
    makers = (operations.CreateInstitution(),)
    operations = (operations.ChangeInstitution(), operations.FreezeInstitution(), operations.UnfreezeInstitution())

    def find(self, request: HttpRequest, question: dict[str, Any]) -> Listed:
        rows = _frozen(self.rows(request), question)
        if "q" in question:
            rows = rows.filter(code__startswith=question["q"].lower()) | rows.filter(name__startswith=question["q"])
        return newest(rows, whole_number(question.get("before")))

    def facts(self, request: HttpRequest, row: Institution) -> Sequence[Facts]:
        state = show.badge("frozen" if row.is_frozen else "active")
        lists = [
            ("Accounts", show.link(show.list_url("institutions.account", institution=row.code), "its accounts")),
            ("People", show.link(show.list_url("institutions.user", institution=row.code), "its people")),
            ("API keys", show.link(show.list_url("institutions.apikey", institution=row.code), "its keys")),
            ("Orders", show.link(show.list_url("orders.order", institution=row.code), "its orders")),
            ("Trades", show.link(show.list_url("orders.trade", institution=row.code), "its trades")),
            ("Balances", show.link(show.page_url("wallet_balances", institution=row.code), "its balances")),
        ]
        origins = ", ".join(row.cors_origins) or "none"
        about = [("Code", row.code), ("Name", row.name), ("State", state), ("House", show.yes(row.is_house, "house"))]
        return [
            Facts("Institution", [*about, ("CORS origins", origins), ("Created (UTC)", show.moment(row.created_at))]),
            Facts("Go to", lists),
        ]

    def title_of(self, row: Institution) -> str:
        return f"Institution {row.code}"

    def tables(self, request: HttpRequest, row: Institution) -> Sequence[Table]:
        return [audit_table(request, f"institution:{row.code}")]


@admin.register(Account)
class AccountAdmin(Reader):
    filters = AccountFilters
    related = ("institution",)
    columns = (
        Column("Account", account_link),
        Column("Institution", lambda row: institution_link(row.institution)),
        Column("Kind", lambda row: row.kind),
        Column("State", lambda row: show.badge("frozen" if row.is_frozen else "active")),
        Column("Beneficial owner", lambda row: row.beneficial_owner or show.NOTHING),
        Column("Created (UTC)", lambda row: show.moment(row.created_at)),
    )
    makers = (operations.CreateAccount(),)
    operations = (operations.ChangeAccount(), operations.FreezeAccount(), operations.UnfreezeAccount())

    def prepare(self, request: HttpRequest, form: Filters) -> None:
        offer_institutions(form)

    def find(self, request: HttpRequest, question: dict[str, Any]) -> Listed:
        rows = _frozen(_by_institution(self.rows(request), question), question)
        if "kind" in question:
            rows = rows.filter(kind=question["kind"])
        if "q" in question:
            rows = rows.filter(name__startswith=question["q"].lower()) | rows.filter(beneficial_owner__startswith=question["q"])
        return newest(rows, whole_number(question.get("before")))

    def facts(self, request: HttpRequest, row: Account) -> Sequence[Facts]:
        about = [
            ("Name", row.name),
            ("Institution", institution_link(row.institution)),
            ("Kind", row.kind),
            ("State", show.badge("frozen" if row.is_frozen else "active")),
            ("Beneficial owner", row.beneficial_owner or show.NOTHING),
            ("Self-trade prevention", row.self_trade_prevention.replace("_", " ").lower()),
            ("Created (UTC)", show.moment(row.created_at)),
            ("Id", row.pk),
        ]
        return [Facts("Account", about), Facts("Go to", _account_lists(row))]

    def title_of(self, row: Account) -> str:
        return f"Account {row.name}"

    def tables(self, request: HttpRequest, row: Account) -> Sequence[Table]:
        return [audit_table(request, f"account:{row.name}")]


def _account_lists(row: Account) -> list[tuple[str, object]]:
    return [
        ("Orders", show.link(show.list_url("orders.order", account=row.name), "all its orders")),
        ("Trades", show.link(show.list_url("orders.trade", account=row.name), "all its trades")),
        ("Transfers", show.link(show.page_url("wallet_transfers", account=row.name), "all its transfers")),
        ("API keys", show.link(show.list_url("institutions.apikey", q=row.name), "its keys")),
        ("Limits", show.link(show.list_url("risk.limit", account=row.name), "limits of its own")),
    ]


@admin.register(User)
class UserAdmin(ClientReader):
    plural = "People"
    filters = UserFilters
    related = ("institution",)
    columns = (
        Column("Username", lambda row: show.link(show.url_of("institutions.user", row.pk), row.username)),
        Column("Role", lambda row: row.role.replace("_", " ")),
        Column("Institution", lambda row: institution_link(row.institution)),
        Column("State", lambda row: show.badge("active" if row.is_active else "deactivated")),
        Column("E-mail", lambda row: row.email or show.NOTHING),
        Column("Last log-in here (UTC)", lambda row: show.moment(row.last_login)),
    )
    makers = (operations.CreateUser(),)
    operations = (operations.ChangeUser(), operations.SetPassword())

    def find(self, request: HttpRequest, question: dict[str, Any]) -> Listed:
        rows = _by_institution(self.rows(request), question)
        if "role" in question:
            rows = rows.filter(role=question["role"])
        if "q" in question:
            rows = rows.filter(username__startswith=question["q"]) | rows.filter(email=question["q"])
        return newest(rows, whole_number(question.get("before")))

    def facts(self, request: HttpRequest, row: User) -> Sequence[Facts]:
        about = [
            ("Username", row.username),
            ("Name", row.get_full_name() or show.NOTHING),
            ("E-mail", row.email or show.NOTHING),
            ("Role", row.role.replace("_", " ")),
            ("Institution", institution_link(row.institution)),
            ("State", show.badge("active" if row.is_active else "deactivated")),
            ("Since (UTC)", show.moment(row.date_joined)),
            ("Last log-in here (UTC)", show.moment(row.last_login)),
        ]
        return [Facts("Person", about)]

    def title_of(self, row: User) -> str:
        return f"Person {row.username}"

    def tables(self, request: HttpRequest, row: User) -> Sequence[Table]:
        return [audit_table(request, f"user:{row.username}")]


@admin.register(ApiKey)
class ApiKeyAdmin(ClientReader):
    """The secret is never read here: it is encrypted, and was shown once when the key was made."""

    plural = "API keys"
    filters = KeyFilters
    related = ("institution", "account")
    columns = (
        Column("Key", lambda row: show.link(show.url_of("institutions.apikey", row.pk), show.code(row.key))),
        Column("Account", lambda row: account_link(row.account) if row.account_id else "any of the institution"),
        Column("Institution", lambda row: institution_link(row.institution)),
        Column("Kind", lambda row: row.kind),
        Column("Scopes", lambda row: ", ".join(row.scopes)),
        Column("State", lambda row: show.badge("active" if row.is_active else "revoked")),
        Column("Limits", lambda row: show.yes(row.is_unlimited, "unlimited")),
        Column("Label", lambda row: row.label or show.NOTHING),
    )
    makers = (operations.CreateKey(),)
    operations = (operations.ChangeKeyScopes(), operations.RevokeKey())

    def rows(self, request: HttpRequest) -> Any:
        return super().rows(request).defer("secret", "public_key")

    def find(self, request: HttpRequest, question: dict[str, Any]) -> Listed:
        rows = _by_institution(self.rows(request), question)
        if "state" in question:
            rows = rows.filter(is_active=question["state"] == "active")
        if "q" in question:
            rows = rows.filter(key=question["q"]) | rows.filter(account__name=question["q"]) | rows.filter(label=question["q"])
        return newest(rows, whole_number(question.get("before")))

    def facts(self, request: HttpRequest, row: ApiKey) -> Sequence[Facts]:
        about = [
            ("Key", show.code(row.key)),
            ("Secret", "shown once when the key was made" if row.kind == "hmac" else "the client's own"),
            ("Kind", row.kind),
            ("Institution", institution_link(row.institution)),
            ("Account", account_link(row.account) if row.account_id else "any of the institution"),
            ("Scopes", ", ".join(row.scopes)),
            ("Allowed addresses", ", ".join(row.ip_allow_list) or "from anywhere"),
            ("Limits", show.badge("unlimited") if row.is_unlimited else "the ordinary ones"),
            ("State", show.badge("active" if row.is_active else "revoked")),
            ("Label", row.label or show.NOTHING),
            ("Created (UTC)", show.moment(row.created_at)),
        ]
        return [Facts("API key", about)]

    def tables(self, request: HttpRequest, row: ApiKey) -> Sequence[Table]:
        return [audit_table(request, f"api_key:{row.key}")]

    def title_of(self, row: ApiKey) -> str:
        return f"API key {row.key}"


@admin.register(AuditEntry)
class AuditAdmin(Reader):
    plural = "Audit trail"
    read_right = "read_audit"
    alias = "default"
    filters = AuditFilters
    columns = (
        Column("Time (UTC)", lambda row: show.link(show.url_of("institutions.auditentry", row.pk), show.moment(row.at))),
        Column("Who", lambda row: row.actor),
        Column("Action", lambda row: row.action),
        Column("To what", lambda row: row.subject),
        Column("Why", lambda row: row.reason or show.NOTHING),
        Column("Change", changed),
        Column("From", lambda row: row.ip or show.NOTHING),
    )

    def find(self, request: HttpRequest, question: dict[str, Any]) -> Listed:
        rows = self.rows(request)
        for name in ("actor", "action", "subject"):
            if name in question:
                rows = rows.filter(**{name: question[name]})
        if "q" in question:
            rows = rows.filter(request_id=question["q"]) | rows.filter(subject=question["q"]) | rows.filter(actor=question["q"])
        start, end = bounds(question)
        if start:
            rows = rows.filter(at__gte=start, pk__gte=_number_at(start) - OUT_OF_ORDER)
        if end:
            rows = rows.filter(at__lt=end, pk__lt=_number_at(end) + OUT_OF_ORDER)
        return newest(rows, whole_number(question.get("before")))

    def facts(self, request: HttpRequest, row: AuditEntry) -> Sequence[Facts]:
        what = [("Who", row.actor), ("Action", row.action), ("To what", _lead(row.subject)), ("Why", row.reason or show.NOTHING)]
        where = [
            ("Time (UTC)", show.moment(row.at)),
            ("From", row.ip or show.NOTHING),
            ("Agent", row.user_agent or show.NOTHING),
            ("Request", show.code(row.request_id)),
            ("Number", row.pk),
        ]
        return [Facts("What", what), Facts("When and where", where)]

    def tables(self, request: HttpRequest, row: AuditEntry) -> Sequence[Table]:
        before, after = row.before or {}, row.after or {}
        rows = [[name, _told(before, name), _told(after, name)] for name in sorted({*before, *after})]
        return [Table("Change", ["What", "Before", "After"], rows, "The entry says no more than its action.")]

    def title_of(self, row: AuditEntry) -> str:
        return f"Audit entry {row.pk}: {row.action}"


def _lead(subject: str) -> object:
    """To what an entry is about, by the box that finds anything."""
    return show.link(show.page_url("find", q=subject.partition(" ")[0].partition(":")[2] or subject), subject)


def _told(values: dict[str, Any], name: str) -> object:
    value = values.get(name)
    if isinstance(value, str) and as_uuid(value):
        return show.link(show.page_url("find", q=value), show.code(value))
    return show.NOTHING if value is None else value if isinstance(value, str) else show.data(value)


OUT_OF_ORDER = 1_000  # entries written at the same time may have got their numbers the other way round


def _number_at(moment: datetime) -> int:
    """The number of the first entry from that moment on: lists go by number, so days become numbers."""
    rows = AuditEntry.objects.filter(at__gte=moment).order_by("at").values_list("pk", flat=True)
    return rows.first() or NEVER


def find_clients(request: HttpRequest, text: str) -> list[Found]:
    """Institutions and accounts by how they begin, people and keys; requests by their id."""
    small = text.lower()
    found = [
        Found(i.code, f"institution {i.name}", show.url_of("institutions.institution", i.pk))
        for i in Institution.objects.using("tenant").filter(code__startswith=small).order_by("code")[:5]
    ]
    found += [
        Found(a.name, "account", show.url_of("institutions.account", a.pk))
        for a in Account.objects.using("tenant").filter(name__startswith=small).order_by("name")[:10]
    ]
    bound = reach_of(request)
    within = {} if bound is None else {"institution_id": bound}
    found += [
        Found(u.username, u.role.replace("_", " "), show.url_of("institutions.user", u.pk))
        for u in User.objects.filter(username__startswith=text, **within).order_by("username")[:5]
    ]
    found += [
        Found(k.key, "API key", show.url_of("institutions.apikey", k.pk)) for k in ApiKey.objects.filter(key=text, **within).only("key")
    ]
    if request.user.has_perm("read_audit"):
        found += [
            Found(f"{e.action} {e.subject}", f"audit entry of {e.actor}", show.url_of("institutions.auditentry", e.pk))
            for e in AuditEntry.objects.filter(request_id=text).order_by("-pk")[:5]
        ]
    return found


add_finder(find_clients)


dead_letters.register()

__all__ = ["request_pages"]  # registers its page
