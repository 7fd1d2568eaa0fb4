# Everything a checkout can do. The machine needs Python 3.11 or newer, make and a package index.

PYTHON ?= $(shell for python in python3.11 python3 python; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v "$$python" && break; done)
PORT ?= 8000
DATA ?= .colonnade
BROKER ?= nats
BIN := .venv/bin
PIP := -m pip --disable-pip-version-check --quiet --no-input install

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help up fleet test check servers bench performance proof locks clean

help: ## Print this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

%/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer was not found: install it, or name it: make PYTHON=/path/to/python"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is not Python 3.11 or newer: name one that is: make PYTHON=/path/to/python"; exit 1; }
	@"$(PYTHON)" -m venv $*

# A stamp is newer than its lock once all that the lock names is installed; the lock of dev holds that of run.
.venv/run.stamp: locks/run.txt pyproject.toml grocer/pyproject.toml | .venv/bin/python
	@echo "Installing what Grocer runs on ..."
	@$(BIN)/python $(PIP) --require-hashes -r locks/run.txt
	@$(BIN)/python $(PIP) --no-deps --no-build-isolation -e . -e grocer
	@touch $@

.venv/fleet.stamp: locks/fleet.txt .venv/run.stamp
	@echo "Installing the servers and drivers of a fleet ..."
	@$(BIN)/python $(PIP) --require-hashes -r locks/fleet.txt
	@touch $@

.venv/dev.stamp: locks/dev.txt .venv/run.stamp
	@echo "Installing the development tools ..."
	@$(BIN)/python $(PIP) --require-hashes -r locks/dev.txt
	@touch $@

.venv-bench/stamp: locks/bench.txt pyproject.toml grocer/pyproject.toml | .venv-bench/bin/python
	@echo "Installing the benchmarks' peers ..."
	@.venv-bench/bin/python $(PIP) --require-hashes -r locks/bench.txt
	@.venv-bench/bin/python $(PIP) --no-deps --no-build-isolation -e . -e grocer
	@touch $@

up: .venv/run.stamp ## Start Grocer at http://127.0.0.1:8000 (PORT=, DATA=); Ctrl-C stops it
	@exec $(BIN)/python make/foreground.py $(BIN)/colonnade up grocer.system:grocer --port "$(PORT)" --data "$(DATA)"

fleet: .venv/fleet.stamp ## Start Grocer as a fleet, on PostgreSQL, Valkey and BROKER=nats|rabbitmq|kafka (PORT=, DATA=); Ctrl-C stops it
	@exec $(BIN)/python make/foreground.py $(BIN)/colonnade up grocer.system:grocer --fleet --broker "$(BROKER)" \
		--port "$(PORT)" --data "$(DATA)"

test: check ## Check the code, then run all tests with coverage
	@$(BIN)/pytest -n 2 --cov --cov-report=term:skip-covered

check: .venv/dev.stamp ## Lint, check types, floors, borders and dependencies
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy src tests grocer/src grocer/tests locks make $(wildcard benchmarks)
	@$(BIN)/lint-imports
	@$(BIN)/lint-imports --config grocer/pyproject.toml
	@$(BIN)/deptry src
	@cd grocer && ../$(BIN)/deptry src

servers: .venv/run.stamp ## Get the servers that no wheel brings (RabbitMQ, Kafka; for tests PgBouncer, Varnish)
	@$(BIN)/python make/servers.py

bench: .venv-bench/stamp ## Measure beside the peers
	@.venv-bench/bin/python -m benchmarks

performance: .venv-bench/stamp ## Measure scaling and long logs; write docs/performance.md
	@.venv-bench/bin/python -m benchmarks.performance

proof: .venv/dev.stamp ## Run the slow proofs: kills, crashes, backlogs
	@$(BIN)/pytest -m proof --timeout 3600

locks: .venv/dev.stamp ## Resolve the dependencies anew (UPGRADE=--upgrade to take newer versions)
	@$(BIN)/python locks/resolve.py $(UPGRADE)

clean: ## Remove what was installed and cached; data under .colonnade stays
	@rm -rf .venv .venv-bench .servers .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .coverage.*
