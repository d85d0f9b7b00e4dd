"""Chance finds the cases nobody thought of: both books are told the same and must tell the same, event by event.

`MATCHING_SEQUENCES` sets how many random command sequences are played in all (10,000 unless set), in chunks of 500 that
test runners can spread over processes. Every sequence is known by its seed, which a failure names.
"""

import os
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from matching.core.messages import STATUSES, TRADING
from tests.matching.laws import Command
from tests.matching.side_by_side import ACCOUNTS, HIGHEST, LOWEST, NO_RANGE, SideBySide, random_command

SEQUENCES = int(os.environ.get("MATCHING_SEQUENCES", "10000"))
CHUNK = 500


def play(seed: int) -> SideBySide:
    """The random sequence of this seed on both books; every fourth begins with an auction."""
    rng, books = random.Random(seed), SideBySide()
    if seed % 4 == 0:
        books.give(("set_status", ("AUCTION",)))
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


def test_chance_meets_every_kind_of_event_every_reason_and_every_encounter() -> None:
    seen: set[str] = set()
    for seed in range(600):
        seen |= play(seed).seen
    assert seen - {"an uncross at two prices"} == {  # that one is rare
        "RESTED",
        "TRADE",
        "PREVENTED",
        "CANCELLED USER_CANCEL",
        "CANCELLED IOC_UNFILLED",
        "CANCELLED FOK_UNFILLABLE",
        "CANCELLED SELF_TRADE_PREVENTED",
        "CANCELLED SYMBOL_HALTED",
        "CANCELLED SYMBOL_DELISTED",
        "REJECTED POST_ONLY_WOULD_TAKE",
        "REJECTED ORDER_TYPE_NOT_ALLOWED",
        "REJECTED WOULD_TRIGGER_IMMEDIATELY",
        "REJECTED SYMBOL_POST_ONLY",
        "REJECTED SYMBOL_CANCEL_ONLY",
        "REJECTED SYMBOL_HALTED",
        "AMENDED True",
        "AMENDED False",
        "REFUSED AMEND_REFUSED",
        "REFUSED ORDER_NOT_OPEN",
        "WAITING",
        "TRIGGERED LAST",
        "TRIGGERED REFERENCE",
        "TRIGGERED and handed over",
        "AUCTIONED",
        *(f"STATUS {status} COMMAND" for status in STATUSES),
        "STATUS HALTED PRICE_BAND",
        "InvalidCommand",
        "recovered",
        "preventions before an uncross",
        "stops after an uncross",
        "a cascade",
        "a halt in a cascade",
    }


ids = st.integers(0, 15)
accounts = st.sampled_from(ACCOUNTS)
sides = st.integers(0, 1)
prices = st.integers(LOWEST, HIGHEST)
lots = st.integers(1, 9)
modes = st.integers(0, 3)
times_in_force = st.integers(0, 4)
conditions = st.tuples(prices, st.booleans(), st.integers(0, 1), st.booleans())

orders = st.tuples(ids, accounts, sides, prices, lots, st.one_of(st.just(0), times_in_force), modes)
stops = st.builds(lambda order, condition: (*order, *condition), orders, conditions)
restored = st.builds(
    lambda order, done, time_in_force: (*order[:4], order[4] + done, order[4], time_in_force, order[6]),
    orders,
    st.integers(0, 3),
    st.sampled_from((0, 3, 4)),
)

commands: st.SearchStrategy[Command] = st.one_of(
    st.tuples(st.just("place"), orders),
    st.tuples(st.just("place"), orders),
    st.tuples(st.just("place_stop"), stops),
    st.tuples(st.just("place_by_budget"), st.tuples(ids, accounts, prices, st.integers(1, 2000), modes)),
    st.tuples(st.just("cancel"), st.tuples(ids, st.just("USER_CANCEL"))),
    st.tuples(st.just("amend"), st.tuples(ids, prices, st.integers(0, 12))),
    st.tuples(st.just("set_status"), st.tuples(st.sampled_from((TRADING, *STATUSES)))),
    st.tuples(st.just("set_reference"), st.builds(lambda low, more: (low, low + more), prices, st.integers(0, 1))),
    st.tuples(st.just("set_range"), st.one_of(st.just(NO_RANGE), st.builds(lambda low, more: (low, low + more), prices, lots))),
    st.tuples(st.just("restore"), restored),
    st.tuples(st.just("restore_stop"), stops),
    st.just(("recover", ())),
)


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(commands, max_size=40))
def test_any_short_story_ends_alike(story: list[Command]) -> None:
    books = SideBySide()
    for command in story:
        books.give(command)
    books.finish()
