"""README and docs/ name things that exist: functions, files, make targets, commands, variables, error codes.

Each check is a function from text to what is wrong with it, so that a planted mistake shows that it can fail.
"""

import importlib
import importlib.util
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.management import get_commands

from api.errors import STATUS

PROJECT = Path(__file__).resolve().parent.parent.parent
README = PROJECT / "README.md"
DOCS = PROJECT / "docs"
LIFE = DOCS / "life-of-an-order.md"
ERRORS = DOCS / "errors.md"
DECISIONS = sorted((DOCS / "decisions").glob("*.md"))
ALL = [README, *sorted(DOCS.rglob("*.md"))]

MADE_AT_RUN_TIME = ("var/",)
FILE_ENDINGS = (".py", ".md", ".html", ".png", ".csv", ".gz", ".json", ".toml", ".lock", ".yml", ".sh")
CODE_ROOMS = ("api", "dashboard", "exchange_platform", "institutions", "markets", "matching", "notifications", "orders", "risk", "wallet")
SOURCES = [path for room in CODE_ROOMS for path in sorted((PROJECT / room).rglob("*.py"))]

_fence = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_span = re.compile(r"`([^`]+)`")
_link = re.compile(r"\]\(([^)\s#]+)[^)]*\)")
_dotted = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+").fullmatch
_code = re.compile(r"[A-Z][A-Z_]{4,}").fullmatch


# -- reading


def spans(text: str) -> list[str]:
    """What stands in backticks, fences left out."""
    return [" ".join(span.split()) for span in _span.findall(_fence.sub("", text))]


def code_of(text: str) -> str:
    """Everything that a reader may copy: fences and spans."""
    return "\n".join([*_fence.findall(text), *spans(text)])


# -- what is wrong


def missing_names(text: str) -> list[str]:
    """Dotted names of our code in backticks that cannot be imported and reached by getattr."""
    named = [span for span in spans(text) if _dotted(span) and span.split(".")[0] in CODE_ROOMS and not span.endswith(FILE_ENDINGS)]
    return [name for name in named if not _is_there(name)]


def _is_there(name: str) -> bool:
    """A module by itself need not be imported: the production settings would ask for their variables."""
    parts = name.split(".")
    for split in range(len(parts), 0, -1):
        try:
            if importlib.util.find_spec(".".join(parts[:split])) is None:
                continue
        except ModuleNotFoundError:
            continue
        found: object = importlib.import_module(".".join(parts[:split])) if split < len(parts) else None
        for attribute in parts[split:]:
            if not hasattr(found, attribute):
                return False
            found = getattr(found, attribute)
        return True
    return False


def missing_files(text: str, folder: Path) -> list[str]:
    """Links and paths in backticks that lead nowhere. Links are relative to the document, paths to the project."""
    absent = [link for link in _link.findall(text) if "://" not in link and not (folder / link).exists()]
    for span in spans(text):
        is_path = "/" in span and not span.startswith("/") and " " not in span and (span.endswith("/") or span.endswith(FILE_ENDINGS))
        if is_path and not span.startswith(MADE_AT_RUN_TIME) and not (PROJECT / span).exists():
            absent.append(span)
    return absent


def missing_targets(text: str) -> list[str]:
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    return [name for name in re.findall(r"\bmake ([a-z-]+)", code_of(text)) if name not in targets]


def missing_commands(text: str) -> list[str]:
    return [name for name in re.findall(r"manage\.py ([a-z_]+)", code_of(text)) if name not in get_commands()]


def variables_read() -> set[str]:
    """Environment variables that settings and supervisor read."""
    found: set[str] = set()
    for path in (PROJECT / "exchange_platform").rglob("*.py"):
        text = path.read_text()
        found.update(re.findall(r'env\.(?:text|whole_number|flag|names|choices|key_32_bytes)\("([A-Z_]+)"', text))
        found.update(re.findall(r'environment(?:\.get\(|, )"([A-Z_]+)"', text))
        found.update(re.findall(r'environ(?:\.get\(|\.setdefault\(|\[)"([A-Z_]+)"', text))
    return found - {"PATH", "LC_ALL", "TZ"}


def variables_named(text: str) -> set[str]:
    table = text.partition("\n## Environment\n")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `([A-Z_]+)` \|", table, re.MULTILINE))


def codes_named(text: str) -> dict[str, int]:
    """Code → status of every table row; a row without a status is under a heading that has it."""
    found: dict[str, int] = {}
    heading: list[str] = []
    for line in text.splitlines():
        if line.startswith("## "):
            heading = re.findall(r"\b[1-5]\d\d\b", line)
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and _code(cells[0]):
            assert cells[0] not in found, f"{cells[0]} is there twice"
            found[cells[0]] = int(cells[1]) if cells[1].isdigit() else int(heading[0])
    return found


