# `make` lists the targets. The only thing a target needs beforehand is python3 (3.11 or later) and make.

PYTHON ?= python3
BIN := .venv/bin
MARKERS ?= not slow

# Test programs of Debian: real brokers, and strace to record what the spool does to the disk.
TEST_PROGRAMS := mosquitto rabbitmq-server strace

.DEFAULT_GOAL := help
.PHONY: help demo test check lint types unit live test-crash test-mutants bench sample requirements clean programs

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/runtime.stamp  ## the bridge at work: a simulated device, an outage, a kill -9, and a count
	@$(BIN)/edge-bridge demo

test: programs .venv/tests.stamp  ## all that a change must pass: lint, types, every test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -m "$(MARKERS)"

lint: .venv/tests.stamp  ## style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/tests.stamp  ## mypy --strict
	$(BIN)/mypy

unit: .venv/tests.stamp  ## the tests that need no broker
	$(BIN)/pytest -m "not live and not slow"

live: programs .venv/tests.stamp  ## the tests with real brokers
	$(BIN)/pytest -m "live and not slow"

test-crash: programs .venv/tests.stamp  ## many minutes, as root: crash states, kill -9 loops, full and broken disks
	$(BIN)/python -m tests.crash --states 100000
	$(BIN)/python -m tests.crash.kills --rounds 1000
	$(BIN)/pytest -m slow tests/disk
	THOROUGH=20 $(BIN)/pytest --timeout 3600 tests/spool/test_spool_model.py tests/spool/test_live_first_model.py

test-mutants: programs .venv/tests.stamp  ## minutes: faults seeded on purpose, each of which a test must notice
	$(BIN)/python -m tests.mutants

bench: programs .venv/tests.stamp  ## what the spool costs; events per second and CPU per event, beside a naive loop
	$(BIN)/python -m tests.bench.spool
	$(BIN)/python -m tests.bench

sample: .venv/runtime.stamp  ## write the sample configuration, its reference and its schema anew
	$(BIN)/edge-bridge sample > config/edge-bridge.toml
	$(BIN)/edge-bridge reference > docs/configuration.md
	$(BIN)/edge-bridge schema > config/edge-bridge.schema.json

requirements: .venv/tools.stamp  ## pin the newest allowed version of every dependency, with its hashes
	scripts/pin

clean:  ## remove what the targets made
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	find bridge tests -name __pycache__ -type d -prune -exec rm -rf {} +

programs:
	@scripts/programs $(TEST_PROGRAMS)

# tests.txt and tools.txt hold runtime.txt's own pins, so one environment serves every target.
.venv/%.stamp: requirements/build.txt requirements/runtime.txt requirements/%.txt pyproject.toml
	@PYTHON="$(PYTHON)" scripts/environment $*
