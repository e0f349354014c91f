# Every target does its own set-up in .venv; only Python 3.11 or later and make are needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What running takes, and what everything takes.
RUNS := $(VENV)/.runs
READY := $(VENV)/.ready
# The peers that the benchmarks measure.
PEERS := $(VENV)/.peers

.PHONY: run test check bench bench-rebuild soak mutants lock

run: $(RUNS)
	$(BIN)/corspolicy up --demo

test: check
	$(BIN)/pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: $(PEERS)
	$(BIN)/python -m tests.benchmarks

bench-rebuild: $(READY)
	$(BIN)/python -m tests.benchmarks.rebuild

soak: $(READY)
	$(BIN)/python -m tests.benchmarks.soak

mutants: $(READY)
	$(BIN)/python -m tests.mutants

COMPILE := uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-package corspolicy \
	--no-header --no-annotate

# Rewrites the pins with current versions; the only target that needs uv.
lock:
	$(COMPILE) --upgrade --extra dev pyproject.toml client/pyproject.toml --output-file constraints.txt
	$(COMPILE) -c constraints.txt --extra build --extra server --extra signing pyproject.toml \
		--output-file requirements/server.txt
	$(COMPILE) -c constraints.txt --extra build --extra embedded pyproject.toml --output-file requirements/embedded.txt
	$(COMPILE) -c constraints.txt --extra bench pyproject.toml --output-file requirements/bench.txt

# Only what the files name is installed, and only if its hash is there; our own code is what lies here.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

$(RUNS): requirements/embedded.txt pyproject.toml client/pyproject.toml | $(BIN)/python
	$(INSTALL) --require-hashes -r requirements/embedded.txt
	$(INSTALL) --no-deps --no-build-isolation -e ./client -e .
	touch $(RUNS)

$(READY): constraints.txt $(RUNS)
	$(INSTALL) --require-hashes -r constraints.txt
	touch $(READY)

$(PEERS): requirements/bench.txt $(READY)
	$(INSTALL) --require-hashes -r requirements/bench.txt
	touch $(PEERS)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "corspolicy needs Python 3.11 or later: make PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV)
