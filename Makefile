# `make run`        set up what is missing, then boot this computer's memory map
# `make test`       install what the tests need, then `make lint` and all tests but the slowest
# `make lint`       check the style, the layout and the types of the source
# `make nightly`    run also the slowest tests, with random search a hundred times as long
# `make mutants`    change the kernel in 200 places, one at a time, and list what the tests of the room do not see
# `make reference`  write docs/reference.md and docs/architectures.md anew, from the sources
# `make web`        fetch the libraries of the pages from npm anew, at their pinned versions; it needs npm
# `make docs`       build docs/ as a site into site/; open site/index.html
# `make wheel`      build the wheel, with its objects built, into dist/
# Needs python3 (3.11 or newer, with venv) and nothing else.

PYTHON ?= python3
PIP := .venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
PINS := pyproject.toml constraints.txt
PYTEST := .venv/bin/python -m pytest --numprocesses=auto --maxprocesses=4

.PHONY: run test lint nightly mutants reference web docs wheel clean

run: .venv/run.stamp
	@.venv/bin/kernmalloc boot

test: lint
	$(PYTEST) -m "not nightly" $(TESTS)

lint: .venv/test.stamp
	.venv/bin/python -m ruff check
	.venv/bin/python -m ruff format --check
	.venv/bin/python -m mypy

nightly: lint .venv/nightly.stamp
	KERNMALLOC_EFFORT=100 $(PYTEST) $(TESTS)

mutants: .venv/test.stamp
	.venv/bin/python tests/mutants.py

reference: .venv/run.stamp
	.venv/bin/python -m kernmalloc.build.reference > docs/reference.md
	.venv/bin/python -m kernmalloc.build.architectures > docs/architectures.md

web: .venv/run.stamp
	.venv/bin/python -m kernmalloc.web.vendor

docs: .venv/docs.stamp
	NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --quiet --strict

# The objects are machine code, so the wheel carries the platform it was built on. Its pages take wasm-ld (Debian's lld).
wheel: .venv/run.stamp
	rm -rf build dist src/kernmalloc/_objects
	.venv/bin/python -m kernmalloc.lang.objects src/kernmalloc/_objects
	.venv/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist \
	    --config-settings=--build-option=--plat-name=linux_$$(uname -m) .
	rm -rf build src/kernmalloc/_objects

clean:
	rm -rf .venv build dist site src/kernmalloc/_objects src/*.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache

.venv/bin/python:
	@echo "setting up .venv"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "kernmalloc needs Python 3.11 or newer")'
	@$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

# Stamps, so that pip runs only when the pins have changed.
.venv/run.stamp: $(PINS) | .venv/bin/python
	@echo "installing kernmalloc and its pinned dependencies"
	@$(PIP) --editable .
	@touch $@

.venv/test.stamp: $(PINS) | .venv/bin/python
	@echo "installing what the tests need"
	@$(PIP) --editable '.[test]'
	@touch .venv/run.stamp $@

.venv/nightly.stamp: $(PINS) | .venv/bin/python
	@echo "installing what the slowest tests need"
	@$(PIP) --editable '.[test,fuzz,docs]'
	@touch .venv/run.stamp .venv/test.stamp .venv/docs.stamp $@

.venv/docs.stamp: $(PINS) | .venv/bin/python
	@echo "installing what the site of the documents needs"
	@$(PIP) --editable '.[docs]'
	@touch .venv/run.stamp $@
