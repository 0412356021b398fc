# Everything happens in .venv, which is made when it is first needed and brought up to date when what it is made from changes.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/installed

# The options of `make run` go through the environment as they were typed: make would expand a $ in a prompt.
override PROMPT := $(value PROMPT)
override DURATION := $(value DURATION)
override SEED := $(value SEED)
override CONFIG := $(value CONFIG)
override PORT := $(value PORT)
override CACHE := $(value CACHE)
override ONCE := $(value ONCE)
export PROMPT DURATION SEED CONFIG PORT CACHE ONCE

.DEFAULT_GOAL := help
.PHONY: help run demo-kill demo-spot loadtest simulate test nightly lint ready clean

help:
	@echo 'make run         serve on 127.0.0.1:8000 and make a first clip; Ctrl-C ends it. Options:'
	@echo '                 PROMPT="a slow blues" DURATION=10 SEED=7 PORT=8001 ONCE=1 CONFIG=gpu'
	@echo '                 CACHE=use|refresh|off: whether a cached clip will do; refresh makes another one'
	@echo '                 $(VENV)/bin/musicgen --help: the same, and all else that can be done, without make'
	@echo 'make demo-kill   kill workers while they make music, and compare every byte; about a minute'
	@echo 'make demo-spot   a cluster of Ray nodes here loses its spot nodes under load; about five minutes'
	@echo 'make loadtest    more and more users, by Locust, on a fresh service: what this machine holds; under five minutes'
	@echo 'make simulate    days of a fleet in minutes: the scaling policy beside others, what waits and what it costs'
	@echo 'make test        lint, check types, run the tests'
	@echo 'make nightly     the tests that are long and rarely say anything new: soaks, crowds, long fuzzing, benchmarks'
	@echo 'make lint        lint and check types only'
	@echo 'make clean       remove what was made, but for clips and $(VENV)'

# exec, so that what stops make stops the service; the process number, so that what kills make does too.
run: ready
	@exec $(VENV)/bin/musicgen serve --parent $$PPID

demo-kill: ready
	@exec $(PY) -m loadtests.demo_kill --parent $$PPID

demo-spot: ready
	@exec $(PY) -m loadtests.demo_spot --parent $$PPID

loadtest: ready
	@exec $(PY) -m loadtests.run_load --parent $$PPID

simulate: $(INSTALLED)
	@exec $(PY) -m loadtests.simulate

test: lint ready
	$(PY) -m pytest -n 2

# What is long and rarely says anything new; CI does not run it.
nightly: ready
	$(PY) -m pytest -m nightly --timeout 3600

lint: $(INSTALLED)
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy

ready: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo '$(PYTHON) is not installed'; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || { \
	    echo "musicgen-serve needs Python 3.10 to 3.13, and $(PYTHON) is $$($(PYTHON) --version 2>&1)."; \
	    echo 'Name another one: make PYTHON=python3.12 …'; exit 1; }
	@rm -f $@
	@$(PY) -m pip --version >/dev/null 2>&1 || { \
	    echo 'making $(VENV)'; $(PYTHON) -m venv --clear $(VENV); } || { \
	    echo '$(PYTHON) could not make $(VENV); on Debian and Ubuntu: apt-get install python3-venv'; exit 1; }
	@echo 'installing into $(VENV): some minutes the first time'
	@$(PY) -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +
