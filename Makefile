# Everything a person or CI needs. `make run` and `make test` work from a fresh clone with Python 3.11+ and make.

.DEFAULT_GOAL := help
.PHONY: help run test bench compiled plain check install install-dev lock format clean

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v $$p && break; done)
WORKERS ?= 2
TESTS ?= tests
MYPY_ROOTS := $(wildcard exchange_platform orders matching wallet risk notifications institutions markets api dashboard)

help:  ## What can be made
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'

run: install  ## Start the whole exchange on embedded PostgreSQL and Redis (Ctrl-C stops it)
	@exec $(BIN)/python manage.py stack

test: install-dev  ## The whole test suite against real PostgreSQL and Redis (TESTS=path narrows it, WORKERS=n)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(TESTS)

bench: install-dev  ## Benchmarks, as JSON lines
	@exec $(BIN)/python -m bench

compiled: install-dev  ## Compile the matching core with mypyc (optional, needs a C compiler); `make plain` goes back
	$(BIN)/python -m mypyc --ignore-missing-imports matching/core/messages.py matching/core/book.py
	@rm -rf build

plain:  ## The matching core as plain Python again
	rm -f *__mypyc*.so matching/core/*.so

check: install-dev  ## Style, types, import directions, migrations, architecture
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(MYPY_ROOTS)
	$(BIN)/lint-imports
	DJANGO_SETTINGS_MODULE=exchange_platform.settings.test $(BIN)/python -W ignore manage.py makemigrations --check --dry-run
	$(BIN)/python -m pytest -q tests/architecture

format: install-dev  ## Let ruff put the style right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

install: $(VENV)/.runtime  ## The environment that `make run` needs
install-dev: $(VENV)/.dev  ## The environment that tests and checks need

# A stamp is newer than its lock when what is installed is what the lock says. uv installs the locks about three times
# as fast as pip; where it cannot be had (another index, another platform) pip does the same work from the same locks.
$(VENV)/.runtime: requirements.lock requirements-tools.lock | $(VENV)/bin/python
	@echo "Installing the locked environment (about 15 s; about 40 s without uv)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-tools.lock \
		|| echo "uv could not be installed; pip goes on alone"
	@$(call install,-r requirements.lock)
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.runtime
	@echo "Installing the locked tools for tests and checks"
	@$(call install,-r requirements.lock -r requirements-dev.lock)
	@touch $@

define install
{ test -x $(BIN)/uv && $(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --no-deps $(1); } \
	|| $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps $(1)
endef

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and was not found; set PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) cannot create an environment. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }

lock: $(VENV)/.runtime  ## Resolve the dependencies anew into the universal locks with hashes
	$(BIN)/uv pip compile $(LOCK) requirements-tools.in -o requirements-tools.lock
	$(BIN)/uv pip compile $(LOCK) pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile $(LOCK) -c requirements.lock --group dev -o requirements-dev.lock

LOCK := --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --python-version 3.11 --custom-compile-command "make lock"

clean:  ## Remove the environment and caches (not var/, which holds the exchange's data)
	rm -rf $(VENV) .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './var/*' -prune -exec rm -rf {} +
