"""Benchmarks: `python -m bench [name…]` runs them and prints one JSON line per figure.

A benchmark is a module of this package with `run(emit)`; `__main__` lists them all. Each prepares its input before it times
anything and takes chance from a fixed seed, so that two runs differ only by the machine.
"""

from typing import Any, Protocol


class Emit(Protocol):
    """Hands over one figure; whatever else describes it goes into its line as it is."""

    def __call__(self, metric: str, value: float, unit: str, **more: Any) -> None: ...
