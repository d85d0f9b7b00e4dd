"""The table of legal moves as such; that the database holds the same one is tested in `tests.database.test_moves`."""

import pytest

from orders.lifecycle import BEGINNINGS, LEGAL_MOVES, OPEN_STATUSES, REASONS, TERMINAL, Status, is_legal


def test_the_table_knows_every_status() -> None:
    assert set(LEGAL_MOVES) == set(Status)


def test_a_status_is_either_open_or_an_end() -> None:
    assert set(Status) == TERMINAL | OPEN_STATUSES
    assert not TERMINAL & OPEN_STATUSES


@pytest.mark.parametrize("status", Status)
def test_exactly_the_ends_lead_nowhere(status: Status) -> None:
    assert (LEGAL_MOVES[status] == frozenset()) == (status in TERMINAL)


def test_moves_of_one_batch_can_be_settled_as_one() -> None:
    """If a can become b and b can become c, a can become c: the table is closed under composition."""
    for before, betweens in LEGAL_MOVES.items():
        for between in betweens:
            assert LEGAL_MOVES[between] <= LEGAL_MOVES[before], f"{before} to {between} and on"


def test_no_order_ever_comes_back_to_where_it_was() -> None:
    """With closure, no status reaching itself means there is no circle: a history has an end, and each status at most once."""
    for status in Status:
        assert status not in LEGAL_MOVES[status]


def test_every_status_can_be_reached_from_intake() -> None:
    assert frozenset().union(*(LEGAL_MOVES[beginning] for beginning in BEGINNINGS)) | BEGINNINGS == set(Status)


def test_every_open_order_can_be_filled_cancelled_and_can_expire() -> None:
    for status in OPEN_STATUSES:
        assert LEGAL_MOVES[status] >= {Status.FILLED, Status.CANCELLED, Status.EXPIRED}


def test_what_has_traded_or_rested_is_never_rejected() -> None:
    assert [status for status in Status if Status.REJECTED in LEGAL_MOVES[status]] == [
        Status.PENDING,
        Status.PENDING_TRIGGER,
        Status.TRIGGERED,
    ]


def test_a_partly_filled_order_never_looks_untouched_again() -> None:
    assert LEGAL_MOVES[Status.PARTIALLY_FILLED] <= TERMINAL


@pytest.mark.parametrize(
    ("before", "after", "legal"),
    [
        (None, Status.PENDING, True),
        (None, Status.REJECTED, True),
        (None, Status.OPEN, False),
        (None, Status.FILLED, False),
        (Status.PENDING, Status.FILLED, True),
        (Status.OPEN, Status.PENDING, False),
        (Status.OPEN, Status.REJECTED, False),
        (Status.CANCELLED, Status.FILLED, False),
        (Status.PENDING_TRIGGER, Status.TRIGGERED, True),
        (Status.OPEN, Status.TRIGGERED, False),
    ],
)
def test_single_moves(before: Status | None, after: Status, legal: bool) -> None:
    assert is_legal(before, after) is legal


def test_reasons_are_words_that_the_column_can_hold() -> None:
    assert len(REASONS) == 15
    assert all(len(reason) <= 32 and reason == reason.upper() for reason in REASONS)
