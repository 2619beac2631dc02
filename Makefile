# Suture's commands. A fresh machine needs a `python3` of 3.11 or newer and this file; everything else is brought here.

PYTHON ?= python3
BIN := .venv/bin
RUN := $(BIN)/python manage.py
STAMP := .venv/installed
TEST_STAMP := .venv/installed-dev
WORKERS ?= 4
ARGS ?=

# pip's own progress bar is shown; hashes are compulsory.
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --no-deps --require-hashes

.DEFAULT_GOAL := help
.PHONY: help install install-dev demo test check proof bench format lock stop

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

$(BIN)/python:
	@echo "Making the virtual environment in .venv"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Suture needs Python 3.11 or newer; name one: make PYTHON=python3.11 ...")'
	@$(PYTHON) -m venv .venv

$(STAMP): requirements.lock | $(BIN)/python
	@test -e $(TEST_STAMP) && cmp -s requirements.lock $(STAMP) || { echo "Installing what Suture needs ($$(grep -c '==' requirements.lock) packages)"; $(INSTALL) -r requirements.lock; }
	@cp requirements.lock $@

$(TEST_STAMP): requirements-dev.lock | $(BIN)/python
	@echo "Installing what Suture and its tests need ($$(grep -c '==' requirements-dev.lock) packages)"
	@$(INSTALL) -r requirements-dev.lock
	@cp requirements.lock $(STAMP)
	@cp requirements-dev.lock $@

install: $(STAMP)  ## the virtual environment, as locked
install-dev: $(TEST_STAMP)  ## the same, with what tests and checks need

demo: $(STAMP)  ## a sample agency with three clinics on sandboxed vendors, in a browser (ARGS=--once: run through and end)
	@$(RUN) demo $(ARGS)

test: $(TEST_STAMP)  ## every test but the long campaigns (ARGS: handed to pytest)
	@$(BIN)/python -m tests.run_suite -n $(WORKERS) $(ARGS)

proof: $(TEST_STAMP)  ## the long campaigns in full
	@SUTURE_PROOF=1 $(BIN)/python -m tests.run_suite -n $(WORKERS) $(ARGS)

bench: $(TEST_STAMP)  ## speed and memory, as ratios to the bare loop
	@$(RUN) bench $(ARGS)

check: $(TEST_STAMP)  ## format, lint, types, imports, deployment, migrations
	@$(BIN)/python -m tests.run_checks

format: $(TEST_STAMP)  ## put the code into its format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: $(TEST_STAMP)  ## resolve the dependencies of pyproject.toml anew
	@$(BIN)/pip-compile -q --strip-extras --allow-unsafe --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --extra sandbox --extra redis -o requirements.lock pyproject.toml
	@$(BIN)/pip-compile -q --strip-extras --allow-unsafe --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --extra sandbox --extra redis --extra dev -c requirements.lock -o requirements-dev.lock pyproject.toml

stop:  ## end the embedded database
	@$(BIN)/python -m config.embedded stop
