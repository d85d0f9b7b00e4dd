"""One box that finds anything: each room says what a text may mean to it, by index or not at all."""

from collections.abc import Callable
from dataclasses import dataclass

from django.http import HttpRequest


@dataclass(frozen=True, slots=True)
class Found:
    title: str
    what: str
    url: str


Finder = Callable[[HttpRequest, str], list[Found]]
_finders: list[Finder] = []


def add_finder(finder: Finder) -> None:
    if finder not in _finders:
        _finders.append(finder)


def find(request: HttpRequest, text: str) -> list[Found]:
    """Everything that the text names exactly or begins, in the order of the rooms."""
    return [found for finder in _finders for found in finder(request, text)]