def reserved_but_sent(text: str) -> list[str]:
    """Codes under "Reserved" that some code raises all the same."""
    reserved = codes_named("## 0\n" + text.partition("\n## Reserved")[2].partition("\n")[2]).keys()
    literals = "\n".join(path.read_text() for path in SOURCES if path.name != "errors.py" and "migrations" not in path.parts)
    return [code for code in reserved if re.search(rf"\b{code}\b", literals)]


def stops(text: str) -> list[str]:
    """The chapters of the life of an order: number and text of each."""
    return re.findall(r"^## (\d+)\. .*?(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)


# -- the documents


@pytest.mark.parametrize("path", ALL, ids=lambda path: str(path.relative_to(PROJECT)))
def test_what_a_document_names_is_there(path: Path) -> None:
    text = path.read_text()
    assert missing_names(text) == []
    assert missing_files(text, path.parent) == []
    assert missing_targets(text) == []
    assert missing_commands(text) == []


def test_an_order_has_nine_stops_and_each_says_the_same_things() -> None:
    text = LIFE.read_text()
    assert stops(text) == [str(number) for number in range(1, 10)]
    for chapter in re.split(r"^## (?=\d)", text, flags=re.MULTILINE)[1:]:
        title = chapter.splitlines()[0]
        assert any(_dotted(span) and span.split(".")[0] in CODE_ROOMS for span in spans(chapter)), f"{title}: names no function"
        for said in ("**Locked**", "**Durable**", "**Dies here**"):
            assert said in chapter, f"{title}: {said} is missing"


def test_decisions_are_numbered_without_a_gap_and_can_be_quoted() -> None:
    numbers = [path.name.partition("-")[0] for path in DECISIONS]
    assert numbers == [f"{number:04d}" for number in range(1, len(DECISIONS) + 1)]
    for path, number in zip(DECISIONS, numbers, strict=True):
        lines = path.read_text().splitlines()
        assert lines[0].startswith(f"# {number}: "), path.name
        assert lines[2].startswith("> "), f"{path.name}: no line to quote under the title"
        assert len(lines) <= 60, f"{path.name}: more than a page"
        for said in ("**Question.**", "**Decision.**", "**Alternatives", "**What it costs.**"):
            assert said in path.read_text() or (said == "**Alternatives" and "**Why not" in path.read_text()), f"{path.name}: {said}"


def test_decisions_that_the_code_refers_to_exist() -> None:
    numbers = {path.name.partition("-")[0] for path in DECISIONS}
    named = {number for path in SOURCES for number in re.findall(r"\bdecision (\d{4})\b", path.read_text())}
    assert named
    assert named <= numbers


def test_the_environment_table_is_what_the_program_reads() -> None:
    assert variables_named(README.read_text()) == variables_read()


def test_the_errors_for_clients_are_the_errors_of_the_api() -> None:
    assert codes_named(ERRORS.read_text()) == STATUS


def test_no_code_is_called_reserved_that_is_sent() -> None:
    assert reserved_but_sent(ERRORS.read_text()) == []


# -- the checks can fail


@pytest.mark.parametrize(
    ("check", "text", "found"),
    [
        (missing_names, "`orders.intake.Intake.put` and `orders.intake.Intake.vanish`", ["orders.intake.Intake.vanish"]),
        (missing_names, "`orders.nowhere.put`, `wallet.nothing`", ["orders.nowhere.put", "wallet.nothing"]),
        (missing_names, "`api.example.com` is ours by its first word", ["api.example.com"]),
        (missing_names, "```\n`orders.in.a.fence`\n```", []),
        (lambda text: missing_files(text, DOCS), "[a](nowhere.md) [b](https://example.com/x.md)", ["nowhere.md"]),
        (lambda text: missing_files(text, DOCS), "`orders/intake.py` `orders/outtake.py` `var/stack.json`", ["orders/outtake.py"]),
        (missing_targets, "`make run` and `make haste`, but one may make sense", ["haste"]),
        (missing_targets, "```sh\nmake hay\n```", ["hay"]),
        (missing_commands, "`manage.py stack` `manage.py unstack`", ["unstack"]),
        (reserved_but_sent, "\n## Reserved\n\n| OFF_TICK | 422 | sent |\n| OTP_REQUIRED | 401 | not |\n", ["OFF_TICK"]),
        (stops, "## 1. One\n\ntext\n\n## 3. Three\n\n## Afterwards\n", ["1", "3"]),
    ],
)
def test_a_mistake_is_found(check: Callable[[str], list[str]], text: str, found: list[str]) -> None:
    assert check(text) == found


def test_a_wrong_status_or_variable_is_found() -> None:
    table = "## 400: bad\n\n| MALFORMED | x | y |\n\n## more\n\n| TOO_LARGE | 414 | x |\n"
    assert codes_named(table) == {"MALFORMED": 400, "TOO_LARGE": 414}
    assert variables_named("\n## Environment\n\n| `STACK_HOME` | x | y |\n\n## Next\n\n| `OTHER` | x | y |\n") == {"STACK_HOME"}
