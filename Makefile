# make lab | reproduce | check | test | goldens | bench | lint | clean.  Real models and data, the same way everywhere:
#   make reproduce MODEL=ViT-B-16 PRETRAINED=openai DATASET=voc2012 ROOT=/path/to/VOCdevkit IMAGES=100
#   DEVICE=cuda PRECISION=bf16 POSITIONS=bilinear QUICKGELU=1 (or 0: state a local file's activation) go to clipsx.load; lab takes the same
#   make reproduce STYLE=column   figures as wide as a paper's column (3.3 inches), or STYLE=text (6.9)
#   make reproduce FULL=1   computes anew what is shipped: bands of random starts, five seeds of Unmix
PYTHON ?= python3
OUT ?= out
BIN := .venv/bin
# An option with its value as it was given, quoted for the shell, where the variable is given.
option = $(if $(value $(2)),--$(1) '$(subst ','\'',$(value $(2)))')
CHOICE = $(call option,model,MODEL) $(call option,pretrained,PRETRAINED) $(call option,device,DEVICE) \
         $(call option,precision,PRECISION) $(call option,positions,POSITIONS) \
         $(call option,dataset,DATASET) $(call option,root,ROOT) $(call option,images,IMAGES) \
         $(if $(QUICKGELU),$(if $(filter 0 no false False,$(QUICKGELU)),--no-quickgelu,--quickgelu))

.PHONY: lab reproduce check test goldens bench lint chromium clean
.DEFAULT_GOAL := reproduce

lab: .venv/installed
	@$(BIN)/clipsx lab $(CHOICE) -- $(ARGS)

reproduce: .venv/installed
	@$(BIN)/clipsx reproduce $(call option,out,OUT) $(CHOICE) $(if $(FULL),--full) $(call option,style,STYLE)

# One torch thread a worker: workers share the machine without fighting for it.
ALONE := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

# The quick tier: about a minute on two cores; to check every shape at every call takes half of a test's time.
check: .venv/installed-test
	@$(ALONE) CLIPSX_SHAPES=0 $(BIN)/python -m pytest -n auto --dist worksteal \
		-m 'not slow and not browser and not real and not gpu and not ray' \
		--ignore tests/browser --ignore tests/notebooks $(ARGS)
	@echo 'Left out: slow, browser, real, gpu, ray, notebooks, shapes in signatures. make test runs all that can run here.'

test: .venv/installed-test chromium
	@$(ALONE) $(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

# Record the golden values anew, and print what moved; --store in ARGS takes what unmixing learns from anew as well.
goldens: .venv/installed-test
	@$(ALONE) $(BIN)/python tests/goldens/make.py $(ARGS)

bench: .venv/installed-test
	@$(BIN)/python tests/bench/bench.py $(ARGS)

lint: .venv/installed-test
	@$(BIN)/ruff check -q . && $(BIN)/ruff format -q --check . && $(BIN)/pyright

clean:
	@rm -rf .venv out build dist .pytest_cache .ruff_cache .hypothesis
	@find clipsx tests notebooks -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf

# The environment: made when missing, brought up to date when pyproject.toml changes.
.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 'clipsx needs Python 3.11 or newer: make PYTHON=python3.11 …' >&2; exit 1; }
	@echo 'Setting up .venv (several GB, once) …'
	@$(PYTHON) -m venv .venv || { echo 'python3 -m venv failed: on Debian, apt install python3-venv' >&2; rm -rf .venv; exit 1; }

.venv/installed: pyproject.toml | .venv/bin/python
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e .
	@touch $@

.venv/installed-test: pyproject.toml | .venv/bin/python
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[test]'
	@touch .venv/installed $@

# The browser test drives Debian's chromium; without one it skips and says so.
chromium:
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
		&& echo 'Installing chromium …' && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; } \
		|| echo 'No chromium: the browser test will skip.'
