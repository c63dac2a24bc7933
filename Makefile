# The commands that people and continuous integration both run. Each works from a fresh clone with Python 3.11 or
# newer, make and git: the first one makes .venv and installs what is needed there.

PYTHON ?= python3
VENV ?= .venv
SEED ?=
# More options for the command behind a target: make test ARGS="-k packing".
ARGS ?=
# make test SLOW=1 leaves out no test.
SLOW ?=

RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test check format bench bench-train bench-mpo bench-serve bench-closed-loop parity parity-train parity-mpo gpu-check tiny clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

demo: $(STAMP) ## draw scenes and rank answers to them (SEED=... for certain ones)
	@$(RUN) -m vlreward.cli demo $(if $(SEED),--seed $(SEED)) $(ARGS)

# A process for each core that the system counts, four at most, of one thread each. The tests of a file stay in one of
# them, which so makes what they share but once; files with slow tests come first (tests/conftest.py).
test: $(STAMP) ## the tests that take a few seconds each at most (SLOW=1: every test, as continuous integration does)
	OMP_NUM_THREADS=1 $(RUN) -m pytest $(if $(SLOW),,-m "not slow") -n logical --maxprocesses 4 \
		--dist loadfile --no-loadscope-reorder $(ARGS)

check: $(STAMP) ## lint, formatting, types, and who may import whom
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(VENV)/bin/lint-imports

format: $(STAMP) ## put the code in the form that check wants
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

bench: $(STAMP) ## speed and memory against the published procedure and other tools
	$(RUN) benchmarks/score.py $(ARGS)

bench-train: $(STAMP) ## speed and memory of training against LLaMA-Factory and ms-swift
	$(RUN) benchmarks/train.py $(ARGS)

bench-mpo: $(STAMP) ## speed and memory of preference training with pictures against TRL
	$(RUN) benchmarks/mpo.py $(ARGS)

bench-closed-loop: $(STAMP) ## does a better reward make a better policy: a matrix of hours, which goes on where it was stopped
	$(RUN) benchmarks/closed_loop.py $(ARGS)

bench-serve: $(STAMP) ## throughput and latency of the server against the engine alone and a plain server
	$(RUN) benchmarks/serve.py $(ARGS)

parity: $(STAMP) ## scores of the published procedure, made in its own environment, against ours
	$(RUN) benchmarks/parity.py $(ARGS)

parity-train: $(STAMP) ## the losses of LLaMA-Factory, made in its own environment, against ours
	$(RUN) benchmarks/train_parity.py $(ARGS)

parity-mpo: $(STAMP) ## the losses of TRL's preference training, made in its own environment, against ours
	$(RUN) benchmarks/mpo_parity.py $(ARGS)

gpu-check: $(STAMP) ## for a machine with a GPU: correctness, drift, speed and memory, as a JSON to paste
	$(RUN) benchmarks/gpu_check.py $(ARGS)

tiny: $(STAMP) ## train the bundled models again, from nothing; some hours, can be interrupted
	$(RUN) recipes/tiny.py $(ARGS)

# An editable install, so that it is renewed only when what is installed changes, not when the code does.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "vlreward needs Python 3.11 or newer, not $$($(PYTHON) -V 2>&1); say make PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --disable-pip-version-check --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

clean: ## remove everything that the targets above have made
	rm -rf $(VENV) .envs build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -rf src/*.egg-info
