"""The figures of all processes as Prometheus reads them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import structlog
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector

from exchange_platform.telemetry import files
from exchange_platform.telemetry.families import Family
from exchange_platform.telemetry.library import PREFIX

log = structlog.get_logger(__name__)

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

# Name of a family → (label values, value) of each of its series.
Readings = Mapping[str, Sequence[tuple[tuple[str, ...], float]]]


class _Collection:
    """What `generate_latest` wants: something that yields metrics."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def exposition(families: Iterable[Family[Any]], readings: Readings) -> bytes:
    """Every family with HELP and TYPE, those without a sample too, then what django-prometheus counted of pages. `readings`: what was just
    read of families that no process keeps."""
    text: bytes = generate_latest(_Collection(_collect(families, readings)))  # type: ignore[arg-type]
    return text


def _collect(families: Iterable[Family[Any]], readings: Readings) -> Iterator[Metric]:
    kept = {metric.name: metric for metric in _merged()}
    for family in families:
        metric = Metric(family.base_name, family.told, family.kind)
        if (found := kept.get(family.base_name)) is not None and found.type == family.kind:
            metric.samples = [s for s in found.samples if s.labels.keys() - {"le"} == set(family.label_names)]
        for values, value in readings.get(family.name, ()):
            metric.add_sample(family.name, dict(zip(family.label_names, values, strict=True)), value)
        yield metric
    yield from (metric for name, metric in sorted(kept.items()) if name.startswith(PREFIX))


def _merged() -> Iterable[Metric]:
    """A file that is just being made, or that a crash of the machine has spoiled, is passed over."""
    paths = files.readable_files()
    try:
        return list(MultiProcessCollector.merge(paths))
    except Exception:
        sound = [path for path in paths if _is_sound(path)]
        return list(MultiProcessCollector.merge(sound))


def _is_sound(path: str) -> bool:
    try:
        MultiProcessCollector.merge([path])
    except Exception as problem:
        log.warning("metrics_file_unreadable", path=path, problem=repr(problem))
        return False
    return True
