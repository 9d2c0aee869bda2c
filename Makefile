# Two commands do everything: `make run` and `make test`. The rest is for those who work on Sluice.

PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip --disable-pip-version-check --quiet
# With extras: pip would look for the newest `coverage[toml]` beside a pinned `coverage`.
LOCK   := uv pip compile --quiet --generate-hashes --no-strip-extras --no-emit-index-url \
	--no-emit-find-links --no-header --no-annotate --python-version 3.11 --all-extras pyproject.toml

# What is checked: a graph that a user saves beside the Makefile is not ours.
OURS   := domain application infrastructure interfaces offline_model tests benchmarks examples docs

# By file: what a file starts, it starts once. In their order, which begins with the longest.
PARALLEL := -p xdist -n 3 --dist loadfile --no-loadscope-reorder

.PHONY: run cluster test types suite unit e2e chaos chaos-cluster bench bench-steps instructions wheel lock clean

run: $(VENV)/installed            ## serve at http://127.0.0.1:8000; without a key the offline model answers
	$(BIN)/sluice serve

cluster: $(VENV)/installed        ## two gateways, two workers, Redis and PostgreSQL on this machine, until Ctrl-C
	@BIN=$(BIN) exec scripts/cluster.sh

test: $(VENV)/developed           ## everything that is checked: style, types, layers, tests
	$(BIN)/python -m compileall -q sluice
	$(BIN)/ruff check $(OURS)
	$(BIN)/ruff format --check $(OURS)
	$(BIN)/lint-imports --no-logo
	$(BIN)/deptry $(OURS)
	@$(MAKE) --no-print-directory --jobs=2 types suite

types: $(VENV)/developed
	$(BIN)/mypy

suite: $(VENV)/developed
	$(BIN)/pytest $(PARALLEL)

unit: $(VENV)/developed           ## the fast tests only
	$(BIN)/pytest -q $(PARALLEL) --ignore tests/e2e --ignore tests/faults --ignore tests/chaos

e2e: $(VENV)/installed            ## one question per intent on each path, with curl and jq
	BIN=$(BIN) scripts/e2e.sh

chaos: $(VENV)/developed          ## readers come and go while the service is killed: SECONDS=60 SEED=1
	$(BIN)/python -m tests.chaos --seconds $(or $(SECONDS),60) --seed $(or $(SEED),1)

chaos-cluster: $(VENV)/developed  ## the same with two gateways, two workers, Redis and PostgreSQL
	$(BIN)/python -m tests.chaos --cluster --seconds $(or $(SECONDS),60) --seed $(or $(SEED),1)

wheel: $(VENV)/developed          ## build the wheel, install it alone elsewhere, serve from there
	BIN=$(BIN) scripts/check-wheel.sh

bench: $(VENV)/developed          ## measure beside what a user would write; under 15 minutes on an idle machine
	$(BIN)/python -m benchmarks

bench-steps: $(VENV)/developed    ## what each step of a token's way costs
	$(BIN)/python -m benchmarks.steps

instructions: $(VENV)/developed   ## count a token's CPU instructions; over 10 % more than kept is an error
	$(BIN)/python -m benchmarks.instructions

lock:                             ## pin every dependency with its hashes (needs uv)
	$(LOCK) --group build -o requirements.lock
	$(LOCK) --group build --group dev -c requirements.lock -o requirements-dev.lock

clean:
	rm -rf $(VENV) dist

$(VENV)/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) …"
	$(PIP) install --require-hashes -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/developed: requirements-dev.lock $(VENV)/installed
	@echo "Installing what the checks need …"
	$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@
