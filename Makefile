# Short names for the usual commands. Everything runs in a virtual environment of its own.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ENV ?= CartPole-v1
ARGS ?=

.PHONY: train enjoy test test-all check clean

train: $(VENV)/installed  ## train and evaluate: make train ENV=Pendulum-v1 ARGS="--seed 1"
	$(BIN)/python -m sac_ext.zoo train --env $(ENV) --num-threads 1 $(ARGS)

enjoy: $(VENV)/installed  ## play the policy that was last trained on ENV: make enjoy ENV=Pendulum-v1 ARGS=--no-render
	$(BIN)/python -m sac_ext.zoo enjoy --env $(ENV) --num-threads 1 $(ARGS)

test: $(VENV)/installed  ## the quick suite
	$(BIN)/python -m pytest -n 2 -m "not slow" $(ARGS)

test-all: $(VENV)/installed  ## also the tests that train for minutes
	$(BIN)/python -m pytest -n 2 $(ARGS)

check: $(VENV)/installed  ## formatting, linter, type checker
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist *.egg-info

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[tuning,postgres,zoo,envs,dev]"
	touch $@
