# make            what there is
# make demo       train a model, serve it, swap it while it serves (ONCE=1: end by itself)
# make example-1  one of the five tutorials, example-1 to example-5 (ONCE=1: end by itself)
# make cluster-demo  three nodes, one killed, one added, a version replaced (ONCE=1: end by itself)
# make test       set up, check, and run every test
# make wheel      build the wheel and the source archive into dist/, and check them
# make unit       the unit tests without TensorFlow: a set-up of seconds
# make check      format, lint, types, floors, spelling
# make stress     the long tests

PYTHON ?= python3

.PHONY: help setup demo example-1 example-2 example-3 example-4 example-5 cluster-demo wheel test unit check stress clean

help:
	@sed -n 's/^# \(make.*\)/\1/p' Makefile

setup:
	@PYTHON=$(PYTHON) scripts/setup

demo: setup
	@.venv/bin/python examples/digits/demo.py $(if $(ONCE),--once)

example-1: WALK = ten_images
example-2: WALK = regression
example-3: WALK = cats_and_dogs
example-4: WALK = notebook
example-5: WALK = upload_page
example-1 example-2 example-3 example-4 example-5: setup
	@.venv/bin/python -m examples.$(WALK) $(if $(ONCE),--once)

cluster-demo:
	@PYTHON=$(PYTHON) scripts/cluster-demo $(if $(ONCE),--once)

check: setup
	@scripts/check

wheel: setup
	@scripts/wheel

test: check
	@scripts/test

unit:
	@PYTHON=$(PYTHON) scripts/unit

stress: setup
	@scripts/stress

clean:
	rm -rf .venv .venvs dist .demo .cluster-demo .examples .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
