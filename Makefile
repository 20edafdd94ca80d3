# Two commands for a fresh machine: `make demo` and `make test`. The rest is for developers.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SHARED ?= ../shared
TEXT_ENCODER ?= tfidf

.PHONY: help demo install dev test check audit constraints format docs docker-test fuzz notebook demo-video bench-predict bench-batch bench-soak bench-transfer bench-mosi bench-clips bench-folds bench-noise bench-strangers train-default clean

help:            ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

demo: install    ## set up, then predict the sample video and print the table
	$(BIN)/avsent predict samples/demo.mp4

install: $(VENV)/.installed      ## create the virtual environment and install avsent
dev: $(VENV)/.installed-dev      ## the same, with the packages for tests and checks

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@

test: dev        ## set up, then run all tests
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: dev       ## run ruff, mypy and the advisory audit
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tools/audit.py

audit: dev       ## check the pinned versions for advisories; fails if no service answers
	$(BIN)/python tools/audit.py --must

constraints: dev ## pin the installed versions in constraints.txt
	$(BIN)/python tools/constraints.py

format: dev      ## apply ruff's fixes and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.installed-docs    ## regenerate cli.md and schema.md, build site/; a warning is an error
	$(BIN)/python -m tools.make_cli_reference > docs/cli.md
	$(BIN)/python docs/make_schema.py > docs/schema.md
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

notebook: dev    ## run docs/notebook.ipynb and save its output
	$(BIN)/python docs/make_notebook.py

demo-video: dev  ## rebuild samples/demo.mp4 (needs espeak-ng)
	$(BIN)/python samples/make_demo.py

fuzz: dev        ## read 3,000 hostile files, each in a child process with limits (about 15 minutes)
	$(BIN)/python -m tests.fuzzing --count 3000 --clips $(SHARED)/clips --out docs/benchmarks

bench-predict: dev   ## speed, memory and time stamps of predict (dated file in docs/benchmarks)
	$(BIN)/python benchmarks/bench_predict.py --clips $(SHARED)/clips --out docs/benchmarks

cache/bench/fer-venv:   # the tool that bench-batch compares with, and what its detector needs
	test -x $@/bin/python || $(PYTHON) -m venv $@
	$@/bin/python -m pip install --quiet --no-input tensorflow-cpu 'opencv-contrib-python-headless<5' \
		'setuptools<81' requests Pillow av && $@/bin/python -m pip install --quiet --no-deps fer \
		|| { rm -rf $@; false; }

bench-batch: dev     ## speed of batches with one and two workers, and of fer (about 20 minutes)
	-$(MAKE) cache/bench/fer-venv
	$(BIN)/python benchmarks/bench_batch.py --clips $(SHARED)/clips --out docs/benchmarks \
		--peer cache/bench/fer-venv

bench-soak: dev      ## memory over two hours of video, as one file and as 400 (1 hour or more)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/bench_soak.py --clips $(SHARED)/clips \
		--out docs/benchmarks --work cache/bench/soak

bench-mosi: dev      ## HMTL on the MOSI features: transfer, fusion heads, cost (about two hours)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/bench_mosi.py --text-encoder $(TEXT_ENCODER) \
		--data $(SHARED)/data/mosi/mosi_utterance.npz --cache cache/bench --out docs/benchmarks

bench-transfer: dev   ## does transfer help where pairs outnumber labels? (about 4 hours on 2 cores)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/bench_transfer.py --data $(SHARED)/data --out docs/benchmarks

bench-clips: dev     ## the included model on videos of other corpora
	$(BIN)/python benchmarks/bench_clips.py --clips $(SHARED)/clips --out docs/benchmarks

bench-noise: dev     ## damaged modalities: M3ER's ablation and real damage (about half an hour)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/bench_noise.py --data $(SHARED)/data \
		--clips $(SHARED)/clips --cache cache --out docs/benchmarks

bench-folds: dev     ## the included models' recipe on RAVDESS's five folds (about 1.5 hours on 2 cores)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/bench_folds.py --data $(SHARED)/data --out docs/benchmarks

bench-strangers: dev ## the included models' recipe on corpora and people it never saw (half an hour)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/bench_strangers.py --data $(SHARED)/data \
		--clips $(SHARED)/clips --cache cache --out docs/benchmarks

train-default: dev   ## rebuild models/ from the corpora (about 2 hours on 2 cores)
	OMP_NUM_THREADS=1 $(BIN)/python -m recipes.default_models --data $(SHARED)/data --cache cache --out models

docker-test: dev ## build and test the container without a Docker engine (root, Debian; 10 minutes)
	docker/test.sh $(wildcard $(SHARED)/clips/talk_happy_zh.mp4)

clean:           ## remove everything that can be rebuilt
	rm -rf $(VENV) cache runs dist build site .pytest_cache .mypy_cache .ruff_cache .hypothesis
