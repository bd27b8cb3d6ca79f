# install, demo, test, check, and attacks on the sandbox; each installs what it needs first.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: install demo test check attacks clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "installing into $(VENV): one to three minutes"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: install
	$(BIN)/toolwright run configs/tiny.yaml

test: install
	$(BIN)/pytest

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest

FILE ?= ../shared/data/sandbox_attacks.jsonl

attacks: install
	@$(BIN)/python -m attacks $(FILE)

clean:
	rm -rf runs .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
