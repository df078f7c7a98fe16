# Needs Python 3.10 or newer and make; everything else comes into .venv.
PYTHON ?= python3
MODEL ?= llama-3.1-8b
DEVICE ?= cpu
BUDGET ?= 60s
BIN := .venv/bin

.PHONY: demo test check format test-gpu test-long bench bench-cache clean

demo: .venv/installed
	$(BIN)/autotune warm --model $(MODEL) --device $(DEVICE) --budget $(BUDGET)
	$(BIN)/autotune choose --model $(MODEL) --device $(DEVICE)
	$(BIN)/autotune cache ls

test: .venv/installed
	$(BIN)/python -m pytest

check: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py

format: .venv/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test-gpu: .venv/installed
	$(BIN)/python -m pytest -m gpu

test-long: .venv/installed
	$(BIN)/python -m pytest -m long

bench: .venv/installed
	$(BIN)/python -m pytest benchmarks/host_costs.py

bench-cache: .venv/installed
	$(BIN)/python -m pytest benchmarks/cache_scale.py

# compat mode is a plain path entry: type checkers of a consumer see the packages, and a stranger's
# `cache` cannot mix with ours. The constraints keep torch at the version that was tested.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]" \
		--config-settings editable_mode=compat
	touch $@

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
