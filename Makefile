# make venv | demo | test | test-all | coverage | lint | docs | recipe | bench
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MADE := $(VENV)/.made

.PHONY: venv demo test test-all coverage lint docs recipe bench
venv: $(MADE)

$(MADE): requirements.txt requirements-dev.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --requirement requirements-dev.txt
	$(BIN)/pip install --quiet --no-deps --editable .
	@touch $@

demo: venv
	$(BIN)/python -m polyp_monai.cli.demo

test: venv
	$(BIN)/python -m pytest

test-all: venv
	$(BIN)/python -m pytest -m ""

# the share of lines that the tests run, subprocesses too, and which lines they do not
coverage: venv
	$(BIN)/coverage erase
	OMP_NUM_THREADS=1 $(BIN)/python -m coverage run -m pytest $(TESTS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# the site in build/docs
docs: venv
	$(BIN)/pip install --quiet --requirement requirements-docs.txt
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir build/docs

# every bundle carries a copy of the common configs; this renews them
recipe: venv
	$(BIN)/python -m polyp_monai.bundle.recipe

bench: venv
	$(BIN)/pip install --quiet --requirement benchmarks/requirements.txt
	$(BIN)/python benchmarks/augmentation.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/prediction.py
	$(BIN)/python benchmarks/scoring.py
	$(BIN)/python benchmarks/evaluation.py
	$(BIN)/python benchmarks/realtime.py
