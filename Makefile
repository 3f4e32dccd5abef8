# make, a Python >= 3.11 and a network to a package index are all that is needed; the targets create
# the environment that they need. make PYTHON=... picks the interpreter, make VENV=... an existing
# environment (its torch is kept).

SUITABLE := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(or $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c '$(SUITABLE)' 2>/dev/null && { echo $$p; break; }; done),python3)
VENV ?= .venv
RUN = $(VENV)/bin/python
ENSURE = @$(PYTHON) deploy/environment.py $(VENV)

RUNTIME = service worker local
SOURCES = learndrop service worker deploy tests
# Tests share the cores with each other: one compute thread each, and never more than 4 at once. One
# more than there are cores, for many wait for the processes that they started.
PYTEST = OMP_NUM_THREADS=1 $(RUN) -m pytest
WORKERS ?= $(shell cores=$$(getconf _NPROCESSORS_ONLN || echo 1); echo $$((cores < 4 ? cores + 1 : 4)))
PARALLEL = -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help demo up test test-slow check bench bench-long bench-http bench-ingest chaos fuzz soak compose-test clean

help:  ## Say what there is
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 22

demo: runtime  ## Learn, drop, drift, recover, on one machine (DATA=... for your own images, OUT=... folder)
	@$(RUN) -m learndrop.cli demo $(if $(DATA),--data "$(DATA)") $(if $(OUT),--out "$(OUT)") $(ARGS)

up: runtime  ## Start the service on one machine without Redis or Docker (Ctrl-C stops it)
	@$(RUN) -m deploy.local $(ARGS)

bench: runtime  ## Compare with full fine-tuning and its rivals, under 20 minutes
	@$(RUN) -m learndrop.cli bench --quick $(if $(DATA),--data "$(DATA)") $(ARGS)

bench-long: runtime  ## Every strategy on every kind of stream; hours, goes on where it was stopped
	@$(RUN) -m learndrop.cli bench --long --out out/bench-long $(if $(DATA),--data "$(DATA)") $(ARGS)

bench-http: runtime  ## What the service costs over a bare training loop (DATA=... images, ARGS=...)
	@$(RUN) -m deploy.through_http $(if $(DATA),"$(DATA)") $(ARGS)

test: check  ## Everything that CI runs: check, then all tests (ARGS=... for pytest)
	$(PYTEST) $(PARALLEL) -m "not slow" $(ARGS)

test-slow: environment  ## The tests that "make test" leaves out: every network at every cut; minutes
	$(PYTEST) $(PARALLEL) -m slow $(ARGS)

check: environment  ## Style, types, import rules, the compose files
	$(RUN) -m ruff check $(SOURCES)
	$(RUN) -m ruff format --check $(SOURCES)
	$(RUN) -m mypy
	$(RUN) -c 'from importlinter.cli import lint_imports_command as c; c()'
	$(RUN) -m check_jsonschema --builtin-schema vendor.compose-spec docker-compose.yml deploy/compose.gpu.yml

bench-ingest: runtime  ## Images a second through POST /v1/samples, beside what its parts can do
	@$(RUN) -m deploy.bench_ingest --out docs/figures/ingest.md $(ARGS)

chaos: environment  ## Kills, full disks, wrong clocks, hands in Redis: 40 minutes, docs/reliability.md
	$(RUN) -m tests.reliability chaos $(ARGS)

fuzz: environment  ## Mutated pictures, forms, entries and requests: 12 minutes, docs/reliability.md
	$(RUN) -m tests.reliability fuzz $(ARGS)

soak: environment  ## Overload, swaps, memory, threads: 35 minutes, docs/reliability.md
	$(RUN) -m tests.reliability soak $(ARGS)

compose-test: client  ## Build and run docker-compose.yml for real, then take it down (needs Docker)
	@$(RUN) -m deploy.compose_test $(ARGS)

.PHONY: client runtime environment
client:
	$(ENSURE) local
runtime:
	$(ENSURE) $(RUNTIME)
environment:
	$(ENSURE) $(RUNTIME) test

clean:  ## Remove the environment, caches and reports; data/ stays
	rm -rf .venv out build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
