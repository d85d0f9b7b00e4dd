"""`python -m bench` runs every benchmark, `python -m bench core` only that one."""

import argparse
import importlib
import json
import signal
import sys
from functools import partial
from typing import Any

MODULES = (
    "core",
    "rest",
    "batch",
    "websocket",
    "outbox",
    "recovery",
    "metrics",
    "limits",
    "wallet",
    "shards",
    "peers",
    "surveillance",
)  # those with `run(emit)`; add yours here


def emit(bench: str, metric: str, value: float, unit: str, **more: Any) -> None:
    """Print one figure as one JSON line: {"bench", "metric", "value", "unit", ...}."""
    print(json.dumps({"bench": bench, "metric": metric, "value": value, "unit": unit, **more}), flush=True)


def main() -> None:
    """Run the named benchmarks, all when none is named."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"any of: {', '.join(MODULES)}")
    names = parser.parse_args().names or MODULES
    if unknown := set(names) - set(MODULES):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exception, so that no stack is left behind
    for name in names:
        importlib.import_module(f"bench.{name}").run(partial(emit, name))


if __name__ == "__main__":
    main()
