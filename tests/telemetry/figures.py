"""What /metrics would show, as numbers."""

import os
import subprocess
import sys
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from exchange_platform import metrics
from exchange_platform.telemetry import text
from tests.support.servers import PROJECT

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def shown() -> Series:
    """(name, sorted labels) → value. Fails when a series is there twice."""
    found: Series = {}
    for family in text_string_to_metric_families(text.exposition(metrics.FAMILIES, {}).decode()):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, f"{key} is there twice"
            found[key] = sample.value
    return found


def figure(name: str, **labels: str) -> float:
    """One of them; 0 when it is not there."""
    return shown().get((name, tuple(sorted(labels.items()))), 0.0)


def process(home: Path, code: str) -> "subprocess.Popen[str]":
    """A process that counts. It has `metrics` imported, prints "there" after `code` and then waits."""
    program = f"from exchange_platform import metrics\n{code}\nprint('there', flush=True); input()"
    environment = {**os.environ, "STACK_HOME": str(home)}
    made = subprocess.Popen(
        [sys.executable, "-c", program], cwd=PROJECT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert made.stdout is not None
    assert made.stdout.readline() == "there\n"
    return made


def kill(*processes: "subprocess.Popen[str]") -> None:
    for one in processes:
        one.kill()
        one.communicate()
