# One virtual environment, made on first use; a second run finds it up to date.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
export OMP_WAIT_POLICY := PASSIVE

.PHONY: setup setup-dev demo test test-gpu bench lint clean

# What a call needs; no PyTorch.
setup: $(STAMP)

# What tests, benchmarks and training need besides.
setup-dev: $(DEV_STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { echo "error: cannot make a virtual environment: install Python's venv module (Debian: apt install python3-venv)"; exit 1; }
	@echo "installing into $(VENV) (once; a minute or two)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[sender,receiver,benchmarks]"
# Without its declared dependencies: it asks for numpy<2 and jax and needs neither for the face mesh.
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps mediapipe==0.10.21 || \
	  echo "warning: no mediapipe for this Python or machine: the sender will crop the centre square and send no hints"
	@touch $(STAMP)

$(DEV_STAMP): $(STAMP)
	@echo "installing PyTorch and the tools for development into $(VENV) (once)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[training,dev]"
	@touch $(DEV_STAMP)

demo: setup
	@$(BIN)/python -m benchmarks.demo $(ARGS)

test: setup-dev
	@$(BIN)/python -m pytest $(ARGS)

# Those that need an NVIDIA GPU; where there is none they are skipped, and the reason is told.
test-gpu: setup-dev
	@$(BIN)/python -m pytest -m gpu -rs $(ARGS)

bench: setup-dev
	@mkdir -p out
	$(BIN)/python -m benchmarks.bitstream $(CLIPS) --json out/bitstream.json
	$(BIN)/python -m benchmarks.bpp $(CLIPS) --json out/bpp.json --plot out/bpp.png --compare out/compare
	$(BIN)/python -m benchmarks.curve $(CLIPS) --json out/curve.json --plot out/curve.png
	$(BIN)/python -m benchmarks.loss_map $(CLIPS) --json out/loss_map.json
	$(BIN)/python -m benchmarks.interpolation $(CLIPS) --json out/interpolation.json
	$(BIN)/python -m benchmarks.teeth $(CLIPS) --json out/teeth.json
	$(BIN)/python -m benchmarks.call $(firstword $(CLIPS) demo) --seconds 60 --json out/call.json
	$(BIN)/python -m benchmarks.browser $(firstword $(CLIPS) demo) --json out/browser.json
	$(BIN)/python -m benchmarks.latency $(firstword $(CLIPS) demo) --json out/latency.json --plot out/latency.png
	$(BIN)/python -m benchmarks.throughput --json out/throughput.json

lint: setup-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

clean:
	rm -rf $(VENV) out
