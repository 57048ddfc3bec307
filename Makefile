# make report   the area/accuracy trade-off, as report/index.html
# make test     lint, unit tests, testbenches
# make fuzz     a thousand million random MACs through every way of the kernels
# make verify   the proof of the RTL, as docs/verification.md: what has changed, in hours; goes on where it stopped
#
# Each sets everything up in .venv the first time. PYTHON=python3.12 picks an interpreter;
# PIP_EXTRA_INDEX_URL and the other variables of pip work as usual.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
JOBS ?= 2

# The first that is there; any Python from 3.11 on will do.
PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11,\
    $(shell $(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))))

.PHONY: report test fuzz verify tools-for-test lint format clean
.DELETE_ON_ERROR:

report: $(READY)
	$(BIN)/python -m sim.report

test: tools-for-test lint
	$(BIN)/pytest -n $(JOBS) --durations=10

tools-for-test:
	@PYTHON='$(PYTHON)' sh ./check-tools test

fuzz: $(READY)
	$(BIN)/python -m sim.kernels.fuzz

verify: tools-for-test $(READY)
	$(BIN)/python -m tb.verify --jobs $(JOBS)

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: $(READY)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# The file names what was installed, so that a change in pyproject.toml installs anew.
$(READY): pyproject.toml setup.py $(wildcard sim/kernels/native/*)
	@PYTHON='$(PYTHON)' sh ./check-tools
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --editable '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) build generated report fmaq.egg-info sim/kernels/_native* .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
