"""The ledger as a list, and the page of one transfer or of all transfers of a trade."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django import forms
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString

from exchange_platform.back_office import pages, show
from exchange_platform.back_office.base import as_uuid
from exchange_platform.back_office.listing import PER_PAGE, Column, DatedFilters, Facts, Filters, Listed, Table, bounds, choices
from exchange_platform.db import array
from institutions.back_office import accounts_asked, accounts_by_id, offer_institutions
from institutions.models import Account
from orders.rows import party, trade_link, trade_rows
from orders.search import Span, transfer_ids
from wallet.ledger import Asset
from wallet.models import TransferKind
from wallet.queries import TransferRow, amount_text, asset_id_of, assets

OF_TRADES: Final = frozenset({"TRADE", "MAKER_FEE", "TAKER_FEE"})
SCOPES: Final = ("deposit", "withdrawal", "transfer", "adjustment")  # of movements that carry a reference


class TransferFilters(DatedFilters):
    institution = forms.ChoiceField(required=False)
    account = forms.CharField(required=False)
    kind = forms.ChoiceField(required=False, choices=choices(TransferKind.values))
    asset = forms.CharField(required=False)


@dataclass(frozen=True, slots=True)
class Line:
    """A transfer with the names of its parties; null: out of reach."""

    transfer: TransferRow
    asset: Asset
    debit: Account | None
    credit: Account | None

    @property
    def amount(self) -> str:
        return amount_text(self.transfer.amount, self.asset.scale)

    @property
    def link(self) -> SafeString:
        return show.link(show.page_url_of("wallet_transfer", self.transfer.id), show.short(self.transfer.id))


class Transfers(pages.Page):
    title = "Transfers"
    filters = TransferFilters
    empty = "Nothing has moved yet. Deposits and trades write the ledger."
    columns = (
        Column("Time (UTC)", lambda row: show.moment(row.transfer.created_at)),
        Column("Transfer", lambda row: row.link),
        Column("Kind", lambda row: row.transfer.kind.replace("_", " ")),
        Column("From", lambda row: party(row.debit)),
        Column("To", lambda row: party(row.credit)),
        Column("Amount", lambda row: row.amount, numeric=True),
        Column("Asset", lambda row: row.asset.code),
        Column("Reference", lambda row: row.transfer.reference or show.NOTHING),
    )

    def prepare(self, request: HttpRequest, form: Filters) -> None:
        offer_institutions(form)

    def find(self, request: HttpRequest, question: dict[str, Any]) -> Listed:
        text = question.get("q")
        if text:
            named = ids_named(text)
            if named:
                return Listed(lines(transfers_in_reach(named)))
            question = {**question, "account": text}
        kinds = {question["kind"]} if "kind" in question else set()
        asset_id = asset_id_of(question["asset"].upper()) if "asset" in question else None
        if "asset" in question and asset_id is None:
            return Listed([])
        accounts = accounts_asked(request, question)
        start, end = bounds(question)
        span = Span.of(start, end, as_uuid(question.get("before")))
        page = transfer_ids(accounts=accounts, span=span, kinds=kinds, asset_id=asset_id, limit=PER_PAGE)
        mine = None if accounts is None else set(accounts)
        shown = [
            row
            for row in transfers_in_reach(page.ids)
            if (not kinds or row.kind in kinds)
            and (asset_id is None or row.asset_id == asset_id)
            and (mine is None or row.debit_account_id in mine or row.credit_account_id in mine)
        ]
        note = ""
        if accounts is not None and (kinds or asset_id) and page.older:
            note = f"Of {len(page.ids)} movements and trades these fit; go on to older ones for more."
        if page.looked_back_to:
            note = f"Looked back to {show.time_of(page.looked_back_to)} UTC; go on to older ones, or choose dates."
        return Listed(lines(shown), str(page.older) if page.older else None, note)


def transfer_page(request: HttpRequest, transfer_id: UUID) -> HttpResponse:
    """All legs of one id: a movement has one, a trade up to four."""
    pages.check(request, "back_office")
    found = lines(transfers_in_reach([transfer_id]))
    if not found:
        raise pages.missing("transfer")
    first = found[0].transfer
    about: list[tuple[str, object]] = [
        ("Id", show.code(first.id)),
        ("Time (UTC)", show.moment(first.created_at)),
        ("Reference", first.reference or show.NOTHING),
    ]
    if first.kind in OF_TRADES and trade_rows([transfer_id]):
        about.append(("Trade", trade_link(transfer_id)))
    return pages.detail(
        request, title=f"Transfer {first.kind.replace('_', ' ').lower()}", facts=[Facts("", about)], tables=[legs_table(found)]
    )


def legs_table(found: Sequence[Line], *, title: str = "Ledger") -> Table:
    rows = [
        [line.transfer.leg, line.transfer.kind.replace("_", " "), party(line.debit), party(line.credit), line.amount, line.asset.code]
        for line in found
    ]
    return Table(title, ["Leg", "Kind", "From", "To", "Amount", "Asset"], rows, "No transfer is in reach.", numeric=frozenset({4}))


def lines(transfers: Sequence[TransferRow]) -> list[Line]:
    """One statement, for the names."""
    names = accounts_by_id(account for row in transfers for account in (row.debit_account_id, row.credit_account_id))
    known = assets({row.asset_id for row in transfers})
    return [Line(row, known[row.asset_id], names.get(row.debit_account_id), names.get(row.credit_account_id)) for row in transfers]


def transfers_in_reach(ids: Iterable[UUID]) -> list[TransferRow]:
    """All legs of these ids, newest first, within the reader's scope. By primary key."""
    wanted = sorted(ids)
    if not wanted:
        return []
    with connections["tenant"].cursor() as cursor:
        cursor.execute(
            """SELECT id, leg, kind, asset_id, debit_account_id, credit_account_id, amount, reference, created_at FROM wallet_transfer
               WHERE id = ANY(%s::uuid[]) AND id >= %s AND id <= %s ORDER BY id DESC, leg""",
            [array(wanted), wanted[0], wanted[-1]],
        )
        return [TransferRow(*row) for row in cursor.fetchall()]


def ids_named(text: str) -> list[UUID]:
    """Transfers that a text names: by their id, or by the reference of a movement."""
    identity = as_uuid(text)
    if identity is not None:
        return [identity]
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT transfer_id FROM wallet_transferkey WHERE scope = ANY(%s) AND key = %s", [list(SCOPES), text])
        return [row[0] for row in cursor.fetchall()]
