# Every target sets up what it needs, in .venv, from Python 3.11 or later alone.

VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed
UV    := build/uv
LOWEST := build/lowest
COMPILE := $(UV)/bin/uv pip compile --quiet --universal --python-version 3.11 \
    --fork-strategy fewest --no-config --custom-compile-command "make lock"
HASHED := $(COMPILE) --generate-hashes $(ARGS)

# One BLAS thread in each of the parallel test processes: they would wait for each other.
ONE_THREAD := OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 VECLIB_MAXIMUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help demo test test-cupy test-lowest cupy-api bench figures tutorials lint lock
.PHONY: clean force

help: ## show this list
	@awk -F ':.*## ' '/^[a-z -]+:.*## / { printf "make %-18s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo 'ARGS="..."      is passed on, for example: make demo ARGS="--steps 3"'
	@echo 'PYTHON=python3  chooses the interpreter that .venv is made with'

demo: $(STAMP) ## train a small network with K-FAC and look at its curvature
	$(BIN)/kfac-ref demo $(ARGS)

test: $(STAMP) ## run all tests; without ARGS every line of kfac_ref must be executed
	$(ONE_THREAD) $(BIN)/python -m pytest -n auto $(or $(ARGS),--cov)

test-cupy: $(STAMP) ## hold the code against the real CuPy, in build/cupy; needs no GPU
	$(ONE_THREAD) requirements/cupy.sh $(BIN)/python

cupy-api: $(STAMP) ## list anew what the lowest and the newest CuPy have in common
	requirements/cupy.sh $(BIN)/python write

bench: $(STAMP) ## measure kfac_ref beside its peers
	$(BIN)/python -m benchmarks $(ARGS)

figures tutorials: $(STAMP) ## run the notebooks again, and draw their figures
	$(BIN)/python tutorials/rerun.py $(ARGS)

lint: $(STAMP) ## check the formatting, the style and the types
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

test-lowest: ## run the tests with the oldest packages that pyproject.toml allows
	test -x $(LOWEST)/bin/python || python3.11 -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --no-deps -r requirements/lowest.txt
	$(LOWEST)/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	$(ONE_THREAD) $(LOWEST)/bin/python -m pytest -n auto -W ignore::DeprecationWarning $(ARGS)

lock: ## requirements/ anew from pyproject.toml; ARGS=--upgrade: with new versions
	$(or $(PYTHON),python3) -m venv $(UV)
	$(UV)/bin/python -m pip install --quiet uv
	$(HASHED) pyproject.toml --extra demo --extra tutorials --group dev \
	    --output-file requirements/lock.txt
	printf '%s\n' cupy-cuda12x scipy pytest | \
	    $(HASHED) - --output-file requirements/cupy-newest.txt
	printf '%s\n' cupy-cuda12x==13.3.0 scipy pytest | \
	    $(HASHED) - --output-file requirements/cupy-lowest.txt
	$(COMPILE) pyproject.toml --extra demo --extra tutorials --group build --group test \
	    --no-annotate --resolution lowest-direct --output-file requirements/lowest.txt

clean: ## remove .venv and whatever else these targets leave behind
	rm -rf $(VENV) build dist .coverage .coverage.* .hypothesis
	rm -rf .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp comes last, so a failed installation is tried again.
$(STAMP): pyproject.toml requirements/lock.txt requirements/setup.sh
	@requirements/setup.sh $(VENV) $(PYTHON)
	@touch $@

# A named interpreter is compared with the one of .venv, and a broken .venv is mended.
ifneq ($(PYTHON)$(shell test -x $(BIN)/python && echo runs),runs)
$(STAMP): force
endif
