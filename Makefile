# make test    the whole test suite, in an environment of its own (.venv)
# make demo    compile a small network, link it into a C program, run it here and under emulation
# make bench   measure the compiled models; make docs, make lint, make clean
# On a Debian machine missing tools are installed with apt-get; nothing asks a question.

PYTHON       ?= python3
PYTEST_FLAGS ?= -n 2
BENCH_FLAGS  ?=
VENV         := .venv
BIN          := $(VENV)/bin

EMULATORS := qemu-user qemu-system-arm lld
COMPILERS := gcc libc6-dev gcc-aarch64-linux-gnu libc6-dev-arm64-cross gcc-arm-linux-gnueabihf libc6-dev-armhf-cross \
             gcc-arm-none-eabi libnewlib-arm-none-eabi gcc-riscv64-linux-gnu libc6-dev-riscv64-cross

.NOTPARALLEL:
.PHONY: test demo bench docs lint tools clean

test: tools $(VENV)/test.stamp
	@$(BIN)/pytest $(PYTEST_FLAGS) </dev/null

demo: tools $(VENV)/run.stamp
	@$(BIN)/python testdata/digits/demo.py </dev/null

bench: $(VENV)/bench.stamp
	@$(BIN)/edgec bench $(BENCH_FLAGS) </dev/null

# The pages that are made from the code.
docs: $(VENV)/run.stamp
	@$(BIN)/python docs/make.py </dev/null

lint: $(VENV)/test.stamp
	@$(BIN)/ruff check edgec passes backends docs tests testdata

tools:
	@.ci/tools $(EMULATORS) $(COMPILERS)

# Debian ships venv apart from python3; any python3 >= 3.11 that can make an environment will do.
$(BIN)/python:
	@command -v $(PYTHON) >/dev/null && $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || .ci/tools python3 python3-venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "edgec needs Python 3.11 or newer")'
	@$(PYTHON) -m venv $(VENV)

# Each stamp is one set of extras, installed again only when the dependencies change.
$(VENV)/run.stamp: EXTRAS :=
$(VENV)/test.stamp: EXTRAS := [test]
$(VENV)/bench.stamp: EXTRAS := [bench]
$(VENV)/run.stamp $(VENV)/test.stamp $(VENV)/bench.stamp: $(BIN)/python pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.$(EXTRAS)' </dev/null
	@touch $@

clean:
	rm -rf $(VENV) build dist out *.egg-info .pytest_cache .hypothesis .ruff_cache
	find edgec passes backends docs tests testdata -name __pycache__ -type d -prune -exec rm -rf {} +
