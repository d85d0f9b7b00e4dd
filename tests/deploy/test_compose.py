"""docker-compose.yml and the Dockerfile against the project: what they name exists, what the project demands is there."""

import re
from typing import Any

import click
import pytest
from celery.bin.base import CLIContext
from celery.bin.celery import celery as celery_command
from django.conf import settings
from django.core.management import get_commands, load_command_class

from exchange_platform.celery import app
from matching.main import parser
from tests.deploy.compose import FILLED, TEXT, NotSet, compose, example
from tests.support.servers import PROJECT

DOCKERFILE = (PROJECT / "deploy" / "Dockerfile").read_text()
COMPOSE = compose(FILLED)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
SECRETS = ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "SECRET_KEY", "FIELD_ENCRYPTION_KEY", "ALLOWED_HOSTS")


def test_the_services_are_those_of_the_exchange() -> None:
    assert set(OURS) == {"migrate", "web", "matching", "worker", "beat"}
    assert set(SERVICES) - set(OURS) == {"postgresql", "redis"}


@pytest.mark.parametrize("name", OURS)
def test_every_command_exists_and_takes_its_arguments(name: str) -> None:
    command = OURS[name]["command"]
    if command[:3] == ["python", "manage.py", "run_matching"]:
        assert parser().parse_args(command[3:]).shards == 1
    elif command[:2] == ["python", "manage.py"]:
        found = load_command_class(get_commands()[command[2]], command[2])  # type: ignore[arg-type]
        found.create_parser("manage.py", command[2]).parse_args(command[3:])  # exits when it does not know one
    else:
        assert command[:5] == ["python", "-m", "celery", "-A", "exchange_platform.celery"]
        where = next(at for at, word in enumerate(command) if word in celery_command.commands)
        celery_command.make_context("celery", [*command[3:where], command[where]])
        context = click.Context(celery_command, obj=CLIContext(app=app, no_color=True, workdir=None, quiet=True))
        sub = celery_command.commands[command[where]]
        parsed = sub.make_context(command[where], command[where + 1 :], parent=context).params
        if name == "worker":
            assert set(parsed["queues"]) == set(settings.CELERY_TASK_QUEUES), "every queue has a worker"


def test_the_worker_and_beat_run_as_in_the_stack() -> None:
    stack = (PROJECT / "exchange_platform" / "stack" / "main.py").read_text()
    for argument in [*OURS["worker"]["command"][5:], *OURS["beat"]["command"][5:]]:
        if argument.startswith("--") and "pidfile" not in argument:
            assert f'"{argument}"' in stack, argument
    assert app.main == "exchange"


def test_what_production_demands_is_set() -> None:
    demanded = set(re.search(r"_REQUIRED = \(([^)]*)\)", (PROJECT / "exchange_platform/settings/production.py").read_text())[1].split(", "))  # type: ignore[index]
    for name, service in OURS.items():
        environment = service["environment"]
        assert {variable.strip('"') for variable in demanded} <= environment.keys(), name
        assert environment["DJANGO_SETTINGS_MODULE"] == "exchange_platform.settings.production", name


def test_addresses_lead_to_the_services() -> None:
    environment = OURS["web"]["environment"]
    assert environment["DATABASE_URL"] == "postgresql://exchange:p0@postgresql:5432/exchange"
    assert environment["REDIS_URL"] == "redis://:r0@redis:6379/0"
    server = SERVICES["postgresql"]["environment"]
    assert (server["POSTGRES_USER"], server["POSTGRES_DB"], server["POSTGRES_PASSWORD"]) == ("exchange", "exchange", "p0")


@pytest.mark.parametrize("missing", SECRETS)
def test_nothing_starts_without_its_secrets(missing: str) -> None:
    with pytest.raises(NotSet, match=missing):
        compose({**FILLED, missing: ""})
    assert example()[missing] == "", "the example holds no secret that somebody could leave as it is"


def test_the_example_names_every_variable_and_no_other() -> None:
    assert set(re.findall(r"(?<!\$)\$\{(\w+)", TEXT)) == set(example())


def test_no_secret_stands_in_a_file() -> None:
    named = re.findall(r"^\s+(\w*(?:PASSWORD|SECRET|KEY)\w*):\s*(.*)$", TEXT, re.MULTILINE)
    assert len(named) >= 4
    assert all(value.startswith("${") for _, value in named), named
    assert not re.search(r"://\w*:(?!\$\{)", TEXT)
    assert ".env" in (PROJECT / ".gitignore").read_text().split()


def test_ports_are_bound_to_this_machine_and_only_the_webs() -> None:
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"web"}
    assert SERVICES["web"]["ports"] == ["127.0.0.1:8000:8000"]
    assert all(service.get("network_mode") is None for service in SERVICES.values())
    assert COMPOSE["networks"]["inside"] == {"internal": True}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_watched_restarted_and_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["networks"], "no service is on the default network"
    assert set(service["networks"]) <= set(COMPOSE["networks"])
    if name == "migrate":
        assert service["restart"] == "no"
    else:
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    if name in OURS:
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
    for volume in service.get("volumes", []):
        assert volume.split(":")[0] in COMPOSE["volumes"]


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_of_one_version(name: str) -> None:
    assert re.fullmatch(r"[a-z-]+:\d+\.\d+(\.\d+)?(-[a-z]+)?", SERVICES[name]["image"])


def test_postgresql_is_one_that_serves() -> None:
    assert int(SERVICES["postgresql"]["image"].split(":")[1].split(".")[0]) >= 17, "transaction_timeout"


def test_nobody_starts_before_what_it_needs() -> None:
    for name, service in OURS.items():
        needs = service["depends_on"]
        assert needs["postgresql"] == {"condition": "service_healthy"}, name
        if name != "migrate":
            assert needs["migrate"] == {"condition": "service_completed_successfully"}, name
        assert set(needs) <= set(SERVICES)


@pytest.mark.parametrize("name", [n for n in OURS if n != "migrate"])
def test_health_checks_ask_what_there_is(name: str) -> None:
    from api.operations.checks import all_checks

    command = OURS[name]["healthcheck"]["test"]
    assert command[:3] == ["CMD", "python", "deploy/healthcheck.py"]
    assert command[3] == "ready" or command[3] in all_checks()


# -- the image


def test_the_image_is_built_from_the_lock_and_runs_as_nobody_special() -> None:
    assert len(re.findall(r"^FROM ", DOCKERFILE, re.MULTILINE)) == 2
    assert "--require-hashes --no-deps -r requirements.lock" in DOCKERFILE
    assert re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    assert all(re.search(r":\d+\.\d+\.\d+-", line) for line in re.findall(r"^FROM (.*)", DOCKERFILE, re.MULTILINE))
    state = OURS["web"]["environment"]["STACK_HOME"]
    assert f"{state} {state}/celery {state}/metrics" in DOCKERFILE, "who runs it may write there"


def test_every_room_is_in_the_image_and_nothing_else() -> None:
    lines = (PROJECT / ".dockerignore").read_text().splitlines()
    assert lines[0] == "*"
    taken = {line[1:] for line in lines if line.startswith("!")}
    rooms = {path.parent.name for path in PROJECT.glob("*/__init__.py")} - {"tests", "bench"}
    assert taken == rooms | {"templates", "manage.py", "pyproject.toml", "requirements.lock", "deploy/healthcheck.py"}
    assert all((PROJECT / path).exists() for path in taken)
