# `make` alone runs what CI runs.
.DEFAULT_GOAL := test
.PHONY: help setup demo up test lint types unit openapi lock clean

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

# The product's main job on real data; see `.venv/bin/ttm demo --help` for its options.
demo: setup
	@$(BIN)/ttm demo

up: setup
	@$(BIN)/ttm up

test: lint types unit

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: setup
	$(BIN)/mypy

# Two processes, since the suite is made for machines of two cores; a test's own threads are held to one.
unit: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

# The committed OpenAPI document, after a wanted change of the API.
openapi: setup
	$(BIN)/python -m api.openapi > docs/reference/openapi.json

# The locks, after a change of the dependencies: all of them, and those of the API's image. No index or host enters them.
UV_LOCK := uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header
lock:
	$(UV_LOCK) --all-extras pyproject.toml -o requirements.lock
	$(UV_LOCK) --constraint requirements.lock pyproject.toml -o deploy/api.lock

clean:
	rm -rf .venv build *.egg-info

help:
	@grep -E '^[a-z]+:' Makefile | cut -d: -f1
