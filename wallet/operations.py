"""What staff can do to money in the admin: each asks its form and calls one service."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from django import forms
from django.http import HttpRequest

from exchange_platform.back_office.listing import Facts, Table
from exchange_platform.back_office.operations import Operation, ReasonForm, actor_of
from exchange_platform.db import plain_text
from institutions.asking import asked_for
from institutions.models import Account, AccountKind
from institutions.rights import Right
from wallet import addresses, withdrawals
from wallet.adjustments import Correction
from wallet.asking import Asked
from wallet.ledger import NotFound, asset_by_code
from wallet.models import WithdrawalState
from wallet.queries import transfers_by_ids
from wallet.services import REFERENCE_LENGTH, deposit
from wallet.withdrawal_requests import automatic_limit, lower_limit


def asked_by(request: HttpRequest) -> Asked:
    return Asked(actor=actor_of(request))


def _amount(**more: Any) -> forms.DecimalField:
    return forms.DecimalField(max_digits=38, decimal_places=18, widget=forms.TextInput, **more)


# -- to an account


class DepositForm(ReasonForm):
    asset = forms.CharField(max_length=12, help_text="Its code.")
    amount = _amount()
    reference = forms.CharField(max_length=REFERENCE_LENGTH, help_text="What the world outside calls it: it is credited once.")
    field_order = ("asset", "amount", "reference", "reason")


class Deposit(Operation):
    name, title, right, form = "deposit", "Deposit", Right.MOVE_MONEY, DepositForm
    question = "The account owns it from the moment this returns. A wrong one can only be reversed, by two people."

    def is_offered(self, row: Account) -> bool:
        return row.kind == AccountKind.CUSTOMER

    def run(self, request: HttpRequest, row: Account, asked: dict[str, Any]) -> str:
        asked["asset"] = asked["asset"].upper()
        made = deposit(account_id=row.pk, actor=actor_of(request), **asked)
        return "It was credited before, under this reference." if made.replay else f"{asked['amount']:f} {asked['asset']} credited."


class AdjustForm(ReasonForm):
    asset = forms.CharField(max_length=12, help_text="Its code.")
    amount = _amount(help_text="Below zero: taken from the account.")
    field_order = ("asset", "amount", "reason")


class Adjust(Operation):
    name, title, right, form, is_dangerous = "adjust", "Adjust", Right.MOVE_MONEY, AdjustForm, True
    question = "Once a second person agrees, the amount moves between the account and the house's account of adjustments."

    def is_offered(self, row: Account) -> bool:
        return row.kind == AccountKind.CUSTOMER

    def run(self, request: HttpRequest, row: Account, asked: dict[str, Any]) -> str:
        payload = {"account_id": row.pk, "asset": asked["asset"].upper(), "amount": plain_text(asked["amount"])}
        return asked_for(request, kind="wallet.adjustment", payload=payload, reason=asked["reason"])


class CorrectForm(ReasonForm):
    transfer_id = forms.UUIDField(label="Movement", help_text="The id of a deposit, withdrawal, transfer or adjustment of this account.")
    field_order = ("transfer_id", "reason")


class Correct(Operation):
    name, title, right, form, is_dangerous = "correct", "Reverse a movement", Right.MOVE_MONEY, CorrectForm, True
    question = "Once a second person agrees, the same amount moves the other way. A movement is reversed once."

    def is_offered(self, row: Account) -> bool:
        return row.kind == AccountKind.CUSTOMER

    def run(self, request: HttpRequest, row: Account, asked: dict[str, Any]) -> str:
        wanted: UUID = asked["transfer_id"]
        found = transfers_by_ids(institution_id=None, ids=[wanted])
        if not any(row.pk in (moved.debit_account_id, moved.credit_account_id) for moved in found):
            raise NotFound("This account has no such movement.", field="transfer_id")
        return asked_for(request, kind=Correction.kind, payload={"transfer_id": str(wanted)}, reason=asked["reason"])


class AddressForm(ReasonForm):
    asset = forms.CharField(max_length=12, help_text="Its code.")
    address = forms.CharField(max_length=addresses.ADDRESS_LENGTH)
    label = forms.CharField(max_length=80, required=False)
    field_order = ("asset", "address", "label", "reason")


class AddAddress(Operation):
    name, title, right, form = "address", "List an address", Right.EDIT_ADDRESSES, AddressForm
    question = "Money can be withdrawn to it after a time of waiting, so that somebody notices who should not have added it."

    def is_offered(self, row: Account) -> bool:
        return row.kind == AccountKind.CUSTOMER

    def run(self, request: HttpRequest, row: Account, asked: dict[str, Any]) -> str:
        asked.pop("reason")
        asked["asset"] = asked["asset"].upper()
        _, is_old = addresses.add_address(account_id=row.pk, asked=asked_by(request), **asked)
        return "It was listed before." if is_old else "The address is listed. It waits before money can be withdrawn to it."


# -- to an address


class RemoveAddress(Operation):
    name, title, right, is_dangerous = "remove", "Remove", Right.EDIT_ADDRESSES, True
    question = "No withdrawal to it can be asked for any more. Those that wait or are approved go on. Listed anew, it waits anew."

    def is_offered(self, row: Any) -> bool:
        return bool(row.address.removed_at is None)

    def run(self, request: HttpRequest, row: Any, asked: dict[str, Any]) -> str:
        addresses.remove_address(
            account_id=row.address.account_id, address_id=row.address.pk, asked=asked_by(request), reason=asked["reason"]
        )
        return "The address is removed."


class DenyForm(ReasonForm):
    address = forms.CharField(max_length=addresses.ADDRESS_LENGTH)
    field_order = ("address", "reason")


class DenyAddress(Operation):
    name, title, right, form, is_dangerous = "deny", "Deny an address", Right.FREEZE, DenyForm, True
    question = "Nobody lists it or withdraws to it any more, and withdrawals to it that wait cannot be approved."

    def run(self, request: HttpRequest, row: Any, asked: dict[str, Any]) -> str:
        is_new = addresses.deny_address(address=asked["address"], actor=actor_of(request), reason=asked["reason"])
        return "Nothing is withdrawn to it any more." if is_new else "It was denied before."


# -- to a withdrawal


class CompleteForm(ReasonForm):
    reference = forms.CharField(max_length=REFERENCE_LENGTH, help_text="What the world outside calls it: the transaction's id.")
    field_order = ("reference", "reason")


class _OfApproved(Operation):
    right = Right.MOVE_MONEY

    def is_offered(self, row: Any) -> bool:
        return bool(row.withdrawal.state == WithdrawalState.APPROVED)

    def effect(self, request: HttpRequest, row: Any) -> Sequence[Facts | Table]:
        return [Facts("", [("Account", row.account or "–"), ("Amount", f"{row.amount} {row.asset.code}"), ("Address", row.to)])]


class Complete(_OfApproved):
    name, title, form = "complete", "It was sent", CompleteForm
    question = "The hold becomes a transfer to the world outside. Only say so once it has been sent."

    def run(self, request: HttpRequest, row: Any, asked: dict[str, Any]) -> str:
        withdrawals.complete(withdrawal_id=row.pk, asked=asked_by(request), **asked)
        return "The withdrawal is completed."


class Fail(_OfApproved):
    name, title, is_dangerous = "fail", "It could not be sent", True
    question = "What was held is available again. Never say so of one that may have been sent."

    def run(self, request: HttpRequest, row: Any, asked: dict[str, Any]) -> str:
        withdrawals.fail(withdrawal_id=row.pk, asked=asked_by(request), reason=asked["reason"])
        return "The withdrawal has failed; its money is available again."


class Cancel(_OfApproved):
    name, title, is_dangerous = "cancel", "Cancel", True
    question = "What was held is available again. Never cancel one that may have been sent."

    def is_offered(self, row: Any) -> bool:
        return row.withdrawal.state in (WithdrawalState.REQUESTED, WithdrawalState.APPROVED)

    def run(self, request: HttpRequest, row: Any, asked: dict[str, Any]) -> str:
        withdrawals.cancel(withdrawal_id=row.pk, asked=asked_by(request), reason=asked["reason"], until_approved=False)
        return "The withdrawal is cancelled; its money is available again."


class LimitForm(ReasonForm):
    asset = forms.CharField(max_length=12, help_text="Its code.")
    automatic = _amount(min_value=0, label="Limit", help_text="What an account may withdraw within 24 hours without a person.")
    field_order = ("asset", "automatic", "reason")


class ChangeLimit(Operation):
    name, title, right, form = "limit", "Change an automatic limit", Right.EDIT_LIMITS, LimitForm
    question = "A lower one holds at once; a higher one once a second person agrees."

    def run(self, request: HttpRequest, row: Any, asked: dict[str, Any]) -> str:
        code, automatic = asked["asset"].upper(), Decimal(asked["automatic"])
        asset = asset_by_code(code)
        if automatic < automatic_limit(asset.id):
            lower_limit(asset=code, automatic=automatic, actor=actor_of(request), reason=asked["reason"])
            return f"More than {automatic:f} {code} within 24 hours takes a person now."
        payload = {"asset": code, "automatic": plain_text(automatic)}
        return asked_for(request, kind="withdrawal.limit", payload=payload, reason=asked["reason"])
