# demo and test are all a newcomer needs. Both make the virtual environment first, once.
VENV := .venv
PYTHON ?= python3.11
RUN := $(VENV)/bin/
export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1
export FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION := 1

.PHONY: demo test test-all check install clean

demo: $(VENV)/installed  ## seven hospitals train, merge and fuse on real patients
	$(RUN)python -m simulations run pbc --output runs/pbc --overwrite

test: $(VENV)/installed  ## the fast tests, on every core
	$(RUN)python -m pytest -n auto -m "not slow"

test-all: $(VENV)/installed  ## all tests; real data are looked for in ../shared/data
	$(RUN)python -m pytest -n auto

check: $(VENV)/installed  ## form, types, and who may import whom
	$(RUN)ruff format --check .
	$(RUN)ruff check .
	$(RUN)pyright --pythonpath $(RUN)python
	$(RUN)lint-imports

install: $(VENV)/installed

# torch comes first and by itself: its pin chooses the build for the processor, and whatever
# is installed after it is content with it.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN)pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(RUN)pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[simulation,dev]"
	touch $@

clean:
	rm -rf $(VENV) runs
