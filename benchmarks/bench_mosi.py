"""``make bench-mosi``: HMTL on the MOSI features: targets, transfer, fusion heads, cost."""

import argparse
import dataclasses
import hashlib
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
from avsent.training.losses import Updates, balanced_weights
from avsent.training.metrics import ACCURACY, AUC, BALANCED_ACCURACY, classification_metrics
from avsent.training.run import train_seed
from avsent.training.settings import TrainSettings, for_source
from avsent.training.source import PretrainedSource, pretrain_source
from avsent.training.splits import SeedData, make_seed_data, make_task
from avsent.training.trainer import FitSetup, SeedContext, make_model, make_transfer, one_epoch

METRICS = (ACCURACY, BALANCED_ACCURACY, AUC)
SEEDS = tuple(range(10))
FEWER_SEEDS = SEEDS[:5]  # of what TF-IDF teaches: a cross-fitted source takes six pretrainings
SPEED_ROUNDS, SPEED_WARM_UP = 15, 2
BUSY = 0.5  # from this load on two threads are not timed: they would wait for other work
CPU = torch.device("cpu")

TARGETS = {"A": ("audio",), "V": ("face",), "A+V": ("audio", "face")}
BASE = changed(
    TrainSettings(target=TARGETS["A+V"], label="label", labels="2"),
    context={"first_gru": 48, "dense": 50, "second_gru": 24, "classifier": 50, "dropout": 0.4},
    transfer={"source": None, "decoder": 0.0, "adversarial": 0.0},
    optimiser={"epochs": 30},
)
STRONG = changed(
    BASE, context={"dropout": 0.7}, optimiser={"weight_decay": 1e-3, "input_dropout": 0.3}
)
DECODER: dict[str, Any] = {"source": "text", "decoder": 5.0}
TRANSFERS: dict[str, dict[str, Any]] = {
    "none": {},
    "decoder": DECODER,
    "discriminator": {"source": "text", "adversarial": 0.3},
    "full": {**DECODER, "adversarial": 0.3},
}
FUSIONS = {
    **{name: FusionConfig(name=name) for name in ("hmtl", "concat", "tfn", "fbp", "avef")},
    "multiplicative, M3ER's loss": FusionConfig(name="multiplicative"),
    "multiplicative, original loss": FusionConfig(name="multiplicative", original=True),
}
SOURCES = {"text vectors of the file": "auto", "TF-IDF + SVD of the transcripts": "tfidf"}
NOTE = """2,199 utterances of 93 videos; label: sentiment ≥ 0. Parts: `bclstm_split` (62 / 31
videos); 12 of the 62 validate, drawn by seed. **Text and video vectors were fitted by others to
the labels of all 62: only audio and TF-IDF are clean on validation.** All seeds share one test
part. ± is the sd over seeds; p: two-sided paired t-test, uncorrected. Strong: dropout .7, weight
decay 1e-3, input dropout .3."""

Figures = dict[str, Any]
Rows = dict[str, list[Figures]]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = option_parser(__doc__, data="mosi_utterance.npz", cache="folder of kept results")
    return run(parser, measure, arguments)


def measure(options: argparse.Namespace) -> Iterator[Report]:
    torch.set_num_threads(1)
    load, mosi = os.getloadavg()[0], Mosi(options.data, Cache(options.cache / "mosi.jsonl"))
    rows, sources = run_all(mosi)
    speeds = [measure_speed(mosi, threads) for threads in ((1, 2) if load < BUSY else (1,))]
    facts = {"data": f"SHA-256 {mosi.sha256}", "seeds": f"{SEEDS}, TF-IDF {FEWER_SEEDS}"}
    report = Report("mosi", "HMTL on the MOSI features", NOTE, **facts)
    constants = {f"always the commonest class of {p}": mosi.constant(p) for p in ("train", "test")}
    write_rows(report, rows, sources, constants)
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

    def target(self, settings: TrainSettings, seed: int) -> Figures:
        """METRICS of the best epoch on validation, by part."""

        def measured() -> Figures:
            taught = self._teaching(settings, seed) if settings.transfer.source else None
            trained = train_seed(
                self.material(settings, seed), settings, seed, SeedContext(CPU), taught
            )
            target, transfer = "+".join(settings.target), settings.transfer
            progress(f"seed {seed}  {target}  {settings.fusion.name}  β {transfer.decoder}")
            parts = trained.predictions
            found: Figures = {"best_epoch": trained.progress.best_epoch}
            return found | {p: _figures(o.class_truth(), o.probabilities) for p, o in parts.items()}

        return self._cache.get_or_run(self._key("target", settings, seed), measured)

    def source(self, settings: TrainSettings, seed: int) -> Figures:
        """METRICS of the text source alone, by part."""

        def measured() -> Figures:
            found = self._teaching(settings, seed).predictions
            parts = {p: found[p] for p in ("valid", "test")}
            return {p: _figures(o.class_truth(), o.probabilities) for p, o in parts.items()}

        return self._cache.get_or_run(self._key("source", settings, seed), measured)

    def constant(self, part: str) -> dict[str, float]:
        """Test figures of always naming the commonest class of ``part``."""
        train, test = (
            np.array([self.task.encoded[s.key] for s in self.task.corpus.samples if s.split == p])
            for p in ("train", "test")
        )
        certain = np.zeros((len(test), 2))
        certain[:, np.bincount((train if part == "train" else test).astype(int)).argmax()] = 1
        return _figures(test.astype(int), certain)

    def _key(self, kind: str, settings: TrainSettings, seed: int) -> Figures:
        key = {"kind": kind, "data": self.sha256[:16], "seed": seed}
        return {**key, "settings": dataclasses.asdict(settings)}

    def material(self, settings: TrainSettings, seed: int) -> SeedData:
        """The parts of ``seed``, with vectors of the texts."""
        name = settings.text.encoder, seed
        if name not in self._materials:
            made = make_seed_data(self.task, settings, seed, words=True)
            self._materials = {name: made}
        return self._materials[name]

    def _teaching(self, settings: TrainSettings, seed: int) -> PretrainedSource:
        """The source of ``seed``: the same for every target and fusion."""
        name = settings.text.encoder, settings.transfer.cross_fit, seed
        if name not in self._teachings:
            progress(f"seed {seed}  source {name[0]}, {name[1]} folds")
            material = self.material(settings, seed)
            made = pretrain_source(material, for_source(settings), seed, SeedContext(CPU))
            self._teachings = {name: made}
        return self._teachings[name]


