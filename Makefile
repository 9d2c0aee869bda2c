# Two commands do everything: `make run` and `make test`. `make help` lists the rest.

# PYTHON=… wins; else the newest of these that runs and can make an environment. A shim of a version
# manager may not run, and Debian's own needs python3-venv.
SUPPORTED := 3.14 3.13 3.12 3.11
RUNS   := import sys, ensurepip, venv; sys.exit("%d.%d" % sys.version_info[:2] not in sys.argv[1:])
FOUND  = $(shell for python in $(SUPPORTED:%=python%) python3; do \
	"$$python" -c '$(RUNS)' $(SUPPORTED) 2>/dev/null && echo "$$python" && break; done)
PYTHON ?= $(or $(FOUND),$(error No Python with venv and ensurepip found, of $(SUPPORTED): name one with PYTHON=))
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip --disable-pip-version-check --quiet
# A lock is complete for every supported version and system: nothing is left to be resolved.
LOCKED := $(PIP) install --no-deps --require-hashes -r
LOCK   := uv pip compile --quiet --generate-hashes --no-strip-extras --no-emit-index-url \
	--no-emit-find-links --no-header --no-annotate --universal \
	--python-version $(lastword $(SUPPORTED)) pyproject.toml

# What is checked: a graph that a user saves beside the Makefile is not ours.
OURS   := sluice domain application infrastructure interfaces offline_model tests benchmarks examples docs

# By file: what a file starts, it starts once. In their order, which begins with the longest.
PARALLEL := -p xdist -n 4 --dist loadfile --no-loadscope-reorder

.PHONY: run help cluster test style types suite unit short cuts e2e chaos chaos-cluster mutation newcomer bench bench-steps instructions wheel lock clean

run: $(VENV)/installed            ## serve at http://127.0.0.1:8000; without a key the offline model answers
	$(BIN)/sluice serve

help:                             ## what can be made
	@awk -F ':[^#]*## *' '/^[a-z0-9-]+:.*##/ {printf "%-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

cluster: $(VENV)/installed        ## two gateways, two workers, Redis and PostgreSQL on this machine, until Ctrl-C
	@BIN=$(BIN) exec scripts/cluster.sh

test: style                       ## everything that is checked: style, layers, types, tests
	@$(MAKE) --no-print-directory --jobs=2 types suite

style: $(VENV)/developed          ## what is checked within seconds: style, layers, dependencies
	$(BIN)/python -m compileall -q sluice
	$(BIN)/ruff check $(OURS)
	$(BIN)/ruff format --check $(OURS)
	$(BIN)/lint-imports --no-logo
	$(BIN)/deptry $(OURS)

types: $(VENV)/developed
	$(BIN)/mypy

suite: $(VENV)/developed
	$(BIN)/pytest $(PARALLEL)

unit: $(VENV)/developed           ## the tests that start no process of ours: two minutes
	$(BIN)/pytest -q $(PARALLEL) $(addprefix --ignore tests/,e2e faults chaos cluster)

short: $(VENV)/developed          ## what another Python could break first: no process, no browser, no Node, few examples
	$(BIN)/pytest -q --hypothesis-profile=few $(PARALLEL) tests/unit tests/http tests/openai_sdk tests/contract/event_log $(addprefix --ignore tests/,unit/test_report_evidence.py http/test_openapi.py)

cuts: $(VENV)/developed          ## cut each client's streams off at 200 random bytes: CUTS=200 SEED=…
	CUTS=$(or $(CUTS),200) $(BIN)/pytest -q -rP $(PARALLEL) -k cut tests/client tests/frontends

e2e: $(VENV)/installed            ## one question per intent on each path, with curl and jq
	BIN=$(BIN) scripts/e2e.sh

chaos: $(VENV)/developed          ## readers come and go while the service is killed: SECONDS=60 SEED=1
	$(BIN)/python -m tests.chaos --seconds $(or $(SECONDS),60) --seed $(or $(SEED),1)
	$(BIN)/python -m tests.chaos.agents --seconds $(or $(SECONDS),60) --seed $(or $(SEED),1)

chaos-cluster: $(VENV)/developed  ## the same with two gateways, two workers, Redis and PostgreSQL
	$(BIN)/python -m tests.chaos --cluster --seconds $(or $(SECONDS),60) --seed $(or $(SEED),1)
	$(BIN)/python -m tests.chaos.agents --cluster --seconds $(or $(SECONDS),60) --seed $(or $(SEED),1)

mutation: $(VENV)/developed       ## break the code on purpose, see what no test notices: MODULES=… SECONDS=3600
	$(BIN)/python -m tests.mutation $(MODULES) --seconds $(or $(SECONDS),3600)

wheel: $(VENV)/developed          ## build the wheel, install it alone elsewhere, serve from there
	BIN=$(BIN) scripts/check-wheel.sh

newcomer: $(VENV)/developed       ## the guide's agent in a fresh environment and project, its tokens in Chromium; minutes
	$(BIN)/python -m tests.live.newcomer

bench: $(VENV)/developed          ## measure beside what a user would write, as in life; under 15 minutes when idle
	$(BIN)/python -m benchmarks --write

bench-steps: $(VENV)/developed    ## what each step of a token's way costs
	$(BIN)/python -m benchmarks.steps

instructions: $(VENV)/developed   ## count the CPU instructions of answers and tokens; over 10 % more than kept is an error
	$(BIN)/python -m benchmarks.instructions

lock:                             ## pin every dependency with its hashes (needs uv)
	$(LOCK) --extra cluster --extra flags --extra state --group build -o requirements.lock
	$(LOCK) --all-extras --group build --group dev -c requirements.lock -o requirements-dev.lock

clean:
	rm -rf $(VENV) dist

$(VENV)/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV), with $$($(BIN)/python --version) …"
	$(LOCKED) requirements.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/developed: requirements-dev.lock $(VENV)/installed
	@echo "Installing what the checks need …"
	$(LOCKED) requirements-dev.lock
	$(PIP) check
	@touch $@
