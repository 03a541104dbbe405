# Every target creates .venv when it has to and reuses it afterwards; `make` alone lists them.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
# Container images set it; a hundred processes of the tests would compile the library anew.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Passed on to the tool that a target starts: make app ARGS="--server.port 8600"
ARGS   ?=

APP_INSTALLED  := $(VENV)/.installed-app
TEST_INSTALLED := $(VENV)/.installed-test

.PHONY: help setup app notebooks docs docs-pages test test-fast test-slow coverage test-minimum test-newest audit lint format browser demo real-photos screenshots benchmarks performance readme reliability reliability-page experiments accuracy clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' Makefile

setup: $(TEST_INSTALLED) ## install all that work on it needs, and git's hook that checks each commit
	@if [ -e .git ]; then $(BIN)/pre-commit install; else echo "no git checkout: no hook"; fi

app: $(APP_INSTALLED) ## install, then open the app on the demo run (Ctrl-C stops it)
	$(BIN)/python -m streamlit run app/main.py $(ARGS)

notebooks: $(APP_INSTALLED) ## install, then open JupyterLab on notebooks/
	$(BIN)/python -m jupyter lab --notebook-dir=notebooks $(if $(filter 0,$(shell id -u)),--allow-root) $(ARGS)

docs: $(TEST_INSTALLED) ## run the notebooks (ARGS: names of some), build the site with them in docs/_build
	$(BIN)/python docs/render_notebooks.py docs/_build/notebooks $(ARGS)
	$(BIN)/python docs/build_site.py docs/_build

docs-pages: $(TEST_INSTALLED) ## build the site alone, in seconds; notebooks rendered before stay
	$(BIN)/python docs/build_site.py docs/_build

# Files go to the cores as wholes: their tests share what is slow to make, a browser too. In the
# order of tests/conftest.py, the long ones first; xdist's own would begin the long ones, which have
# few tests, last, and leave cores idle.
# Those with a browser come in a second run: playwright's event loop stays in its process.
PARALLEL ?= -n auto --dist loadfile --no-loadscope-reorder

test: lint ## lint, then run all tests but the slow ones; prints pytest's summaries
	$(BIN)/python -m pytest -m "not slow and not browser" $(PARALLEL) $(ARGS) || [ $$? = 5 ] # 5: ARGS leave none
	$(BIN)/python -m pytest -m "browser and not slow" $(PARALLEL) $(ARGS) || [ $$? = 5 ]

test-fast: $(TEST_INSTALLED) ## only the tests that need no browser and are not slow
	$(BIN)/python -m pytest -m "not slow and not browser" $(PARALLEL) $(ARGS) || [ $$? = 5 ] # 5: ARGS leave none

test-slow: $(TEST_INSTALLED) ## only the longest tests
	$(BIN)/python -m pytest -m slow $(ARGS)

coverage: $(TEST_INSTALLED) ## which lines of workbench the tests reach, into benchmarks/reliability
	$(BIN)/python -m pytest -m "not slow and not browser" $(PARALLEL) --cov --cov-report=json:.coverage.json $(ARGS)
	PYTHONPATH=. $(BIN)/python tests/helpers/covered.py .coverage.json benchmarks/reliability/coverage.json

# $(call bounds,NAME,PIP'S OPTIONS): an environment of its own, the tests, the row of both.
define bounds
	@test -x .venv-$(1)/bin/python || $(PYTHON) -m venv .venv-$(1)
	.venv-$(1)/bin/python -m pip install -q --disable-pip-version-check packaging
	.venv-$(1)/bin/python tests/helpers/bounds.py oldest pyproject.toml > .venv-$(1)/oldest.txt
	.venv-$(1)/bin/python -m pip install -q --disable-pip-version-check $(2) -e '.[test]'
	.venv-$(1)/bin/python -m pytest -m "not slow and not browser" $(PARALLEL) --junitxml .venv-$(1)/tests.xml $(ARGS) || true # the row says it
	PYTHONPATH=. .venv-$(1)/bin/python tests/helpers/bounds.py record $(1) .venv-$(1)/tests.xml benchmarks/reliability/bounds.json
endef

test-minimum: ## the tests with the oldest versions that pyproject.toml allows, in .venv-minimum
	$(call bounds,minimum,-c .venv-minimum/oldest.txt)

test-newest: ## the tests with the newest versions there are, in .venv-newest
	$(call bounds,newest,--upgrade --upgrade-strategy eager)

