"""docs/operations.md lists every family, with its labels, kind and meaning, and every check of health."""

import re

from api.operations.checks import all_checks
from exchange_platform import metrics
from exchange_platform.telemetry.families import Reading
from tests.support.servers import PROJECT

TEXT = (PROJECT / "docs" / "operations.md").read_text()


def test_the_table_of_families_is_the_codes() -> None:
    told = re.findall(r"^\| `(\w+)(?:\{([\w,]+)\})?` \| (\w+) \| (.*) \|$", TEXT, re.MULTILINE)
    declared = [
        (family.name, ",".join(family.label_names), "read" if isinstance(family, Reading) else family.kind, family.told)
        for family in metrics.FAMILIES
    ]
    assert told == declared


def test_every_check_of_health_is_explained() -> None:
    table = TEXT.partition("| check | healthy when |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", table)) == set(all_checks())
