"""``make bench-mosi``: HMTL on the MOSI features: targets, transfer, fusion heads, cost."""

import argparse
import dataclasses
import hashlib
import itertools
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import Cache, Report, Spread, changed, mean, option_parser, paired, progress, run

from avsent.model.networks.config import FusionConfig
from avsent.training.data.open import open_corpus
from avsent.training.evaluation import Predictions
from avsent.training.losses import Updates, balanced_weights
from avsent.training.metrics import ACCURACY, AUC, BALANCED_ACCURACY, classification_metrics
from avsent.training.run import train_seed
from avsent.training.settings import TrainSettings, for_source
from avsent.training.source import PretrainedSource, pretrain_source
from avsent.training.splits import SeedData, Task, make_seed_data, make_task
from avsent.training.trainer import FitSetup, SeedContext, make_model, make_transfer, one_epoch

METRICS = (ACCURACY, BALANCED_ACCURACY, AUC)
SEEDS = tuple(range(10))
LABELLED = (6, 12, 25, 50)  # training videos with labels, of 50; all 50 have transcripts
SPEED_ROUNDS, SPEED_WARM_UP = 15, 2
BUSY = 0.5  # from this load on two threads are not timed: they would wait for other work
CPU = torch.device("cpu")

TARGETS = {"A": ("audio",), "V": ("face",), "A+V": ("audio", "face")}
BASE = changed(
    TrainSettings(target=TARGETS["A+V"], label="label", labels="2"),
    context={"first_gru": 48, "dense": 50, "second_gru": 24, "classifier": 50, "dropout": 0.4},
    transfer={"source": None},
    optimiser={"epochs": 30},
)
STRONG = changed(
    BASE, context={"dropout": 0.7}, optimiser={"weight_decay": 1e-3, "input_dropout": 0.3}
)
TRANSFERS: dict[str, dict[str, Any]] = {
    "none": {},
    "HMTL, defaults": {"source": "text"},
    "HMTL as in the paper": {"source": "text", "scaled": False, "adversarial": 0.03},
    "distil": {"source": "text", "kind": "distil"},
    "pseudo": {"source": "text", "kind": "pseudo"},
}
FUSIONS = {
    **{name: FusionConfig(name=name) for name in ("hmtl", "concat", "tfn", "lmf", "fbp", "avef")},
    "multiplicative, M3ER's loss": FusionConfig(name="multiplicative"),
    "multiplicative, original loss": FusionConfig(name="multiplicative", original=True),
}
NOTE = """2,199 utterances of 93 videos; label: sentiment ≥ 0. Parts: `bclstm_split` (62 / 31
videos); 12 of the 62 validate, drawn by seed. **Video vectors were fitted by others to the labels
of all 62: only voice and transcripts are clean.** So transfer is measured on the voice, with the
weights that `avsent train` has by default: nothing was chosen here. All seeds share one test part.
± is the sd over seeds; p: two-sided paired t-test, uncorrected. Strong: dropout .7, weight decay
1e-3, input dropout .3."""

Figures = dict[str, Any]
Rows = dict[str, list[Figures]]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = option_parser(__doc__, data="mosi_utterance.npz", cache="folder of kept results")
    parser.add_argument("--text-encoder", default="tfidf", help="or a sentence-transformers model")
    return run(parser, measure, arguments)


def measure(options: argparse.Namespace) -> Iterator[Report]:
    torch.set_num_threads(1)
    load, mosi = os.getloadavg()[0], Mosi(options.data, Cache(options.cache / "mosi.jsonl"))
    encoder = options.text_encoder
    targets, few = [*run_targets(mosi)], [*run_few(mosi, encoder)]
    speeds = [measure_speed(mosi, threads) for threads in ((1, 2) if load < BUSY else (1,))]
    facts = {"data": f"SHA-256 {mosi.sha256}", "seeds": str(SEEDS)}
    report = Report("mosi", "HMTL on the MOSI features", NOTE, **facts)
    constants = [
        {"setting": f"always the commonest class of {part}", **mosi.constant(part)}
        for part in ("train", "test")
    ]
    report.section("Targets and fusion heads, without transfer", [*constants, *targets])
    note = f"Text source: {Path(encoder).name}, with the same labels. Compared with no transfer."
    report.section("Voice, transcripts of 50 videos, labels of some", few, note)
    note = "A+V, seed 0, an epoch of each in turns. 1 thread: CPU s, 2: wall s. Aim: ratio ≤ 3."
    report.section("Speed", speeds, note)
    yield report


