# `make` alone runs what CI runs.
.DEFAULT_GOAL := test
.PHONY: help setup demo up test lint types unit browser browser-setup screenshots faults bench bench-api scale mlflow openapi lock clean

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

test: lint types browser-setup unit

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: setup
	$(BIN)/mypy

# Two processes, since the suite is made for machines of two cores; a test's own threads are held to one.
unit: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

# The dashboard in a real browser; a part of `make test`.
browser: setup browser-setup
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 0 tests/browser

# Chromium from the system's packages, where this may install them. Without one the tests of the dashboard are skipped,
# and say so.
browser-setup:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || [ -n "$$TTM_CHROMIUM" ] || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
	    apt-get install -y -qq --no-install-recommends chromium >/dev/null; } || \
	  echo "NO BROWSER: the dashboard will not be tested. Install Chromium, or name one with TTM_CHROMIUM." >&2

# The pictures of the docs, as the tests see the pages.
screenshots: setup browser-setup
	TTM_SCREENSHOTS=docs/images OMP_NUM_THREADS=1 $(BIN)/pytest -n 0 -q tests/browser/test_pages.py -k each_page

# Every fault on every stack, of which `make test` runs the quick part; prints the table.
faults: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal -m "thorough or not thorough" tests/faults

# The committed OpenAPI document, after a wanted change of the API.
openapi: setup
	$(BIN)/python -m api.openapi > docs/reference/openapi.json

# The locks, after a change of the dependencies: all of them, and those of the API's image. No index or host enters them.
UV_LOCK := uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header
lock:
	$(UV_LOCK) --extra worker --extra dev pyproject.toml -o requirements.lock
	$(UV_LOCK) --constraint requirements.lock pyproject.toml -o deploy/api.lock

# Speed beside the peers; the one that timm does not bring is kept out of .venv.
bench: setup
	$(BIN)/python -m pip install --quiet --no-deps --target build/peers torchdistill==1.1.5
	PYTHONPATH=build/peers $(BIN)/python -m bench.speed --json build/speed.json

# The API beside bare endpoints, lists of a million jobs beside those of a thousand, listeners and large files; a quarter of an hour.
bench-api: setup
	$(BIN)/python -m bench.api --jobs 1000000 --postgresql --json build/api.json

# What MLflow's own server makes of us. It lives in an environment of its own, as it wants other versions of some packages.
mlflow: setup
	[ -x build/mlflow/bin/mlflow ] || { $(PYTHON) -m venv build/mlflow && build/mlflow/bin/pip install --quiet 'mlflow>=3'; }
	TTM_MLFLOW=$(CURDIR)/build/mlflow/bin/mlflow OMP_NUM_THREADS=1 $(BIN)/pytest -n 0 tests/worker/mlflow

# Claims at 10, 100 and 1,000 workers beside 100,000 queued jobs, into docs/scale.md; some five minutes.
scale: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m bench.scale --json docs/reference/scale.json --page docs/scale.md

clean:
	rm -rf .venv build *.egg-info

help:
	@grep -E '^[a-z-]+:' Makefile | cut -d: -f1
