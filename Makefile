# make            what there is
# make demo       train a model, serve it, swap it while it serves (ONCE=1: end by itself)
# make test       set up, check, and run every test
# make check      format, lint, types, floors, spelling
# make stress     the long tests

PYTHON ?= python3

.PHONY: help setup demo test check stress clean

help:
	@sed -n 's/^# \(make.*\)/\1/p' Makefile

setup:
	@PYTHON=$(PYTHON) scripts/setup

demo: setup
	@.venv/bin/python examples/digits/demo.py $(if $(ONCE),--once)

check: setup
	@scripts/check

test: check
	@scripts/test

stress: setup
	@scripts/stress

clean:
	rm -rf .venv .demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
