"""Chance finds the cases nobody thought of: both books are told the same and must tell the same, event by event.

`MATCHING_SEQUENCES` sets how many random command sequences are played in all (10,000 unless set), in chunks of 500 that
test runners can spread over processes. Every sequence is known by its seed, which a failure names.
"""

import os
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from matching.core.messages import STATUSES
from tests.matching.side_by_side import ACCOUNTS, HIGHEST, LOWEST, Command, SideBySide, random_command

SEQUENCES = int(os.environ.get("MATCHING_SEQUENCES", "10000"))
CHUNK = 500


def play(seed: int) -> SideBySide:
    """The random sequence of this seed on both books."""
    rng, books = random.Random(seed), SideBySide()
    for number in range(rng.randint(1, 70)):
        books.give(random_command(rng, books, number))
    books.finish()
    return books


@pytest.mark.parametrize("first", range(0, SEQUENCES, CHUNK))
def test_random_sequences_end_alike(first: int) -> None:
    for seed in range(first, min(first + CHUNK, SEQUENCES)):
        try:
            play(seed)
        except AssertionError as error:
            error.add_note(f"sequence with seed {seed}")
            raise


def test_chance_meets_every_kind_of_event_and_every_reason() -> None:
    seen: set[str] = set()
    for seed in range(300):
        seen |= play(seed).seen
    assert seen == {
        "RESTED",
        "TRADE",
        "PREVENTED",
        "CANCELLED USER_CANCEL",
        "CANCELLED IOC_UNFILLED",
        "CANCELLED FOK_UNFILLABLE",
        "CANCELLED SELF_TRADE_PREVENTED",
        "CANCELLED SYMBOL_DELISTED",
        "REJECTED POST_ONLY_WOULD_TAKE",
        "REJECTED SYMBOL_POST_ONLY",
        "REJECTED SYMBOL_CANCEL_ONLY",
        "REJECTED SYMBOL_HALTED",
        "AMENDED True",
        "AMENDED False",
        "REFUSED AMEND_REFUSED",
        "REFUSED ORDER_NOT_OPEN",
        *(f"STATUS {status}" for status in STATUSES),
        "InvalidCommand",
    }


ids = st.integers(0, 15)
accounts = st.sampled_from(ACCOUNTS)
sides = st.integers(0, 1)
prices = st.integers(LOWEST, HIGHEST)
lots = st.integers(1, 9)
modes = st.integers(0, 3)

commands: st.SearchStrategy[Command] = st.one_of(
    st.tuples(st.just("place"), st.tuples(ids, accounts, sides, prices, lots, st.integers(0, 3), modes)),
    st.tuples(st.just("place"), st.tuples(ids, accounts, sides, prices, lots, st.just(0), modes)),
    st.tuples(st.just("place_by_budget"), st.tuples(ids, accounts, prices, st.integers(1, 2000), modes)),
    st.tuples(st.just("cancel"), st.tuples(ids, st.just("USER_CANCEL"))),
    st.tuples(st.just("amend"), st.tuples(ids, prices, st.integers(0, 12))),
    st.tuples(st.just("set_status"), st.tuples(st.sampled_from(("TRADING", *STATUSES)))),
    st.builds(
        lambda order_id, account, side, price, left, done, time_in_force, mode: (
            "restore",
            (order_id, account, side, price, left + done, left, time_in_force, mode),
        ),
        ids,
        accounts,
        sides,
        prices,
        lots,
        st.integers(0, 3),
        st.sampled_from((0, 3)),
        modes,
    ),
)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(commands, max_size=40))
def test_any_short_story_ends_alike(story: list[Command]) -> None:
    books = SideBySide()
    for command in story:
        books.give(command)
    books.finish()
