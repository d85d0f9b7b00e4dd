"""Figures that libraries keep with prometheus-client (django-prometheus counts pages) lie in this exchange's files too.

The client asks `values.ValueClass` for the place of every figure it makes. Its own choice, files named by process id, is what decision
0015 does not want, so this class stands in; it must be in place before the library makes its first figure.
"""

from typing import Any, Final

from prometheus_client import values
from prometheus_client.mmap_dict import mmap_key

from exchange_platform.telemetry.families import Cell

PREFIX: Final = "django_"  # of the families that are shown beside our own


class SlotValue:
    """One number of a figure, as prometheus-client wants it."""

    _multiprocess = True

    def __init__(
        self,
        typ: str,
        metric_name: str,
        name: str,
        labelnames: Any,
        labelvalues: Any,
        help_text: str,
        multiprocess_mode: str = "",
        **_: Any,
    ) -> None:
        prefix = f"gauge_{multiprocess_mode}" if typ == "gauge" else typ
        self._cell = Cell(prefix, mmap_key(metric_name, name, labelnames, labelvalues, help_text))

    def inc(self, amount: float) -> None:
        self._cell.add(amount)

    def set(self, value: float, timestamp: float | None = None) -> None:
        self._cell.set(value, timestamp or 0.0)

    def set_exemplar(self, exemplar: object) -> None:
        """Files have no place for one."""

    def get_exemplar(self) -> None:
        return None


def use_our_files() -> None:
    values.ValueClass = SlotValue
