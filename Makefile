# Commands of the project. Each makes the environment, .venv, where it is missing or out of date.
#
#   PYTHON    the Python that makes the environment (3.11 or newer)
#   PIP_ARGS  passed on to `pip install`, for instance the index of a CUDA build of torch
#   ARGS      passed on to pytest
#
# Exit status: 0 if and only if that of pytest is 0; make turns every other status into 2 and names
# the original in its last line ("Error 1"). Where the number counts, call pytest itself:
# .venv/bin/python -m pytest claims/

.DEFAULT_GOAL := help
.PHONY: help verify test test-all benchmark cuda lint environment clean

PYTHON ?= python3
PIP_ARGS ?=
ARGS ?=
unexport PIP_ARGS  # pip would read the variable as an option

bin := .venv/bin

help:  ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## /make \1 - /p' Makefile
	@echo "Variables: PYTHON=python3.12, PIP_ARGS='--index-url URL', ARGS='-m headline'"

verify: environment  ## measure and judge the claims, headlines first, and write the report
	@$(bin)/python -m pytest claims/ $(ARGS)

# Under test, calls of what annotates shapes are checked against them.
checked = $(shell grep -rls --include='*.py' '^from jaxtyping' harness | sort | sed 's/\.py$$//; s,/,.,g')
comma := ,
space := $(subst ,, )

# A process a core, each with one thread: two threads in one process take longer where cores are
# shared. What a file sets up once, such as a cluster, is set up in one process.
pytest = $(bin)/python -m pytest tests/ -n auto --maxprocesses 4 --dist loadfile \
  --jaxtyping-packages=$(subst $(space),$(comma),$(checked) beartype.beartype)

test test-all: export OMP_NUM_THREADS := 1

test: environment  ## run the project's own tests, without the slow ones
	@$(pytest) -m "not slow" $(ARGS)

test-all: environment  ## run all of the project's own tests
	@$(pytest) $(ARGS)

# `make benchmark EXTRAS=` leaves the peers out; the comparisons with them are skipped then.
benchmark: export EXTRAS := peers
benchmark: environment  ## measure the speed of inversion and of its peers
	@mkdir -p build
	@$(bin)/python -m pytest benchmarks/ --full --benchmark-json=build/benchmarks.json $(ARGS)

cuda: export EXTRAS := peers
cuda: environment  ## run the tests and benchmarks for a GPU; needs one, and a CUDA build of torch
	@mkdir -p build
	@$(bin)/python -m pytest tests/ benchmarks/ -m cuda --device cuda --benchmark-json=build/cuda.json \
	  $(ARGS)

lint: environment  ## check style, types and the direction of imports
	@$(bin)/python -m ruff check .
	@$(bin)/python -m ruff format --check .
	@$(bin)/python -m mypy
	@$(bin)/lint-imports

environment:  ## make the environment, and nothing else
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "$(PYTHON): no such Python. Install Python 3.11 or newer, or name one: make PYTHON=python3.12 ..." >&2; \
	  exit 1; }
	@"$(PYTHON)" scripts/environment.py $(PIP_ARGS)

clean:  ## remove the environment and all caches (measurements in .store stay)
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks .import_linter_cache
	find . -name __pycache__ -not -path './.store/*' -prune -exec rm -rf {} +
