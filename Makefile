# The verbs of this project; CI runs the same ones.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PROMPT ?= Why is the sky blue? Answer in two sentences.
MODELS ?= smollm2-135m

.PHONY: setup run check test test-gpu test-interpreted bench docs clean

run: $(VENV)/installed  ## install, fetch the default model, answer a prompt
	$(BIN)/slipstream run --stats --temperature 0 "$(PROMPT)"

setup: $(VENV)/installed-dev  ## everything that development needs

check: $(VENV)/installed-dev  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	rm -rf build/typecheck && mkdir -p build/typecheck/slipstream
	ln -s $(CURDIR)/slipstream/* build/typecheck/slipstream/
	for folder in apps runtime offload cpu_kernels gpu_kernels; do \
		ln -s $(CURDIR)/$$folder build/typecheck/slipstream/$$folder; done
	cd build/typecheck && $(abspath $(BIN))/mypy --config-file $(CURDIR)/pyproject.toml -p slipstream

test: $(VENV)/installed-dev  ## the default tests: CPU only, minutes
	$(BIN)/pytest

test-gpu: $(VENV)/installed-dev  ## the tests that need a CUDA GPU
	$(BIN)/pytest -m gpu

test-interpreted: $(VENV)/installed-dev  ## the same tests on the CPU, slowly, where torch and triton are installed
	TRITON_INTERPRET=1 $(BIN)/pytest -m gpu

bench: $(VENV)/installed  ## prefill and decode speed of pulled models
	$(BIN)/slipstream bench $(MODELS)

docs: $(VENV)/installed  ## write the help pages again
	$(BIN)/python -m slipstream.apps.cli.help_pages > docs/cli.md

clean:
	rm -rf $(VENV) build dist *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/installed-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/installed