class Mosi:
    """The corpus, the cache, and what the runs of one seed share."""

    def __init__(self, data: Path, kept: Cache) -> None:
        self.sha256 = hashlib.sha256(data.read_bytes()).hexdigest()
        self.task = make_task(open_corpus(data), "label", "2")
        self._cache = kept
        self._materials: dict[Any, SeedData] = {}
        self._teachings: dict[Any, PretrainedSource] = {}

    def target(self, settings: TrainSettings, seed: int, labelled: int | None = None) -> Figures:
        """METRICS of the best epoch on validation, by part, and of the source; ``labelled``: so
        many training videos have labels (None: all)."""
        key = {"kind": "target", "data": self.sha256[:16], "seed": seed, "labelled": labelled}

        def measured() -> Figures:
            data = self.material(settings, seed, labelled)
            taught = self._teaching(settings, seed, labelled) if settings.transfer.source else None
            trained = train_seed(data, settings, seed, SeedContext(CPU), taught)
            found: Figures = {"best_epoch": trained.progress.best_epoch}
            if taught:
                found["source"] = _figures(taught.predictions["test"])
            progress(f"seed {seed}  {settings.target}  {settings.transfer.kind}  {labelled}")
            return found | {part: _figures(one) for part, one in trained.predictions.items()}

        key |= {"settings": dataclasses.asdict(settings)}
        return self._cache.get_or_run(key, measured)

    def constant(self, part: str) -> dict[str, float]:
        """Test figures of always naming the commonest class of ``part``."""
        train, test = (
            np.array([self.task.encoded[s.key] for s in self.task.corpus.samples if s.split == p])
            for p in ("train", "test")
        )
        certain = np.zeros((len(test), 2))
        certain[:, np.bincount((train if part == "train" else test).astype(int)).argmax()] = 1
        return _measured(test.astype(int), certain)

    def material(self, settings: TrainSettings, seed: int, labelled: int | None) -> SeedData:
        """The parts of ``seed``, with vectors of the texts if there is a source."""
        words = settings.transfer.source is not None
        name = words and settings.text.encoder, seed, labelled
        if name not in self._materials:
            task = self.task if labelled is None else self._few(seed, labelled)
            self._materials = {name: make_seed_data(task, settings, seed, words=words)}
        return self._materials[name]

    def _few(self, seed: int, labelled: int) -> Task:
        """The task with labels in ``labelled`` videos of its training part, and as many as ever in
        the others."""
        split = make_seed_data(self.task, BASE, seed, words=False).split
        part_of = {sample.key: part for part, samples in split.items() for sample in samples}
        videos = sorted({sample.video for sample in split["train"]})
        kept = set(np.random.default_rng(seed).permutation(videos)[:labelled])
        samples = [
            dataclasses.replace(sample, split=part_of[sample.key])
            for sample in self.task.corpus.samples
        ]
        known = {
            sample.key: self.task.encoded[sample.key]
            if sample.split != "train" or sample.video in kept
            else None
            for sample in samples
        }
        return Task(self.task.corpus.subset(samples), self.task.labels, known)

    def _teaching(
        self, settings: TrainSettings, seed: int, labelled: int | None
    ) -> PretrainedSource:
        """The source: the same for every kind of transfer."""
        name = settings.text.encoder, seed, labelled
        if name not in self._teachings:
            material = self.material(settings, seed, labelled)
            made = pretrain_source(material, for_source(settings), seed, SeedContext(CPU))
            self._teachings = {name: made}
        return self._teachings[name]


def _figures(predictions: Predictions) -> dict[str, float]:
    return _measured(predictions.class_truth(), predictions.probabilities)


