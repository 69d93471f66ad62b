# make help lists the targets. PYTHON chooses the interpreter, VENV the environment, JOBS the test processes,
# BENCH the benchmarks. For the targets gpu-*, see docs/benchmarks.md, for reproduce-* docs/models.md.
PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
BENCH ?= kernel reading_order growth new_results small_tensors patch startup fine_tuning out_of_core memory peers
RESULTS ?=
GPU_BENCH ?= gpu_kernel gpu_model gpu_files
GPU_RESULTS ?=
QUICK ?=
WHEELS ?=
CUDA_HOME ?= /usr/local/cuda
DATA ?=
RUNS ?= runs

BIN := $(VENV)/bin
# What an installed tree is made from; Python files are used in place.
BUILT_FROM := pyproject.toml setup.py CMakeLists.txt constraints.txt $(shell find csrc -type f)
CXX_SOURCES = $(shell find csrc tests/csrc benchmarks -name '*.h' -o -name '*.inc' -o -name '*.cpp' -o -name '*.cu')

.DEFAULT_GOAL := help
.PHONY: help demo test lint format types bench clean gpu-check gpu-build gpu-test gpu-sanitize gpu-bench \
	reproduce-cifar10

help:  ## this list
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 26

demo: $(VENV)/pipeline.stamp  ## install, build, and run the unlearning demo on real images; results in runs/
	$(BIN)/negmerge demo

test: $(VENV)/dev.stamp  ## run all tests
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

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

# QUICK=1 is a smoke test that writes nothing into the tree. RESULTS is a folder for the results of another machine than
# those in benchmarks/results/; tables and plots are left as they are then.
bench: $(VENV)/dev.stamp  ## run the benchmarks; results, tables and plots go to benchmarks/results/ and docs/
	set -e; for name in $(BENCH); do $(BIN)/python benchmarks/$$name.py $(if $(QUICK),--quick) \
	  $(if $(RESULTS),--out $(RESULTS)/$$name.json); done
	$(if $(QUICK)$(RESULTS),,$(BIN)/python benchmarks/report.py)

# What needs a GPU takes everything from PYTHON, which has torch for CUDA, and from WHEELS, a folder of wheels for what
# it lacks. Nothing is downloaded, no environment is made; the modules are built into the source tree.
GPU_PACKAGES := build/gpu/packages
GPU_PYTHON = env PYTHONUNBUFFERED=1 PYTHONPATH="$(CURDIR):$(CURDIR)/python:$(CURDIR)/$(GPU_PACKAGES)" \
	PATH="$$($(PYTHON) -c 'import sys; print(sys.exec_prefix)')/bin:$(CURDIR)/$(GPU_PACKAGES)/bin:$$PATH:$(CUDA_HOME)/bin" \
	$(PYTHON)

# The sanitizers take longest and come last, so that what ends them does not cost the figures.
gpu-check:  ## everything that needs an NVIDIA GPU: build, tests, benchmarks, sanitizers; offline
	$(MAKE) gpu-build
	$(MAKE) --keep-going --jobs=1 gpu-test gpu-bench gpu-sanitize

gpu-build:  ## build the native modules in place for the GPU of this machine
	$(if $(WHEELS),$(PYTHON) -m pip install --no-index --no-deps --upgrade --target $(GPU_PACKAGES) $(WHEELS)/*.whl)
	$(GPU_PYTHON) tools/gpu_build.py

GPU_REQUIRED = $(GPU_PYTHON) -c "import sys; sys.path.append('benchmarks'); from harness import gpu; gpu.require()"

# Where there is no GPU all tests would be skipped, which is no success. Warnings of whatever torch and pytest are there
# fail nothing, nor does a plugin that is missing.
gpu-test:  ## run the tests that need a GPU
	$(GPU_REQUIRED)
	$(GPU_PYTHON) -m pytest -m gpu tests/gpu --override-ini=addopts= --import-mode=importlib --strict-markers -ra \
		-W default --override-ini=faulthandler_timeout=240 --continue-on-collection-errors --durations=10 --color=no

gpu-sanitize:  ## run the kernels under compute-sanitizer: memcheck and racecheck
	$(GPU_PYTHON) tools/gpu_sanitize.py

# Stops at nothing, so that one benchmark that cannot be run does not withhold the others. GPU_RESULTS is a folder.
gpu-bench:  ## run the benchmarks that need a GPU; results go to GPU_RESULTS, or benchmarks/results/
	failed=; for name in $(GPU_BENCH); do $(GPU_PYTHON) benchmarks/$$name.py $(if $(QUICK),--quick) \
		$(if $(GPU_RESULTS),--out "$(GPU_RESULTS)/$$name.json") || failed=1; done; test -z "$$failed"

# DATA is a data folder, by default the user's; what is finished in RUNS is not done again.
reproduce-cifar10: export NEGMERGE_DATA := $(if $(DATA),$(DATA),$(NEGMERGE_DATA))
reproduce-cifar10:  ## the paper's table 2 on an NVIDIA GPU, offline; goes on where it stopped
	$(GPU_PYTHON) -c "import sys, torch; torch.cuda.is_available() or sys.exit('an NVIDIA GPU is needed: torch finds none here')"
	$(MAKE) gpu-build
	$(GPU_REQUIRED)
	$(GPU_PYTHON) -m negmerge unlearn paper/cifar10-resnet18-random --out "$(RUNS)/cifar10-resnet18-random"

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
