"""``make bench-ravdess``: does HMTL's transfer help on RAVDESS, where features saw no labels?

The fair test: a face teaches a voice model. Settings are chosen stage by stage on validation actors
only, with seeds of their own, by mean balanced accuracy over the folds. The network without
transfer is tuned first, with more variants than any transfer gets; transfer changes nothing of it.
"""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import Cache, Report, Spread, changed, mean, option_parser, paired, progress, run
from ravdess_vectors import adapted, ravdess_vectors

from avsent.training.data.corpus import Corpus
from avsent.training.evaluation import Predictions, evaluate
from avsent.training.run import train_seed
from avsent.training.settings import (
    OptimiserSettings,
    SplitSettings,
    TrainSettings,
    TransferSettings,
)
from avsent.training.source import PretrainedSource, pretrain_source
from avsent.training.splits import SeedData, Task, make_seed_data, make_task
from avsent.training.trainer import SeedContext
from recipes.ravdess import FOLDS

VERSION = 1
VALIDATION_ACTORS = 4
TUNING_SEEDS = (100, 101)  # never used for a reported result
FACE_SEEDS, FEW_SEEDS = tuple(range(10)), tuple(range(3))
FEW_ACTORS = (3, 6)
NONE = "no transfer"
METRICS = ("accuracy", "balanced_accuracy")
BASE = changed(
    TrainSettings(target=("audio",), label="emotion"),
    context={"first_gru": 48, "dense": 50, "second_gru": 24, "classifier": 50},
    transfer={"decoder": 0.0, "adversarial": 0.0},
    optimiser={"epochs": 40, "patience": 15, "batch_videos": 64, "learning_rate": 2e-3}
    | {"weight_decay": 1e-2, "label_smoothing": 0.05, "input_dropout": 0.2},
)
"""Where tuning starts."""
SOURCE = changed(BASE.optimiser, epochs=16, patience=6, learning_rate=4e-3, weight_decay=1e-2)
"""How every source model is trained."""
NOTE = """1,440 clips of 24 actors, 8 emotions. Test: the five published folds of actors; of the
others 4 validate, drawn by the seed. A seed's figure is over all clips, each predicted by the
fold without its actor. Vectors fitted to no labels: 126 statistics of the voice (no level, no
duration), 306 of 51 landmarks. Settings were chosen on validation actors and hold for all folds.
Paired tests in points of accuracy: seeds share test actors, so the one over folds is the strict
one. The source (face) is standardised by the unlabelled mean and deviation of the same actor; it is
used in training only. The target (voice) is speaker-independent."""

Figures = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = option_parser(__doc__, data="the shared folder data")
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    parser.add_argument("--tune", action="store_true", help="only choose settings")
    return run(parser, measure, arguments)


def measure(options: argparse.Namespace) -> Iterator[Report]:
    torch.set_num_threads(1)
    laboratory = Laboratory(options.data, options.cache)
    network = tune_network(laboratory)
    chosen, record = tune_face(laboratory, network.best)
    if not options.tune:
        yield face_report(laboratory, chosen, network.record + record)


@dataclass(frozen=True, slots=True)
class Trial:
    """One run. ``corpus``: "plain" or "adapted face" (standardised by speaker, for a source);
    ``source``: optimiser of the source model, None for the
    target's; ``actors``: the target has labels of so many training actors (0: of all)."""

    settings: TrainSettings
    fold: int = 0
    seed: int = 0
    corpus: str = "plain"
    source: OptimiserSettings | None = None
    actors: int = 0


