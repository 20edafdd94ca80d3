# Two commands for a fresh machine: `make demo` and `make test`. The rest is for developers.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SHARED ?= ../shared

.PHONY: help demo install dev test check format docs notebook demo-video bench-predict bench-batch bench-ravdess bench-mosi bench-clips bench-folds train-default clean

help:            ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

demo: install    ## set up, then predict the sample video and print the table
	$(BIN)/avsent predict samples/demo.mp4

install: $(VENV)/.installed      ## the virtual environment with avsent in it
dev: $(VENV)/.installed-dev      ## the same with what tests and checks need

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

test: dev        ## set up, then all tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: dev       ## ruff, format, mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: dev      ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.installed-docs    ## write the pages made from code anew, build site/, strictly
	$(BIN)/python -m avsent.cli.reference > docs/cli.md
	$(BIN)/python docs/make_schema.py > docs/schema.md
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

notebook: dev    ## run docs/notebook.ipynb anew
	$(BIN)/python docs/make_notebook.py

demo-video: dev  ## rebuild samples/demo.mp4 (needs espeak-ng)
	$(BIN)/python samples/make_demo.py

bench-predict: dev   ## speed, memory, time stamps: a dated file under docs/benchmarks
	$(BIN)/python benchmarks/bench_predict.py --clips $(SHARED)/clips --out docs/benchmarks

bench-batch: dev     ## speed of batches, one worker and two, and a peer's (about 20 minutes)
	$(BIN)/python benchmarks/bench_batch.py --clips $(SHARED)/clips --out docs/benchmarks \
		--peer cache/bench/fer-venv

bench-mosi: dev      ## HMTL on the MOSI features: transfer, fusion heads, cost (about an hour)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/bench_mosi.py \
		--data $(SHARED)/data/mosi/mosi_utterance.npz --cache cache/bench --out docs/benchmarks

bench-ravdess: dev   ## face teaches voice, and the five published folds (about 1.5 hours)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/bench_ravdess.py --data $(SHARED)/data --out docs/benchmarks

bench-clips: dev     ## the shipped model on videos of corpora it never saw
	$(BIN)/python benchmarks/bench_clips.py --clips $(SHARED)/clips --out docs/benchmarks

bench-folds: dev     ## the shipped models' recipe on RAVDESS's five folds (about an hour on 2 cores)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/bench_folds.py --data $(SHARED)/data --out docs/benchmarks

train-default: dev   ## rebuild models/ from RAVDESS and FER2013 (about 3 hours on 2 cores)
	OMP_NUM_THREADS=1 $(BIN)/python -m avsent.training.shipped.recipe --data $(SHARED)/data --cache cache --out models

clean:           ## everything that can be made again
	rm -rf $(VENV) cache runs dist build site .pytest_cache .mypy_cache .ruff_cache .hypothesis
