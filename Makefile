# Every target sets itself up: all that is needed is Python 3.11 or newer, make, and a package index.
#   make PYTHON=python3.12 ...      another interpreter
#   make CONSTRAINTS=cuda ...       the newest torch with CUDA instead of the tested CPU build
#   make PIP_ARGS="..." ...         more arguments for pip, such as another package index
#   make test PYTEST_ARGS="-k tone" more arguments for pytest
#   make docs DOCS_ARGS="-D plot_gallery=0" the site without running the gallery

PYTHON ?= python3
CONSTRAINTS ?= cpu
PIP_ARGS ?=
PYTEST_ARGS ?=
BENCH_ARGS ?=
DOCS_ARGS ?=
# The short subset for the oldest supported versions and for other versions of Python: every module's import and doctests, and these tests.
MINIMUM_TESTS ?= src/gatewise tests/test_house.py tests/data tests/optim tests/infer tests/estimators/test_targets.py

BIN := .venv/bin
COMMA := ,
READY := .venv/.ready-$(CONSTRAINTS)
READY_DOCS := .venv/.ready-docs
READY_MINIMUM := .venv-minimum/.ready
READY_PYTHON := .venv-$(notdir $(PYTHON))/.ready
# The demonstration needs the package alone: the environment of the tests where it is there, else a light one.
READY_DEMO := $(firstword $(wildcard $(READY)) .venv-demo/.ready)

# $(call install,ENVIRONMENT,CONSTRAINT ARGUMENTS,PACKAGE WITH EXTRAS,SIZE)
# torch goes first, so that nothing else can pull another build of it. pip would compile twenty thousand files one by one:
# all processors do it afterwards, but for tests and models of other packages, of which few are ever imported.
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "gatewise needs Python 3.11 or newer, and '$(PYTHON)' is not: try make PYTHON=python3.11"; exit 1; }
	@echo "Setting up $(1) (about $(4), some minutes the first time)"
	@$(PYTHON) -m venv $(1)
	@$(1)/bin/python -m pip install --quiet --no-compile --disable-pip-version-check $(PIP_ARGS) $(2) torch
	@$(1)/bin/python -m pip install --quiet --no-compile --disable-pip-version-check $(PIP_ARGS) $(2) -e '$(3)'
	@$(1)/bin/python -m compileall -qq -j 0 -x '/(tests?|transformers/models)/' $(1)/lib || true
	@touch $@
endef

.DEFAULT_GOAL := help
.PHONY: help demo test test-minimum test-python docs lint format types register studies atlas bench dist clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

$(READY): pyproject.toml constraints/$(CONSTRAINTS).txt
	$(call install,.venv,-c constraints/$(CONSTRAINTS).txt,.[test$(COMMA)transformers$(COMMA)onnx],2.3 GB)

$(READY_MINIMUM): pyproject.toml constraints/cpu.txt constraints/minimum.txt
	$(call install,.venv-minimum,-c constraints/cpu.txt -c constraints/minimum.txt,.[test],1.7 GB)

$(READY_PYTHON): pyproject.toml constraints/$(CONSTRAINTS).txt
	$(call install,$(@D),-c constraints/$(CONSTRAINTS).txt,.[test],1.7 GB)

$(READY_DOCS): $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints/$(CONSTRAINTS).txt -e '.[docs]'
	@touch $@

.venv-demo/.ready: pyproject.toml constraints/$(CONSTRAINTS).txt
	$(call install,.venv-demo,-c constraints/$(CONSTRAINTS).txt,.,1.5 GB)

demo: $(READY_DEMO) ## fit classic data with several gates: tables, and one HTML page; installs only what that needs
	$(dir $(READY_DEMO))bin/gatewise demo

test: $(READY) ## the tests and doctests, without those marked slow
	$(BIN)/python -m pytest -n auto --dist worksteal $(PYTEST_ARGS)

test-minimum: $(READY_MINIMUM) ## a short subset at the oldest supported versions of all but torch
	.venv-minimum/bin/python -m pytest -n auto $(PYTEST_ARGS) $(MINIMUM_TESTS)

test-python: $(READY_PYTHON) ## the same subset at the newest versions, with another Python: PYTHON=python3.13
	$(<D)/bin/python -m pytest -n auto $(PYTEST_ARGS) $(MINIMUM_TESTS)

docs: $(READY_DOCS) ## the documentation site with its gallery: out/docs/index.html, no network
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -b html -W --keep-going -j 2 -d out/doctrees $(DOCS_ARGS) docs out/docs

lint: $(READY) ## ruff: rules and layout
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY) ## mypy on the whole package
	$(BIN)/mypy

register: $(READY) ## add the protocols of built-in studies that were changed to the registered ones
	$(BIN)/python -c "from gatewise.theory import STUDIES, protocol; print(protocol.register(STUDIES))"
	$(BIN)/python -c "from gatewise.cli import listing; listing.write()"

studies: $(READY) ## run the short tier of every study: does everything run?
	$(BIN)/gatewise study run all --quick --workers 2 --out out/studies

atlas: $(READY) ## judge the kept records of all studies again: out/atlas/index.html, and what is kept of it in atlas
	rm -rf out/atlas
	OMP_NUM_THREADS=1 $(BIN)/gatewise study atlas atlas/*.tar.xz --out out/atlas
	cp out/atlas/claims.csv out/atlas/verdicts.svg out/atlas/references.bib atlas
	$(BIN)/python -m benchmarks.atlas

bench: $(READY) ## measure, and write JSON with the machine's facts
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

dist: ## build wheel and source archive, check both, and fit with the wheel in an environment of its own
	rm -rf dist .venv-dist
	$(PYTHON) -m venv .venv-dist
	.venv-dist/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) build twine
	.venv-dist/bin/python -m build --outdir dist .
	.venv-dist/bin/python -m twine check --strict dist/*
	.venv-dist/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints/$(CONSTRAINTS).txt torch
	.venv-dist/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints/$(CONSTRAINTS).txt dist/*.whl
	cd dist && ../.venv-dist/bin/python -I ../.ci/try_installed.py
	rm -rf .venv-dist

clean: ## remove the environments, caches and outputs
	rm -rf .venv .venv-* .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist out
	rm -rf docs/examples docs/api/generated docs/api/gatewise*.rst docs/sg_execution_times.rst
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
