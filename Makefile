PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := run
# Processes start in three quarters of the time where the bytecode of the modules is kept, and tests start thousands.
export PYTHONDONTWRITEBYTECODE :=
.PHONY: setup run test test-faults quick soak soak-machines cluster cluster-demo storm overdue bench compare check format docs lock screenshots

# The stamp is newer than what it was installed from, or everything is installed again.
.venv/.stamp: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "dualbus needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12")'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@

setup: .venv/.stamp

run: setup
	@PATH="$(CURDIR)/$(BIN):$$PATH" exec honcho start

# Kills, power cuts, hostile peers and several machines, and the wheel in environments of its own.
FAULTS := tests/faults tests/machines tests/reactions/test_storm.py tests/security/test_floods.py tests/security/test_intruders.py \
	tests/web/test_hostile.py tests/test_wheel.py

test: setup
	$(BIN)/python -m pytest $(FAULTS:%=--ignore=%)

test-faults: setup
	$(BIN)/python -m pytest $(FAULTS)

# The tests that start no process, in some 10 seconds, for the edit loop. `make test` and `make test-faults` run them too.
quick: setup
	$(BIN)/python -m pytest --numprocesses=2 -m "not processes and not slow"

# All faults at once, for as long as it is told: make soak MINUTES=10 SEED=1
soak: setup
	$(BIN)/python -m tests.faults.soak --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED))

# Three "hosts" on this machine, with NATS; and the same under load, while hosts are killed.
cluster: setup
	$(BIN)/python -m tests.machines.cluster

cluster-demo: setup
	$(BIN)/python -m tests.machines.soak --demo --minutes $(or $(MINUTES),1)

# All faults at once on three hosts: make soak-machines MINUTES=10 SEED=1
soak-machines: setup
	$(BIN)/python -m tests.machines.soak --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED))

# Orders with reactions, timers and effects under kills and pauses: make storm ORDERS=50000 SEED=1
storm: setup
	$(BIN)/python -m tests.reactions.storm --orders $(or $(ORDERS),50000) $(if $(SEED),--seed $(SEED))

# Timers that come due while all processes are down: make overdue TIMERS=100000
overdue: setup
	$(BIN)/python -m tests.reactions.overdue --timers $(or $(TIMERS),100000)

# Benchmarks have requirements of their own, so that everything else stays lean.
.venv/.stamp-benchmarks: benchmarks/requirements.lock .venv/.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $<
	@touch $@

bench: .venv/.stamp-benchmarks
	$(BIN)/python -m benchmarks

# This checkout beside another commit, in turns within one run: make compare WITH=HEAD~1
compare: .venv/.stamp-benchmarks
	$(BIN)/python -m benchmarks.compare $(or $(WITH),HEAD)

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy .
	@if command -v pip-audit > /dev/null; then pip-audit --strict --require-hashes --disable-pip -r requirements.lock; \
		else echo "pip-audit is not installed: requirements.lock is not compared with known vulnerabilities."; fi

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The site has requirements of its own, too. Its sources are copied, so that links between folders resolve in it.
.venv/.stamp-docs: docs/requirements.lock .venv/.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $<
	@touch $@

docs: .venv/.stamp-docs
	rm -rf build/docs build/site
	mkdir -p build/docs
	tar -cf - --exclude="docs/requirements.*" --exclude=docs/hooks.py *.md docs deploy examples/*/*.md examples/*/*.py tests/examples | tar -xf - -C build/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Pictures of the page for the documents. Needs Chromium.
screenshots: setup
	$(BIN)/python -m tests.web.screenshots

# Needs uv. The only target that asks which newer versions there are.
lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--no-emit-index-url --no-emit-find-links --group dev --group machines --extra web pyproject.toml --output-file requirements.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--no-emit-index-url --no-emit-find-links --constraint requirements.lock benchmarks/requirements.in \
		--output-file benchmarks/requirements.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--no-emit-index-url --no-emit-find-links --constraint requirements.lock docs/requirements.in \
		--output-file docs/requirements.lock