def _figures(truth: Any, probabilities: Any) -> dict[str, float]:
    measured = classification_metrics(truth, probabilities)
    return {name: float(measured[name] or 0.0) for name in METRICS}


def setups() -> dict[str, TrainSettings]:
    """Every row of the tables by name."""
    found = {
        f"{name}, {kind}": changed(BASE, target=target, transfer=transfer)
        for name, target in TARGETS.items()
        for kind, transfer in TRANSFERS.items()
    }
    for name, fusion in FUSIONS.items():
        for kind in ("none", "full"):
            found[f"{name}, {kind}"] = changed(BASE, fusion=fusion, transfer=TRANSFERS[kind])
    for kind in ("none", "decoder", "full"):
        found[f"strong, {kind}"] = changed(STRONG, transfer=TRANSFERS[kind])
    words = changed(STRONG, transfer={**DECODER, "cross_fit": 5}, text={"encoder": "tfidf"})
    return {**found, "strong, decoder, TF-IDF cross-fitted": words}


def run_all(mosi: Mosi) -> tuple[Rows, Rows]:
    """Figures of targets and of sources by seed; runs of a seed follow each other, as they share a
    source."""
    wanted = setups()
    rows: Rows = {name: [] for name in wanted}
    sources: Rows = {name: [] for name in SOURCES}
    for seed in SEEDS:
        for name, text in SOURCES.items():
            if text == "tfidf" and seed not in FEWER_SEEDS:
                continue
            source = changed(BASE, transfer=TRANSFERS["full"], text={"encoder": text})
            sources[name].append(mosi.source(source, seed))
            for other, settings in wanted.items():
                if settings.text.encoder == text:
                    rows[other].append(mosi.target(settings, seed))
    return rows, sources


def measure_speed(mosi: Mosi, threads: int) -> Figures:
    """Seconds of an epoch's training part: an epoch without transfer, then one of full HMTL, in
    turns. One thread is timed by its CPU clock, which other work does not disturb."""
    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    settings = changed(BASE, transfer=TRANSFERS["full"])
    material = mosi.material(settings, 0)
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


def write_rows(
    report: Report, rows: Rows, sources: Rows, constants: dict[str, dict[str, float]]
) -> None:
    """Targets and transfer, fusion heads, strong regularisation; each row with a paired test over
    seeds against the row it is compared with."""

    def line(name: str, results: Sequence[Figures], against: str = "") -> Figures:
        found: Figures = {"setting": name}
        found |= {metric: Spread(_of(results, metric)) for metric in METRICS}
        found["auc on validation"] = mean(_of(results, AUC, "valid"))
        if against:
            found["epoch"] = mean([one["best_epoch"] for one in results])
            for metric in METRICS[1:] if against != name else ():
                theirs = _of(rows[against], metric)[: len(results)]
                found |= paired(_of(results, metric), theirs, f"{metric}: ")
        return found

    targets: list[Figures] = [{"setting": name, **found} for name, found in constants.items()]
    targets += [line(f"source: {name}", results) for name, results in sources.items()]
    heads, strong = [], []
    for name, results in rows.items():
        first, _, kind = name.rpartition(", ")
        if first in TARGETS:
            targets.append(line(name, results, f"{first}, none"))
        elif first in FUSIONS:
            heads.append(line(name, results, f"{'hmtl' if kind == 'none' else first}, none"))
        else:
            strong.append(line(name, results, "strong, none"))
    report.section("Targets and transfer", targets, "Compared with no transfer.")
    report.section("Fusion heads, A+V", heads, "Full transfer against none; none against `hmtl`.")
    report.section("Strong regularisation, A+V", strong, "Compared with `strong, none`.")


def _of(results: Sequence[Figures], metric: str, part: str = "test") -> list[float]:
    return [float(result[part][metric]) for result in results]


if __name__ == "__main__":
    sys.exit(main())
