# Two commands matter: `make demo` and `make test`. Each makes its own environment in .venv first.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
TEXT ?= an old person walks and turns left
OUT ?= out
MINUTES ?= 60

.PHONY: setup demo test test-all lint interop fuzz clean

setup: $(VENV)/.ready

# What a user needs, and the demo. torch first: asked for by another package, pip would fetch the build with CUDA.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

# What tests, lint and training need besides.
$(VENV)/.ready: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

demo: $(VENV)/.installed
	mkdir -p $(OUT)
	$(BIN)/motionloom generate --text "$(TEXT)" --seed 1 --out $(OUT)/demo.bvh --out $(OUT)/demo.glb --out $(OUT)/demo.png --out $(OUT)/demo.mp4

test: setup
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-all: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# Checks with Blender, usd-core, ufbx, three.js, three-vrm and the Khronos validator, in environments of their own.
interop: setup
	test -x .venv-bpy/bin/python || $(PYTHON) -m venv .venv-bpy
	.venv-bpy/bin/pip install --quiet --disable-pip-version-check bpy==5.0.1
	test -x .venv-interop/bin/python || $(PYTHON) -m venv .venv-interop
	.venv-interop/bin/pip install --quiet --disable-pip-version-check usd-core==26.11 ufbx==0.0.5
	npm install --no-save --no-audit --no-fund --silent gltf-validator@2.0.0-dev.3.10 three@0.187 @pixiv/three-vrm@3.5.5 @pixiv/three-vrm-animation@3.5.5
	$(BIN)/python -m pytest tests/interop -rs

# Damage files of every kind and read them; prints inputs, crashes, the slowest and the largest.
fuzz: setup
	$(BIN)/python tests/fuzz/fuzz_campaign.py --minutes $(MINUTES)

clean:
	rm -rf $(VENV) $(OUT) build *.egg-info
