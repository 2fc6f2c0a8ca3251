# `make demo` and `make test` do all the set-up; a machine needs Python 3.11 and make.

# `make test PYTHON=python3.13 VENV=.venv-3.13` tests with another, beside the first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Three workers for two cores: many tests wait. PYTEST_ARGS adds to it, as in
# `make test PYTEST_ARGS="-k seed"`.
WORKERS ?= 3
PYTEST_ARGS ?=

.PHONY: demo test lint types contracts check torture bench clean help

help:
	@echo "make demo       install, replay the sample archive, show what came of it"
	@echo "make test       the whole suite, on SQLite and on a PostgreSQL that it starts"
	@echo "make check      lint, types and import contracts"
	@echo "make torture    the slow and destructive tests"
	@echo "make bench      what a replay and a delivery cost, beside yardsticks"

$(VENV)/.made: Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "ingest needs Python 3.11 or newer: make PYTHON=python3.11 …" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: pyproject.toml $(VENV)/.made
	@echo "installing into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.tested: pyproject.toml $(VENV)/.made
	@echo "installing into $(VENV), with what the tests need …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[api,test]'
	@touch $@ $(VENV)/.installed

demo: $(VENV)/.installed
	@sh fixtures/demo.sh $(BIN)/ingest

test: $(VENV)/.tested
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not torture" $(PYTEST_ARGS)

torture: $(VENV)/.tested
	$(BIN)/python -m pytest -m torture $(PYTEST_ARGS)

# Half an hour on a quiet machine; BENCH_ARGS="--runs 1" for a first look. What a million mails
# cost is not in it: benchmarks/growing.py takes as long again, and 25 GB in /tmp.
bench: $(VENV)/.tested
	$(BIN)/python benchmarks/replaying.py --write docs/performance.md $(BENCH_ARGS)
	$(BIN)/python benchmarks/accepting.py --write docs/performance.md $(BENCH_ARGS)

check: lint types contracts

lint: $(VENV)/.tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.tested
	$(BIN)/mypy

contracts: $(VENV)/.tested
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) .venv-* demo.db demo.db-wal demo.db-shm .pytest_cache .mypy_cache .ruff_cache
