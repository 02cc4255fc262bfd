# `make` alone runs what CI runs.
.DEFAULT_GOAL := test
.PHONY: setup demo test lint types unit lock clean

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.requirements.lock

setup: $(STAMP)

# The stamp is a copy of the lock that was installed: an unchanged lock reuses .venv, a changed one makes it anew.
$(STAMP): requirements.lock pyproject.toml
	@if cmp -s requirements.lock $(STAMP); then touch $(STAMP); else \
	  set -e; \
	  $(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] < (3, 15) else "Python 3.11 to 3.14 is needed; choose one with PYTHON=")'; \
	  echo "Installing the locked packages into .venv (about 3 GB to fetch the first time)"; \
	  $(PYTHON) -m venv --clear .venv; \
	  $(BIN)/python -m pip install --quiet --progress-bar on --require-hashes -r requirements.lock; \
	  $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .; \
	  cp requirements.lock $(STAMP); \
	fi