class Laboratory:
    """Corpora and results that trials share."""

    def __init__(self, data: Path, folder: Path) -> None:
        self._data, self._features = data, folder
        self._results = Cache(folder / "bench" / "ravdess.jsonl")
        self._task = cache(self._make_task)
        self._teachings: dict[str, PretrainedSource] = {}
        self._where = SeedContext(torch.device("cpu"))

    @cached_property
    def _corpora(self) -> dict[str, Corpus]:
        plain = ravdess_vectors(self._data / "ravdess", self._features)
        both = adapted(plain)
        pairs = zip(both.samples, plain.samples, strict=True)
        face = both.subset(dataclasses.replace(b, audio=p.audio) for b, p in pairs)
        return {"plain": plain, "adapted face": face}

    def _make_task(self, name: str, fold: int) -> Task:
        """The eight emotions; the actors of ``fold`` are the test part."""
        test = {f"actor{actor:02d}" for actor in FOLDS[fold]}
        parts = self._corpora[name].subset(
            dataclasses.replace(sample, split="test" if sample.speaker in test else "train")
            for sample in self._corpora[name].samples
        )
        return make_task(parts, "emotion", "auto")

    def material(self, trial: Trial) -> SeedData:
        """Parts of a trial; its seed draws the validation actors."""
        split = SplitSettings(validation=VALIDATION_ACTORS / (24 - len(FOLDS[trial.fold])))
        settings, task = changed(trial.settings, split=split), self._task(trial.corpus, trial.fold)
        return make_seed_data(task, settings, trial.seed, words=False)

    def measure(self, trial: Trial, *, test: bool) -> Figures:
        """Figures of a trial, kept. Tuning asks for no ``test`` figures: none are computed."""
        key = {"version": VERSION, **dataclasses.asdict(trial), "test": test}
        found: Figures = self._results.get_or_run(key, lambda: self._run(trial, test))
        return found

    def _run(self, trial: Trial, test: bool) -> Figures:
        material = self.material(trial)
        teaching = self._teaching(trial, material) if trial.settings.transfer.active else None
        if trial.actors:
            speakers = sorted(set(material.groups))
            known = np.random.default_rng(trial.seed).permutation(speakers)[: trial.actors]
            labels = material.train.labels.clone()
            labels[[speaker not in known for speaker in material.groups]] = torch.nan
            train = dataclasses.replace(material.train, labels=labels)
            material = dataclasses.replace(material, train=train)
        trained = train_seed(material, trial.settings, trial.seed, self._where, teaching)
        best = trained.progress.history[trained.progress.best_epoch - 1]
        found: Figures = {"valid": {name: best[f"valid_{name}"] for name in METRICS}}
        found["best_epoch"] = trained.progress.best_epoch
        if teaching is not None:
            given = teaching.predictions.items()
            found["source"] = {part: _scores(p) for part, p in given if test or part == "valid"}
        if test and "test" in trained.predictions:
            found["test"] = _scores(trained.predictions["test"])
        return found

    def _teaching(self, trial: Trial, material: SeedData) -> PretrainedSource:
        """The source of a trial, kept for trials that share it."""
        transfer = trial.settings.transfer
        settings = changed(
            trial.settings,
            optimiser=trial.source or trial.settings.optimiser,
            transfer=TransferSettings(source=transfer.source, cross_fit=transfer.cross_fit),
        )
        name = repr((settings, trial.fold, trial.seed, trial.corpus))
        if name not in self._teachings:
            made = pretrain_source(material, settings, trial.seed, self._where)
            self._teachings[name] = made
        return self._teachings[name]


def _scores(predictions: Predictions) -> Figures:
    metrics = evaluate(predictions, draws=1).metrics
    return {**{m: float(metrics[m] or 0.0) for m in METRICS}, "count": len(predictions.keys)}


def majority(laboratory: Laboratory, seeds: tuple[int, ...]) -> float:
    """Accuracy of always naming the training part's commonest class (the first of several), over
    all folds, mean of ``seeds``."""
    right = everything = 0
    for seed in seeds:
        for fold in range(len(FOLDS)):
            material = laboratory.material(Trial(BASE, fold, seed))
            train = material.train.labels[material.train.known()].long()
            test = material.test.labels[material.test.known()].long()
            right += int((test == int(torch.bincount(train).argmax())).sum())
            everything += len(test)
    return right / everything


Change = Callable[[Trial], Trial]


def change(**parts: Any) -> Change:
    return lambda trial: dataclasses.replace(trial, settings=changed(trial.settings, **parts))


def _each(part: str, name: str, *values: float) -> dict[str, Change]:
    return {f"{value:g}": change(**{part: {name: value}}) for value in values}


