"""Something that a person does to a row or makes anew: who may, what it will do, why, and then one call of a service."""

from collections.abc import Sequence
from typing import Any, ClassVar

from django import forms
from django.http import HttpRequest

from exchange_platform.back_office.listing import Facts, Table


class ReasonForm(forms.Form):
    """An operation that must be explained."""

    reason = forms.CharField(
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 2, "placeholder": "Kept in the audit trail"}),
        help_text="Say why, for whoever reads it in five years.",
    )


class Shown(dict[str, str]):
    """An answer that is shown once instead of being stored: name → value."""


class Operation:
    """Shown as a button to whoever has the right; asks its form and shows its effect before it runs.

    `form_for` and `effect` get the row (None when something is made anew).
    """

    name: ClassVar[str]
    title: ClassVar[str]
    right: ClassVar[str]
    question: ClassVar[str] = ""
    is_dangerous: ClassVar[bool] = False
    form: ClassVar[type[forms.Form]] = ReasonForm

    def is_offered(self, row: Any) -> bool:
        """Whether it makes sense for this row."""
        return True

    def initial(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        return {}

    def prepare(self, request: HttpRequest, form: forms.Form, row: Any) -> None:
        """Fill in choices that depend on who asks."""

    def effect(self, request: HttpRequest, row: Any) -> Sequence[Facts | Table]:
        """What will happen, as far as it is known now."""
        return []

    def run(self, request: HttpRequest, row: Any, asked: dict[str, Any]) -> str | Shown:
        """Do it; returns the sentence that confirms it. Raises: ExchangeError, ValueError: told beside the form."""
        raise NotImplementedError


_added: dict[str, list[Operation]] = {}


def add_operation(model: str, operation: Operation) -> None:
    """Upper rooms offer what they can do to the rows of lower ones. `model`: "app.model"."""
    if all(type(known) is not type(operation) for known in _added.setdefault(model, [])):
        _added[model].append(operation)


def added_operations(model: str) -> list[Operation]:
    return _added.get(model, [])


def actor_of(request: HttpRequest) -> str:
    """How the histories name this person: as the API does."""
    user: Any = request.user
    return f"user:{user.pk}:{user.get_username()}"[:80]
