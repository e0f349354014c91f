# Every target does its own set-up in .venv; only Python 3.11 or later and make are needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: run test check bench bench-rebuild soak mutants lock

run: $(READY)
	$(BIN)/corspolicy up --demo

test: check
	$(BIN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: $(READY)
	$(BIN)/python -m tests.benchmarks

bench-rebuild: $(READY)
	$(BIN)/python -m tests.benchmarks.rebuild

soak: $(READY)
	$(BIN)/python -m tests.benchmarks.soak

mutants: $(READY)
	$(BIN)/python -m tests.mutants

# Rewrites constraints.txt with current versions; the only target that needs uv.
lock:
	uv pip compile --quiet --upgrade --universal --no-emit-index-url --no-emit-package corspolicy --all-extras \
		--no-header --no-annotate pyproject.toml client/pyproject.toml --output-file constraints.txt

$(READY): pyproject.toml client/pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "corspolicy needs Python 3.11 or later: make PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ./client -e '.[dev]'
	touch $(READY)
