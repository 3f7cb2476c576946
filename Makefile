# Two commands do everything on a fresh machine: `make demo` and `make test`.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

export TOKENIZERS_PARALLELISM = false
export HF_HUB_OFFLINE = 1

.PHONY: demo test check calibrate organism gpu clean help

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

demo: $(INSTALLED) ## measure the shipped model, sign, verify, refuse forgeries, replay; leaves build/demo/
	$(BIN)/dossier demo --output build/demo

test: $(INSTALLED) ## run all tests
	@sh .ci/system-libraries tests
	$(BIN)/pytest -n 2 --dist loadgroup

check: $(INSTALLED) ## lint, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

calibrate: $(INSTALLED) ## try every instrument where the truth is known: certificates and docs/calibration.md (an hour)
	OMP_NUM_THREADS=1 $(BIN)/dossier calibrate --all --page docs/calibration.md

organism: $(INSTALLED) ## train the shipped organism again and compare
	$(BIN)/python -m evidence_collectors.organisms.hint_mcq --out build/organism

# Each step runs whatever became of the one before. GPU_PYTHON names a Python that has CUDA's PyTorch and the other packages.
gpu: $(if $(GPU_PYTHON),,$(INSTALLED)) ## what needs a CUDA device: its tests, then both benchmarks, nine minutes
	@python=$(or $(GPU_PYTHON),$(BIN)/python); failed=0; \
	$$python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || { echo "PyTorch finds no CUDA device here"; exit 1; }; \
	$$python -m pytest -m gpu -W default tests/evidence_collectors/models/test_gpu.py || failed=1; \
	$$python -m benchmarks.gpu --minutes 5 || failed=1; \
	$$python -m benchmarks.generation --minutes 2.5 || failed=1; \
	exit $$failed

$(INSTALLED): pyproject.toml constraints.txt .ci/system-libraries
	sh .ci/system-libraries
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Dossier needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "Python has no venv; run: apt-get install -y python3-venv"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt --editable '.[render,collect,circuits,api,dev]'
	touch $(INSTALLED)

clean: ## remove what was built; keeps the environment
	rm -rf build dist *.egg-info
