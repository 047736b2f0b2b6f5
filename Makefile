# make setup | demo | test | check | docs
# Each sets up .venv/ first, which takes no time once that is done. On a CPU-only machine no CUDA packages are taken.
PYTHON ?= python3
# options of the set-up, `make setup SETUP="--torch any"` say
SETUP ?=
BIN := .venv/bin

.PHONY: setup demo test check docs

setup:
	@$(PYTHON) scripts/setup_env.py $(SETUP)

demo:
	@$(PYTHON) scripts/setup_env.py --no-dev $(SETUP)
	@$(BIN)/medmtl demo

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check
	@scripts/install_test_tools.sh
	$(BIN)/python -m pytest

docs: setup
	$(BIN)/python scripts/make_errors_doc.py
	$(BIN)/python scripts/make_conformance_doc.py
