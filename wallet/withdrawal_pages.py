"""Withdrawals and their addresses as lists and pages."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.http import HttpRequest

from exchange_platform.back_office import show
from exchange_platform.back_office.base import Reader, as_uuid
from exchange_platform.back_office.listing import PER_PAGE, Column, Facts, Filters, Listed, Table, choices
from exchange_platform.back_office.operations import add_operation
from institutions.back_office import account_link, accounts_asked, accounts_by_id, audit_table, offer_institutions
from institutions.models import Account
from wallet import queries
from wallet.ledger import Asset
from wallet.models import Address, Withdrawal, WithdrawalState, WithdrawalStep
from wallet.operations import AddAddress, Adjust, Cancel, ChangeLimit, Complete, Correct, DenyAddress, Deposit, Fail, RemoveAddress
from wallet.withdrawals import subject_of


class WithdrawalFilters(Filters):
    institution = forms.ChoiceField(required=False)
    account = forms.CharField(required=False)
    status = forms.ChoiceField(required=False, choices=choices(WithdrawalState.values))


class AddressFilters(Filters):
    institution = forms.ChoiceField(required=False)
    account = forms.CharField(required=False)


@dataclass(frozen=True, slots=True)
class WithdrawalLine:
    """A withdrawal with its account (null: out of reach), asset and address."""

    withdrawal: Withdrawal
    account: Account | None
    asset: Asset
    to: str

    @property
    def pk(self) -> UUID:
        return self.withdrawal.pk

    @property
    def amount(self) -> str:
        return queries.amount_text(self.withdrawal.amount, self.asset.scale)


@dataclass(frozen=True, slots=True)
class AddressLine:
    address: Address
    account: Account | None
    asset: Asset

    @property
    def pk(self) -> UUID:
        return self.address.pk


def withdrawal_lines(rows: Sequence[Withdrawal]) -> list[WithdrawalLine]:
    names, assets = accounts_by_id(row.account_id for row in rows), queries.assets({row.asset_id for row in rows})
    found = Address.objects.using("tenant").filter(pk__in={row.address_id for row in rows}).values_list("pk", "address")
    addresses = dict(found)
    return [WithdrawalLine(row, names.get(row.account_id), assets[row.asset_id], addresses.get(row.address_id, "")) for row in rows]


def address_lines(rows: Sequence[Address]) -> list[AddressLine]:
    names, assets = accounts_by_id(row.account_id for row in rows), queries.assets({row.asset_id for row in rows})
    return [AddressLine(row, names.get(row.account_id), assets[row.asset_id]) for row in rows]


def _withdrawal_link(identity: UUID) -> object:
    return show.link(show.url_of("wallet.withdrawal", identity), show.short(identity))


class _MoneyAdmin(Reader):
    """Rows by UUID, of accounts in reach."""

    def prepare(self, request: HttpRequest, form: Filters) -> None:
        offer_institutions(form)

    def lines(self, rows: Sequence[Any]) -> Sequence[Any]:
        raise NotImplementedError

    def find(self, request: HttpRequest, question: dict[str, Any]) -> Listed:
        rows = self.rows(request)
        accounts = accounts_asked(request, {**question, "account": question.get("account") or question.get("q")})
        if accounts is not None:
            rows = rows.filter(account_id__in=accounts)
        if "status" in question:
            rows = rows.filter(state=question["status"])
        before = as_uuid(question.get("before"))
        if before is not None:
            rows = rows.filter(pk__lt=before)
        found = list(rows.order_by("-pk")[: PER_PAGE + 1])
        older = str(found[PER_PAGE - 1].pk) if len(found) > PER_PAGE else None
        return Listed(self.lines(found[:PER_PAGE]), older)

    def load(self, request: HttpRequest, object_id: str) -> Any:
        identity = as_uuid(object_id)
        rows: Iterable[Any] = [] if identity is None else self.rows(request).filter(pk=identity)
        return next(iter(self.lines(list(rows))), None)


@admin.register(Withdrawal)
class WithdrawalAdmin(_MoneyAdmin):
    filters = WithdrawalFilters
    empty = "Nothing has been withdrawn. Clients ask over the API, with a key that may withdraw."
    columns = (
        Column("Time (UTC)", lambda row: show.moment(row.withdrawal.created_at)),
        Column("Withdrawal", lambda row: _withdrawal_link(row.pk)),
        Column("Account", lambda row: account_link(row.account)),
        Column("Asset", lambda row: row.asset.code),
        Column("Amount", lambda row: row.amount, numeric=True),
        Column("Status", lambda row: show.badge(row.withdrawal.state)),
        Column("To", lambda row: row.to),
        Column("Reference", lambda row: row.withdrawal.reference or show.NOTHING),
    )
    operations = (Complete(), Fail(), Cancel())
    makers = (ChangeLimit(),)

    def lines(self, rows: Sequence[Any]) -> Sequence[WithdrawalLine]:
        return withdrawal_lines(rows)

    def facts(self, request: HttpRequest, row: WithdrawalLine) -> Sequence[Facts]:
        asked = row.withdrawal
        moved = None if asked.transfer_id is None else show.link(show.page_url_of("wallet_transfer", asked.transfer_id), asked.transfer_id)
        return [
            Facts(
                "Withdrawal",
                [
                    ("Status", show.badge(asked.state)),
                    ("Account", account_link(row.account)),
                    ("Amount", f"{row.amount} {row.asset.code}"),
                    ("To", show.link(show.url_of("wallet.address", asked.address_id), row.to)),
                    ("Approved by the limit", "yes" if asked.is_automatic else "no"),
                    ("Transfer", moved or show.NOTHING),
                    ("Reference", asked.reference or show.NOTHING),
                    ("Asked for", show.moment(asked.created_at)),
                    ("Id", show.code(asked.pk)),
                ],
            )
        ]

    def tables(self, request: HttpRequest, row: WithdrawalLine) -> Sequence[Table]:
        steps = WithdrawalStep.objects.using("tenant").filter(withdrawal_id=row.pk).order_by("pk")
        rows = [[show.moment(step.at), show.badge(step.to_state), step.actor, step.note] for step in steps]
        history = Table("History", ["Time (UTC)", "Became", "Who", "Note"], rows, "Nothing yet.")
        return [history, audit_table(request, subject_of(row.pk))]

    def title_of(self, row: WithdrawalLine) -> str:
        return f"{row.amount} {row.asset.code} to {row.to}"


@admin.register(Address)
class AddressAdmin(_MoneyAdmin):
    filters = AddressFilters
    plural = "Withdrawal addresses"
    empty = "No address is listed. Clients list theirs over the API; the page of an account does it too."
    columns = (
        Column("Listed (UTC)", lambda row: show.moment(row.address.added_at)),
        Column("Address", lambda row: show.link(show.url_of("wallet.address", row.pk), row.address.address)),
        Column("Account", lambda row: account_link(row.account)),
        Column("Asset", lambda row: row.asset.code),
        Column("Label", lambda row: row.address.label or show.NOTHING),
        Column("Usable from", lambda row: show.moment(row.address.usable_at)),
        Column("Removed", lambda row: show.moment(row.address.removed_at)),
    )
    operations = (RemoveAddress(),)
    makers = (DenyAddress(),)

    def lines(self, rows: Sequence[Any]) -> Sequence[AddressLine]:
        return address_lines(rows)

    def facts(self, request: HttpRequest, row: AddressLine) -> Sequence[Facts]:
        known = row.address
        return [
            Facts(
                "Address",
                [
                    ("Address", show.code(known.address)),
                    ("Label", known.label or show.NOTHING),
                    ("Account", account_link(row.account)),
                    ("Asset", row.asset.code),
                    ("Listed by", known.added_by),
                    ("Listed", show.moment(known.added_at)),
                    ("Usable from", show.moment(known.usable_at)),
                    ("Removed", show.moment(known.removed_at)),
                    ("Removed by", known.removed_by or show.NOTHING),
                ],
            )
        ]

    def title_of(self, row: AddressLine) -> str:
        return row.address.address


for _operation in (Deposit(), Adjust(), Correct(), AddAddress()):
    add_operation("institutions.account", _operation)
