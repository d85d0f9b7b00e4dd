"""The directions between rooms, and what each room says of itself."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent.parent
ROOMS = ["exchange_platform", "notifications", "institutions", "markets", "wallet", "risk", "orders", "matching", "api", "dashboard"]
CORE_MAY_IMPORT = sys.stdlib_module_names | {"sortedcontainers"}


def test_no_room_imports_upwards() -> None:
    checked = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as lint; lint()", "--no-cache"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_says_what_it_owns(room: str) -> None:
    said = ast.get_docstring(ast.parse((PROJECT / room / "__init__.py").read_text()))
    assert said, f"{room}/__init__.py has no docstring that says what the room owns and never does"


def _core_modules() -> list[Path]:
    return sorted((PROJECT / "matching" / "core").rglob("*.py"))


def test_the_core_exists() -> None:
    assert {"book.py", "messages.py"} <= {path.name for path in _core_modules()}


@pytest.mark.parametrize("path", _core_modules(), ids=lambda path: path.name)
def test_the_core_imports_only_the_standard_library_and_sortedcontainers(path: Path) -> None:
    foreign = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = ["." * node.level + (node.module or "")]
        else:
            continue
        foreign += [n for n in names if n.split(".")[0] not in CORE_MAY_IMPORT and not (n + ".").startswith(("matching.core.", "."))]
    assert not foreign


def test_the_core_reads_no_clock_and_no_chance() -> None:
    for path in _core_modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert not {alias.name for alias in node.names} & {"time", "random", "secrets", "uuid", "socket", "threading"}, path


def test_there_is_no_room_without_a_name() -> None:
    named = {path.name for path in PROJECT.rglob("*.py") if not {".venv", "var"} & set(path.relative_to(PROJECT).parts)}
    folders = {path.parent.name for path in PROJECT.rglob("__init__.py") if not {".venv", "var"} & set(path.relative_to(PROJECT).parts)}
    assert not named & {"common.py", "utils.py", "helpers.py"}
    assert not folders & {"common", "utils", "helpers"}
