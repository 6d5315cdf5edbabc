# Every command of a developer's day. `make help` lists them.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help
help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

# A stamp holds the lock's name, so a second run costs nothing and a changed lock installs again. A lock has all that is
# needed: left to look for a dependency itself, pip takes a newer version that no hash is of, and gives up.
$(VENV)/.runtime: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Fundament needs Python 3.11 or newer")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-dev.lock
	@touch $@

.PHONY: setup
setup: $(VENV)/.runtime  ## install what the service needs into .venv

.PHONY: run
run: setup  ## serve the default model; prints base URL, key and a curl
	$(BIN)/fundament serve --quickstart

.PHONY: dev
dev: $(VENV)/.dev  ## install what the tests and checks need, too

.PHONY: test
test: dev  ## run everything: lint, types, tests
	$(MAKE) --no-print-directory lint types
	$(BIN)/python -m pytest

.PHONY: lint
lint: dev  ## ruff: format and rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

.PHONY: format
format: dev  ## write the format ruff wants
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: types
types: dev  ## type check of src, strict
	$(BIN)/basedpyright

.PHONY: bench
bench: dev  ## measure side by side with nginx and LiteLLM
	$(BIN)/python -m benchmarks

.PHONY: lock
lock: dev  ## resolve the newest versions into the two lock files
	$(BIN)/uv pip compile --quiet --universal --upgrade --generate-hashes --no-emit-index-url --no-header --group build pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --upgrade --generate-hashes --no-emit-index-url --no-header --group build --group dev pyproject.toml -c requirements.lock -o requirements-dev.lock

.PHONY: clean
clean:  ## remove what make made, but not the data directory
	rm -rf $(VENV) .bench .pytest_cache .ruff_cache .hypothesis
