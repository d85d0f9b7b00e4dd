"""Every test that asks for a `book` runs with both books."""

import pytest

from matching.core.book import Book
from matching.core.messages import BookLike
from tests.matching.naive_book import NaiveBook


@pytest.fixture(params=[NaiveBook, Book], ids=["naive", "fast"])
def book(request: pytest.FixtureRequest) -> BookLike:
    """An empty book of each kind."""
    made: BookLike = request.param()
    return made
