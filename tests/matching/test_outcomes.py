"""docs/order-outcomes.md says what the books do."""

import pytest

from matching.core.book import Book
from matching.core.messages import BookLike
from tests.matching import outcomes
from tests.matching.naive_book import NaiveBook


@pytest.mark.parametrize("kind", [NaiveBook, Book], ids=["naive", "fast"])
def test_the_document_says_what_the_book_does(kind: type[BookLike], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes, "Book", kind)
    assert outcomes.document() == outcomes.DOCUMENT.read_text(), "python -m tests.matching.outcomes --write"


def test_intake_takes_what_the_document_plays_and_refuses_contradictions() -> None:
    taken = outcomes.taken(outcomes.TYPES)
    assert ("POST_ONLY", "IOC") not in taken
    assert ("MARKET by quote", "FOK") not in taken
    assert {kind for kind, _ in taken} == set(outcomes.TYPES)
    assert {time for _, time in taken} == set(outcomes.TIMES)
