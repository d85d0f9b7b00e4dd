"""Two books, one suite: the fast book and a naive one written from the rules must do the same, event by event."""

import pytest

pytest.register_assert_rewrite("tests.matching.tables", "tests.matching.side_by_side", "tests.matching.laws")
