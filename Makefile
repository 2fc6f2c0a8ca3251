# `make demo` and `make test` do the whole set-up; a machine needs Python 3.11 or newer, and make.

# `make test PYTHON=python3.13 VENV=.venv-3.13` tests with another Python, in its own environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Three workers for two cores, because many tests wait. PYTEST_ARGS adds options, as in
# `make test PYTEST_ARGS="-k seed"`.
WORKERS ?= 3
PYTEST_ARGS ?=
# The versions to develop and test with; `make LOCKED= test` takes the newest instead.
LOCKED ?= --constraint requirements/dev.txt
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Tests of the packages that need neither network nor PostgreSQL.
QUICK := mail patch series trust config pipeline store

.PHONY: help demo test quick coverage mutate torture bench check lint types contracts docs lock clean

help:
	@echo "make demo       install, replay the sample archive, show the records"
	@echo "make quick      the tests of the pure packages and of the store on SQLite"
	@echo "make test       the whole suite, on SQLite and on a PostgreSQL that it starts"
	@echo "make check      lint, types and import contracts"
	@echo "make coverage   the whole suite, with branch coverage"
	@echo "make mutate     change a module in many ways, and list what no test notices"
	@echo "make torture    the slow and destructive tests"
	@echo "make bench      measure replay and delivery, next to yardsticks"
	@echo "make docs       build the documentation into site/"
	@echo "make lock       update requirements/dev.txt, the versions to develop with"

$(VENV)/.made: Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "ingest needs Python 3.11 or newer: make PYTHON=python3.11 …" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: pyproject.toml $(VENV)/.made
	@echo "installing into $(VENV) …"
	@$(PIP_INSTALL) $(LOCKED) --editable .
	@touch $@

$(VENV)/.tested: pyproject.toml requirements/dev.txt $(VENV)/.made
	@echo "installing into $(VENV), with what the tests need …"
	@$(PIP_INSTALL) $(LOCKED) --editable '.[api,test]'
	@touch $@ $(VENV)/.installed

demo: $(VENV)/.installed
	@sh fixtures/demo.sh $(BIN)/ingest

test: $(VENV)/.tested
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not torture" $(PYTEST_ARGS)

quick: $(VENV)/.tested
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not torture" -k "not postgresql" \
		$(QUICK:%=tests/%) $(PYTEST_ARGS)

coverage: $(VENV)/.tested
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not torture" \
		--cov --cov-branch --cov-report=term --cov-report=html $(PYTEST_ARGS)

# mutmut works in mutants/, on a copy; pyproject.toml says on which modules, and with which tests.
# `mutmut show NAME` prints one of what it lists.
MUTANTS ?= ingest.patch.subjects.*
mutate: $(VENV)/.tested
	@$(PIP_INSTALL) 'mutmut==3.8.1'
	$(BIN)/mutmut run '$(MUTANTS)'
	$(BIN)/mutmut results

torture: $(VENV)/.tested
	$(BIN)/python -m pytest -m torture $(PYTEST_ARGS)

# Half an hour on a quiet machine; BENCH_ARGS="--runs 1" gives a first impression. The cost of a
# million mails is not part of it: benchmarks/growing.py takes as long again, and 25 GB in /tmp.
bench: $(VENV)/.tested
	$(BIN)/python benchmarks/replaying.py --write docs/performance.md $(BENCH_ARGS)
	$(BIN)/python benchmarks/accepting.py --write docs/performance.md $(BENCH_ARGS)

check: lint types contracts

lint: $(VENV)/.tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell .
	$(BIN)/python tests/support/duplicate_names.py
	$(BIN)/python tests/support/long_modules.py

types: $(VENV)/.tested
	$(BIN)/mypy

contracts: $(VENV)/.tested
	$(BIN)/lint-imports

docs: $(VENV)/.made
	@$(PIP_INSTALL) $(LOCKED) --editable '.[docs]'
	$(BIN)/mkdocs build --strict

# Neither the index that was asked nor options of this machine get into the file.
lock: $(VENV)/.made
	@$(PIP_INSTALL) --editable '.[lock]'
	$(BIN)/uv pip compile --quiet --universal --upgrade --python-version 3.11 \
		--no-emit-index-url --no-emit-find-links --no-annotate \
		--custom-compile-command "make lock" \
		--extra api --extra docs --extra lock --extra mysql --extra patatt --extra test \
		--output-file requirements/dev.txt pyproject.toml

clean:
	rm -rf $(VENV) .venv-* site htmlcov .coverage .coverage.* demo.db demo.db-wal demo.db-shm \
		.pytest_cache .mypy_cache .ruff_cache
