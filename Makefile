# The two commands of the README do all of their own set-up: `make demo` and `make test`.
SHELL := /bin/bash
VENV := .venv
PYTHON := $(VENV)/bin/python
STAMP := $(VENV)/.installed
LAB_HOME := jvbtune/lab/bridge/target/home/jitsi-videobridge.jar

.PHONY: demo test lint format bench clean system browser profiler

demo: $(STAMP) system $(LAB_HOME)
	@$(PYTHON) -m jvbtune.lab.demo

test: $(STAMP) system browser profiler $(LAB_HOME)
	$(PYTHON) -m pytest $(PYTEST_ARGS)

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(STAMP)
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: $(STAMP) system profiler $(LAB_HOME)
	@status=0; for file in benchmarks/bench_*.py; do echo "== $$file"; $(PYTHON) $$file || status=1; done; exit $$status

# Python packages: exactly those of the lock file, then this project.
$(STAMP): requirements.lock pyproject.toml
	@tools/python-venv $(VENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

# What the lab and the tests need of the system: by apt where this is root, else the exact line is printed.
system:
	@tools/system-packages openjdk-17-jdk-headless maven openssh-server iproute2 sudo

browser:
	@tools/system-packages chromium

profiler:
	@tools/system-packages linux-perf

$(LAB_HOME): $(shell find jvbtune/lab/bridge/src -type f 2>/dev/null) jvbtune/lab/bridge/pom.xml
	@echo "Building the lab's bridge (Maven)…" >&2
	@$(PYTHON) -c "from jvbtune.lab.home import lab_home; lab_home()"
	@touch $@

clean:
	rm -rf $(VENV) .lab .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis dist jvbtune/lab/bridge/target
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
