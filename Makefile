# The README's two commands do all of their own set-up: `make demo` and `make test`. A contributor runs `make check`.
SHELL := /bin/bash
VENV := .venv
PYTHON := $(VENV)/bin/python
STAMP := $(VENV)/.installed
DOCS_STAMP := $(VENV)/.docs-installed
LAB_HOME := jvbtune/lab/bridge/target/home/jitsi-videobridge.jar
GRID := .cache/selenium-grid/.complete

.PHONY: demo monitoring-demo dashboard-pictures test faults interrupts lab-faults fuzz check lint format reference docs sbom bench clean system browser grid monitoring telegraf cloud-init profiler

# Tests that `make check` leaves out: they need root, a JDK, perf or a browser, or take long. `make test` runs all.
HEAVY := lab or kernel or root or jvm or perf or browser or real_bridge or slow

demo: $(STAMP) system $(LAB_HOME)
	@$(PYTHON) -m jvbtune.cli.demo

# Two lab bridges under load, Prometheus, InfluxDB over TLS, and the last values of every panel of every dashboard.
monitoring-demo: $(STAMP) system monitoring $(LAB_HOME)
	@$(PYTHON) -m tools.monitoring.demo

# docs/images/dashboards/: each panel drawn from the answers of real servers to its own queries.
dashboard-pictures: $(STAMP) monitoring
	@$(PYTHON) -m tools.monitoring.pictures

# Three at a time, since most wait for something, then alone what holds load or takes times; of these a failed one is run once more, and it is said, since
# other work of the machine may have spoilt the measurement. Status 5: PYTEST_ARGS chose none of these.
test: $(STAMP) system browser grid profiler monitoring cloud-init $(LAB_HOME)
	@failed=0; \
	$(PYTHON) -m pytest -n 3 --dist loadscope --no-loadscope-reorder -m "not measured" $(PYTEST_ARGS) || failed=$$?; \
	$(PYTHON) -m pytest -m measured --reruns 1 -rR $(PYTEST_ARGS) || [ $$? -eq 5 ] || failed=1; \
	[ $$failed -eq 0 ] || [ $$failed -eq 5 ]

# 300 seeded faults of agent, guard and put-back, and the table of what became of them.
faults: $(STAMP) system
	@$(PYTHON) -m tests.faults $(FAULTS_ARGS)

# Changed inputs for everything that reads foreign data, for FUZZ_SECONDS in all, and the table of what was found.
fuzz: $(STAMP)
	@$(PYTHON) -m tests.fuzz --seconds $(or $(FUZZ_SECONDS),600) $(FUZZ_ARGS)

# 200 interrupts of a sweep at random instants.
interrupts: $(STAMP) system
	@$(PYTHON) -m tests.faults --interrupts --seeds 200 $(FAULTS_ARGS)

# 20 seeded faults on each of the real labs, a systemd host and a container host.
lab-faults: $(STAMP) system $(LAB_HOME)
	@$(PYTHON) -m tests.faults.labs $(FAULTS_ARGS)

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# Without root, JVM and browser, in less than two minutes on two cores.
check: lint
	$(PYTHON) -m pytest -m "not ($(HEAVY))" $(PYTEST_ARGS)

format: $(STAMP)
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

# docs/reference/ is made from the code; a test fails if it is out of date.
reference: $(STAMP)
	$(PYTHON) -m tools.reference

# dist/jvbtune.cdx.json: what the locked packages are, with their hashes (CycloneDX).
sbom: $(DOCS_STAMP)
	@mkdir -p dist
	@PYTHONWARNINGS=ignore $(VENV)/bin/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml \
		--output-reproducible --of JSON -o dist/jvbtune.cdx.json
	@echo dist/jvbtune.cdx.json

docs: $(DOCS_STAMP)
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --quiet --strict

bench: $(STAMP) system profiler $(LAB_HOME)
	@status=0; for file in benchmarks/bench_*.py; do echo "== $$file"; $(PYTHON) $$file || status=1; done; exit $$status

# Python packages: exactly those of the lock file, then this project.
$(STAMP): requirements.lock pyproject.toml hatch_build.py jvbtune/flame/formats/native/fold.c jvbtune/load/native/send.c
	@tools/python-venv $(VENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

# The documentation's packages come into the same environment: their lock is constrained by requirements.lock.
$(DOCS_STAMP): $(STAMP) requirements-docs.lock
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-docs.lock
	@touch $@

# What the lab and the tests need of the system: by apt where this is root, else the exact line is printed.
system:
	@tools/system-packages openjdk-17-jdk-headless maven openssh-server sudo debootstrap shellcheck tshark

browser:
	@tools/system-packages chromium chromium-driver

# A Selenium Grid for the tests of browsers as a generator.
grid: $(GRID)

$(GRID): tools/selenium-grid/pom.xml
	@echo "Fetching Selenium Grid (Maven)…" >&2
	@rm -rf $(dir $@)
	@mvn -B -q -f $< dependency:copy-dependencies -DoutputDirectory=$(abspath $(dir $@))
	@touch $@

# Servers that tests start as processes of their own; policy-rc.d keeps apt from starting them.
monitoring:
	@tools/system-packages prometheus influxdb

# Telegraf for the tests of its export: Debian has none, and it takes Go and minutes, so `make test` does without.
telegraf:
	@tools/telegraf

cloud-init:
	@tools/cloud-init

profiler:
	@tools/system-packages linux-perf

$(LAB_HOME): $(shell find jvbtune/lab/bridge/src -type f 2>/dev/null) jvbtune/lab/bridge/pom.xml
	@echo "Building the lab's bridge (Maven)…" >&2
	@$(PYTHON) -c "from jvbtune.lab.home import lab_home; lab_home()"
	@touch $@

clean:
	rm -rf $(VENV) .lab .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis dist site jvbtune/lab/bridge/target
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
