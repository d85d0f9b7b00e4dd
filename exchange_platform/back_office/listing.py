"""Lists of any length: newest first, a page at a time, from where the last one ended. Nothing is ever counted (decision 0016)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from django import forms
from django.db.models import QuerySet

PER_PAGE: Final = 50
ANY: Final = ("", "any")


@dataclass(frozen=True, slots=True)
class Column:
    """`cell` makes what is shown of a row; numbers stand on the right."""

    title: str
    cell: Callable[[Any], object]
    numeric: bool = False


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of rows. `older`: where the page after it begins, null on the last one. `note`: what else the reader must know."""

    rows: Sequence[Any]
    older: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows beside a page of facts, a cell per heading. `numeric`: columns by position. `more`: the list that has them all."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[object]]
    empty: str
    numeric: frozenset[int] = frozenset()
    more: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """A heading and what there is to know under it: (name, value)."""

    title: str
    facts: Sequence[tuple[str, object]] = field(default_factory=list)


class Filters(forms.Form):
    """What a list can be asked for. Every field is optional; `q` is whatever was typed into the search box."""

    q = forms.CharField(required=False, max_length=120, strip=True, label="Search")

    @property
    def question(self) -> dict[str, Any]:
        """Cleaned values of the fields that were filled in."""
        return {name: value for name, value in self.cleaned_data.items() if value not in (None, "")}


class DatedFilters(Filters):
    """With days in UTC, both inclusive."""

    start = forms.DateField(required=False, label="From", widget=forms.DateInput(attrs={"type": "date"}))
    end = forms.DateField(required=False, label="To", widget=forms.DateInput(attrs={"type": "date"}))


def choices(values: Sequence[str]) -> list[tuple[str, str]]:
    return [ANY, *((value, value.replace("_", " ")) for value in values)]


def bounds(question: dict[str, Any]) -> tuple[datetime | None, datetime | None]:
    """The first moment of the first day and the first one after the last day."""
    first, last = question.get("start"), question.get("end")
    return _midnight(first) if first else None, _midnight(last + timedelta(days=1)) if last and last < date.max else None


def newest(rows: "QuerySet[Any]", before: int | None, *, limit: int = PER_PAGE) -> Listed:
    """A page by primary key, newest first."""
    if before is not None:
        rows = rows.filter(pk__lt=before)
    return cut(list(rows.order_by("-pk")[: limit + 1]), limit=limit)


def cut(rows: Sequence[Any], *, limit: int = PER_PAGE) -> Listed:
    """A page of rows of which one more than fits was read."""
    return Listed(rows[:limit], str(rows[limit - 1].pk) if len(rows) > limit else None)


def whole_number(text: str | None) -> int | None:
    """A cursor or an id that somebody may have typed; null when it is none."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else None


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
