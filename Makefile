# make repro: everything from a fresh clone to results.   make test: the same set-up, then the tests.
PYTHON ?= python3
KILLS ?= 30
SEED ?= 0
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: repro expect test check experiments bench scale load fuzz chaos backbones hostile attacks verify setup lock

repro: expect .venv/installed
	@git rev-parse --git-dir >/dev/null 2>&1 || [ -e .git ] || { \
		echo "No git here: DVC is told to do without; experiments and comparisons need it (see README.md)."; \
		dvc config core.no_scm true; }
	dvc repro
	@echo
	@sed '/^## /,$$d' metrics/evaluate/report.md
	@echo "Where to look next:"
	@echo "  metrics/report.html          the whole run in one page, for a browser"
	@echo "  metrics/evaluate/report.md   the same, each class, and the wrong pictures"
	@echo "  plots/figures/               curves, confusion matrices, ROC"
	@echo "  plots/gradcam/               where the models look"
	@echo "  plots/errors.html            the worst errors, with where the models looked"
	@echo "  source $(BIN)/activate    then: dvc metrics show, dvc plots show, dvc exp run -S finetune.lr=1e-5"

# Before the first run; the figures are explained in README.md.
expect:
	@[ -d models/export ] || { \
		echo "The first run needs 4 GB of disk (.venv 3.2, results 0.5) and 2 GB of memory. On 2 cores of an AMD"; \
		echo "EPYC installing took 1.5 minutes and the pipeline 2.2; without AVX-512, 11 both together."; \
		echo "If it is stopped, make repro goes on where it was."; echo; }

# Many tests wait for processes of their own, so one more than the cores of a small machine.
PROCESSES ?= 3
# Where a process crashes, xdist would wait for ever for its tests; so that ends the run.
test: .venv/installed-dev
	python -m pytest --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder --max-worker-restart 0

check: .venv/installed-dev
	ruff check .
	ruff format --check .
	mypy

# dvc exp show for a terminal: what differs between experiments, accuracies and parameters first.
EXPERIMENTS ?= --only-changed --hide-workspace --drop '.*(accuracy_|log_loss|Created)|[^:]*/[^:]*$$'
experiments: .venv/installed
	@dvc exp show --md $(EXPERIMENTS) | sed -E 's#metrics/scores/([^:| ]+)\.json:#\1.#g; s/ +/ /g; s/-{3,}/---/g' \
		| column -t -s '|' -o '|'

# For example: make bench DATA=dogs-vs-cats.zip ARGS="--scaling"; all options: python -m bench --help
DATA ?= sample
bench: .venv/installed
	python -m bench --data "$(DATA)" $(ARGS)

# Stages on a cluster of three network namespaces, of which nodes are killed and cut; needs root and Linux.
# For example: make scale DATA=dogs-vs-cats.zip LARGE=more.zip KILLS=10; all options: python -m bench.scale --help
LARGE ?=
scale: KILLS = 10
scale: .venv/installed-dev
	python -m bench.scale --data "$(DATA)" --large "$(LARGE)" --kills $(KILLS) --seed $(SEED) $(ARGS)

# The server under load, against the plain way; needs wrk. All options: python -m bench.load --help
load: .venv/installed
	python -m bench.load $(ARGS)

# The properties of tests/test_fuzz.py on other examples than those of the tests, and many more;
# then a search for inputs that cost more than any may.
FUZZ_EXAMPLES ?= 20000
MINUTES ?= 10
fuzz: .venv/installed-dev
	FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) python -m pytest tests/test_fuzz.py
	PYTHONPATH=. python tests/costs.py --minutes $(MINUTES) --seed $(SEED)

# Stops dvc repro at random moments, again and again; the results must be those of an undisturbed run.
chaos: .venv/installed-dev
	python tests/chaos.py --kills $(KILLS) --seed $(SEED)

# Every backbone through the whole pipeline, small; prints a row for each way of cutting and training it.
# For example: make backbones ARGS="--only VGG16 ResNet50"
backbones: .venv/installed-dev
	PYTHONPATH=. python tests/backbones.py $(ARGS)

# Thousands of requests to the server of models/export, a tenth of them hostile.
REQUESTS ?= 10000
hostile: .venv/installed-dev
	PYTHONPATH=. python tests/hostile.py --requests $(REQUESTS) --seed $(SEED)

# Attacks on the server by connections: unread answers, slow heads, more of them than it may have.
attacks: .venv/installed-dev
	PYTHONPATH=. python tests/attacks.py $(ARGS)

# The committed pipeline once more, in another place; or twice, with other data:
#   make verify DATA=dogs-vs-cats.zip ARGS="-S head.epochs=5"
verify: .venv/installed
	python -m verify --data "$(DATA)" $(ARGS)

setup: .venv/installed-dev

.venv/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Pawprint needs Python 3.11 or newer, found %d.%d: make PYTHON=python3.11" % sys.version_info[:2])'
	$(PYTHON) -m venv .venv
	@echo "Installing the locked requirements into .venv: 0.9 GB to download, TensorFlow being 0.6 of them"
	$(BIN)/pip install --disable-pip-version-check --progress-bar on --require-hashes -r requirements.txt
	@touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt
	$(BIN)/pip install --disable-pip-version-check --progress-bar on --require-hashes -r requirements-dev.txt
	@touch $@

# Needs uv (https://docs.astral.sh/uv/); the locked versions hold for every platform and Python.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes requirements.in -o requirements.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes requirements-ray.in -o requirements-ray.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes requirements-dev.in -o requirements-dev.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes requirements-serve.in -o requirements-serve.txt
