"""An account's statement in the admin, as a list and as a file."""

from datetime import UTC, datetime
from typing import Any

from django import forms
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.html import format_html

from exchange_platform.back_office import show
from exchange_platform.back_office.listing import Column, DatedFilters, Listed, bounds
from exchange_platform.back_office.pages import Page, check
from exchange_platform.back_office.site import add_page
from exchange_platform.errors import ExchangeError
from institutions.back_office import accounts_asked, reach_of
from wallet.queries import amount_text, assets
from wallet.statements import Line, Statement, as_csv, file_name, statement

SHOWN = 500


class StatementFilters(DatedFilters):
    account = forms.CharField(required=False)


def _asked(request: HttpRequest, question: dict[str, Any]) -> Statement | None:
    """The statement of the account and days in question; null: no account of that name in reach. Raises: ExchangeError."""
    if not question.get("account"):
        return None
    accounts = accounts_asked(request, question)
    if not accounts:
        return None
    now = datetime.now(UTC)
    start, end = bounds(question)
    start = start or now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return statement(institution_id=reach_of(request), account_id=accounts[0], start=start, end=end or now, now=now)


def _text(line: Line, name: str) -> str:
    return amount_text(getattr(line, name), assets([line.asset_id])[line.asset_id].scale)


def _totals(found: Statement) -> list[tuple[str, str, str]]:
    """Asset, opening and closing."""
    known = assets({total.asset_id for total in found.totals})
    told = [(known[total.asset_id], total) for total in found.totals]
    return [(a.code, amount_text(total.opening, a.scale), amount_text(total.closing, a.scale)) for a, total in told]


class Statements(Page):
    title = "Statement"
    filters = StatementFilters
    empty = "Name an account, and days (UTC); without days: this month. What it owned, what moved, what it owned then."
    columns = (
        Column("Time (UTC)", lambda row: show.moment(row.at)),
        Column("Kind", lambda row: row.kind.replace("_", " ")),
        Column("Asset", lambda row: assets([row.asset_id])[row.asset_id].code),
        Column("Amount", lambda row: _text(row, "amount"), numeric=True),
        Column("Balance", lambda row: _text(row, "balance"), numeric=True),
        Column("Reference", lambda row: row.reference or show.NOTHING),
    )

    def find(self, request: HttpRequest, question: dict[str, Any]) -> Listed:
        try:
            found = _asked(request, question)
        except ExchangeError as refusal:
            return Listed([], note=refusal.message)
        if found is None:
            return Listed([])
        totals = "; ".join(f"{code}: {opening} → {closing}" for code, opening, closing in _totals(found))
        file = show.page_url("wallet_statement_csv", **{name: request.GET.get(name) or None for name in ("account", "start", "end")})
        more = f" The first {SHOWN} of {len(found.lines)} are shown." if len(found.lines) > SHOWN else ""
        return Listed(found.lines[:SHOWN], note=format_html('{}.{} <a class="bo-link" href="{}">As a file (CSV)</a>', totals, more, file))


def statement_csv(request: HttpRequest) -> HttpResponse:
    """The same as a file. Raises: Http404."""
    check(request, "back_office")
    form = StatementFilters(request.GET)
    try:
        found = _asked(request, form.question) if form.is_valid() else None
    except ExchangeError as refusal:
        raise Http404(refusal.message) from None
    if found is None:
        raise Http404("There is no such account, or not for you.")
    response = HttpResponse(as_csv(found), content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="{file_name(found)}"'
    return response


add_page("wallet/statements/", Statements(), "wallet_statements")
add_page("wallet/statements/csv/", statement_csv, "wallet_statement_csv")
