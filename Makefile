# `make` alone lists the targets. Every target installs what it needs on its first call.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PYTEST := $(BIN)/pytest -n 4 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help demo up example-flask example-django example-beat test test-long chaos check bench profile lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'wecom-worker needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ...' >&2; exit 1; }
	@echo 'Installing into $(VENV), once; this takes about a minute ...'
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(INSTALLED) ## the main job on real servers, in about a minute
	@$(BIN)/wecom demo

up: $(INSTALLED) ## servers, worker, beat and the local WeCom in one terminal
	@$(BIN)/wecom up --simulator

example-flask: $(INSTALLED) ## a Flask app that sends, with all it needs, in one terminal
	@$(BIN)/python examples/flask_app/run.py

example-django: $(INSTALLED) ## a Django shop that sends, with all it needs, in one terminal
	@$(BIN)/python examples/django_shop/run.py

example-beat: $(INSTALLED) ## a Celery app of its own with two beats, with all it needs, in one terminal
	@$(BIN)/python examples/beat_campaign/run.py

test: $(INSTALLED) ## the tests, on real servers of their own
	@$(PYTEST) -m 'not long'

test-long: $(INSTALLED) ## the tests that take long, most of it waiting
	@$(PYTEST) -m long

chaos: $(INSTALLED) ## everything breaks at once, at length: ten courses of events, about two hours
	@TRANSACTIONS=1000 $(BIN)/pytest tests/integration -k killed_again_and_again
	@$(BIN)/pytest tests/chaos --chaos=long --seeds=10 --log-cli-level=info

check: $(INSTALLED) ## format, lint, types, import rules, locks of migrations
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python .ci/migrations_sql.py $(VENV)/migrations
	@$(BIN)/squawk $(VENV)/migrations/*.sql

bench: $(INSTALLED) ## speed and memory, side by side, in one run
	@$(BIN)/python -m benchmarks

profile: $(INSTALLED) ## where the CPU time of the send path goes (benchmarks/profile.txt)
	@$(BIN)/python -m benchmarks.profiling

LOCK = $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header --python-version 3.11

lock: ## pin what is installed anew, here (requirements.lock) and in the image
	@test -x $(BIN)/uv || { $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet uv; }
	@$(LOCK) --all-extras --group dev --output-file requirements.lock pyproject.toml
	@$(LOCK) --constraint requirements.lock --output-file requirements-production.lock pyproject.toml
	@$(LOCK) --constraint requirements.lock --group build --output-file requirements-build.lock

clean: ## remove what was installed, built and stored here (asks nothing; data in .wecom*/ goes too)
	@rm -rf $(VENV) .wecom*/ dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
