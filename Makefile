# Two commands do all the set-up: `make search` and `make test`. Everything else is for developers.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROCESSES ?= 2
STAMP := $(VENV)/.installed
S3 := $(VENV)/s3/.installed
AUDIT := .audit
FAULT_SEED ?= $(shell date +%s)
FAULT_TABLE ?= faults.md

.PHONY: search test check fix speed test-slow test-faults audit clean

search: $(STAMP)  ## the main job: a search on the embedded data set
	$(BIN)/raynas search --budget 120 --seed 0

test: $(STAMP) $(S3)  ## the test suite, then lint, types and layers
	$(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile -m "not slow and not ray"
	$(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder -m "ray and not slow"
	$(MAKE) --no-print-directory check

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fix: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test-slow: $(STAMP) $(S3)  ## the tests `make test` leaves out, and thousands of cases of each property
	$(BIN)/python -m pytest -m slow
	$(BIN)/python -m pytest tests/property --hypothesis-profile=thorough

test-faults: $(STAMP)  ## everything that may happen to a run, many times over; prints a table
	$(BIN)/python -m pytest tests/faults tests/integration -m faults \
		--fault-seed $(FAULT_SEED) --fault-table $(FAULT_TABLE)

speed: $(STAMP)  ## speed scripts: ratios measured side by side, no verdicts
	for script in tests/speed/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

audit:  ## known vulnerabilities of the versions in constraints.txt; needs the network
	test -x $(AUDIT)/bin/pip-audit || { $(PYTHON) -m venv $(AUDIT) && \
		$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check pip-audit; }
	$(AUDIT)/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner=off \
		--requirement constraints.txt || { \
		echo "audit failed: a vulnerability is known, or the service that knows did not answer" >&2; \
		exit 1; }

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt -e '.[dev,plot,cluster,onnx]'
	touch $(STAMP)

# An S3-compatible server for tests/storage; its dependencies do not go with ours.
$(S3): $(STAMP) tests/storage/moto.txt
	$(BIN)/python -m venv $(VENV)/s3
	$(VENV)/s3/bin/python -m pip install --quiet --disable-pip-version-check \
		-r tests/storage/moto.txt
	touch $(S3)

clean:
	rm -rf $(VENV) $(AUDIT) .pytest_cache .mypy_cache .ruff_cache .hypothesis