audit: ## compare the pins with the databases of known faults (needs the network)
	@test -x .venv-audit/bin/python || $(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install -q --disable-pip-version-check 'pip-audit>=2.9,<3'
	.venv-audit/bin/pip-audit --disable-pip --no-deps -r constraints.txt

lint: $(TEST_INSTALLED) ## ruff (rules and format) and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(TEST_INSTALLED) ## rewrite the code in ruff's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The names under which distributions install it, in the order tests/conftest.py looks for them.
CHROMIUM = $(firstword $(foreach name,chromium chromium-browser google-chrome,$(shell command -v $(name))))
APT_GET  = env DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=3

browser: ## find a Chromium for the browser tests, or install Debian's
	@if [ -n "$(CHROMIUM)" ]; then \
	  echo "browser tests will use $(CHROMIUM)"; exit 0; \
	fi; \
	if ! command -v apt-get >/dev/null; then \
	  echo "make browser: no Chromium found and no apt-get here: install Chromium with your system's package manager, browser tests are skipped until then" >&2; exit 1; \
	fi; \
	if [ "$$(id -u)" = 0 ]; then as_root=; \
	elif command -v sudo >/dev/null; then as_root=sudo; \
	else echo "make browser: no Chromium found; installing it needs root: run 'apt-get install chromium' as root" >&2; exit 1; fi; \
	$$as_root $(APT_GET) update -q && $$as_root $(APT_GET) install -q -y --no-install-recommends chromium fonts-liberation

REALDATA  ?= ../shared/realdata
DEMO_DATA ?= data/shapeworld
DEMO_RUN  ?= runs/shapeworld-demo
DEMO_OUT  ?= runs/demo-again

demo: $(APP_INSTALLED) ## train the shipped demo run again from nothing, into DEMO_OUT
	$(BIN)/workbench sample shapeworld $(DEMO_DATA)
	$(BIN)/workbench prepare shapeworld $(DEMO_DATA)
	$(BIN)/workbench train --preset shapeworld-demo --data.root $(DEMO_DATA) --run $(DEMO_RUN) --resume
	$(BIN)/workbench pack $(DEMO_RUN) $(DEMO_OUT) --replace
	$(BIN)/workbench evaluate $(DEMO_OUT) --save 120
	$(BIN)/workbench project $(DEMO_OUT)

real-photos: $(TEST_INSTALLED) ## train on the real ADE20K and VOC samples in REALDATA, write docs/real_photos.*
	$(BIN)/python docs/real_photos.py $(REALDATA) $(ARGS)

screenshots: $(TEST_INSTALLED) ## photograph every page of the app into docs/images
	$(BIN)/python -m pytest -m browser --screenshots=docs/images $(ARGS)

BENCH = $(BIN)/workbench bench

# Others' packages are measured where they are there: pip install -e '.[bench,index]' brings them.
# Rows of others that float64 does not confirm fail the command, not the rest of the list.
benchmarks: $(TEST_INSTALLED) ## measure again what docs/performance.md says about classes, and make it
	$(BENCH) step --steps 2 --json benchmarks/step.json
	$(BENCH) memory --classes 21,1284,10000,100000,1000000 --steps 1 \
	  --loss.pixels 4096 --loss.separation_weight 0 --json benchmarks/memory.json
	$(BENCH) loss --classes 21,1284,10000 --json benchmarks/loss.json
	$(BENCH) loss --classes 1284 --dim 32 --json benchmarks/loss_wide.json
	-$(BENCH) loss --classes 1284 --dtype bf16 --json benchmarks/loss_bf16.json
	-$(BENCH) loss --pixels 4096 --classes 1284,100000,1000000 --distances euclidean,linear \
	  --methods dense,torch,nearest-index,streaming --json benchmarks/loss_million.json
	$(BENCH) predict --json benchmarks/predict.json
	$(BENCH) predict-files --rounds 3 --json benchmarks/predict_files.json
	$(BENCH) predict-files --sizes 2048,8944 --methods embedding --pictures 1 --json benchmarks/predict_large.json
	$(BENCH) export --run runs/demo --json benchmarks/export.json
	$(BENCH) models --json benchmarks/models.json
	$(BENCH) app --json benchmarks/app.json
	$(MAKE) performance

performance: $(APP_INSTALLED) ## make docs/performance.md and docs/models.md from the measurements in benchmarks/
	$(BIN)/python -m workbench.benchmarks.report benchmarks docs/performance.md
	$(BIN)/python -m workbench.benchmarks.report_models benchmarks/models.json docs/models.md

readme: $(APP_INSTALLED) ## make the README's table of what was measured, from benchmarks/
	$(BIN)/python -m workbench.experiments.readme benchmarks README.md

reliability: $(TEST_INSTALLED) ## kill and starve commands, damage files, load the app, break formulas, and make docs/reliability.md (an hour and a half)
	PYTHONPATH=tests $(BIN)/python -m helpers.faults --trials 222 \
	  --others train,evaluate,prepare,predict,project,export --json benchmarks/reliability/faults.json
	PYTHONPATH=tests $(BIN)/python -m helpers.fuzz --cases 104000 --json benchmarks/reliability/fuzz.json
	PYTHONPATH=tests $(BIN)/python -m helpers.load --sessions 20 --minutes 10 --warm-up 8 --json benchmarks/reliability/load.json
	PYTHONPATH=tests $(BIN)/python -m helpers.soak --steps 20000 --json benchmarks/reliability/soak.json
	PYTHONPATH=tests $(BIN)/python -m helpers.mutations --json benchmarks/reliability/mutations.json
	PYTHONPATH=tests $(BIN)/python -m helpers.precision --json benchmarks/reliability/precision.json
	$(MAKE) reliability-page

reliability-page: $(APP_INSTALLED) ## make docs/reliability.md from the rows in benchmarks/reliability
	$(BIN)/python -m workbench.benchmarks.report_reliability benchmarks/reliability docs/reliability.md

experiments: $(APP_INSTALLED) ## train what docs/accuracy.md compares and is not there yet (hours; goes on where it was)
	for name in budgets images factors classes; do $(BIN)/workbench experiment $$name $(ARGS); done
	if [ -d $(REALDATA)/coco ]; then for name in photos added; do $(BIN)/workbench experiment $$name --photos $(REALDATA)/coco $(ARGS); done; fi
	$(MAKE) accuracy

accuracy: $(APP_INSTALLED) ## make docs/accuracy.md from the trainings in benchmarks/accuracy
	$(BIN)/python -m workbench.experiments.report benchmarks/accuracy docs/accuracy.md

clean: ## remove .venv and the tools' caches (never data or runs)
	rm -rf $(VENV) .venv-* build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the virtual environment -------------------------------------------------------------

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "make: '$(PYTHON)' not found: install Python 3.11 to 3.14, or name one: make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' || { echo "make: $$($(PYTHON) --version 2>&1) is not between 3.11 and 3.14: name one that is: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "make: cannot create $(VENV): on Debian and Ubuntu install the package python3-venv" >&2; exit 1; }