def _measured(truth: Any, probabilities: Any) -> dict[str, float]:
    measured = classification_metrics(truth, probabilities)
    return {name: float(measured[name] or 0.0) for name in METRICS}


def run_targets(mosi: Mosi) -> Iterator[Figures]:
    """A row for each target, fusion head and strength of regularisation, without transfer."""
    heads = {name: changed(BASE, fusion=fusion) for name, fusion in FUSIONS.items()}
    targets = {name: changed(BASE, target=target) for name, target in TARGETS.items()}
    base = [mosi.target(BASE, seed) for seed in SEEDS]
    for name, settings in {**targets, **heads, "hmtl, strong": STRONG}.items():
        results = [mosi.target(settings, seed) for seed in SEEDS]
        yield line({"setting": name}, results, None if settings == BASE else base)


def run_few(mosi: Mosi, encoder: str) -> Iterator[Figures]:
    """A row for each number of labelled videos and kind of transfer."""
    voice = changed(BASE, target=TARGETS["A"], text={"encoder": encoder})
    found: dict[tuple[int, str], list[Figures]] = {}
    for seed, labelled in itertools.product(SEEDS, LABELLED):
        for kind, transfer in TRANSFERS.items():
            settings = changed(voice, transfer=transfer)
            found.setdefault((labelled, kind), []).append(mosi.target(settings, seed, labelled))
    for (labelled, kind), results in sorted(found.items(), key=lambda item: item[0][0]):
        name = {"labelled videos": labelled, "transfer": kind}
        row = line(name, results, None if kind == "none" else found[labelled, "none"])
        if kind != "none":
            row["source: auc"] = mean([one["source"][AUC] for one in results])
        yield row


def measure_speed(mosi: Mosi, threads: int) -> Figures:
    """Seconds of an epoch's training part: an epoch without transfer, then one of full HMTL, in
    turns. One thread is timed by its CPU clock, which other work does not disturb."""
    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    settings = changed(BASE, transfer=TRANSFERS["HMTL, defaults"])
    material = mosi.material(settings, 0, None)
    short = changed(settings, optimiser={"epochs": 2})
    teacher = pretrain_source(material, short, 0, SeedContext(CPU)).teacher
    weights = balanced_weights(material.train.labels, 2)
    runs = {}
    for name, taught in (("none", None), ("full", teacher)):
        model = make_model(material.config(settings, settings.target), material.train, 0)
        given = (material.train, material.valid, settings.optimiser, settings.transfer)
        course = FitSetup(*given, seed=0, device=CPU, teacher=taught)
        transfer = make_transfer(model, course)
        updates = Updates(model, transfer, course.optimiser, course.transfer, weights)
        runs[name] = (model, updates, course)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(SPEED_WARM_UP + SPEED_ROUNDS):
        for name, one in runs.items():
            began = clock()
            one_epoch(*one, number)
            if number >= SPEED_WARM_UP:
                seconds[name].append(clock() - began)
    torch.set_num_threads(1)
    count = int(material.train.lengths.sum())
    full_s, none_s = (statistics.median(seconds[name]) for name in ("full", "none"))
    pairs = zip(seconds["full"], seconds["none"], strict=True)
    return {
        "threads": threads,
        "epoch, none, s": none_s,
        "epoch, full, s": full_s,
        "utterances per s, none": count / none_s,
        "utterances per s, full": count / full_s,
        "ratio": statistics.median(full / none for full, none in pairs),
    }


def line(
    name: Figures, results: Sequence[Figures], against: Sequence[Figures] | None = None
) -> Figures:
    """The row of ``results`` over seeds, with a paired test where it is compared with others."""
    found = {**name, **{metric: Spread(_of(results, metric)) for metric in METRICS}}
    found["epoch"] = mean([one["best_epoch"] for one in results])
    for metric in METRICS[1:] if against else ():
        found |= paired(_of(results, metric), _of(against or (), metric), f"{metric}: ")
    return found


def _of(results: Sequence[Figures], metric: str) -> list[float]:
    return [float(result["test"][metric]) for result in results]


if __name__ == "__main__":
    sys.exit(main())
