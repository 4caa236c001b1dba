# Two commands do all the set-up: `make search` and `make test`. Everything else is for developers.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROCESSES ?= 2
STAMP := $(VENV)/.installed

.PHONY: search test check fix speed test-slow clean

search: $(STAMP)  ## the main job: a search on the embedded data set
	$(BIN)/raynas search --budget 120 --seed 0

test: $(STAMP)  ## the test suite, then lint, types and layers
	$(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile -m "not slow and not ray"
	$(BIN)/python -m pytest -m "ray and not slow"
	$(MAKE) --no-print-directory check

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fix: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test-slow: $(STAMP)  ## the tests `make test` leaves out
	$(BIN)/python -m pytest -m slow

speed: $(STAMP)  ## speed scripts: ratios measured side by side, no verdicts
	for script in tests/speed/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt -e '.[dev,plot,cluster,onnx]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
