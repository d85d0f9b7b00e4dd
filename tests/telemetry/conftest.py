"""Figures in a folder of the test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from exchange_platform.telemetry import files


@pytest.fixture
def home(tmp_path: Path, settings: object) -> Iterator[Path]:
    """STACK_HOME for this process's figures. Yields the home; figures lie in its folder `metrics`."""
    files.slot.leave()
    settings.STACK_HOME = tmp_path  # type: ignore[attr-defined]
    yield tmp_path
    files.slot.leave()
