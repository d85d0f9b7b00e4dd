"""Which scripts a page will ask for, told to the browser beforehand: without a build step it would find them one after the other."""

import re
from functools import cache
from pathlib import Path

STATIC = Path(__file__).with_name("static")
_imports = re.compile(r'^import [^;]*?"(\.[^"]+)";', re.MULTILINE)


@cache
def needed_by(entry: str) -> tuple[str, ...]:
    """All modules that `entry` (a path under the static folder) imports, directly or not, as such paths; not itself."""
    found: list[str] = []
    waiting = [entry]
    while waiting:
        path = STATIC / waiting.pop()
        for name in _imports.findall(path.read_text()):
            module = (path.parent / name).resolve().relative_to(STATIC.resolve()).as_posix()
            if module != entry and module not in found:
                found.append(module)
                waiting.append(module)
    return tuple(found)
