"""A command that intake should never have let through raises, changes nothing and tells nothing."""

from collections.abc import Callable
from typing import Any

import pytest

from matching.core.messages import BUY, MAX_LOTS, MAX_TICKS, SELL, BookLike, InvalidCommand
from tests.matching.tables import standing

PLACE = {"order_id": "new", "account_id": "ann", "side": BUY, "price": 100, "lots": 5, "time_in_force": 0, "prevention": 0}
BUDGET = {"order_id": "new", "account_id": "ann", "price": 100, "budget": 500, "prevention": 0}
AMEND = {"order_id": "b1", "price": 100, "total": 5}
RESTORE = {
    "order_id": "new",
    "account_id": "ann",
    "side": BUY,
    "price": 100,
    "total": 5,
    "left": 3,
    "time_in_force": 0,
    "prevention": 0,
}

STOP = PLACE | {"stop": 103, "rising": True, "source": 0}

BAD_PRICES = (0, -1, MAX_TICKS + 1)
BAD_LOTS = (0, -1, MAX_LOTS + 1)

CASES: list[tuple[str, str, dict[str, Any]]] = [
    *((f"place with {name} {value}", "place", PLACE | {name: value}) for name, values in (
        ("side", (-1, 2)),
        ("price", BAD_PRICES),
        ("lots", BAD_LOTS),
        ("time_in_force", (-1, 5)),
        ("prevention", (-1, 4)),
        ("order_id", ("b1", "s1", "t1")),
    ) for value in values),
    *((f"place_by_budget with {name} {value}", "place_by_budget", BUDGET | {name: value}) for name, values in (
        ("price", BAD_PRICES),
        ("budget", (0, -1, MAX_TICKS * MAX_LOTS + 1)),
        ("prevention", (-1, 4)),
        ("order_id", ("b1", "s1", "t1")),
    ) for value in values),
    *((f"amend with {name} {value}", "amend", AMEND | {name: value}) for name, values in (
        ("price", BAD_PRICES),
        ("total", (-1, MAX_LOTS + 1)),
    ) for value in values),
    *((f"restore with {name} {value}", "restore", RESTORE | {name: value}) for name, values in (
        ("side", (-1, 2)),
        ("price", BAD_PRICES),
        ("total", BAD_LOTS),
        ("left", (0, -1, 6)),
        ("time_in_force", (-1, 5)),
        ("prevention", (-1, 4)),
        ("order_id", ("b1", "s1", "t1")),
    ) for value in values),
    *((f"{method} with {name} {value}", method, STOP | {name: value}) for method in ("place_stop", "restore_stop") for name, values in (
        ("side", (-1, 2)),
        ("price", BAD_PRICES),
        ("lots", BAD_LOTS),
        ("time_in_force", (-1, 5)),
        ("prevention", (-1, 4)),
        ("stop", BAD_PRICES),
        ("source", (-1, 2)),
        ("order_id", ("b1", "s1", "t1")),
    ) for value in values),
    *((f"set_reference with {low} and {high}", "set_reference", {"low": low, "high": high}) for low, high in (
        (0, 0),
        (0, 1),
        (-1, -1),
        (101, 100),
        (100, 102),
        (MAX_TICKS, MAX_TICKS + 1),
    )),
    *((f"set_range with {low} and {high}", "set_range", {"low": low, "high": high}) for low, high in ((-1, 5), (6, 5))),
    *((f"set_status with {status!r}", "set_status", {"status": status}) for status in ("", "trading", "OPEN")),
]  # fmt: skip


@pytest.mark.parametrize("status", ["TRADING", "HALTED", "AUCTION"])
@pytest.mark.parametrize(("method", "arguments"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_an_invalid_command_changes_nothing(book: BookLike, method: str, arguments: dict[str, Any], status: str) -> None:
    book.restore("b1", "ann", BUY, 100, 5, 3, 0, 0)
    book.restore("s1", "bob", SELL, 102, 4, 4, 0, 0)
    book.restore_stop("t1", "cid", SELL, 90, 5, 0, 0, 91, False, 0)
    book.set_status(status)
    book.events.clear()
    before, reference = standing(book), book.reference
    command: Callable[..., None] = getattr(book, method)
    with pytest.raises(InvalidCommand):
        command(**arguments)
    assert book.events == []
    assert standing(book) == before
    assert (book.status, book.reference, book.last) == (status, reference, 0)
    assert "new" not in book
    book.check()


def test_the_same_commands_with_sound_values_are_let_through(book: BookLike) -> None:
    book.place(**PLACE)
    book.place_by_budget(**BUDGET | {"order_id": "other"})
    book.amend(**AMEND | {"order_id": "new"})
    book.restore(**RESTORE | {"order_id": "third"})
    book.place_stop(**STOP | {"order_id": "fourth"})
    book.restore_stop(**STOP | {"order_id": "fifth"})
    for lowest_and_highest in ((1, 1), (1, 2), (MAX_TICKS, MAX_TICKS), (100, 101)):
        book.set_reference(*lowest_and_highest)
    for lowest_and_highest in ((0, 0), (0, 2**70), (95, 105)):
        book.set_range(*lowest_and_highest)
    assert len(book) == 4
    assert book.reference == (100, 101)


def test_an_id_is_free_again_once_its_order_ended(book: BookLike) -> None:
    book.place(**PLACE)
    book.cancel("new", "USER_CANCEL")
    book.restore(**RESTORE)
    book.cancel("new", "USER_CANCEL")
    book.place_by_budget(**BUDGET)
    book.place(**PLACE)
    assert "new" in book


def test_an_id_of_an_open_order_is_invalid_even_when_the_order_would_be_rejected(book: BookLike) -> None:
    book.place(**PLACE)
    book.set_status("HALTED")
    with pytest.raises(InvalidCommand):
        book.place(**PLACE)


def test_an_id_of_a_waiting_stop_is_free_again_once_the_stop_ended(book: BookLike) -> None:
    book.place_stop(**STOP)
    for method, arguments in (
        ("place", PLACE),
        ("place_by_budget", BUDGET),
        ("place_stop", STOP),
        ("restore", RESTORE),
        ("restore_stop", STOP),
    ):
        with pytest.raises(InvalidCommand):
            getattr(book, method)(**arguments)
    book.cancel("new", "EXPIRED")
    book.place_stop(**STOP)
    assert list(book.waiting()) == [("new", "ann", BUY, 100, 5, 103, True, 0)]
