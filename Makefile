# Everything a developer or a CI calls. `make help` lists it.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3.10 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# A worker that dies is a failure; those that are left would wait for its tests for ever.
# Three on two cores: a third of the tests' time is waiting.
WORKERS := -n 3 --dist loadgroup --max-worker-restart=0
PYTHONS ?= 3.10 3.11 3.12 3.13
AGENT_PYTHONS ?= 3.8 3.9 3.10 3.11 3.12 3.13
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test coverage test-pythons check lint types layers spell wheel install agent bench hil hil-models schemas clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: $(VENV)/.core  ## the whole loop on this computer, from model to installed release and back
	@BIN=$(BIN) bash examples/demo.sh

install: $(VENV)/.all  ## .venv with every extra, the development tools and the edgeopt command

test: $(VENV)/.all  ## all tests that this machine can run; TESTS=... for some of them, with no word on coverage
	$(BIN)/python -m pytest $(WORKERS) --cov --cov-report= $(TESTS)
ifeq ($(TESTS),)
	$(BIN)/coverage report --fail-under=100 --include="$(subst $(space),$(comma),$(PURE))"
endif

coverage: $(VENV)/.all  ## the same, with what the child processes run counted too
	$(BIN)/python -m pytest $(WORKERS) --cov --cov-config=tests/every_process.toml --cov-report=
	$(BIN)/coverage report --fail-under=$(COVERAGE)

COVERAGE ?= 90
# Rules without input or output: every branch of them is run.
PURE := edgeopt/domain/* edgeopt/select/* edgeopt/report/* edgeopt/errors.py edgeopt/flows/findings.py edgeopt/flows/phone_findings.py edgeopt/measure/phone/tools.py edgeopt/measure/phone/results.py \
  $(addprefix edgeopt/compiler/,plan.py recovery.py train/budgets.py recipes.py stages.py estimate.py quantize/budgets.py quantize/encoding.py quantize/gate.py fidelity.py guess.py node_order.py graph_walk.py refuse.py score/synthetic.py) \
  $(addprefix edgeopt/profiles/,allowed.py availability.py config.py decode.py inherit.py recognise.py toml_text.py) \
  $(addprefix edgeopt/samples/,fit.py invent.py pictures.py preprocess.py shapes.py synthetic.py) \
  $(addprefix edgeopt/transport/,address.py known_hosts.py quote.py) \
  $(addprefix agent/edgeopt_agent/,steady.py timing.py wire.py)
comma := ,
space := $(subst ,, )

check: lint types layers spell schemas pages wheel  ## style, types, layers, spelling, schemas, pages of profiles, and the wheel in a fresh environment

lint: $(VENV)/.all
	$(BIN)/ruff format --check edgeopt agent tests benchmarks examples
	$(BIN)/ruff check edgeopt agent tests benchmarks examples

types: $(VENV)/.all
	$(BIN)/mypy

layers: $(VENV)/.all
	$(BIN)/lint-imports

spell: $(VENV)/.all
	$(BIN)/codespell edgeopt agent tests docs examples benchmarks device_profiles README.md CHANGELOG.md CONTRIBUTING.md

schemas: $(VENV)/.all
	@tmp=$$(mktemp -d) && $(BIN)/python -m edgeopt.cli.schemas $$tmp && diff -r $$tmp docs/schemas && rm -r $$tmp

pages: $(VENV)/.all
	@$(BIN)/python -m edgeopt.cli.profile_pages --check docs/profiles

wheel: $(VENV)/.all  ## build the wheel and use it in a fresh environment
	rm -rf dist/*.whl dist/.wheel-venv
	$(BIN)/python -m build --wheel --no-isolation --outdir dist . >/dev/null
	$(PYTHON) -m venv dist/.wheel-venv
	dist/.wheel-venv/bin/python -m pip install -q -c constraints.txt dist/*.whl
	cd dist && .wheel-venv/bin/edgeopt --version && .wheel-venv/bin/edgeopt profiles >/dev/null
	rm -rf dist/.wheel-venv

agent: $(VENV)/.core  ## dist/edgeopt-agent.pyz
	mkdir -p dist
	$(BIN)/python -m edgeopt.measure.agent_zip dist/edgeopt-agent.pyz

test-pythons: $(VENV)/.all  ## the core's tests on PYTHONS, the agent's on AGENT_PYTHONS
	PYTHONS="$(PYTHONS)" AGENT_PYTHONS="$(AGENT_PYTHONS)" BIN=$(BIN) bash tests/pythons.sh

bench: $(VENV)/.all  ## the figures of docs/benchmarks.md
	$(BIN)/python benchmarks/run.py

hil: $(VENV)/.all  ## tests on ARM machines that are emulated, or on a real board: make hil DEVICE=pi4
	$(BIN)/python -m pytest -q -rs $(if $(DEVICE),-m hil tests/hil --device $(DEVICE),$(WORKERS) -m qemu tests/hil --arm full --durations=10) $(TESTS)

hil-models: $(VENV)/.all  ## real models on an emulated ARM machine, on three runtimes each; prints the tables
	$(BIN)/python -m pytest -q -rs -s -m qemu tests/hil/test_arm_models.py --arm models

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -U pip

$(VENV)/.core: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	@touch $@

$(VENV)/.all: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[all]' --group dev
	@touch $@ $(VENV)/.core

clean:  ## remove what was built; keeps .venv
	rm -rf dist build .coverage* htmlcov .mypy_cache .ruff_cache .pytest_cache .demo