# 7 GB installed, and beside them the largest wheels while they are unpacked.
NEEDS_GB ?= 9

# pip says what it collects, line by line; on a terminal these lines replace each other,
# in a log every 30th is kept. Its whole output is in .venv/install.log.
define install
	@free=$$(df -Pk $(VENV) | awk 'NR == 2 { print int($$4 / 1000000) }'); \
	if [ ! -d $(VENV)/lib/python3.*/site-packages/torch ] && [ $$free -lt $(NEEDS_GB) ]; then \
	  echo "make: the disk of $(VENV) has $$free GB free, torch and its CUDA libraries need $(NEEDS_GB): make room, or put the environment on another disk: make VENV=/elsewhere/venv" >&2; exit 1; fi
	@echo "Installing $(1) into $(VENV): about 7 GB with torch's CUDA libraries, 3 to 5 minutes on a fast line, once"
	@tty=0; [ ! -t 1 ] || tty=1; \
	$(BIN)/python -m pip install --disable-pip-version-check --no-input -c constraints.txt -e '$(2)' 2>&1 \
	| tee $(VENV)/install.log \
	| awk -v tty=$$tty ' \
	    function say(text) { if (tty) printf "\r\033[K  %s", substr(text, 1, 76); else print "  " text; fflush() } \
	    /^Collecting/ { count++; if (tty || count % 30 == 1) say("collecting " count ": " $$2) } \
	    /^Installing collected/ { say("unpacking, a minute or two") } \
	    /^Successfully installed/ { say("done"); if (tty) print "" }' \
	|| { tail -n 20 $(VENV)/install.log >&2; \
	  if grep -q "No space left on device" $(VENV)/install.log; then echo "make: a disk is full: that of $(VENV), or the one pip keeps its cache and $${TMPDIR:-/tmp} on" >&2; fi; \
	  echo "make: the installation failed; all of pip's output is in $(VENV)/install.log" >&2; exit 1; }
endef

$(APP_INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	$(call install,the library with app and notebooks,.)
	@touch $@

# One step, so that `make test` first and `make app` afterwards installs once.
$(TEST_INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	$(call install,the library with app and notebooks and the test tools,.[test])
	@touch $(APP_INSTALLED) $@
