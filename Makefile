# Every target starts on a fresh Debian 12 with nothing but python3.11 and make: each makes .venv ready first.

BIN := .venv/bin
JOBS ?= auto
UPGRADE ?=
RUNS ?= 200000

.DEFAULT_GOAL := help
.PHONY: help setup setup-tests demo test lint bench fuzz lock clean lint-ruff lint-format lint-types lint-imports

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

setup: ## make .venv with what the product needs
	@scripts/setup

setup-tests:
	@scripts/setup --tests

demo: setup ## run the example HTTPS workload in a Keep and fetch a page from it
	@$(BIN)/enarx demo

test: lint ## lint, then all tests, then the coverage gate (JOBS=n for n processes, default one per core)
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest --numprocesses=$(JOBS) --dist=worksteal
	@mkdir -p build
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage json --quiet -o build/coverage.json
	@$(BIN)/python scripts/coverage_gate.py build/coverage.json

lint: setup-tests ## ruff, mypy --strict and the import rules
	@$(MAKE) --no-print-directory --keep-going --jobs=2 --output-sync=target lint-types lint-ruff lint-format lint-imports

lint-ruff:
	@$(BIN)/ruff check --quiet

lint-format:
	@$(BIN)/ruff format --check --quiet

lint-types:
	@$(BIN)/mypy --strict

lint-imports:
	@$(BIN)/lint-imports --no-cache --no-logo

bench: setup-tests ## measure against the bars, as ratios, and write JSON
	@$(BIN)/python -m bench

FUZZ_TARGETS := snp sev launch package mux

fuzz: setup-tests ## fuzz every parser of evidence and packages (RUNS=n executions for each target); needs a Python that atheris has
	@$(BIN)/pip install -qq --disable-pip-version-check --no-input --require-hashes --requirement requirements/fuzz.txt
	@mkdir -p build/fuzz
	@for target in $(FUZZ_TARGETS); do \
		$(BIN)/python -m fuzz.$$target build/fuzz/$$target -runs=$(RUNS) -timeout=20 -rss_limit_mb=1024 \
			-artifact_prefix=build/fuzz/$$target- -verbosity=0 -print_final_stats=1 || exit 1; \
	done

# One resolution for all supported Pythons and machines; the two small locks are slices of the large one.
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command 'make lock'

lock: setup-tests ## renew requirements/*.txt from pyproject.toml (UPGRADE=--upgrade for newer releases)
	@$(COMPILE) $(UPGRADE) --all-extras --group dev pyproject.toml -o requirements/dev.txt
	@$(COMPILE) --constraints requirements/dev.txt --extra steward pyproject.toml -o requirements/runtime.txt
	@$(COMPILE) --constraints requirements/dev.txt --group build -o requirements/build.txt
	@$(COMPILE) --group fuzz -o requirements/fuzz.txt

clean: ## remove everything that make has made
	rm -rf .venv build dist .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests scripts bench fuzz examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
