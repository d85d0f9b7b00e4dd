"""What pages of every room need of institutions and accounts: filters, names, links. Read as the tenants' role, so within reach."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django import forms
from django.http import HttpRequest
from django.utils.safestring import SafeString

from exchange_platform.back_office import show
from exchange_platform.back_office.listing import ANY, Table
from institutions.models import Account, AccountKind, AuditEntry, Institution
from institutions.rights import Right, may

MANY_INSTITUTIONS = 500
LATEST = 10


def institution_choices() -> list[tuple[str, str]]:
    found = Institution.objects.using("tenant").order_by("code").values_list("code", flat=True)[:MANY_INSTITUTIONS]
    return [ANY, *((code, code) for code in found)]


def offer_institutions(form: forms.Form) -> None:
    """Fill the filter `institution` with those in reach."""
    field = form.fields["institution"]
    assert isinstance(field, forms.ChoiceField)
    field.choices = institution_choices()


def reach_of(request: HttpRequest) -> int | None:
    """The institution that the person is bound to; null: staff of the platform, who see all."""
    found: int | None = getattr(request.user, "institution_id", None)
    return found


def accounts_asked(request: HttpRequest, question: Mapping[str, Any]) -> list[int] | None:
    """Ids of the accounts that the filters `account` (its whole name) and `institution` mean; null: all accounts of the platform.

    Somebody who is bound to an institution is always answered with a list.
    """
    institution, account = question.get("institution"), question.get("account")
    if not institution and not account and reach_of(request) is None:
        return None
    rows = Account.objects.using("tenant").order_by("pk")
    if institution:
        rows = rows.filter(institution__code=institution)
    if account:
        rows = rows.filter(name=account)
    return list(rows.values_list("pk", flat=True))


def accounts_by_id(ids: Iterable[int]) -> dict[int, Account]:
    """The accounts in reach, with their institutions. One statement."""
    wanted = set(ids)
    if not wanted:
        return {}
    return {account.pk: account for account in Account.objects.using("tenant").select_related("institution").filter(pk__in=wanted)}


def account_link(account: Account | None) -> SafeString:
    """Its name; whose account it is stays untold when it is out of reach."""
    return show.NOTHING if account is None else show.link(show.url_of("institutions.account", account.pk), account.name)


def institution_link(institution: Institution | None) -> SafeString:
    return show.NOTHING if institution is None else show.link(show.url_of("institutions.institution", institution.pk), institution.code)


def customers(name: str) -> Sequence[Account]:
    """Trading accounts whose name begins so."""
    return list(Account.objects.using("tenant").filter(kind=AccountKind.CUSTOMER, name__startswith=name).order_by("name")[:LATEST])


def audit_table(request: HttpRequest, subject: str) -> Table:
    """The latest entries about a subject, for those who may read them."""
    title = "Audit trail"
    if not may(request.user, Right.READ_AUDIT):
        return Table(title, [], [], "Changes are kept in the audit trail, which staff of the platform read.")
    entries = AuditEntry.objects.filter(subject=subject).order_by("-pk")[:LATEST]
    rows = [
        [show.moment(e.at), show.link(show.url_of("institutions.auditentry", e.pk), e.action), e.actor, e.reason, changed(e)]
        for e in entries
    ]
    more = show.list_url("institutions.auditentry", subject=subject)
    return Table(title, ["Time (UTC)", "Action", "Who", "Why", "Change"], rows, "Nothing has been done to it since it was made.", more=more)


def changed(entry: AuditEntry) -> str:
    """Before and after in a line."""
    before, after = entry.before or {}, entry.after or {}
    told = [
        f"{name}: {before[name]} → {value}" if name in before else f"{name}: {value}"
        for name, value in after.items()
        if name in before or value not in (None, "", [])
    ]
    return ", ".join(told)[:200]
