# Everything from a fresh clone: each target makes the virtual environment it needs.
#   make demo ARGS='--seed 1'      make test ARGS='-k compat'
#   make PYTHON=python3.12 PIP_ARGS='--index-url ...' demo

PYTHON ?= python3
PIP_ARGS ?=
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DOCS_READY := $(VENV)/.ready-docs
# a file at a time, in the order of tests/conftest.py
PARALLEL := -n auto --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all check format docs clean

help:  ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18
	@echo "Variables: PYTHON (interpreter, 3.10 or later), ARGS (for demo and test),"
	@echo "           PIP_ARGS (for pip, e.g. an index that has CPU builds of torch)"

install: $(READY)  ## Make the virtual environment in .venv

demo: $(READY)  ## Train, score and predict on drawn images, in a few minutes on a CPU
	$(BIN)/python tools/demo.py $(ARGS)

test: $(READY)  ## Run the tests, without the slow ones
	$(BIN)/python -m pytest $(PARALLEL) -m 'not slow' $(ARGS)

test-all: $(READY)  ## Run all tests
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

check: $(READY)  ## Check format and style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: $(READY)  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(DOCS_READY)  ## Build the documentation as a site in build/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

clean:  ## Remove the virtual environment
	rm -rf $(VENV)

# torch goes first: with its version settled, nothing that follows can bring another build of it.
$(READY): setup.py constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
		echo "$(PYTHON) is not a Python 3.10 or later: make PYTHON=/path/to/python3 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments: 'sudo apt install python3-venv' mends that on Debian and Ubuntu"; exit 1; }
	test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[lite,tests]'
	touch $@

$(DOCS_READY): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[docs]'
	touch $@
