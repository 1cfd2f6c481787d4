# Two commands do everything on a fresh machine: `make book` and `make test`. Both set up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# One thread a worker: two workers with their own thread pools are slower than one.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
WORKERS ?= 2

.PHONY: setup book test test-slow test-browser test-all check bench clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "medseg needs Python 3.11 or later: make setup PYTHON=python3.11"; exit 2; }
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

book: setup
	$(BIN)/medseg book build --profile smoke

test: setup
	$(PYTEST) -n $(WORKERS)

test-slow: setup
	$(PYTEST) -n $(WORKERS) -m "slow and not browser"

# Needs Chromium and the built book (`make book`).
test-browser: setup
	$(PYTEST) -m browser

test-all: test test-slow

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy medseg
	$(BIN)/nbstripout --verify notebooks/*.ipynb

bench: setup
	$(BIN)/python -m benchmarks

# The environment stays: remove $(VENV) by hand for a new one.
clean:
	rm -rf _build build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find medseg tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