class Tuning:
    """The choice so far, and the record of everything that was compared."""

    def __init__(self, laboratory: Laboratory, start: Trial) -> None:
        self._laboratory, self.best = laboratory, start
        self.record: list[Figures] = []

    def stage(self, name: str, variants: Mapping[str, Change], *, keep: str = "as before") -> None:
        """Take the best of ``variants`` of the choice so far and of itself; ``keep``: its own name,
        "" where it is no candidate."""
        candidates = {keep: self.best} if keep else {}
        candidates |= {title: change(self.best) for title, change in variants.items()}
        values = {title: self._validation(trial) for title, trial in candidates.items()}
        winner = max(values, key=lambda title: mean(values[title]))
        for title, found in values.items():
            self._note(name, title, found, chosen=title == winner)
        self.best = candidates[winner]

    def take(self, name: str, variants: Mapping[str, Change]) -> None:
        """Take the best of ``variants`` even if the choice so far is better; record both."""
        before = self.best
        self.stage(name, variants, keep="")
        self._note(name, "as before", self._validation(before), chosen=False)

    def _note(self, stage: str, variant: str, values: Spread, *, chosen: bool) -> None:
        line = {"stage": stage, "variant": variant, "validation": values, "chosen": chosen}
        self.record.append(line)
        progress(f"{mean(values):.4f}  {stage}: {variant}")

    def _validation(self, trial: Trial) -> Spread:
        """Validation balanced accuracy of each tuning seed and fold."""
        placed = [(seed, fold) for seed in TUNING_SEEDS for fold in range(len(FOLDS))]
        trials = [dataclasses.replace(trial, fold=fold, seed=seed) for seed, fold in placed]
        found = [self._laboratory.measure(one, test=False)["valid"] for one in trials]
        return Spread(one["balanced_accuracy"] for one in found)


def tune_network(laboratory: Laboratory) -> Tuning:
    """The best voice network without transfer."""
    tuning = Tuning(laboratory, Trial(BASE))
    tuning.stage("input dropout", _each("optimiser", "input_dropout", 0.0, 0.4))
    tuning.stage("dropout", _each("context", "dropout", 0.2, 0.6))
    cycle = {"rate_schedule": "onecycle"}
    rates = _each("optimiser", "learning_rate", 1e-3, 4e-3)
    rates["4e-3 in one cycle"] = change(optimiser={"learning_rate": 4e-3, **cycle})
    tuning.stage("learning rate", rates)
    tuning.stage("weight decay", _each("optimiser", "weight_decay", 0.0, 0.1))
    tuning.stage("label smoothing", _each("optimiser", "label_smoothing", 0.0, 0.2))
    names = ("first_gru", "dense", "second_gru", "classifier")
    sizes = {"96–100–24": (96, 100), "96–100–48": (96, 100, 48, 100), "24–24–12": (24, 24, 12, 24)}
    tuning.stage(
        "size",
        {n: change(context=dict(zip(names, size, strict=False))) for n, size in sizes.items()},
    )
    tuning.stage("first layer", {"192": change(context={"first_gru": 192})})
    # 1,000 runs must fit in an hour: a third of the steps.
    fewer = {"epochs": 25, "patience": 8, "batch_videos": 128, "learning_rate": 4e-3}
    narrow = {"first_gru": 96}
    tuning.take(
        "fewer steps, taken for speed",
        {
            "192, constant rate": change(optimiser=fewer),
            "96, constant rate": change(optimiser=fewer, context=narrow),
            "96, one cycle": change(optimiser=fewer | cycle, context=narrow),
        },
    )
    return tuning


def tune_face(laboratory: Laboratory, plain: Trial) -> tuple[dict[str, Trial], list[Figures]]:
    """Weights and schedule of each kind of transfer from face to voice."""
    start = change(transfer={"source": "face", "decoder": 1.0})(plain)
    start = dataclasses.replace(start, corpus="adapted face", source=SOURCE)
    decoder = Tuning(laboratory, start)
    decoder.stage("decoder β", _each("transfer", "decoder", 5.0, 20.0), keep="1")
    fitted = {
        f"5 folds, β {beta:g}": change(transfer={"cross_fit": 5, "decoder": beta})
        for beta in (1.0, 5.0, 20.0)
    }
    decoder.stage("cross-fitted source", fitted, keep="no")
    decoder.stage("schedule", {"decay": change(transfer={"schedule": "decay"})}, keep="constant")
    gammas = _each("transfer", "adversarial", 0.03, 0.3)
    full = Tuning(laboratory, decoder.best)
    full.stage("full: γ beside the decoder", gammas, keep="")
    alone = Tuning(laboratory, change(transfer={"decoder": 0.0})(decoder.best))
    alone.stage("discriminator alone: γ", gammas, keep="")
    chosen = {NONE: plain, "decoder only": decoder.best, "discriminator only": alone.best}
    return {**chosen, "full HMTL": full.best}, decoder.record + full.record + alone.record


