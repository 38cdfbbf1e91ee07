# `make` lists the targets.
PYTHON ?= python3
BIN := .venv/bin
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help demo test check gate bench bench-detection prove-page dashboards kill nemesis fuzz lock clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1|/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null \
	  || sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' $(MAKEFILE_LIST)

demo: .venv/.demo ## watch canaries being sent, arriving and being lost, on an embedded mail system
	$(BIN)/mailcanary demo

test: packages .venv/.dev gate ## everything: installs what the tests need, the gate, all tests on real servers
	$(BIN)/python -m pytest

check: .venv/.dev gate ## the gate, and the tests that need no mail server
	$(BIN)/python -m pytest -m "not real"

gate: .venv/.dev ## lint, types and the walls between the packages
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

kill: packages .venv/.dev ## kill the daemon at every durable or visible act, and fail every write
	$(BIN)/python -m tests.kill

SEEDS ?= 10000
nemesis: .venv/.dev ## seeded random histories of faults through the real engine, checked independently (SEEDS=10000)
	$(BIN)/python -m tests.nemesis --seeds 0-$$(( $(SEEDS) - 1 )) --canaries 500 --jobs $$(nproc)

INPUTS ?= 1000000
fuzz: .venv/.dev ## hostile bytes into every parser (INPUTS=1000000)
	$(BIN)/python -m tests.fuzz --inputs $(INPUTS)

bench: packages .venv/.dev ## measure: CPU and bytes per canary, rate, error of the latency
	$(BIN)/python -m benchmarks

bench-detection: .venv/.dev ## how soon the detector pages, and how often for nothing (QUICK=1: rough)
	$(BIN)/python -m benchmarks.detection

prove-page: packages .venv/.dev ## the incident of 2015 end to end, with real Prometheus and Alertmanager
	$(BIN)/python -m tests.page

dashboards: .venv/.dev ## write Grafana's dashboards anew, from dashboards/generate
	$(BIN)/python -m dashboards.generate

clean: ## remove the virtual environment and all caches
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: packages
packages:
	@scripts/install-test-packages

# The stamps are renewed when the dependencies change.
$(BIN)/python:
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || scripts/install-test-packages
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv .venv

.venv/.demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[demo]'
	@touch $@

# What the gate and the tests use is locked with hashes, the build backend included. The project comes last, alone.
.venv/.dev: pyproject.toml requirements-dev.lock | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@ .venv/.demo

lock: | $(BIN)/python ## lock the newest allowed versions of what the tests need, after a change in pyproject.toml
	scripts/lock-dev
