# The one list of commands. `make serve` and `make test` work on a fresh machine with Python 3.11+ and make.

PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000

# ONNX Runtime for CUDA where an NVIDIA GPU answers, the plain one (a tenth of its size) elsewhere. Never both.
RUNTIME := $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)

SERVE_ENV := .venv-serve
TEST_ENV := .venv
TORCHLESS_ENV := .venv-torchless
LOCK_ENV := .venv-lock
PROJECT := pyproject.toml client/pyproject.toml

.PHONY: serve test test-all test-torchless lint format docs browser screenshots train-env lock clean help

help:  ## Say what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | sort

serve: $(SERVE_ENV)/.installed  ## Serve the shipped models and ./model_repository on http://HOST:PORT
	LATENT_CODES_HOST=$(HOST) LATENT_CODES_PORT=$(PORT) $(SERVE_ENV)/bin/python -m service

# A process a core, each of one thread: on two cores, two threads in one process were slower than one.
PYTEST_OPTIONS = --numprocesses auto --dist loadfile
PYTEST_ENVIRONMENT = OMP_NUM_THREADS=1

test: test-all test-torchless  ## Pass all tests, with torch and, those that need none, without

test-all: $(TEST_ENV)/.installed
	$(PYTEST_ENVIRONMENT) $(TEST_ENV)/bin/python -m pytest $(PYTEST_OPTIONS)

# The service, the contract and the client must work where torch was never installed.
test-torchless: $(TORCHLESS_ENV)/.installed
	$(PYTEST_ENVIRONMENT) $(TORCHLESS_ENV)/bin/python -m pytest $(PYTEST_OPTIONS) tests/models tests/service tests/client \
		tests/deployment/test_kserve_documents.py

lint: $(TEST_ENV)/.installed  ## Check style, types and who imports whom
	$(TEST_ENV)/bin/ruff check .
	$(TEST_ENV)/bin/ruff format --check .
	$(TEST_ENV)/bin/mypy
	$(TEST_ENV)/bin/lint-imports

format: $(TEST_ENV)/.installed  ## Format the code
	$(TEST_ENV)/bin/ruff format .
	$(TEST_ENV)/bin/ruff check --fix .

docs: $(TEST_ENV)/.installed  ## Build the documents into build/docs/index.html; a warning is an error
	$(TEST_ENV)/bin/sphinx-build --fail-on-warning --keep-going --quiet docs build/docs

browser: $(TEST_ENV)/.installed  ## Find the Chromium that tests of the playground drive, or get one; without it they are skipped
	$(TEST_ENV)/bin/python tests/browser/chromium.py

screenshots: browser  ## Take the pictures of the playground that the documents show
	PYTHONPATH=tests:tests/browser $(TEST_ENV)/bin/python tests/browser/screenshots.py

train-env: $(TEST_ENV)/.installed  ## Make the environment that `python -m training` runs in

# For every platform and every Python from 3.11 on, without the address of the index they came from.
LOCK := $(LOCK_ENV)/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --custom-compile-command 'make lock'

lock: $(LOCK_ENV)/.installed  ## Pin what the images install, with hashes, at the newest versions allowed
	$(LOCK) --group build -o requirements/build.txt
	$(LOCK) pyproject.toml --extra serve --extra cpu -o requirements/serve-cpu.txt
	$(LOCK) pyproject.toml --extra serve --extra gpu -o requirements/serve-gpu.txt
	$(LOCK) pyproject.toml --extra train --extra cpu -o requirements/train.txt
	echo torch | $(LOCK) pyproject.toml --extra train --extra cpu --excludes /dev/stdin \
		--constraint requirements/train.txt -o requirements/train-without-torch.txt

clean:  ## Remove the environments, caches and the built documents
	rm -rf build .venv .venv-* .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache

# What each environment holds, as arguments of pip.
$(SERVE_ENV)/.installed: CONTENT = --editable '.[serve,$(RUNTIME)]'
$(TEST_ENV)/.installed: CONTENT = --editable '.[serve,cpu,train,cli,bulk]' --editable ./client --group docs --group lint --group test --group test-training --group test-browser --group test-deployment
$(TORCHLESS_ENV)/.installed: CONTENT = --editable '.[serve,cpu,cli]' --editable ./client --group test --group test-kserve
$(LOCK_ENV)/.installed: CONTENT = --group lock

%/.installed: $(PROJECT)
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; say which to use with, for example: make PYTHON=python3.12")'
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(@D)/bin/python -m pip install --quiet $(CONTENT)
	@touch $@