class Outcome:
    """The test figures of one kind of trial, by (seed, fold)."""

    def __init__(self) -> None:
        self.results: dict[tuple[int, int], Figures] = {}

    def add(self, laboratory: Laboratory, trial: Trial, seed: int) -> None:
        """All folds of a seed."""
        for fold in range(len(FOLDS)):
            placed = dataclasses.replace(trial, fold=fold, seed=seed)
            self.results[seed, fold] = laboratory.measure(placed, test=True)
        transfer, target = trial.settings.transfer, "+".join(trial.settings.target)
        progress(f"seed {seed}: {self.by_seed()[-1]:.4f}  {target}, from {transfer.source}")

    def by_seed(self, metric: str = "accuracy", *, source: bool = False) -> Spread:
        """Of each seed, over the clips of all folds; ``source``: of the source model."""
        found = Spread()
        for seed in sorted({seed for seed, _ in self.results}):
            own = [one for (s, _), one in self.results.items() if s == seed]
            parts = [one["source"]["test"] if source else one["test"] for one in own]
            count = sum(part["count"] for part in parts)
            found.append(sum(part[metric] * part["count"] for part in parts) / count)
        return found

    def by_fold(self) -> list[float]:
        """Mean accuracy over the seeds of each fold."""
        results = [
            [r for (_, own), r in self.results.items() if own == f] for f in range(len(FOLDS))
        ]
        return [mean([one["test"]["accuracy"] for one in found]) for found in results]

    def by_run(self) -> list[float]:
        """Accuracy of each seed and fold."""
        return [one["test"]["accuracy"] for _, one in sorted(self.results.items())]


Outcomes = dict[str, Outcome]


def face_report(
    laboratory: Laboratory, chosen: Mapping[str, Trial], record: Sequence[Figures]
) -> Report:
    """The fair test seed by seed, then few labels: the target has those of few actors, the source
    those of all, with the same settings."""
    outcomes: Outcomes = {name: Outcome() for name in chosen}
    for seed in FACE_SEEDS:
        for name, trial in chosen.items():
            outcomes[name].add(laboratory, trial, seed)
    base = majority(laboratory, FACE_SEEDS)
    report = Report("ravdess-face-teaches-voice", "RAVDESS: face teaches voice", NOTE)
    report.facts["seeds"] = f"{FACE_SEEDS}, few labels {FEW_SEEDS}, tuning {TUNING_SEEDS}"
    source = next(found for name, found in outcomes.items() if name != NONE)
    first: Figures = {"model": "face alone (the source, speaker-adaptive)"}
    first |= {metric: source.by_seed(metric, source=True) for metric in METRICS}
    write_outcomes(report, "Voice", outcomes, base, [first])
    for actors in FEW_ACTORS:
        few: Outcomes = {name: Outcome() for name in chosen}
        for name, trial in chosen.items():
            for seed in FEW_SEEDS:
                few[name].add(laboratory, dataclasses.replace(trial, actors=actors), seed)
        write_outcomes(report, f"Few labels: of {actors} actors for the target", few, base)
    write_settings(report, chosen, record)
    return report


def write_outcomes(
    report: Report, title: str, outcomes: Outcomes, base: float, more: Sequence[Figures] = ()
) -> None:
    """Accuracies, those of each fold, and every kind of transfer paired with none (points)."""
    rows: list[Figures] = [{"model": "majority", "accuracy": base, "balanced_accuracy": 1 / 8}]
    rows += more
    for name, found in outcomes.items():
        row: Figures = {"model": name, **{m: found.by_seed(m) for m in METRICS}}
        row |= {f"actors {FOLDS[fold]}": value for fold, value in enumerate(found.by_fold())}
        if name != NONE:
            for unit in ("run", "seed", "fold"):
                a, b = (
                    [100 * v for v in getattr(one, f"by_{unit}")()]
                    for one in (found, outcomes[NONE])
                )
                row |= paired(a, b, f"by {unit}: ")
        rows.append(row)
    report.section(title, rows)


def write_settings(report: Report, chosen: Mapping[str, Trial], record: Sequence[Figures]) -> None:
    """The chosen settings, and the record of the tuning."""
    settings = chosen[NONE].settings
    network = dataclasses.asdict(settings.context) | dataclasses.asdict(settings.optimiser)
    report.section("Network chosen", network)
    names = ("decoder", "adversarial", "schedule", "cross_fit")
    transfers = {kind: trial.settings.transfer for kind, trial in chosen.items()}
    rows = [{"kind": k, **{n: getattr(one, n) for n in names}} for k, one in transfers.items()]
    report.section("Transfer chosen", rows)
    note = (
        "Balanced accuracy on validation actors, mean ± sd over tuning seeds × folds; each stage "
    )
    report.section("What was tried", record, f"{note}starts from the choice of the one before.")


if __name__ == "__main__":
    sys.exit(main())
