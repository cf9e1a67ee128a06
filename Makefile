# On a fresh machine with Python 3.11 or newer and make: `make study`, `make test`.
# Everything runs in .venv, which is made from requirements.lock on first use.

PYTHON ?= python3
VENV ?= .venv
# One more than two cores: some tests only wait.
JOBS ?= 3
TORCH ?= 2.13.0
RUNS ?= runs
# More arguments for pytest, such as ARGS="-k potential".
ARGS ?=

BIN := $(VENV)/bin
PY := $(BIN)/python
STAMP := $(VENV)/.installed
LOCK := requirements.lock

# Small networks are faster on one thread, and runs beside each other do not fight for cores.
export OMP_NUM_THREADS = 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install study study-8x8 study-language test check format docs bench coverage mutants \
  contracts \
  contracts-lock lock clean

help:
	@echo "make install    .venv from requirements.lock, with this package in it"
	@echo "make study      compare rewards on DoorKey-5x5; writes $(RUNS)/door_key/report.html"
	@echo "make study-8x8  the same on DoorKey-8x8"
	@echo "make study-language  the same for a language model; writes $(RUNS)/arithmetic/report.html"
	@echo "make test       the tests (ARGS=... for more pytest arguments)"
	@echo "make check      lint, format, types, floors, generated docs"
	@echo "make format     put the code into the house format"
	@echo "make docs       the documentation site, in site/"
	@echo "make bench      the benchmarks"
	@echo "make coverage   the tests with branch coverage; at least 90 % in core, transforms, adapters"
	@echo "make mutants    break the code on purpose and see that a test notices"
	@echo "make contracts  our adapters against the packages they are for (ARGS=... for a few)"
	@echo "make lock       resolve requirements.lock anew"
	@echo "make contracts-lock  resolve contracts/*.lock anew (ARGS=... for a few)"
	@echo "make clean      remove what these targets made, .venv too"

# --- the environment ------------------------------------------------------------------------------

$(PY):
	@command -v $(PYTHON) >/dev/null || { \
	  echo "error: no '$(PYTHON)' here; name a Python 3.11 or newer: make PYTHON=python3.11" >&2; \
	  exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: rewardsmith needs Python 3.11 or newer, and '$(PYTHON)' is $$($(PYTHON) -V 2>&1);" \
	       "name another: make PYTHON=python3.11" >&2; \
	  exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
	  echo "error: '$(PYTHON)' has no venv module; on Debian and Ubuntu it is the package" \
	       "python3-venv" >&2; \
	  exit 1; }
	$(PYTHON) -m venv $(VENV)

$(STAMP): pyproject.toml $(LOCK) | $(PY)
	$(PY) -m pip install -r $(LOCK)
	$(PY) -m pip install --no-deps -e .
	@touch $@

install: $(STAMP)

# Resolves from nothing, so that the lock holds what a new user would get. Torch is named first:
# the lock says which torch, the index says which build (see the note that this writes).
lock:
	@tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && set -e && \
	$(PYTHON) -m venv "$$tmp/venv" && \
	"$$tmp/venv/bin/python" -m pip install "torch==$(TORCH)" && \
	"$$tmp/venv/bin/python" -m pip install "torch==$(TORCH)" -e '.[dev,docs]' && \
	{ sed -n '/^[^#]/q;p' $(LOCK) && \
	  "$$tmp/venv/bin/python" -m pip freeze --all --exclude pip --exclude rewardsmith \
	    --exclude-editable | sed 's/+cpu$$//'; } > "$$tmp/lock" && \
	mv "$$tmp/lock" $(LOCK)

# --- use ------------------------------------------------------------------------------------------

study: $(STAMP)
	$(BIN)/rewardsmith study examples/door_key/study.yaml --out $(RUNS)/door_key

study-8x8: $(STAMP)
	$(BIN)/rewardsmith study examples/door_key/study_8x8.yaml --out $(RUNS)/door_key_8x8

study-language: $(STAMP)
	$(BIN)/rewardsmith study examples/arithmetic/study.yaml --out $(RUNS)/arithmetic

# --- develop --------------------------------------------------------------------------------------

# Tests start many processes: without compiled files each of them would compile everything anew.
test: $(STAMP)
	env -u PYTHONDONTWRITEBYTECODE $(PY) -m pytest -n $(JOBS) --dist worksteal $(ARGS)

# No cache for the floors: it keeps how an import resolved before a module was added or removed.
check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(PY) docs/methods_table.py --check
	$(PY) docs/reproductions_table.py --check

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP)
	$(PY) docs/methods_table.py
	$(PY) docs/reproductions_table.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(STAMP)
	@failed=0; for file in benchmarks/*.py; do \
	  test -e "$$file" || { echo "error: no benchmarks/*.py" >&2; exit 1; }; \
	  echo "== $$file"; $(PY) "$$file" || failed=1; \
	done; exit $$failed

# Each room has to reach the bar on its own, so that one cannot hide behind another.
coverage: $(STAMP)
	$(BIN)/coverage erase
	$(PY) -m pytest -n $(JOBS) --dist worksteal --cov --cov-branch --cov-report= $(ARGS)
	@failed=0; for room in core transforms adapters; do \
	  echo "== $$room"; \
	  $(BIN)/coverage report --include "*/rewardsmith/$$room/*" --fail-under 90 || failed=1; \
	done; exit $$failed

mutants: $(STAMP)
	$(PY) tests/mutants.py

contracts: $(STAMP)
	$(PY) tests/contracts/run.py $(ARGS)

contracts-lock: $(STAMP)
	$(PY) tests/contracts/run.py --lock $(ARGS)

clean:
	rm -rf $(VENV) build dist site .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache \
	  .ruff_cache .import_linter_cache
	find src tests docs examples benchmarks reproductions -name __pycache__ -type d -prune \
	  -exec rm -rf {} +
