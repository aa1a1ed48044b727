# Everything runs from .venv, which `make setup` fills from requirements.lock. `make help` lists the targets.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV = $(shell command -v uv || echo $(BIN)/uv)
# What the end-to-end tests want beyond Python: real RTSP and RTMP servers (one camera of the demo wants the former too),
# a browser, and Prometheus. With RUNLEVEL=1 nginx and Prometheus are not started when they are installed.
RTSP_PACKAGES := gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-base gstreamer1.0-plugins-good \
  gstreamer1.0-plugins-bad glib-networking libnginx-mod-rtmp
BROWSER_PACKAGES := chromium
PROMETHEUS_PACKAGES := prometheus
RTSP_CHECK := { /usr/bin/python3 -c 'import gi; gi.require_version("GstRtspServer", "1.0")' && \
  test -e /usr/lib/nginx/modules/ngx_rtmp_module.so; } >/dev/null 2>&1
BROWSER_CHECK := { command -v chromium || command -v google-chrome; } >/dev/null
PROMETHEUS_CHECK := { command -v prometheus && command -v promtool; } >/dev/null
# AsyncAPI's own parser, for one test, where npm is; a registry that does not answer is given up after a minute.
PARSER := @asyncapi/parser@3.6.3
PARSER_CHECK := test -d .tools/node_modules/@asyncapi/parser
NPM_INSTALL := command -v npm >/dev/null && \
  timeout 60 npm install --prefix .tools --no-audit --no-fund --ignore-scripts --silent $(PARSER) >/dev/null 2>&1
# Python's compiled modules are kept in .venv, also where the environment says to write none: a service's processes and
# tools would spend half of their start on compiling them again.
export PYTHONDONTWRITEBYTECODE :=
export PYTHONPYCACHEPREFIX := $(CURDIR)/$(VENV)/pycache
CODE := ingest inference tracking publish vigil tests benchmarks docker

apt_install = { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && { apt-get update -qq && \
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(1) >/dev/null; }; }

.DEFAULT_GOAL := help
.PHONY: help setup setup-e2e demo test lint types format bench lock schema clean

help: ## This list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: $(VENV)/.installed ## Install everything into .venv

# uv comes from wherever it is, else from pip inside the new environment. Debian's Python makes environments only with
# the package python3-venv.
$(VENV)/.installed: requirements.lock pyproject.toml
	@test -x $(BIN)/python || { command -v uv >/dev/null && uv venv --quiet --python $(PYTHON) $(VENV); } || \
	  $(PYTHON) -m venv $(VENV) 2>/dev/null || { rm -rf $(VENV); test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
	  apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null && $(PYTHON) -m venv $(VENV); } || \
	  { echo "Cannot make a Python environment. Install python3-venv: apt-get install python3-venv" >&2; exit 1; }
	@command -v uv >/dev/null || test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@rm -rf $(VENV)/pycache
	@touch $@

setup-e2e: ## Install servers, a browser and a parser for the tests, where root and apt, or npm, are here
	@$(RTSP_CHECK) || $(call apt_install,$(RTSP_PACKAGES)) || \
	  echo "No RTSP or RTMP server: their tests will be skipped. For one: apt-get install $(RTSP_PACKAGES)"
	@$(BROWSER_CHECK) || $(call apt_install,$(BROWSER_PACKAGES)) || \
	  echo "No browser: its test will be skipped. For one: apt-get install $(BROWSER_PACKAGES)"
	@$(PROMETHEUS_CHECK) || $(call apt_install,$(PROMETHEUS_PACKAGES)) || \
	  echo "No Prometheus: its tests will be skipped. For one: apt-get install $(PROMETHEUS_PACKAGES)"
	@$(PARSER_CHECK) || { $(NPM_INSTALL); } || \
	  echo "No AsyncAPI parser: its test will be skipped. For one: npm install --prefix .tools $(PARSER)"

demo: setup ## Run the demo; ARGS="--source FILE" and others are passed on
	@$(BIN)/vigil demo $(ARGS)

# More processes than cores, as tests wait for much that takes no core: servers, time-outs, cameras' clocks.
TESTS := $(BIN)/python -m pytest --numprocesses $(shell expr $$(nproc) + 1) --maxprocesses 6 --dist loadfile \
  --no-loadscope-reorder
test: setup setup-e2e ## Run all tests; or those that ARGS give to pytest
ifdef ARGS
	@$(BIN)/python -m pytest $(ARGS)
else
	@$(TESTS) --ignore tests/e2e
	@$(TESTS) tests/e2e -m "not alone"
	@$(BIN)/python -m pytest tests/e2e -m alone
endif

lint: setup ## Check style, formatting and the direction of imports
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/lint-imports

types: setup ## Check types
	$(BIN)/mypy

format: setup ## Format and mend what can be mended
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

bench: setup ## Measure what docs/benchmarks.md quotes; ONLY=peers for one
	$(BIN)/python -m benchmarks $(ONLY)

lock: ## Renew requirements.lock from pyproject.toml
	uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	  --no-emit-index-url --group dev --extra train pyproject.toml -o requirements.lock

schema: setup ## Write the JSON Schemas and Grafana's dashboards from the code
	$(BIN)/vigil schema > configs/vigil.schema.json
	$(BIN)/vigil schema --messages docs/messages
	$(BIN)/python docker/grafana/code/build.py

clean: ## Remove what was made
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
