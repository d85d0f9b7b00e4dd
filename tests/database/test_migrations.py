"""Every migration can be undone and done again, and says all that the models say."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from django.apps import apps

from tests.database.rows import Connection, column, insert, lay_the_ground, order_id

PROJECT = Path(__file__).resolve().parent.parent.parent

# What a database is made of, as text: columns, constraints, indexes, triggers, policies, functions, rights, storage.
SCHEMA = """
    SELECT format('column %s.%s %s %s %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
                  pg_get_expr(d.adbin, d.adrelid))
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v')
    UNION ALL
    SELECT format('constraint %s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'index ' || indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL
    SELECT 'trigger ' || pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL
    SELECT format('policy %s %s %s %s %s', polrelid::regclass, polname, polroles::regrole[], pg_get_expr(polqual, polrelid),
                  pg_get_expr(polwithcheck, polrelid)) FROM pg_policy
    UNION ALL
    SELECT 'function ' || pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL
    SELECT format('relation %s %s %s %s %s %s', relname, relkind, relrowsecurity, relforcerowsecurity, reloptions,
                  (SELECT array_agg(acl::text ORDER BY acl::text) FROM unnest(relacl) AS acl))
    FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'S')
    ORDER BY 1
"""


def manage(*arguments: str) -> str:
    """manage.py in a process of its own, at the database that DATABASE_URL names now. Returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(PROJECT / "manage.py"), *arguments],
        cwd=PROJECT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "exchange_platform.settings.test"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def schema(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return column(connection, SCHEMA)


def applied(connection: Connection) -> set[str]:
    return set(column(connection, "SELECT DISTINCT app FROM django_migrations"))


def projects_apps() -> list[str]:
    """The apps of this project that have migrations, as Django labels them."""
    return [
        config.label
        for config in apps.get_app_configs()
        if Path(config.path).parent == PROJECT and (Path(config.path) / "migrations").is_dir()
    ]


@pytest.mark.slow
def test_every_migration_goes_down_to_nothing_and_up_to_the_same_again(fresh_database: str) -> None:
    before = schema(fresh_database)
    assert len(before) > 300
    labels = projects_apps()
    assert {"exchange_platform", "institutions", "markets", "wallet", "risk", "orders"} <= set(labels)
    for label in reversed(labels):
        manage("migrate", label, "zero", "--no-input", "-v", "0")
    with psycopg.connect(fresh_database) as connection:
        assert applied(connection).isdisjoint(labels)
        tables = column(
            connection, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v')"
        )
        assert [table for table in tables if not table.startswith(("django_", "auth_"))] == []
        assert column(connection, "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace") == []
    manage("migrate", "--no-input", "-v", "0")
    assert schema(fresh_database) == before


@pytest.mark.slow
def test_the_tables_of_orders_come_down_and_up_beside_accounts_and_markets_in_use(fresh_database: str) -> None:
    with psycopg.connect(fresh_database) as connection:
        lay_the_ground(connection)
    manage("migrate", "orders", "0001", "--no-input", "-v", "0")
    manage("migrate", "--no-input", "-v", "0")
    with psycopg.connect(fresh_database) as connection:
        insert(connection, "orders_order", id=order_id(1))


def test_the_models_have_no_change_without_a_migration(fresh_database: str) -> None:
    assert "No changes detected" in manage("makemigrations", "--check", "--dry-run")
