# The first target that needs Python makes .venv, from nothing but Python 3.11 or 3.12 and a network.
PYTHON ?= python3
# Test processes, one thread each. One that has finished takes over half of what another has left.
JOBS ?= 2
PYTEST_ARGS ?=

BIN := .venv/bin
TORCH := $(shell grep '^torch==' requirements.txt)
BUILT_FROM := pyproject.toml setup.py $(wildcard csrc/*.cpp csrc/*/*)

.PHONY: help venv test newest lint demo benchmarks clean
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: .venv/.package ## make .venv with the pinned dependencies and this package, editable

test: lint ## lint, then run all tests; PYTEST_ARGS="-m 'not slow'" leaves out the slow ones
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(PYTEST_ARGS)

newest: venv ## install the wheel with the newest dependencies, run the demonstration and fast tests
	PYTHON=$(PYTHON) JOBS=$(JOBS) .ci/newest

lint: venv ## check style, types and the layers of the package
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

demo: venv ## run the demonstration
	PATH="$(CURDIR)/$(BIN):$$PATH" bash examples/demo/run.sh

benchmarks: venv ## time everything on the CPU, see benchmarks/README.md
	for name in ops step loader inference prepare registers figures; do \
		$(BIN)/python -m benchmarks.$$name || exit 1; \
	done

clean: ## remove .venv and whatever was built
	rm -rf .venv build dist *.egg-info fairseq_ecg/_C*.so .pytest_cache .ruff_cache .mypy_cache \
		.import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# PyTorch comes first and by its exact name, so that no dependency gets to choose another build.
.venv/.requirements: requirements.txt
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install $(TORCH)
	$(BIN)/pip install -r requirements.txt
	touch $@

.venv/.package: .venv/.requirements $(BUILT_FROM)
	$(BIN)/pip install --no-deps --no-build-isolation --editable .
	touch $@
