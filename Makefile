# make help lists the targets. PYTHON chooses the interpreter, VENV the environment, JOBS the test processes,
# BENCH the benchmarks.
PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
BENCH ?= kernel growth small_tensors patch startup out_of_core memory peers
QUICK ?=

BIN := $(VENV)/bin
# What an installed tree is made from; Python files are used in place.
BUILT_FROM := pyproject.toml setup.py CMakeLists.txt constraints.txt $(shell find csrc -type f)
CXX_SOURCES = $(shell find csrc tests/csrc -name '*.h' -o -name '*.inc' -o -name '*.cpp' -o -name '*.cu')

.DEFAULT_GOAL := help
.PHONY: help demo test lint format types bench clean

help:  ## this list
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(VENV)/pipeline.stamp  ## install, build, and run the unlearning demo on real images; results in runs/
	$(BIN)/negmerge demo

test: $(VENV)/dev.stamp  ## run all tests
	$(BIN)/python -m pytest -n $(JOBS)

lint: $(VENV)/dev.stamp  ## ruff and clang-format, checking only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror $(CXX_SOURCES)

format: $(VENV)/dev.stamp  ## let ruff and clang-format rewrite the sources
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_SOURCES)

types: $(VENV)/dev.stamp  ## mypy, strict on negmerge_ext
	$(BIN)/mypy

# QUICK=1 is a smoke test that writes nothing into the tree.
bench: $(VENV)/dev.stamp  ## run the benchmarks; results, tables and plots go to benchmarks/results/ and docs/
	set -e; for name in $(BENCH); do $(BIN)/python benchmarks/$$name.py $(if $(QUICK),--quick); done
	$(if $(QUICK),,$(BIN)/python benchmarks/report.py)

clean:  ## remove the environment and everything that was built
	rm -rf $(VENV) build dist *.egg-info python/*.egg-info negmerge_ext/*.so
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find negmerge_ext python tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# One environment serves all targets; the stamp's name is the extra that it holds.
$(VENV)/%.stamp: $(BUILT_FROM) | $(BIN)/python
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[$*]'
	touch $@
