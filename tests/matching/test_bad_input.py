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

BAD_PRICES = (0, -1, MAX_TICKS + 1)
BAD_LOTS = (0, -1, MAX_LOTS + 1)

CASES: list[tuple[str, str, dict[str, Any]]] = [
    *((f"place with {name} {value}", "place", PLACE | {name: value}) for name, values in (
        ("side", (-1, 2)),
        ("price", BAD_PRICES),
        ("lots", BAD_LOTS),
        ("time_in_force", (-1, 4)),
        ("prevention", (-1, 4)),
        ("order_id", ("b1", "s1")),
    ) for value in values),
    *((f"place_by_budget with {name} {value}", "place_by_budget", BUDGET | {name: value}) for name, values in (
        ("price", BAD_PRICES),
        ("budget", (0, -1, MAX_TICKS * MAX_LOTS + 1)),
        ("prevention", (-1, 4)),
        ("order_id", ("b1", "s1")),
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
        ("time_in_force", (-1, 4)),
        ("prevention", (-1, 4)),
        ("order_id", ("b1", "s1")),
    ) for value in values),
    *((f"set_status with {status!r}", "set_status", {"status": status}) for status in ("", "trading", "AUCTION", None)),
]  # fmt: skip


@pytest.mark.parametrize("status", ["TRADING", "HALTED"])
@pytest.mark.parametrize(("method", "arguments"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_an_invalid_command_changes_nothing(book: BookLike, method: str, arguments: dict[str, Any], status: str) -> None:
    book.restore("b1", "ann", BUY, 100, 5, 3, 0, 0)
    book.restore("s1", "bob", SELL, 102, 4, 4, 0, 0)
    book.set_status(status)
    book.events.clear()
    before = standing(book)
    command: Callable[..., None] = getattr(book, method)
    with pytest.raises(InvalidCommand):
        command(**arguments)
    assert book.events == []
    assert standing(book) == before
    assert book.status == status
    assert "new" not in book
    book.check()


def test_the_same_commands_with_sound_values_are_let_through(book: BookLike) -> None:
    book.place(**PLACE)
    book.place_by_budget(**BUDGET | {"order_id": "other"})
    book.amend(**AMEND | {"order_id": "new"})
    book.restore(**RESTORE | {"order_id": "third"})
    assert len(book) == 2


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
