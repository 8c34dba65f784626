# `make run` and `make test` are all a fresh clone needs; `make help` lists the rest.
# Each target first makes its own environment: .venv, with exactly what the lock files name.

SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
# Containers like to forbid bytecode files; then each of the suite's hundreds of processes compiles everything again.
export PYTHONDONTWRITEBYTECODE :=

PYTHON ?= python3
BIN := .venv/bin
# Twice two processors: a third of the time, tests wait for leases, queues and other programs.
WORKERS ?= 4
# Newer releases are left alone for a week: time enough for a poisoned one to be found by others.
COOLDOWN_DAYS ?= 7

# The stamp's name is the digest of what decides the environment, so that a changed lock file installs again.
LOCKS := requirements/bootstrap.txt requirements/dev.txt pyproject.toml
STAMP := .venv/.made-$(shell cat $(LOCKS) | sha256sum | cut -c1-16)

.PHONY: help run test check bench soak lock format reference clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(STAMP): $(LOCKS)
	@PYTHON="$(PYTHON)" scripts/make_environment.sh "$@"

run: $(STAMP) ## the main job from end to end, then the console; ONCE=1 ends after the summary, TEXT=folder, IMAGE=cuda (still on the CPU), SLURM=1; EXAMPLE=robot-arm runs the other example
	@scripts/system_packages.sh $(if $(or $(SLURM),$(filter robot-arm,$(EXAMPLE))),slurm,run)
	@$(BIN)/python -m scripts.main_job

test: $(STAMP) ## the whole suite on both databases, with the coverage bars
	@scripts/system_packages.sh test
	@rm -rf build/coverage && mkdir -p build/coverage
	@COVERAGE_FILE=build/coverage/data $(BIN)/python -m pytest --db=all -n $(WORKERS) --dist=worksteal -m "not soak" \
		--cov --cov-report= --cov-report=json:build/coverage/report.json --durations=15
	@$(BIN)/python scripts/coverage_bars.py build/coverage/report.json

check: $(STAMP) ## format, lint, types, imports and the architecture tests
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/pyrefly check
	@$(BIN)/lint-imports --no-logo --no-cache
	@$(BIN)/python -m pytest tests/architecture -q

bench: $(STAMP) ## one benchmark by NAME=...; the last line is JSON, the exit status says whether its goals were met
	@test -n "$(NAME)" || { echo "usage: make bench NAME=gate" >&2; exit 2; }
	@test -f "benchmarks/$(NAME).py" || { echo "no such benchmark: benchmarks/$(NAME).py" >&2; exit 2; }
	@$(BIN)/python -m "benchmarks.$(NAME)"

soak: $(STAMP) ## faults repeated many times, on both databases; long
	@scripts/system_packages.sh test
	@$(BIN)/python -m pytest --db=all -m soak -o timeout=7200 -o faulthandler_timeout=7100

lock: $(STAMP) ## compile requirements/*.in again, leaving out what was released in the last COOLDOWN_DAYS days
	@for name in bootstrap runtime dev; do \
		$(BIN)/uv pip compile --quiet --upgrade --python-version 3.11 --generate-hashes --no-header \
			--no-emit-index-url --no-emit-find-links \
			--exclude-newer "$$(date -u -d '$(COOLDOWN_DAYS) days ago' +%Y-%m-%d)" \
			"requirements/$$name.in" -o "requirements/$$name.txt"; \
	done

format: $(STAMP) ## let ruff put the code in order
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

reference: $(STAMP) ## write docs/reference from the code
	@$(BIN)/python -m sekisho.http.reference
	@$(BIN)/python scripts/generate_reference.py

clean: ## everything that make made, the environment and the example's data included
	@rm -rf .venv .image .run build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage*
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
