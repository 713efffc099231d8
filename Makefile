# demo and test are all a newcomer needs. Both make the virtual environment first, once.
VENV := .venv
PYTHON ?= python3.11
RUN := $(VENV)/bin/
export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1
export FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION := 1

.PHONY: demo deploy-demo test test-all check pictures install lock clean

demo: $(VENV)/installed  ## seven hospitals train, merge and fuse on real patients
	$(RUN)python -m simulations run pbc --output runs/pbc --overwrite

deploy-demo: $(VENV)/installed  ## a coordinator, nginx and five sites, each with keys and processes of its own
	$(RUN)python -m deploy demo --overwrite

test: $(VENV)/installed  ## the fast tests, on every core
	$(RUN)python -m pytest -n auto -m "not slow"

test-all: $(VENV)/installed  ## all tests; real data are looked for in ../shared/data
	$(RUN)python -m pytest -n auto

check: $(VENV)/installed  ## form, types, and who may import whom
	$(RUN)ruff format --check .
	$(RUN)ruff check .
	$(RUN)pyright --pythonpath $(RUN)python
	$(RUN)lint-imports

pictures: $(VENV)/installed  ## the dashboard's pictures, from a rehearsal; needs Chromium
	$(RUN)python -m deploy.seeing.take_pictures deploy/seeing/pictures

install: $(VENV)/installed

# torch comes first and by itself: its pin chooses the build for the processor, and whatever
# is installed after it is content with it.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN)pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(RUN)pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[simulation,dev,targets]"
	touch $@

# The image's packages with their hashes; those of torch's CUDA build apart, for whoever has no graphics card.
lock: $(VENV)/installed  ## deploy/image/*.lock, from pyproject.toml and constraints.txt
	$(RUN)uv pip compile --quiet --no-header --no-annotate --no-emit-index-url --generate-hashes \
		--only-binary :all: --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
		--extra federation --constraints constraints.txt pyproject.toml \
		| awk -v folder=deploy/image/ '/^[a-z]/ { file = folder \
			(/^(torch==|triton==|nvidia-|cuda-)/ ? "torch-cuda.lock" : "requirements.lock") } { print > file }'

clean:
	rm -rf $(VENV) runs
