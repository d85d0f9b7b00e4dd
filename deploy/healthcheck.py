"""Container health: `healthcheck.py ready` asks the web process here, `healthcheck.py PART` asks the web how a part is.

The standard library alone: it runs every few seconds in every container.
"""

import json
import os
import sys
import urllib.error
import urllib.request

WITHIN_S = 4.0


def main(part: str) -> int:
    """Exit status 0 when it is well."""
    if part == "ready":
        status, _ = ask("http://127.0.0.1:8000/health/ready")
        return 0 if status == 200 else 1
    _, document = ask(os.environ.get("HEALTH_URL", "http://web:8000/health"))
    found = document.get("checks", {}).get(part, {})
    print(found.get("message") or "the web does not answer")  # noqa: T201 - shown by `docker inspect`
    return 0 if found.get("status") in ("healthy", "degraded" if part == "matching" else "healthy") else 1


def ask(url: str) -> tuple[int, dict]:  # type: ignore[type-arg]
    """Status and document; (0, {}) when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=WITHIN_S) as answer:  # noqa: S310 - our own address
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)
    except (OSError, ValueError):
        return 0, {}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
