# make demo: set up and turn a recorded voice into a face.   make test: set up, lint, run the tests.
# PYTHON=python3.12 make ... takes another interpreter.
PYTHON ?= python3
RUN := .venv/bin/python

.PHONY: demo test lint
demo: .venv/installed
	@echo "== speech to face: examples/librivox_male.wav"
	$(RUN) run.py pipeline=speech audio=examples/librivox_male.wav

test: lint
	@echo "== tests"
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: .venv/installed-dev
	@echo "== lint"
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .

.venv/bin/python:
	@echo "== virtual environment in .venv"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: PYTHON=python3.12 make")'
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml constraints.txt | .venv/bin/python
	@echo "== installing (about 6 GB, a minute or two)"
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

.venv/installed-dev: .venv/installed
	@echo "== installing what the tests need"
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@
