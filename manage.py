#!/usr/bin/env python
"""Door to every command of the exchange. `stack` starts everything and needs no settings of its own."""

import os
import sys

MAINTENANCE_COMMANDS = {"migrate", "makemigrations", "showmigrations", "sqlmigrate", "dbshell"}


def main() -> None:
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    if command == "stack":
        from exchange_platform.stack.main import main as run_stack

        sys.exit(run_stack(sys.argv[2:]))

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "exchange_platform.settings.local")
    if command == "run_matching":
        from matching.main import main as run_matching

        sys.exit(run_matching(sys.argv[2:]))

    if command in MAINTENANCE_COMMANDS:
        os.environ["EXCHANGE_DB_ROLE"] = "maintenance"

    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
